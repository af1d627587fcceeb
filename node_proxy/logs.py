"""Structured logs: an event and its fields, one JSON object per line. Secrets don't get in.

What is a `Secret` shows as such; whatever looks like a key in any text is masked as a second line of defence. Request
and response bodies and headers are never logged.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import orjson
import structlog

from nvm_chain.secret import MASK, Secret

_STARTS = (b"nvm_", b"sk-", b"Bearer ", b"Basic ")
_LOOKS_SECRET = re.compile(rf"({'|'.join(start.decode() for start in _STARTS)})[A-Za-z0-9_\-+/=.]{{12,}}")
_LOOKS_SECRET_BYTES = re.compile(_LOOKS_SECRET.pattern.encode())
_MASKED = b"\\1" + "…".encode()
_DEPTH = 6


def mask(value: Any, depth: int = 0) -> Any:
    """`value` without secrets: masked inside texts, lists and mappings."""
    if isinstance(value, str):
        return _LOOKS_SECRET.sub(r"\1…", value) if len(value) > 12 else value
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Secret):
        return MASK
    if depth >= _DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): mask(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(one, depth + 1) for one in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    return mask(str(value))


def _without_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if name != "exc_info":
            event[name] = mask(value)
    return event


def _mask_text(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A traceback's text is made after the fields were masked."""
    if isinstance(event.get("exception"), str):
        event["exception"] = mask(event["exception"])
    return event


def _render(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event, default=str).decode()


class Lines:
    """Lines of one shape that come by the thousand: made without the processors, written together.

    part, event: of every line. A line is at most SECONDS late, and what a killed process hadn't written is lost; lines
    of other loggers don't overtake.
    """

    SECONDS = 0.05

    def __init__(self, part: str, event: str) -> None:
        self._part, self._event = part, event

    def info(self, fields: dict[str, Any]) -> None:
        """Fields as for any event."""
        if not _form["info"]:
            return
        if _form["json"]:
            raw = _json_line({"part": self._part, **fields, "event": self._event, "level": "info"})
            if b"nvm_" in raw or b"sk-" in raw or b" " in raw:  # one of _STARTS; hardly any line has a space
                # What is masked has no quotes and backslashes in it, so the line stays JSON.
                raw = _LOOKS_SECRET_BYTES.sub(_MASKED, raw)
            _output.write_soon(raw.decode())
        else:
            get(self._part).info(self._event, **fields)


class _Output:
    """stderr, as a file for loggers. While a `beside` lasts a thread writes what they say, in the same order.

    So calls don't wait for whoever reads it, and reads it slowly or not at all.
    """

    MOST = 100_000
    """Pieces of text that wait; what comes on top of them is dropped and counted."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque()
        self._dropped = 0
        self._due_in: asyncio.AbstractEventLoop | None = None
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ending = False

    def write(self, text: str) -> None:
        """Written with the next `flush`."""
        if len(self._texts) < self.MOST:
            self._texts.append(text)
        else:
            self._dropped += 1

    def write_soon(self, text: str) -> None:
        """Written within Lines.SECONDS; at once where no event loop would come back to it."""
        self.write(text)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._due_in is not loop:  # one that has ended comes back to nothing
            loop.call_later(Lines.SECONDS, self.flush)
            self._due_in = loop

    def flush(self) -> None:
        """Writes what waits, or has the thread do it."""
        self._due_in = None
        if self._thread is not None and self._thread.is_alive():
            self._wake.set()
        else:
            self._drain()

    def _drain(self) -> None:
        with self._writing:
            texts = [self._texts.popleft() for _ in range(len(self._texts))]
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                fields = {"part": "logs", "lines": dropped, "event": "logs.dropped", "level": "warning"}
                texts.append(_json_line(fields).decode())
            stream = sys.stderr
            if texts and stream is not None:  # None: the process was started without one
                with suppress(OSError, ValueError):  # nobody reads it any more
                    _write(stream, "".join(texts))

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait()
            self._wake.clear()
            self._drain()

    @contextmanager
    def beside(self) -> Iterator[None]:
        self._ending = False
        self._thread = thread = threading.Thread(target=self._run, name="logs", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ending = True
            self._wake.set()
            thread.join(_LAST_WORDS_SECONDS)
            if not thread.is_alive():  # else nobody reads, and nothing may wait for it
                self._thread = None
                self._drain()


def _write(stream: TextIO, text: str) -> None:
    """Past the stream's buffer: a thread that waits in it for a reader keeps its lock, and the process couldn't end."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(text)
        stream.flush()
        return
    left = memoryview(text.encode(stream.encoding or "utf-8", "backslashreplace"))
    while left:
        written = getattr(buffer, "raw", buffer).write(left)
        if written is None:
            raise BlockingIOError
        left = left[written:]


_LAST_WORDS_SECONDS = 2.0
_form = {"info": True, "json": True}
_output = _Output()
flush, beside = _output.flush, _output.beside
atexit.register(flush)


def _json_line(fields: dict[str, Any]) -> bytes:
    fields["timestamp"] = datetime.now(UTC)
    return orjson.dumps(fields, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def _plain(value: Any) -> Any:
    return MASK if isinstance(value, Secret) else str(value)


def configure(level: str = "info", form: str = "json") -> None:
    """Sends the node's own events and those of its libraries to stderr. level, form: as in Settings."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_secrets,
        structlog.processors.format_exc_info,
        _mask_text,
    ]
    last: Any = (
        _render if form == "json" else structlog.dev.ConsoleRenderer(colors=bool(sys.stderr and sys.stderr.isatty()))
    )
    threshold = getattr(logging, level.upper())
    _form.update(info=threshold <= logging.INFO, json=form == "json")
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _output)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(cast(TextIO, _output))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries at debug level write bodies and headers.
    root.setLevel(max(threshold, logging.WARNING))


def get(name: str) -> Any:
    """A logger whose events carry `part: name`."""
    return structlog.get_logger(part=name)
