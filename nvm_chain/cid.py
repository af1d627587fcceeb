"""CIDs of our blocks: version 1, codec raw, sha2-256, base32 in lower case (`bafkrei…`)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from nvm_chain.errors import DigestMismatch, InvalidInput
from nvm_chain.text import show

MAX_BLOCK = 256 * 1024
"""Bytes of a block of ours: what every IPFS node and gateway takes and passes on."""

# Multiformats table: https://github.com/multiformats/multicodec/blob/master/table.csv
_HEAD = bytes((0x01, 0x55, 0x12, 0x20))  # CIDv1, raw, sha2-256, 32 bytes
_CODECS = {0x55: "raw", 0x70: "dag-pb", 0x71: "dag-cbor", 0x72: "libp2p-key", 0x0129: "dag-json", 0x0200: "json"}
_HASHES = {
    0x00: "identity", 0x11: "sha1", 0x12: "sha2-256", 0x13: "sha2-512", 0x16: "sha3-256", 0x1B: "keccak-256",
    0x1E: "blake3", 0xB220: "blake2b-256",
}  # fmt: skip
_BASES = {
    "B": "base32 in upper case", "z": "base58btc", "Z": "base58flickr", "f": "base16", "F": "base16 in upper case",
    "k": "base36", "K": "base36 in upper case", "m": "base64", "u": "base64url", "U": "base64url with padding",
    "c": "base32 with padding", "v": "base32hex", "t": "base32hex with padding", "h": "base32z",
}  # fmt: skip
_FORM = "expected CIDv1, raw, sha2-256, base32: bafkrei… with 59 characters"


@dataclass(frozen=True, slots=True, order=True)
class Cid:
    """The content address of one raw block.

    digest: sha-256 of the block, 32 bytes; the form that AssetRegistry keeps.
    """

    digest: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.digest, bytes) or len(self.digest) != 32:
            got = f"{len(self.digest)} bytes" if isinstance(self.digest, bytes) else type(self.digest).__name__
            raise InvalidInput(f"a sha-256 digest has 32 bytes, not {got}; Cid.parse reads the text form")

    @classmethod
    def of(cls, block: bytes) -> Cid:
        """The CID of `block`."""
        return cls(hashlib.sha256(block).digest())

    @classmethod
    def from_digest(cls, digest: bytes) -> Cid:
        """The CID for a sha-256 digest, as read from the chain."""
        return cls(bytes(digest))

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Reads the one form that we write. Raises InvalidInput that says which part is another."""
        if isinstance(text, str) and len(text) == 59 and (raw := _base32(text)) and raw[:4] == _HEAD:
            cid = cls(raw[4:])
            if str(cid) == text:
                return cid
        raise InvalidInput(f"{show(text)} is not a CID of ours: {_reason(text)}; {_FORM}")

    def verify(self, block: bytes, source: str = "the source") -> bytes:
        """`block` itself, if it is what this CID promises; DigestMismatch that names `source` otherwise."""
        actual = Cid.of(block)
        if actual != self:
            raise DigestMismatch(
                f"{source} served {len(block)} bytes with CID {actual} for {self}: "
                "they were changed or damaged and are not used; fetch the block from another place"
            )
        return block

    def __str__(self) -> str:
        return "b" + base64.b32encode(_HEAD + self.digest).decode().rstrip("=").lower()


def _base32(text: str) -> bytes | None:
    body = text[1:]
    if text[:1] != "b" or not body or not all(c in "abcdefghijklmnopqrstuvwxyz234567" for c in body):
        return None
    try:
        return base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except binascii.Error:
        return None


def _reason(text: object) -> str:
    if not isinstance(text, str):
        return "it is not text"
    if text != text.strip():
        return "it has white space around it"
    if text.startswith(("ipfs://", "/ipfs/", "http://", "https://")):
        return "it is an address; the CID alone is needed"
    if text.startswith("Qm") and len(text) == 46:
        return "it is a CIDv0 (a dag-pb node, not a raw block)"
    if text[:1] in _BASES:
        return f"its base is {_BASES[text[0]]}"
    raw = _base32(text)
    if raw is None:
        return "it is not base32 in lower case"
    parts = _varints(raw, 4)
    if len(parts) < 4:
        return "it is cut short"
    version, codec, function, length = parts
    if version != 1:
        return f"its version is {version}"
    if codec != 0x55:
        return f"its codec is {_CODECS.get(codec, hex(codec))}"
    if function != 0x12:
        return f"its hash is {_HASHES.get(function, hex(function))}"
    if length != 32 or len(raw) != 36:
        return f"its digest has {len(raw) - 4} bytes and says {length}"
    return "it has stray bits at its end"


def _varints(raw: bytes, count: int) -> list[int]:
    """The first `count` unsigned varints of `raw`; fewer if it ends early."""
    found: list[int] = []
    value = shift = 0
    for byte in raw[:40]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            found.append(value)
            value = shift = 0
            if len(found) == count:
                break
    return found
