"""A question to a node, sealed to its key: does this provider take this key? Not a definition, and never kept.

Wire format (v1): the envelope of `sealing` around a plaintext of one size that no sealed definition has, with a
`purpose`: neither can be taken for the other, by its length already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nvm_chain.address import address
from nvm_chain.canonical import MAX_SAFE, JsonObject, dumps
from nvm_chain.errors import InvalidInput, SealBroken, SealExpired
from nvm_chain.keys import PublicKey
from nvm_chain.sealing import _compare, _decode, _decrypt, _encrypt, _Plaintext, _read_plaintext, _read_values, _whole
from nvm_chain.secret import Secret
from nvm_chain.text import show

VERSION = 1
PURPOSE = "check"
SIZE = 12 * 1024
"""Bytes of a padded plaintext. The longest key, each character escaped, fits; no bucket of `sealing` has this size."""

LIFETIME = 300
"""Seconds for which a question is good."""

SKEW = 60
"""Seconds by which the clock of who asks may be ahead."""

_MAX_URL, _MAX_KEY, _MAX_MODEL = 500, 4096, 200


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """What is asked, and for whom.

    base_url: the provider's. model: whose presence in the provider's list is asked for; empty: none. account: the
    wallet that asks, signed in at the node. chain_id, registry, node, key_version: as in a `Binding`. expires: unix
    seconds, LIFETIME from when it was asked.
    """

    base_url: str = field(repr=False)
    api_key: Secret
    model: str = field(repr=False)
    account: str
    chain_id: int
    registry: str
    node: str
    key_version: int
    expires: int

    def __post_init__(self) -> None:
        _text("base_url", self.base_url, 1, _MAX_URL)
        _text("model", self.model, 0, _MAX_MODEL)
        if not isinstance(self.api_key, Secret):
            raise InvalidInput("api_key is not a Secret")
        if not _printable(self.api_key.reveal(), 1, _MAX_KEY):
            raise InvalidInput(f"api_key is not 1 to {_MAX_KEY} characters of printable ASCII without spaces")
        for name in ("account", "registry", "node"):
            object.__setattr__(self, name, address(getattr(self, name), name))
        _whole("chain_id", self.chain_id, 1, MAX_SAFE)
        _whole("key_version", self.key_version, 1, 2**32 - 1)
        _whole("expires", self.expires, 1, 2**40 - 1)


def seal_check(check: KeyCheck, public_key: PublicKey) -> str:
    """Encrypts the question to a node's key. Base64; all have the same length, and no two are the same text."""
    plaintext = Secret(
        dumps(
            {
                "v": VERSION,
                "purpose": PURPOSE,
                "base_url": check.base_url,
                "api_key": check.api_key.reveal(),
                "model": check.model,
                "account": check.account,
                "chain_id": check.chain_id,
                "registry": check.registry,
                "node": check.node,
                "key_version": check.key_version,
                "expires": check.expires,
            }
        )
    )
    return _encrypt(plaintext, SIZE, public_key)


def open_check(
    ciphertext: str,
    private_key: Secret,
    *,
    account: str,
    chain_id: int,
    registry: str,
    node: str,
    key_version: int,
    now: int | None = None,
) -> KeyCheck:
    """Decrypts a question, then checks that it was asked here, by `account`, with this key, and lately.

    now: unix seconds, the clock unless given. Raises SealBroken, which names the field that differs, or SealExpired.
    Nothing in an error or its traceback shows the provider's key.
    """
    data = _read_plaintext(_decrypt(_decode(ciphertext, (SIZE,), "sealed check"), private_key))
    check = _read(data)
    expected = {
        "account": address(account, "account"),
        "chain_id": chain_id,
        "registry": address(registry, "registry"),
        "node": address(node, "node"),
        "key_version": key_version,
    }
    for name, value in expected.items():
        _compare(name, getattr(check, name), value)
    current = int(time.time()) if now is None else now
    if check.expires <= current:
        raise SealExpired(f"the check expired at {check.expires} (now {current}): ask again", "expires")
    if check.expires > current + LIFETIME + SKEW:
        raise SealBroken(
            f"the check expires at {check.expires}, more than {LIFETIME} s from now ({current}): set the clock",
            "expires",
        )
    return check


_READ: dict[str, Callable[[Any], Any]] = {
    "base_url": lambda v: _text("base_url", v, 1, _MAX_URL),
    "api_key": lambda v: Secret(_text("api_key", v, 1, _MAX_KEY)),
    "model": lambda v: _text("model", v, 0, _MAX_MODEL),
    "account": address,
    "chain_id": lambda v: _whole("chain_id", v, 1, MAX_SAFE),
    "registry": address,
    "node": address,
    "key_version": lambda v: _whole("key_version", v, 1, 2**32 - 1),
    "expires": lambda v: _whole("expires", v, 1, 2**40 - 1),
}


def _read(plaintext: _Plaintext) -> KeyCheck:
    fields: JsonObject = plaintext.fields
    problem, name = "", None
    if type(fields.get("v")) is not int or fields["v"] != VERSION:
        problem, name = f"version is not {VERSION}, the only one that is accepted", "v"
    elif fields.get("purpose") != PURPOSE:
        problem, name = f"purpose is not {PURPOSE!r}", "purpose"
    elif missing := [field for field in _READ if field not in fields]:
        problem, name = f"{missing[0]} is missing", missing[0]
    elif len(fields) != len(_READ) + 2:
        problem = "fields are more than those of version 1"
    del fields
    if problem:
        raise SealBroken(f"the plaintext's {problem}", name)
    return KeyCheck(**_read_values(plaintext, _READ))


def _printable(value: object, least: int, most: int) -> bool:
    return isinstance(value, str) and least <= len(value) <= most and all("!" <= char <= "~" for char in value)


def _text(name: str, value: Any, least: int, most: int) -> str:
    if not _printable(value, least, most):
        raise InvalidInput(
            f"{name} {show(value)} is not {least} to {most} characters of printable ASCII without spaces"
        )
    text: str = value
    return text
