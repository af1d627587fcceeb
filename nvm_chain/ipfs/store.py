"""What a place for blocks can do."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.errors import BlockTooLarge


@runtime_checkable
class BlockSource(Protocol):
    """A place that blocks can be read from. Opened and closed by `async with`."""

    @property
    def name(self) -> str:
        """The place, for messages and reports; without credentials."""

    async def get(self, cid: Cid) -> bytes:
        """The block, its CID recomputed.

        Raises NotFound, DigestMismatch (names the place), BlockTooLarge, or StoreUnavailable (failed or timed out).
        """

    async def has(self, cid: Cid) -> bool:
        """Whether the place itself keeps the block. Raises StoreUnavailable; DigestMismatch where bytes are damaged."""

    async def aclose(self) -> None:
        """Gives connections back. Can be called twice."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


@runtime_checkable
class BlockStore(BlockSource, Protocol):
    """A place that keeps blocks."""

    async def put(self, block: bytes) -> Cid:
        """Keeps the block until it is removed by hand. Durable when it returns; putting it again changes nothing.

        Raises BlockTooLarge above 256 KiB, StoreUnavailable, or DigestMismatch if the place answers with another CID.
        """


class Closing:
    """`async with` for something that has `aclose`."""

    async def aclose(self) -> None:
        """Nothing to give back."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


def check_size(size: int, what: str) -> None:
    """Raises BlockTooLarge if `size` bytes are more than a block of ours has."""
    if size > MAX_BLOCK:
        raise BlockTooLarge(f"{what} has {size} bytes or more; a block has at most {MAX_BLOCK}")
