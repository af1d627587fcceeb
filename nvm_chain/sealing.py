"""Definitions sealed to one node each: ECIES as eciespy and eciesjs do it, with the circumstances bound inside.

Wire format (v1): base64 of 65 bytes ephemeral public key (uncompressed) ‖ 16 bytes nonce ‖ 16 bytes tag ‖ AES-256-GCM
ciphertext; key = HKDF-SHA256(ephemeral key ‖ shared point). Plaintext: a JSON object, padded with spaces to a bucket.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from nvm_chain.address import address
from nvm_chain.canonical import MAX_DEPTH, MAX_SAFE, JsonObject, NotStrict, dumps, loads
from nvm_chain.definition import Definition
from nvm_chain.did import Did
from nvm_chain.errors import DefinitionInvalid, InvalidInput, SealBroken, SealExpired
from nvm_chain.keys import PublicKey, private_key_bytes
from nvm_chain.secret import Secret
from nvm_chain.text import show

VERSION = 1
BUCKETS = tuple(kib * 1024 for kib in (2, 4, 8, 16, 32, 64, 128))
"""Sizes of a padded plaintext in bytes: all that the ciphertext's length tells about the definition."""

OVERHEAD = 65 + 16 + 16


@cache
def _config() -> Any:
    """Our own copy: ecies.ECIES_CONFIG can be changed by anybody in the process."""
    from ecies.config import Config  # here and below, because it takes long to load

    return Config("secp256k1", False, False, "aes-256-gcm", 16)


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed definition is for; a node refuses it for anything else.

    did: the asset. owner: its owner's address. chain_id: EIP-155. registry: address of the AssetRegistry.
    node: the node's address. key_version: number of the node's encryption key, NodeRegistry.node(node).version.
    expires: unix seconds from which on nodes refuse it; 0 = good until replaced. In what `unseal` expects, 0 = any.
    """

    did: Did
    owner: str
    chain_id: int
    registry: str
    node: str
    key_version: int
    expires: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.did, Did):
            raise InvalidInput(f"did {show(self.did)} is not a Did; Did.parse reads the text form")
        for name in ("owner", "registry", "node"):
            object.__setattr__(self, name, address(getattr(self, name), name))
        _whole("chain_id", self.chain_id, 1, MAX_SAFE)
        _whole("key_version", self.key_version, 1, 2**32 - 1)
        _whole("expires", self.expires, 0, 2**40 - 1)  # 2**40 s is far off; milliseconds are above it


@dataclass(frozen=True, slots=True)
class Opened:
    """A definition together with what it was bound to, its expiry included."""

    definition: Definition
    binding: Binding


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed definition as the metadata carries it: for which node and key, and the ciphertext in base64."""

    node: str
    key_version: int
    ciphertext: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "node", address(self.node, "node"))
        _whole("key_version", self.key_version, 1, 2**32 - 1)
        _decode(self.ciphertext)

    @classmethod
    def of(cls, definition: Definition, binding: Binding, public_key: PublicKey) -> Sealed:
        """Seals `definition` for the node and key that `binding` names."""
        return cls(binding.node, binding.key_version, seal(definition, binding, public_key))

    def open(self, private_key: Secret, expected: Binding, *, now: int | None = None) -> Opened:
        """Opens it for `expected`, see `open_sealed`."""
        _compare("node", self.node, expected.node)
        _compare("key_version", self.key_version, expected.key_version)
        return open_sealed(self.ciphertext, private_key, expected, now=now)

    def to_json(self) -> JsonObject:
        """The entry in the metadata's `sealed` list."""
        return {"v": VERSION, "node": self.node, "key_version": self.key_version, "ciphertext": self.ciphertext}

    @classmethod
    def from_json(cls, data: object) -> Sealed:
        """Reads an entry. Raises SealBroken for another version or form."""
        if not isinstance(data, dict):
            raise SealBroken(f"a sealed entry must be a JSON object, not {type(data).__name__}")
        if (version := data.get("v")) != VERSION or type(version) is not int:
            raise SealBroken(f"envelope version {show(version)} is not {VERSION}, the only one that is accepted", "v")
        if set(data) != {"v", "node", "key_version", "ciphertext"}:
            raise SealBroken("a sealed entry has exactly v, node, key_version and ciphertext")
        try:
            return cls(data["node"], data["key_version"], data["ciphertext"])
        except InvalidInput as error:
            raise SealBroken(f"sealed entry: {error}") from None


