"""Entries of a settlement batch: one 32-byte word per subscriber."""

from __future__ import annotations

from dataclasses import dataclass

from nvm_chain.address import address
from nvm_chain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Entry:
    """What one subscriber used. calls: 0 <= calls < 2**32; credits: 0 <= credits < 2**64."""

    subscriber: str
    calls: int
    credits: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "subscriber", address(self.subscriber, "subscriber"))
        if not 0 <= self.calls < 2**32:
            raise InvalidInput(f"{self.calls} calls do not fit into an entry: settle them in several batches")
        if not 0 <= self.credits < 2**64:
            raise InvalidInput(f"{self.credits} credits do not fit into an entry: settle them in several batches")

    @property
    def word(self) -> bytes:
        """subscriber << 96 | calls << 64 | credits, as PlanRegistry.settle takes it."""
        return (int(self.subscriber, 16) << 96 | self.calls << 64 | self.credits).to_bytes(32, "big")

    @classmethod
    def unpack(cls, word: bytes) -> Entry:
        """The inverse of `word`. Raises InvalidInput unless it is 32 bytes."""
        if len(word) != 32:
            raise InvalidInput(f"an entry has 32 bytes, not {len(word)}")
        calls, credits = int.from_bytes(word[20:24], "big"), int.from_bytes(word[24:], "big")
        return cls("0x" + word[:20].hex(), calls, credits)
