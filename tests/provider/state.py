"""What the stand-in remembers: one project's objects, the requests that it received, and directives queued for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

from tests.provider.model import Json, new_id
from tests.provider.script import Script


@dataclass(slots=True)
class Exchange:
    """One request as it was received, and how it ended. `finished`: the client got all that was meant for it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    id: str = field(default_factory=lambda: new_id("req", 32))
    started: float = field(default_factory=time.monotonic)
    body: Any = None
    status: int = 0
    events: int = 0
    finished: bool = False
    cut: bool = False

    def as_json(self) -> Json:
        """For the control endpoint."""
        return asdict(self)


@dataclass(slots=True)
class StoredResponse:
    """A response with what went into it. `context`: history, input and output, for the next turn."""

    response: Json
    input: list[Json]
    context: list[Json]
    streamed: bool = False
    events: list[Json] = field(default_factory=list)
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Tells whoever awaits `grown` that there is something new."""
        self.grown.set()
        self.grown = asyncio.Event()


@dataclass(slots=True)
class StoredConversation:
    """A conversation, its items oldest first, and whether a response is working on it."""

    conversation: Json
    items: list[Json] = field(default_factory=list)
    busy: bool = False


@dataclass(slots=True)
class StoredThread:
    """A legacy thread with its messages and runs, oldest first."""

    thread: Json
    messages: list[Json] = field(default_factory=list)
    runs: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """One project of one organisation. `faults`: text of directives, with the part of a path that they hold for and how
    many requests they hold for still."""

    keys: frozenset[str]
    organization: str = "org-builder"
    project: str = "proj_builder"
    responses: dict[str, StoredResponse] = field(default_factory=dict)
    conversations: dict[str, StoredConversation] = field(default_factory=dict)
    files: dict[str, tuple[Json, bytes]] = field(default_factory=dict)
    assistants: dict[str, Json] = field(default_factory=dict)
    threads: dict[str, StoredThread] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)
    faults: list[tuple[str, str, int]] = field(default_factory=list)

    def take_faults(self, path: str) -> Script:
        """The queued directives that hold for a request, counted down."""
        script, kept = Script(), []
        for where, text, times in self.faults:
            if where in path:
                script, times = script.with_text(text), times - 1
            if times:
                kept.append((where, text, times))
        self.faults = kept
        return script

    def items(self) -> Iterator[Json]:
        """Every item that can be referred to by id."""
        for stored in self.responses.values():
            yield from stored.context
        for conversation in self.conversations.values():
            yield from conversation.items


STATE: web.AppKey[State] = web.AppKey("state", State)
