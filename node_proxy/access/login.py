"""Wallet login: a nonce, a signed message, an API key. Works for plain wallets without the chain.

A nonce carries its own time and a keyed mark, so that asking for one costs no storage; it is written down when it is
used, which makes it good for exactly one login, whichever process of the node sees it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from eth_utils.crypto import keccak

from node_proxy.access import base62, siwe
from node_proxy.access.store import AccessStore
from node_proxy.errors import LoginRefused, TooManyRequests, Unavailable
from nvm_chain.errors import InvalidInput, NvmError
from nvm_chain.text import show

STATEMENT = "Sign in to use AI assistants with the plans of this wallet. This sends no transaction and costs nothing."
_CLOCK_SKEW = timedelta(seconds=60)
_NONCE_BYTES, _MARK_BYTES = 15, 9
_MAX_CONTRACT_CHECKS = 16
_NONCE_CHARS = base62.width(8 * (_NONCE_BYTES + _MARK_BYTES))

Validate = Callable[[str, bytes, bytes], Awaitable[bool]]
"""(signer, hash, signature) -> whether a contract wallet says that it signed. Raises NvmError without the chain."""


@dataclass(frozen=True, slots=True)
class Nonce:
    """nonce: alphanumeric. expires_at: unix seconds."""

    nonce: str
    expires_at: int


class Login:
    """Signs wallets in.

    origin: base URL that clients use; its host is the domain that a message must name. window: seconds that a nonce
    lives. validate: for wallets that are contracts (ERC-1271, ERC-6492).
    """

    def __init__(
        self, store: AccessStore, secret: bytes, *, origin: str, chain_id: int, window: float, validate: Validate
    ) -> None:
        self._store = store
        self._secret = hashlib.blake2b(b"nvm-node login nonces", key=secret[:64]).digest()
        self._window = int(window)
        self._validate = validate
        self._checking = 0
        self.chain_id = chain_id
        self.origin = origin.rstrip("/")
        self.domains = _domains(self.origin)

    def nonce(self) -> Nonce:
        """A new one."""
        now = int(time.time())
        body = now.to_bytes(5) + secrets.token_bytes(_NONCE_BYTES - 5)
        return Nonce(base62.encode(body + self._mark(body)), now + self._window)

    def message(self, address: str, nonce: Nonce) -> str:
        """What the wallet at `address` signs to log in."""
        issued = datetime.fromtimestamp(nonce.expires_at - self._window, UTC)
        return siwe.write(
            domain=self.domains[0],
            address=address,
            statement=STATEMENT,
            uri=self.origin,
            chain_id=self.chain_id,
            nonce=nonce.nonce,
            issued_at=issued,
            expiration_time=datetime.fromtimestamp(nonce.expires_at, UTC),
        )

    async def verify(self, text: str, signature: str) -> str:
        """The address that signed in. Raises LoginRefused, or Unavailable where only the chain could tell."""
        try:
            message = siwe.SiweMessage.parse(text)
            raw = _signature(signature)
        except InvalidInput as error:
            raise LoginRefused(f"The login was refused: {error}.", param="message") from None
        self._check_place(message)
        self._check_time(message, datetime.now(UTC))
        expires_at = self._check_nonce(message.nonce)
        if not await self._signed(message, raw):
            raise LoginRefused(
                f"The login was refused: the signature isn't one of {message.address} for this message.",
                param="signature",
            )
        # Last, so that somebody else's wrong signature can't use the nonce up.
        if not await self._store.use_nonce(message.nonce, int(time.time()), expires_at):
            raise LoginRefused("The login was refused: its nonce was used before. Get a new one.", param="message")
        return message.address

    def _check_place(self, message: siwe.SiweMessage) -> None:
        if message.domain not in self.domains:
            raise LoginRefused(
                f"The login was refused: the message is for {show(message.domain)}, this node is {self.domains[0]}.",
                param="message",
            )
        if not self._is_here(message):
            raise LoginRefused(
                f"The login was refused: the message's URI {show(message.uri)} isn't at {self.origin}.", param="message"
            )
        if message.chain_id != self.chain_id:
            raise LoginRefused(
                f"The login was refused: the message is for chain {message.chain_id}, this node is on {self.chain_id}.",
                param="message",
            )

    def _is_here(self, message: siwe.SiweMessage) -> bool:
        try:
            uri = urlsplit(message.uri)
        except ValueError:  # the grammar has room for brackets that hold no address
            return False
        return uri.netloc in self.domains and (message.scheme or uri.scheme) == uri.scheme

    def _check_time(self, message: siwe.SiweMessage, now: datetime) -> None:
        if message.expiration_time is not None and now >= message.expiration_time:
            raise LoginRefused("The login was refused: the message has expired. Sign a new one.", param="message")
        if message.not_before is not None and now + _CLOCK_SKEW < message.not_before:
            raise LoginRefused("The login was refused: the message isn't valid yet.", param="message")
        if message.issued_at > now + _CLOCK_SKEW:
            raise LoginRefused(
                "The login was refused: the message was issued in the future. Check your clock.", param="message"
            )
        if now - message.issued_at > timedelta(seconds=self._window) + _CLOCK_SKEW:
            raise LoginRefused("The login was refused: the message is too old. Sign a new one.", param="message")

    def _check_nonce(self, nonce: str) -> int:
        """When the nonce expires. Raises LoginRefused for one that isn't ours, or too old."""
        try:
            raw = base62.decode(nonce, _NONCE_BYTES + _MARK_BYTES)
        except ValueError:
            raw = b""
        body, mark = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
        if not raw or not hmac.compare_digest(mark, self._mark(body)):
            raise LoginRefused(
                "The login was refused: its nonce isn't from GET /auth/nonce of this node.", param="message"
            )
        expires_at = int.from_bytes(body[:5]) + self._window
        if time.time() >= expires_at:
            raise LoginRefused("The login was refused: its nonce has expired. Get a new one.", param="message")
        return expires_at

    def _mark(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._secret, digest_size=_MARK_BYTES).digest()

    async def _signed(self, message: siwe.SiweMessage, signature: bytes) -> bool:
        from eth_account import Account  # here, because it takes long to load
        from eth_account.messages import encode_defunct

        signable = encode_defunct(text=message.text)
        if len(signature) == 65:
            try:
                if Account.recover_message(signable, signature=signature) == message.address:
                    return True
            except Exception:  # eth-keys raises several kinds for a signature that is none
                pass
        if self._checking >= _MAX_CONTRACT_CHECKS:
            raise TooManyRequests("Many contract wallets are logging in; try again in a moment.", retry_after=1)
        self._checking += 1
        try:
            digest = keccak(b"\x19" + signable.version + signable.header + signable.body)
            return await self._validate(message.address, digest, signature)
        except NvmError as error:
            raise Unavailable(
                "The node can't reach the chain to check the signature of a contract wallet. Try again in a moment.",
                retry_after=5,
            ) from error
        finally:
            self._checking -= 1


def _signature(text: str) -> bytes:
    if not text.startswith("0x") or len(text) > 16_384:
        raise InvalidInput("the signature must be 0x and hex digits")
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise InvalidInput("the signature must be 0x and hex digits") from None


def _domains(origin: str) -> tuple[str, ...]:
    """Domains that mean this node. On a loopback address people open either spelling."""
    parts = urlsplit(origin)
    names = [parts.netloc]
    if parts.hostname in ("127.0.0.1", "localhost") and parts.port:
        names += [name for name in (f"127.0.0.1:{parts.port}", f"localhost:{parts.port}") if name != parts.netloc]
    return tuple(names)
