"""Access nodes: their encryption keys and endpoints. Calls of the NodeRegistry contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nvm_chain.abi import Abi, Call
from nvm_chain.address import address
from nvm_chain.keys import PublicKey


@dataclass(frozen=True, slots=True)
class Node:
    """A node's record. version: number of the current key, the first is 1. endpoint: base URL without /v1.

    previous_key: secrets sealed to it open until previous_until (unix seconds); None when there is none.
    """

    account: str
    active: bool
    version: int
    key: PublicKey
    previous_key: PublicKey | None
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
            key=PublicKey.of(raw["key"]["x"], raw["key"]["y"]),
            previous_key=PublicKey.of(previous["x"], previous["y"]) if raw["previousUntil"] else None,
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

    def register(self, key: PublicKey, endpoint: str) -> Call[None]:
        """Registers the sender as a node."""
        return self._call("register", _key(key), endpoint)

    def rotate_key(self, key: PublicKey, overlap: int) -> Call[None]:
        """Replaces the encryption key; the old one stays valid for `overlap` seconds."""
        return self._call("rotateKey", _key(key), overlap)

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

    def number_of(self, account: str) -> Call[tuple[int, bool]]:
        """The node's number, which contracts store for the address, and whether it is active; 0 = not registered."""
        return self._call("numberOf", address(account, "node"))

    def account_of(self, number: int) -> Call[str]:
        """The node with this number; ZERO_ADDRESS = there is none."""
        return self._call("accountOf", number)


def _key(key: PublicKey) -> tuple[bytes, bytes]:
    return key.x.to_bytes(32, "big"), key.y.to_bytes(32, "big")
