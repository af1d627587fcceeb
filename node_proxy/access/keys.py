"""API keys: `nvm_` + 256 random bits + checksum, in base 62. The node keeps only a keyed hash of each.

The checksum lets secret scanners and typing mistakes be told from keys that were never issued; it proves nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from node_proxy.access import base62
from node_proxy.access.store import AccessStore, KeyRow
from node_proxy.errors import KeyExpired, KeyInvalid, KeyMissing, KeyRevoked, NotYours, ObjectNotFound
from node_proxy.storage import StorageFailed
from nvm_chain.did import Did

PREFIX = "nvm_"
_SECRET_BYTES = 32
_SECRET_CHARS = base62.width(8 * _SECRET_BYTES)
_CHECK_CHARS = base62.width(32)
_SHAPE = re.compile(rf"nvm_[0-9A-Za-z]{{{_SECRET_CHARS + _CHECK_CHARS}}}\Z")

LOOK_SECONDS = 0.25
"""How often the count of revocations is looked at while keys are used."""

BELIEVE_SECONDS = 0.75
"""How long it is believed. A revocation is effective in every process within this time, also where looking fails."""

KEYS_IN_MEMORY = 50_000


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What a valid API key may do.

    id: `key_…`, safe to show and log. subscriber: checksummed address of the wallet that logged in.
    budget: credits that may be charged through this key in all, None = whatever the plans hold.
    expires_at: unix seconds, None = until revoked. dids: the only assistants that it opens, None = all.
    manage: whether it may list, create and revoke the wallet's other keys.
    """

    id: str
    subscriber: str
    name: str
    budget: int | None
    expires_at: int | None
    dids: frozenset[Did] | None
    manage: bool
    created_at: int
    revoked_at: int | None = None

    def check(self, now: float) -> None:
        """Raises KeyRevoked or KeyExpired."""
        if self.revoked_at is not None:
            raise KeyRevoked(f"The API key {self.name!r} ({self.id}) was revoked. Create another one by logging in.")
        if self.expires_at is not None and now >= self.expires_at:
            raise KeyExpired(f"The API key {self.name!r} ({self.id}) has expired. Create another one by logging in.")

    def check_opens(self, did: Did) -> None:
        """Raises NotYours where the key's owner limited it to other assistants."""
        if self.dids is not None and did not in self.dids:
            raise NotYours(
                f"The API key {self.name!r} ({self.id}) isn't allowed to use {did}. Create one that is at /auth/keys.",
                param="model",
            )

    def public(self) -> dict[str, object]:
        """What its owner may see of it."""
        return {
            "object": "api_key",
            "id": self.id,
            "name": self.name,
            "subscriber": self.subscriber,
            "budget": self.budget,
            "expires_at": self.expires_at,
            "assistants": None if self.dids is None else sorted(str(did) for did in self.dids),
            "manage": self.manage,
            "created_at": self.created_at,
            "revoked_at": self.revoked_at,
        }


def generate() -> str:
    """A new key in the clear. It is shown once and never stored."""
    body = base62.encode(secrets.token_bytes(_SECRET_BYTES))
    return f"{PREFIX}{body}{_checksum(body)}"


def _checksum(body: str) -> str:
    return base62.encode(zlib.crc32(f"{PREFIX}{body}".encode()).to_bytes(4))


def check_shape(text: str) -> None:
    """Raises KeyInvalid where `text` can't be a key that any node issued; never repeats the text."""
    if not text:
        raise KeyMissing("No API key was sent: use the header `Authorization: Bearer nvm_…`. /auth/login gives one.")
    if not text.startswith(PREFIX):
        hint = ""
        if text.startswith("sk-"):
            hint = " This one looks like a provider's own key: revoke it there if it was sent by mistake."
        raise KeyInvalid(f"This node takes API keys that start with nvm_, from /auth/login.{hint}")
    body, check = text[len(PREFIX) : -_CHECK_CHARS], text[-_CHECK_CHARS:]
    if not _SHAPE.match(text) or not hmac.compare_digest(_checksum(body), check):
        expected = len(PREFIX) + _SECRET_CHARS + _CHECK_CHARS
        raise KeyInvalid(
            f"The API key is garbled: its checksum doesn't fit. It has {len(text)} characters, a key has {expected}: "
            "copy it again."
        )


