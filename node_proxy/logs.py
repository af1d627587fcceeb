"""Structured logs: an event and its fields, one JSON object per line. Secrets don't get in.

What is a `Secret` shows as such; whatever looks like a key in any text is masked as a second line of defence. Request
and response bodies and headers are never logged.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import orjson
import structlog

from nvm_chain.secret import MASK, Secret

_LOOKS_SECRET = re.compile(r"(nvm_|sk-|Bearer |Basic )[A-Za-z0-9_\-+/=.]{12,}")
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
    last: Any = _render if form == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    threshold = getattr(logging, level.upper())
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
