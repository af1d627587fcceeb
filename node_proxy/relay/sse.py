"""Server-sent events, read as the bytes arrive and written as OpenAI writes them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import orjson

CONTENT_TYPE = b"text/event-stream; charset=utf-8"


class Event(NamedTuple):
    """One event. name: its `event` field, empty if there was none. data: its data lines, joined by line feeds."""

    name: bytes
    data: bytes


RELAYED = b"\0relayed"
"""Name of what isn't an event to be read: its data goes out as it is. No event has it, for names hold no NUL here."""

Again = Callable[[bytes, int], tuple[bytes, int] | None]
"""Knows events from how they are written: what goes out for those from a position of a buffer on, and their end."""


def nothing_known(_: bytes, __: int) -> None:
    """An `Again` that leaves every event to be read."""


_USUAL = re.compile(rb"event: ([^\n]*)\ndata: ([^\n]*)\n\n").match
"""An event as providers write it: a name, and one line of data."""

_make = tuple.__new__


class EventTooLong(ValueError):
    """One event is longer than the reader's limit."""


class Parser:
    """Give it chunks as they come; it gives back each event as soon as its blank line is there.

    Comments, `id` and `retry` are dropped. An event without its blank line at the end of the stream never happened.
    again: events that it knows come back as one that is RELAYED.
    """

    def __init__(self, max_event_bytes: int, again: Again = nothing_known) -> None:
        self._limit = max_event_bytes
        self._again = again
        self._buffer = b""
        self._started = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterable[Event]:
        """The events that `chunk` completes, each looked at when it is asked for. Raises EventTooLong."""
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        buffer = self._buffer + chunk if self._buffer else chunk
        if not self._started and len(buffer) >= 3:
            buffer, self._started = buffer.removeprefix(b"\xef\xbb\xbf"), True
        end = buffer.rfind(b"\n\n") + 2
        if end == 1:
            self._keep(buffer)
            return ()
        self._keep(buffer[end:])
        return self._events(buffer, end)

    def _events(self, buffer: bytes, end: int) -> Iterator[Event]:
        at, again = 0, self._again
        while at < end:
            if known := again(buffer, at):
                data, at = known
                yield Event(RELAYED, data)
            elif usual := _USUAL(buffer, at):
                at = usual.end()
                yield _make(Event, usual.groups())
            else:
                stop = buffer.index(b"\n\n", at)
                event = _event(buffer[at:stop])
                at = stop + 2
                if event is not None:
                    yield event

    def _keep(self, rest: bytes) -> None:
        if len(rest) > self._limit:
            raise EventTooLong(f"an event is longer than {self._limit} bytes")
        self._buffer = rest

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """CR and CR LF are line ends too, also when the two come in different chunks."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _event(block: bytes) -> Event | None:
    name, data = b"", None
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            data = value if data is None else data + b"\n" + value
        elif line.startswith(b"event:"):
            name = line[7:] if line[6:7] == b" " else line[6:]
        elif line == b"data":
            data = b"" if data is None else data + b"\n"
    return None if data is None else Event(name, data)


def event(name: str, value: object) -> bytes:
    """One event with a JSON value, on the wire."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(value))


def comment(text: str) -> bytes:
    """A line that every client ignores."""
    return b": %b\n\n" % text.replace("\r", " ").replace("\n", " ").encode()