class Keys:
    """Issues, verifies and revokes keys. `secret` keys the hash; without it the stored hashes are worthless.

    What was read is remembered together with the count of revocations at that state of the database. As long as the
    count stands still nothing has been revoked since, so one small read four times a second keeps all keys fresh.
    """

    def __init__(self, store: AccessStore, secret: bytes) -> None:
        self._store = store
        self._secret = hashlib.blake2b(b"nvm-node api keys", key=secret[:64]).digest()[:64]
        self._cache: dict[bytes, tuple[int, ApiKey]] = {}  # with the count of revocations
        self._revocations = -1
        self._looked = float("-inf")  # when the look that it is from began, monotonic
        self._looking: asyncio.Task[None] | None = None
        self._used: dict[str, int] = {}

    def _hash(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), key=self._secret, digest_size=32).digest()

    async def verify(self, text: str) -> ApiKey:
        """The record of a key in the clear. Raises KeyMissing, KeyInvalid, KeyRevoked, KeyExpired, StorageFailed."""
        if (key := self.remembered(text)) is not None:
            return key
        check_shape(text)
        return self._in_use(await self._look_up(self._hash(text)))

    def remembered(self, text: str) -> ApiKey | None:
        """The same without asking the store; None where it has to be asked. Raises KeyRevoked, KeyExpired."""
        remembered = self._cache.get(self._hash(text))
        if remembered is None or not self._fresh() or remembered[0] != self._revocations:
            return None
        return self._in_use(remembered[1])

    def _in_use(self, key: ApiKey) -> ApiKey:
        wall = time.time()
        key.check(wall)
        self._used[key.id] = int(wall)
        return key

    async def _look_up(self, digest: bytes) -> ApiKey:
        began = time.monotonic()
        row, revocations = await self._store.key_by_hash(digest)
        self._note(revocations, began)
        if row is None or not hmac.compare_digest(row.hash, digest):
            self._cache.pop(digest, None)
            raise KeyInvalid("This node doesn't know the API key. Log in at /auth/login to get one.")
        if len(self._cache) >= KEYS_IN_MEMORY:
            self._cache = dict(islice(self._cache.items(), KEYS_IN_MEMORY // 2, None))
        key = _from_row(row)
        self._cache[digest] = (revocations, key)
        return key

    def _fresh(self) -> bool:
        """Whether the count of revocations is believed; starts a look in time, which nobody waits for."""
        age = time.monotonic() - self._looked
        if age > LOOK_SECONDS and self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        return age <= BELIEVE_SECONDS

    async def _look(self) -> None:
        try:
            began = time.monotonic()
            with suppress(StorageFailed):
                self._note(await self._store.revocations(), began)
        finally:
            self._looking = None

    def _note(self, revocations: int, began: float) -> None:
        if began >= self._looked:
            self._revocations, self._looked = revocations, began

    def knows(self, text: str) -> bool:
        """Whether the text was a key not long ago, without asking the store."""
        return bool(text) and self._hash(text) in self._cache

    async def last_use(self, key_id: str) -> int | None:
        """When a key was used last, unix seconds; what other processes saw comes within a quarter of a minute."""
        times = [time for time in (self._used.get(key_id), await self._store.last_use(key_id)) if time is not None]
        return max(times, default=None)

    async def note_uses(self) -> None:
        """Writes down when keys were used, all at once: a write for each call would be one too many."""
        used, self._used = self._used, {}
        try:
            if used:
                await self._store.note_uses(used)
        except BaseException:
            self._used = used | self._used
            raise

    async def issue(
        self,
        subscriber: str,
        *,
        name: str,
        budget: int | None = None,
        expires_at: int | None = None,
        dids: frozenset[Did] | None = None,
        manage: bool = False,
    ) -> tuple[str, ApiKey]:
        """A new key in the clear, and its record."""
        text = generate()
        row = KeyRow(
            id=f"key_{base62.encode(secrets.token_bytes(12))}",
            hash=self._hash(text),
            subscriber=subscriber,
            name=name,
            budget=budget,
            expires_at=expires_at,
            dids=None if dids is None else tuple(sorted(str(did) for did in dids)),
            manage=manage,
            created_at=int(time.time()),
            revoked_at=None,
        )
        await self._store.add_key(row)
        return text, _from_row(row)

    async def of(self, subscriber: str) -> list[ApiKey]:
        """All keys of a wallet, newest first, revoked ones included."""
        return [_from_row(row) for row in await self._store.keys_of(subscriber)]

    async def active(self, subscriber: str) -> list[ApiKey]:
        """Those that work now, newest first."""
        now = time.time()
        keys = await self.of(subscriber)
        return [key for key in keys if key.revoked_at is None and (key.expires_at is None or now < key.expires_at)]

    async def get(self, subscriber: str, key_id: str) -> ApiKey:
        """Raises ObjectNotFound, also for somebody else's."""
        for key in await self.of(subscriber):
            if key.id == key_id:
                return key
        raise ObjectNotFound(f"You have no API key {key_id[:64]!r}.")

    async def revoke(self, subscriber: str, key_id: str) -> ApiKey:
        """Effective here at once, in other processes within BELIEVE_SECONDS. Raises ObjectNotFound."""
        await self.get(subscriber, key_id)
        revocations = await self._store.revoke_key(key_id, int(time.time()))
        self._note(revocations, time.monotonic())
        return await self.get(subscriber, key_id)


def _from_row(row: KeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        subscriber=row.subscriber,
        name=row.name,
        budget=row.budget,
        expires_at=row.expires_at,
        dids=None if row.dids is None else frozenset(Did.parse(did) for did in row.dids),
        manage=row.manage,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
