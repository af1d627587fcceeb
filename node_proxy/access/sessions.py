"""Sessions of the console in a browser: a cookie that scripts can't read, and a token against forged requests.

A session is made by a wallet's login, never from what a browser brings along, and ends by logout or by its time. Only a
keyed hash of its token is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from node_proxy.access import base62
from node_proxy.access.keys import ApiKey
from node_proxy.access.store import AccessStore
from node_proxy.errors import AccessDenied, KeyExpired, KeyInvalid

SESSION_SECONDS = 12 * 3600
CSRF_HEADER = b"x-csrf-token"
_TOKEN_BYTES = 32
_SAFE = frozenset({"GET", "HEAD"})


class CsrfRefused(AccessDenied):
    """A request with a session's cookie lacks the session's token: another site may have sent it (HTTP 403)."""

    code = "csrf_token_missing"


@dataclass(frozen=True, slots=True)
class Session:
    """A login in a browser. subscriber: checksummed address. csrf: goes into the header x-csrf-token of changes."""

    id: str
    subscriber: str
    created_at: int
    expires_at: int
    csrf: str

    def public(self) -> dict[str, object]:
        """What the console is told."""
        return {
            "object": "session",
            "subscriber": self.subscriber,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "csrf_token": self.csrf,
        }

    def as_key(self) -> ApiKey:
        """What it may do: manage keys and look at the account. Calls of assistants take a key."""
        return ApiKey(
            id=self.id,
            subscriber=self.subscriber,
            name="console",
            budget=None,
            expires_at=self.expires_at,
            dids=None,
            manage=True,
            created_at=self.created_at,
        )


class Sessions:
    """origin: base URL that browsers use; with https the cookie is bound to the host and to TLS."""

    def __init__(self, store: AccessStore, secret: bytes, *, origin: str) -> None:
        self._store = store
        self._secret = hashlib.blake2b(b"nvm-node sessions", key=secret[:64]).digest()
        self._secure = origin.startswith("https://")
        parts = urlsplit(origin)
        self.origin = f"{parts.scheme}://{parts.netloc}"  # what a browser sends as Origin, below a sub-path too
        self.cookie = "__Host-nvm_session" if self._secure else "nvm_session"

    async def start(self, subscriber: str, old_token: str = "") -> tuple[str, Session]:
        """A new session and its token; the one that the browser had ends."""
        token, now = base62.encode(secrets.token_bytes(_TOKEN_BYTES)), int(time.time())
        if old_token:
            await self.end(old_token)
        await self._store.add_session(self._hash(token), subscriber, now, now + SESSION_SECONDS)
        return token, self._session(token, subscriber, now, now + SESSION_SECONDS)

    async def verify(self, token: str) -> Session:
        """Raises KeyInvalid, KeyExpired, StorageFailed."""
        row = await self._store.session_by_hash(self._hash(token)) if len(token) <= 100 else None
        if row is None:
            raise KeyInvalid("You are not signed in, or the session has ended: sign in with your wallet.")
        subscriber, created_at, expires_at = row
        if time.time() >= expires_at:
            raise KeyExpired("Your session has expired: sign in with your wallet again.")
        return self._session(token, subscriber, created_at, expires_at)

    def check_request(self, session: Session, method: str, csrf: str, origin: str | None) -> None:
        """Raises CsrfRefused for a change that the console did not send."""
        if method in _SAFE:
            return
        if origin is not None and origin != self.origin:
            raise CsrfRefused("This request comes from another site and is refused.")
        if not hmac.compare_digest(csrf.encode(), session.csrf.encode()):
            raise CsrfRefused("Changes in a session need its token in the header x-csrf-token: GET /auth/session.")

    async def end(self, token: str) -> None:
        """Effective at once everywhere; ending one that is no session changes nothing."""
        await self._store.end_session(self._hash(token))

    def set_cookie(self, token: str) -> tuple[bytes, bytes]:
        """The header that gives the browser its session; an empty token takes it away."""
        age = SESSION_SECONDS if token else 0
        secure = "; Secure" if self._secure else ""
        text = f"{self.cookie}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
        return b"set-cookie", text.encode("ascii")

    def token_of(self, cookies: str) -> str:
        """The session's token in a Cookie header; empty if there is none, or more than one."""
        found = [
            value for name, _, value in (c.strip().partition("=") for c in cookies.split(";")) if name == self.cookie
        ]
        return found[0] if len(found) == 1 else ""

    def _session(self, token: str, subscriber: str, created_at: int, expires_at: int) -> Session:
        digest = self._hash(token)
        csrf = hashlib.blake2b(b"csrf" + digest, key=self._secret, digest_size=24).hexdigest()
        return Session(f"session_{digest[:9].hex()}", subscriber, created_at, expires_at, csrf)

    def _hash(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(), key=self._secret, digest_size=32).digest()
