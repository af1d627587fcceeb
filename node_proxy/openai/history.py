"""What comes before a response: the conversation or the responses that it continues, and how its provider gets them.

The node keeps every item itself, so that a conversation can go on with any assistant and any provider. A provider that
keeps state (dialect `responses`) is told only what is new: it has the response before, or a conversation of its own
that mirrors ours. All others get the whole history as input.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node_proxy.errors import InvalidValue, ObjectNotFound
from node_proxy.openai.calls import Access, Calls
from node_proxy.openai.files import Files
from node_proxy.openai.inputs import MAX_ITEMS
from node_proxy.openai.objects import Objects, Stored
from node_proxy.openai.request import Prepared
from node_proxy.openai.turn import Turn
from nvm_chain.text import show


class History:
    """keep_seconds: how long what isn't used is kept."""

    def __init__(self, calls: Calls, objects: Objects, files: Files, keep_seconds: int) -> None:
        self.calls = calls
        self.objects = objects
        self.files = files
        self.keep_seconds = keep_seconds

    def expiry(self) -> int:
        """Until when something that is used now is kept, unix seconds."""
        return int(time.time()) + self.keep_seconds

    @asynccontextmanager
    async def turn(self, access: Access, prepared: Prepared) -> AsyncIterator[Turn]:
        """The place of one response: completes `prepared.body`, and holds the conversation until it ends.

        Raises PreviousNotFound, ConversationLocked, InvalidValue (400), ObjectNotFound (404), ProviderError.
        """
        turn = Turn(self, access, prepared)
        try:
            await turn.begin()
            yield turn
        finally:
            await turn.end()

    async def find_conversation(self, subscriber: str, id: str) -> Stored:
        """Raises ObjectNotFound."""
        found = await self.objects.get(subscriber, "conversation", id)
        if found is None:
            raise ObjectNotFound(f"Conversation with id {show(id[:100])} not found.", param="conversation")
        return found

    async def items(self, subscriber: str, conversation: str) -> list[Stored]:
        """All items of a conversation, oldest first."""
        page = await self.objects.list(subscriber, "item", parent=conversation, limit=MAX_ITEMS, order="asc")
        if page.has_more:
            raise InvalidValue(f"The conversation has more than {MAX_ITEMS} items: begin a new one.")
        return page.objects
