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
from collections import deque
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

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
            now = datetime.now(UTC)
            line = {"part": self._part, **fields, "event": self._event, "level": "info", "timestamp": now}
            raw = orjson.dumps(line, default=_plain, option=orjson.OPT_UTC_Z)
            if any(start in raw for start in _STARTS):
                # What is masked has no quotes and backslashes in it, so the line stays JSON.
                raw = _LOOKS_SECRET_BYTES.sub(_MASKED, raw)
            _write_soon(raw)
        else:
            get(self._part).info(self._event, **fields)


_form = {"info": True, "json": True}
_unwritten: deque[bytes] = deque()


def _plain(value: Any) -> Any:
    return MASK if isinstance(value, Secret) else str(value)


def _write_soon(line: bytes) -> None:
    if not _unwritten:
        try:
            asyncio.get_running_loop().call_later(Lines.SECONDS, flush)
        except RuntimeError:  # nobody would come back to it
            _unwritten.append(line)
            flush()
            return
    _unwritten.append(line)


def flush() -> None:
    """Writes the lines that wait."""
    lines = []
    while _unwritten:  # taken one by one: another thread may be at it
        lines.append(_unwritten.popleft())
    if lines:
        sys.stderr.write(b"\n".join([*lines, b""]).decode())
        sys.stderr.flush()


def _flush_first(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    flush()
    return event


atexit.register(flush)


def configure(level: str = "info", form: str = "json") -> None:
    """Sends the node's own events and those of its libraries to stderr. level, form: as in Settings."""
    shared: list[Any] = [
        _flush_first,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_secrets,
        structlog.processors.format_exc_info,
        _mask_text,
    ]
    last: Any = _render if form == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    threshold = getattr(logging, level.upper())
    _form.update(info=threshold <= logging.INFO, json=form == "json")
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
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
