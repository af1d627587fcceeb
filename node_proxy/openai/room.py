"""How much a subscriber may keep at the node. What costs nothing must not fill the disk."""

from __future__ import annotations

from node_proxy.errors import BadRequest
from node_proxy.openai.objects import Objects


class NoRoom(BadRequest):
    """The subscriber keeps as much as the operator allows (HTTP 400)."""

    code = "storage_limit_reached"


class Room:
    """most: bytes that all objects of a subscriber may take."""

    def __init__(self, objects: Objects, most: int) -> None:
        self._objects = objects
        self._most = most

    async def check(self, subscriber: str, more: int = 0) -> None:
        """Raises NoRoom where `more` bytes don't fit."""
        taken = await self._objects.usage(subscriber)
        if taken + more > self._most:
            raise NoRoom(
                f"You keep {taken:,} bytes here and {more:,} more would be above the {self._most:,} that this node "
                "allows: delete files, conversations or responses that you don't need any more."
            )
