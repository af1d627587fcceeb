"""Provider object ids never cross the border: each becomes one of ours, always the same for one subscriber."""

from __future__ import annotations

import hashlib
import re
import secrets
from functools import lru_cache

_PREFIX = re.compile(r"[a-z]{1,16}[_-]")


class IdMap:
    """Maps a provider's ids to ours: same prefix, 48 hex digits of a keyed hash.

    secret: the node's. owner: the builder, subscriber: the caller; neither learns of the other's ids, and two
    subscribers get different ids for one object.
    """

    __slots__ = ("_known", "_secret")

    def __init__(self, secret: bytes, owner: str, subscriber: str, *, forgetful: bool = False) -> None:
        self._secret = secrets.token_bytes(32) if forgetful else _scoped(secret, owner, subscriber)
        self._known: dict[str, str] = {}

    def public(self, provider_id: object, kind: str = "obj_") -> str:
        """Our id for the provider's. kind: the prefix for an id that has none."""
        text = provider_id if isinstance(provider_id, str) else ""
        known = self._known.get(text)
        if known is None:
            match = _PREFIX.match(text)
            digest = hashlib.blake2b(text.encode("utf-8", "replace"), key=self._secret, digest_size=24).hexdigest()
            known = self._known[text] = f"{match[0] if match else kind}{digest}"
        return known


@lru_cache(10_000)
def _scoped(secret: bytes, owner: str, subscriber: str) -> bytes:
    scope = f"{owner.lower()}|{subscriber.lower()}".encode()
    return hashlib.blake2b(scope, key=secret[:64], digest_size=32, person=b"nvm object ids").digest()


@lru_cache(10_000)
def safety_identifier(secret: bytes, owner: str, subscriber: str) -> str:
    """What the builder's provider sees of a subscriber: a keyed hash, another one for each builder. 40 characters."""
    scope = f"{owner.lower()}|{subscriber.lower()}".encode()
    return "nvm-" + hashlib.blake2b(scope, key=secret[:64], digest_size=18, person=b"nvm safety id").hexdigest()


def new(prefix: str) -> str:
    """A new id of ours: `new("resp_")` is `resp_` and 48 random hex digits."""
    return prefix + secrets.token_hex(24)