def seal(definition: Definition, binding: Binding, public_key: PublicKey, *, now: int | None = None) -> str:
    """Encrypts `definition` to a node's key, bound to `binding`. Base64; two calls never give the same text.

    now: unix seconds, the clock unless given. Raises InvalidInput if `expires` has passed or it is too long to seal.
    """
    current = int(time.time()) if now is None else now
    if binding.expires and binding.expires <= current:
        raise InvalidInput(f"expires {binding.expires} has passed (now {current}): give a later time or 0")
    plaintext = Secret(dumps(_binding_json(binding) | {"definition": definition.reveal_json()}))
    return _encrypt(plaintext, _bucket(len(plaintext.reveal_bytes())), public_key)


def unseal(ciphertext: str, private_key: Secret, expected: Binding, *, now: int | None = None) -> Definition:
    """The definition in `ciphertext`, if it was sealed to this key for exactly `expected`; see `open_sealed`."""
    return open_sealed(ciphertext, private_key, expected, now=now).definition


def open_sealed(ciphertext: str, private_key: Secret, expected: Binding, *, now: int | None = None) -> Opened:
    """Decrypts, then checks every bound field against `expected` (expires: only if that names one) and the expiry.

    now: unix seconds, the clock unless given. Raises SealBroken, which names the field that differs, or SealExpired.
    No message, no chained exception and no local of a frame in its traceback shows the definition or the key.
    """
    data = _read_plaintext(_decrypt(_decode(ciphertext), private_key))
    binding = _read_binding(data)
    for name in ("chain_id", "registry", "did", "owner", "node", "key_version"):
        _compare(name, getattr(binding, name), getattr(expected, name))
    if expected.expires:
        _compare("expires", binding.expires, expected.expires)
    current = int(time.time()) if now is None else now
    if binding.expires and binding.expires <= current:
        raise SealExpired(
            f"the secret of {binding.did} expired at {binding.expires} (now {current}): its builder has to re-seal it",
            "expires",
        )
    return Opened(_read_definition(data), binding)


def _encrypt(plaintext: Secret, size: int, public_key: PublicKey) -> str:
    import ecies

    encrypted: bytes = ecies.encrypt(public_key.to_bytes(), plaintext.reveal_bytes().ljust(size), _config())
    return base64.b64encode(encrypted).decode()


def _bucket(length: int) -> int:
    for size in BUCKETS:
        if length <= size:
            return size
    raise InvalidInput(
        f"the definition has {length} bytes with its binding, at most {BUCKETS[-1]} can be sealed: "
        "shorten the instructions or the tools"
    )


