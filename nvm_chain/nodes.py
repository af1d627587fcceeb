"""Access nodes: their encryption keys and endpoints. Calls of the NodeRegistry contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_keys.datatypes import PublicKey
from eth_utils.exceptions import ValidationError

from nvm_chain.abi import Abi, Call
from nvm_chain.address import address
from nvm_chain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A secp256k1 public key. x, y: 32 bytes each, affine coordinates."""

    x: bytes
    y: bytes

    def __post_init__(self) -> None:
        if len(self.x) != 32 or len(self.y) != 32:
            raise InvalidInput(f"a public key has two coordinates of 32 bytes, not {len(self.x)} and {len(self.y)}")

    @property
    def uncompressed(self) -> bytes:
        """65 bytes: 04 || x || y, as eciespy and eciesjs take it."""
        return b"\x04" + self.x + self.y

    @classmethod
    def from_public(cls, public_key: bytes) -> NodeKey:
        """From 33 (compressed), 64 or 65 (uncompressed) bytes. Raises InvalidInput."""
        try:
            if len(public_key) == 33:
                raw = PublicKey.from_compressed_bytes(public_key).to_bytes()
            else:
                raw = PublicKey(public_key[1:] if len(public_key) == 65 else public_key).to_bytes()
        except (ValidationError, ValueError) as error:
            raise InvalidInput(
                f"{len(public_key)} bytes are not a secp256k1 public key: give 33 bytes compressed or 65 uncompressed"
            ) from error
        return cls(raw[:32], raw[32:])

    def __str__(self) -> str:
        return "0x" + self.uncompressed.hex()


@dataclass(frozen=True, slots=True)
class Node:
    """A node's record. version: number of the current key, the first is 1. endpoint: base URL without /v1.

    previous_key: secrets sealed to it open until previous_until (unix seconds); None when there is none.
    """

    account: str
    active: bool
    version: int
    key: NodeKey
    previous_key: NodeKey | None
    previous_until: int
    endpoint: str

    @classmethod
    def decode(cls, account: str, raw: Mapping[str, Any]) -> Node:
        """From the struct INodeRegistry.Node."""
        previous = raw["previousKey"]
        return cls(
            account=account,
            active=raw["active"],
            version=raw["version"],
            key=NodeKey(raw["key"]["x"], raw["key"]["y"]),
            previous_key=NodeKey(previous["x"], previous["y"]) if raw["previousUntil"] else None,
            previous_until=raw["previousUntil"],
            endpoint=raw["endpoint"],
        )


class NodeRegistry:
    """Calls of one NodeRegistry. Writes are about the sender's own record."""

    def __init__(self, registry: str) -> None:
        self.address = address(registry, "node registry")
        self._abi = Abi.of("NodeRegistry")

    def _call(self, function: str, *args: Any) -> Call[Any]:
        return self._abi.call(self.address, function, *args)

    def register(self, key: NodeKey, endpoint: str) -> Call[None]:
        """Registers the sender as a node."""
        return self._call("register", (key.x, key.y), endpoint)

    def rotate_key(self, key: NodeKey, overlap: int) -> Call[None]:
        """Replaces the encryption key; the old one stays valid for `overlap` seconds."""
        return self._call("rotateKey", (key.x, key.y), overlap)

    def set_endpoint(self, endpoint: str) -> Call[None]:
        """Changes the base URL."""
        return self._call("setEndpoint", endpoint)

    def retire(self) -> Call[None]:
        """Retires the node: no asset may name it any more."""
        return self._call("retire")

    def node(self, account: str) -> Call[Node]:
        """The node's record. Refused with NodeUnknown."""
        who = address(account, "node")
        return self._call("node", who).returning(lambda raw: Node.decode(who, raw))

    def is_active(self, account: str) -> Call[bool]:
        """Whether the account is a registered node that has not retired."""
        return self._call("isActive", address(account, "node"))
