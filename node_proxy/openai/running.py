"""A response that this process works on in the background: what has come of it, and who waits for more."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from node_proxy.errors import NodeError
from node_proxy.openai.calls import Access
from node_proxy.openai.face import Face
from node_proxy.openai.request import Prepared
from node_proxy.openai.turn import Turn

Json = dict[str, Any]


@dataclass(eq=False)
class Running:
    """A response at work in this process. events: (number, as sent). saved: how many of them are kept.

    spoke: whether anything of the answer has come. accepted: the provider has begun. answered: so has our answer to the
    request, so that the provider's refusal can't be the answer any more.
    """

    id: str
    access: Access
    prepared: Prepared
    turn: Turn
    face: Face
    shown: Json
    events: list[tuple[int, bytes]] = field(default_factory=list)
    saved: int = 0
    provider_id: str = ""
    provider_number: int = -1
    spoke: bool = False
    cancelling: bool = False
    ended: bool = False
    answered: bool = False
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: NodeError | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)
    reader: asyncio.Task[Json] | None = None
    task: asyncio.Task[None] | None = None

    @property
    def subscriber(self) -> str:
        """Whose it is."""
        return self.access.key.subscriber

    def wake(self) -> None:
        """Tells whoever listens that there is something new."""
        self.changed.set()
        self.changed = asyncio.Event()

    def cancel(self) -> None:
        """Stops the work, which then ends as cancelled."""
        self.cancelling = True
        if self.reader is not None:
            self.reader.cancel()