def _decode(ciphertext: object, sizes: Sequence[int] = BUCKETS, what: str = "sealed definition") -> bytes:
    if not isinstance(ciphertext, str) or not ciphertext.isascii():
        raise SealBroken("the ciphertext is not base64 text")
    if len(ciphertext) > 4 * ((sizes[-1] + OVERHEAD + 2) // 3):
        raise SealBroken(f"the ciphertext has {len(ciphertext)} characters, more than any {what}")
    try:
        data = base64.b64decode(ciphertext, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if base64.b64encode(data).decode() != ciphertext:
        raise SealBroken("the ciphertext is not strict base64 (standard alphabet, padded, no white space)")
    if len(data) - OVERHEAD not in sizes:
        raise SealBroken(f"the ciphertext has {len(data)} bytes, which is no length of a {what}: cut or damaged")
    if data[0] != 4:
        # libsecp256k1 also takes 06 and 07 here: then two texts would hold one secret.
        raise SealBroken("the ciphertext does not start with an uncompressed public key")
    return data


class _Plaintext:
    """The decrypted fields. Not a dict: what prints the locals of a failed call must not find them."""

    __slots__ = ("fields",)

    def __init__(self, fields: JsonObject) -> None:
        self.fields = fields


def _decrypt(data: bytes, key: Secret) -> Secret:
    import ecies

    try:
        return Secret(ecies.decrypt(private_key_bytes(key), data, _config()))
    except InvalidInput:
        raise
    except ValueError:
        pass
    raise SealBroken("the ciphertext does not open: it was sealed to another key, or it is damaged")


def _read_plaintext(plaintext: Secret) -> _Plaintext:
    try:
        fields = loads(plaintext.reveal_bytes(), max_bytes=BUCKETS[-1], max_depth=MAX_DEPTH, floats=True)
        if isinstance(fields, dict):
            return _Plaintext(fields)
        kind = "not a JSON object"
        del fields
    except NotStrict as error:
        kind = error.kind  # the message would quote the plaintext
    raise SealBroken(f"the plaintext is not strict JSON: {kind}")


_FIELDS = ("v", "did", "owner", "chain_id", "registry", "node", "key_version", "expires", "definition")
_READ: dict[str, Callable[[Any], Any]] = {
    "did": Did.parse,
    "owner": address,
    "chain_id": lambda v: _whole("chain_id", v, 1, MAX_SAFE),
    "registry": address,
    "node": address,
    "key_version": lambda v: _whole("key_version", v, 1, 2**32 - 1),
    "expires": lambda v: _whole("expires", v, 0, 2**40 - 1),
}


def _binding_json(binding: Binding) -> JsonObject:
    return {
        "v": VERSION,
        "did": str(binding.did),
        "owner": binding.owner,
        "chain_id": binding.chain_id,
        "registry": binding.registry,
        "node": binding.node,
        "key_version": binding.key_version,
        "expires": binding.expires,
    }


def _read_binding(plaintext: _Plaintext) -> Binding:
    problem, name = "", None
    if type(plaintext.fields.get("v")) is not int or plaintext.fields["v"] != VERSION:
        problem, name = f"version is not {VERSION}, the only one that is accepted", "v"
    elif missing := [field for field in _FIELDS if field not in plaintext.fields]:
        problem, name = f"{missing[0]} is missing", missing[0]
    elif len(plaintext.fields) != len(_FIELDS):
        problem = "fields are more than those of version 1"
    if problem:
        raise SealBroken(f"the plaintext's {problem}", name)
    return Binding(**_read_values(plaintext, _READ))


def _read_values(plaintext: _Plaintext, readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Each field by its reader, which raises InvalidInput. Raises SealBroken, which quotes no value."""
    values: dict[str, Any] = {}
    for name, read in readers.items():
        try:
            values[name] = read(plaintext.fields[name])
            continue
        except InvalidInput:
            pass  # raised below: the message would quote the value
        raise SealBroken(f"the plaintext's {name} has the wrong form", name)
    return values


def _read_definition(plaintext: _Plaintext) -> Definition:
    try:
        return Definition.from_json(plaintext.fields["definition"])
    except DefinitionInvalid as error:
        field = error.field  # a known path; the message may quote the definition
    raise SealBroken(f"the definition inside is not valid at {field}: its builder has to seal it again", "definition")


def _compare(name: str, actual: object, expected: object) -> None:
    """Both are values of a checked form, and public."""
    if actual != expected:
        raise SealBroken(f"the secret was sealed for another {name}: {actual}, and {expected} is asked for", name)


def _whole(name: str, value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        hint = " (unix seconds, not milliseconds)" if name == "expires" else ""
        raise InvalidInput(f"{name} {show(value)} is not a whole number from {low} to {high}{hint}")
    return value


def rebind(binding: Binding, node: str, key_version: int) -> Binding:
    """The same binding for another node or key: what re-sealing needs."""
    return replace(binding, node=node, key_version=key_version)
