"""What everybody may read about a plan: title and description, one canonical JSON document in one raw IPFS block."""

from __future__ import annotations

from dataclasses import dataclass

from nvm_chain.canonical import dumps, loads
from nvm_chain.errors import InvalidInput, MetadataInvalid
from nvm_chain.text import many_lines, one_line

MAX_BLOCK = 32 * 1024
MAX_TITLE, MAX_DESCRIPTION = 120, 5_000
_FIELDS = {"v", "type", "title", "description"}


@dataclass(frozen=True, slots=True)
class PlanMetadata:
    """A plan's texts. title: one line, 1 to 120 code points. description: up to 5,000."""

    title: str
    description: str = ""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "title", one_line(self.title, MAX_TITLE, min_length=1))
        except InvalidInput as error:
            raise MetadataInvalid(str(error), "title") from None
        try:
            object.__setattr__(self, "description", many_lines(self.description, MAX_DESCRIPTION))
        except InvalidInput as error:
            raise MetadataInvalid(str(error), "description") from None

    def to_block(self) -> bytes:
        """The canonical bytes, whose sha-256 digest goes on the chain."""
        return dumps({"v": 1, "type": "plan", "title": self.title, "description": self.description})

    @classmethod
    def from_block(cls, block: bytes) -> PlanMetadata:
        """Reads a block that `to_block` could have written, and no other. Raises MetadataInvalid."""
        try:
            document = loads(block, max_bytes=MAX_BLOCK)
        except InvalidInput as error:
            raise MetadataInvalid(f"the block is refused: {error}") from None
        if (
            not isinstance(document, dict)
            or set(document) != _FIELDS
            or document["v"] != 1
            or document["type"] != "plan"
        ):
            raise MetadataInvalid("the block does not describe a plan")
        metadata = cls(document["title"], document["description"])
        if metadata.to_block() != block:
            raise MetadataInvalid("the block is not in its normal form")
        return metadata
