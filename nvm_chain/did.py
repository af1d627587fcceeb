"""DIDs of assistants: `did:nv:` and the 32 bytes that AssetRegistry keys them by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from eth_utils.crypto import keccak

from nvm_chain.address import address
from nvm_chain.errors import InvalidInput
from nvm_chain.text import show

PREFIX = "did:nv:"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_CHARS = 24
_FORM = "a DID is did:nv: and 64 lower-case hex digits"


@dataclass(frozen=True, slots=True, order=True)
class Did:
    """The identifier of an assistant.

    value: 32 bytes, the `bytes32 did` of AssetRegistry.
    """

    value: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.value, bytes) or len(self.value) != 32:
            got = f"{len(self.value)} bytes" if isinstance(self.value, bytes) else type(self.value).__name__
            raise InvalidInput(f"a DID holds 32 bytes, not {got}; Did.parse reads the text form")

    @classmethod
    def parse(cls, text: str) -> Did:
        """Reads `did:nv:` + 64 lower-case hex digits, and nothing else. Raises InvalidInput that says what is wrong."""
        if not isinstance(text, str):
            raise InvalidInput(f"{show(text)} is not text; {_FORM}")
        if re.fullmatch(r"did:nv:[0-9a-f]{64}", text):
            return cls(bytes.fromhex(text[len(PREFIX) :]))
        raise InvalidInput(f"{show(text)} is not a DID: {_reason(text)}; {_FORM}")

    @classmethod
    def derive(cls, chain_id: int, registry: str, owner: str, salt: bytes) -> Did:
        """The DID that `owner` gets by registering with `salt`: keccak256(abi.encode(chain id, registry, owner, salt)).

        registry: address of the AssetRegistry; salt: 32 bytes of the owner's choice. The same as AssetRegistry.didOf.
        """
        if not 0 < chain_id < 2**256:
            raise InvalidInput(f"chain id {chain_id} is not a positive 256-bit number")
        if len(salt) != 32:
            raise InvalidInput(f"a salt has 32 bytes, not {len(salt)}")
        accounts = _word(address(registry, "registry")) + _word(address(owner, "owner"))
        return cls(keccak(chain_id.to_bytes(32, "big") + accounts + salt))

    @property
    def hex(self) -> str:
        """0x and 64 hex digits: the form that contract calls take."""
        return "0x" + self.value.hex()

    @property
    def assistant_id(self) -> str:
        """The OpenAI-style id of this assistant: `asst_` and 24 base62 characters (143 bits of sha-256, one way)."""
        number = int.from_bytes(hashlib.sha256(b"nvm-chain assistant id v1\0" + self.value).digest(), "big")
        chars = []
        for _ in range(_ID_CHARS):
            number, digit = divmod(number, 62)
            chars.append(_BASE62[digit])
        return "asst_" + "".join(chars)

    def __hash__(self) -> int:
        return hash(self.value)

    def __str__(self) -> str:
        return PREFIX + self.value.hex()


def _word(account: str) -> bytes:
    return bytes.fromhex(account[2:]).rjust(32, b"\0")


def _reason(text: str) -> str:
    if text != text.strip():
        return "it has white space around it"
    if re.fullmatch(r"did:nv:[0-9a-f]{64}[/?#].*", text, re.DOTALL):
        return f"it is a DID URL (a DID with a path, query or fragment); the DID alone is {text[: len(PREFIX) + 64]}"
    if re.fullmatch(r"(0x)?[0-9a-f]{64}", text):
        return f"the prefix is missing (did:nv:{text[-64:]})"
    if text.startswith("asst_"):
        return "it is an assistant id; a node can look it up, a DID can't be computed from it"
    if text.lower().startswith(PREFIX):
        rest = text[len(PREFIX) :]
        if rest.startswith(("0x", "0X")):
            return "there is no 0x after did:nv:"
        if bad := next((c for c in rest if c not in "0123456789abcdefABCDEF"), None):
            return f"{show(bad)} is not a hex digit"
        if len(rest) != 64:
            return f"it has {len(rest)} hex digits"
        return f"it has mixed case ({text.lower()} would be valid)"
    if match := re.match(r"did:([^:]*):", text):
        return f"its method is {show(match[1])}, not nv"
    return "it does not start with did:nv:"
