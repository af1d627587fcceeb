"""Merkle trees with keccak-256, in the shape of RFC 9162: what one 32-byte root says about many documents.

leaf = keccak256(0x00 ‖ document), node = keccak256(0x01 ‖ left ‖ right): a node can't be passed off as a document. A
node without a sibling moves up a level as it is. A path is checked together with the leaf's index and the number of
leaves, so that there is one valid path for each leaf.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eth_utils.crypto import keccak

HASH = 32
MAX_LEAVES = 2**40


def leaf_hash(document: bytes) -> bytes:
    """The leaf of a document."""
    return keccak(b"\0" + document)


def _node(left: bytes, right: bytes) -> bytes:
    return keccak(b"\1" + left + right)


class Tree:
    """All levels of a tree, as 64 bytes per leaf. Raises ValueError without leaves, and for one that isn't 32 bytes."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        whole = list(leaves)
        if not whole or any(len(leaf) != HASH for leaf in whole):
            raise ValueError("a tree has one or more leaves of 32 bytes")
        self._levels = [b"".join(whole)]
        while (size := len(level := self._levels[-1])) > HASH:
            pairs = range(0, size - HASH, 2 * HASH)
            above = [_node(level[at : at + HASH], level[at + HASH : at + 2 * HASH]) for at in pairs]
            self._levels.append(b"".join(above) + (level[-HASH:] if size // HASH % 2 else b""))

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0]) // HASH

    @property
    def root(self) -> bytes:
        return self._levels[-1]

    def index(self, leaf: bytes) -> int:
        """Where a leaf is. Raises ValueError."""
        at = -1
        while (at := self._levels[0].index(leaf, at + 1)) % HASH:
            pass
        return at // HASH

    def path(self, index: int) -> tuple[bytes, ...]:
        """The siblings from the leaf at `index` up to the root."""
        if not 0 <= index < self.size:
            raise ValueError(f"there is no leaf {index} among {self.size}")
        path = []
        for level in self._levels[:-1]:
            sibling = (index ^ 1) * HASH
            if sibling < len(level):
                path.append(level[sibling : sibling + HASH])
            index >>= 1
        return tuple(path)


def root_of(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that the path leads to; None where no tree of `size` leaves has such a path for the leaf at `index`."""
    if not 0 <= index < size <= MAX_LEAVES or any(len(one) != HASH for one in (leaf, *path)):
        return None
    hashes = iter(path)
    while size > 1:
        if index ^ 1 < size:
            sibling = next(hashes, None)
            if sibling is None:
                return None
            leaf = _node(sibling, leaf) if index & 1 else _node(leaf, sibling)
        index, size = index >> 1, (size + 1) >> 1
    return leaf if next(hashes, None) is None else None
