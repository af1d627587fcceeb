"""Encryption keys of nodes: points on secp256k1, as NodeRegistry publishes them."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from coincurve import PrivateKey as _CurvePrivateKey

from nvm_chain.errors import InvalidInput
from nvm_chain.secret import Secret
from nvm_chain.text import show

_P = 2**256 - 2**32 - 977
_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A point on secp256k1.

    x, y: affine coordinates, 0 <= x, y < p. Source: NodeRegistry.node(account).key. Raises InvalidInput off the curve.
    """

    x: int
    y: int

    def __post_init__(self) -> None:
        for value in (self.x, self.y):
            if type(value) is not int:
                raise InvalidInput(f"coordinate {show(value)} is not a whole number; PublicKey.of reads bytes and hex")
        if not (0 <= self.x < _P and 0 <= self.y < _P) or (self.y * self.y - pow(self.x, 3, _P) - 7) % _P:
            raise InvalidInput(
                f"({hex(self.x)}, {hex(self.y)}) is not a point on secp256k1: "
                "read the node's key from NodeRegistry and not from elsewhere"
            )

    @classmethod
    def of(cls, x: int | bytes | str, y: int | bytes | str) -> PublicKey:
        """From coordinates as numbers, 32 bytes each, or 0x and 64 hex digits each."""
        return cls(_coordinate(x), _coordinate(y))

    @classmethod
    def from_bytes(cls, data: bytes) -> PublicKey:
        """From 64 bytes x ‖ y, or 65 bytes 04 ‖ x ‖ y."""
        if len(data) == 65 and data[0] == 4:
            data = data[1:]
        if len(data) != 64:
            raise InvalidInput(f"a public key has 64 bytes, or 65 that start with 04; not {len(data)}")
        return cls.of(data[:32], data[32:])

    def to_bytes(self) -> bytes:
        """65 bytes, uncompressed: 04 ‖ x ‖ y."""
        return b"\x04" + self.x.to_bytes(32, "big") + self.y.to_bytes(32, "big")


def generate_private_key() -> Secret:
    """A new random secp256k1 private key, 32 bytes."""
    return Secret((1 + secrets.randbelow(_N - 1)).to_bytes(32, "big"))


def private_key_bytes(key: Secret) -> bytes:
    """The 32 bytes of a private key held as bytes or as hex text. Raises InvalidInput, which does not echo it."""
    data = key.reveal_bytes()
    if re.fullmatch(rb"(0x)?[0-9a-fA-F]{64}", data):
        data = bytes.fromhex(data[-64:].decode())
    if len(data) != 32 or not 0 < int.from_bytes(data, "big") < _N:
        raise InvalidInput(
            "not a secp256k1 private key: expected 32 bytes, or 64 hex digits, in the range of the curve"
        )
    return data


def public_key_of(key: Secret) -> PublicKey:
    """The public key that belongs to a private key."""
    return PublicKey.from_bytes(_CurvePrivateKey(private_key_bytes(key)).public_key.format(compressed=False))


def _coordinate(value: int | bytes | str) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{64}", value):
        return int(value, 16)
    if isinstance(value, bytes | bytearray) and len(value) == 32:
        return int.from_bytes(value, "big")
    raise InvalidInput(f"coordinate {show(value)} is not a number, 32 bytes, or 0x and 64 hex digits")
