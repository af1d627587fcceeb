"""Who hears of a run: the streams that listen now, and what is kept for those who ask later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from node_proxy.openai.assistants_api.narration import Event
from node_proxy.openai.assistants_api.saving import Saver
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.assistants_api.shelf import Shelf
from node_proxy.relay import sse

DONE = b"event: done\ndata: [DONE]\n\n"

Stream = asyncio.Queue[bytes | None]


class Audience:
    """Tells events on. What they are about is kept soon; `flush` waits for that.

    run, thread: ids. said: message id → its text without citation marks, to be kept beside it.
    """

    def __init__(self, shelf: Shelf, run: str, thread: str) -> None:
        self.said: Mapping[str, str] = {}
        self._shelf = shelf
        self._run = run
        self._thread = thread
        self._saver = Saver(shelf.objects)
        self._streams: set[Stream] = set()

    def listen(self) -> Stream:
        """What is told from now on, as server-sent events; None is the end of the stream."""
        stream: Stream = asyncio.Queue()
        self._streams.add(stream)
        return stream

    def tell(self, name: str, value: Json) -> None:
        """One event."""
        if self._streams:
            self.write(sse.event(name, value))
        if name.startswith("thread.run.step.") and name != "thread.run.step.delta":
            self.keep_step(value)
        elif name.startswith("thread.message.") and name != "thread.message.delta":
            said = self.said.get(value["id"])
            also = {} if said is None else {"said": said}
            self._saver.later(self._shelf.new("message", value, self._thread, **also))

    def tell_all(self, events: Iterable[Event]) -> None:
        """Events, each written before the next is asked for: what they hold may change then."""
        for name, value in events:
            self.tell(name, value)

    def keep_step(self, step: Json) -> None:
        """Keeps a step that changed without an event of its own."""
        self._saver.later(self._shelf.new("step", step, self._run))

    def write(self, data: bytes) -> None:
        """Bytes of an event stream."""
        for stream in self._streams:
            stream.put_nowait(data)

    def close(self, last: bytes = b"") -> None:
        """Ends the streams. last: what they still get."""
        if last:
            self.write(last)
        for stream in self._streams:
            stream.put_nowait(None)
        self._streams.clear()

    async def flush(self) -> None:
        """Waits until everything told is durable. Raises StorageUnavailable."""
        await self._saver.flush()
