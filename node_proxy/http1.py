"""A whole answer through uvicorn's HTTP/1.1 in one step.

`RequestResponseCycle.send` is made for a head and a body that come apart: two system calls, and for the client two
packets and two wake-ups; and it looks at each header by itself. This knows the inside of one series of uvicorn; with
another one an answer goes the long way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

KNOWN = uvicorn.__version__.startswith("0.54.")
"""Whether this is the uvicorn that `answer` was written for."""

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def cycle_of(send: Callable[..., Any]) -> RequestResponseCycle | None:
    """uvicorn's side of a request; None where something else stands between it and the application."""
    cycle = getattr(send, "__self__", None)
    return cycle if KNOWN and type(cycle) is RequestResponseCycle else None


async def answer(cycle: RequestResponseCycle, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
    """Sends the answer, as two calls of `cycle.send` would. headers: in lower case, `content-length` among them.

    Raises ValueError for a header that would be two, RuntimeError where an answer has begun.
    """
    if cycle.response_started:
        raise RuntimeError("the request has an answer already")
    if _CONTROL.search(b"".join([value for _, value in headers])):
        raise ValueError("a header's value has a control character in it")
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    lines = [b"%b: %b\r\n" % header for header in cycle.default_headers]
    lines += [b"%b: %b\r\n" % header for header in headers]
    lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
    if cycle.scope["method"] != "HEAD":
        lines.append(body)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join([STATUS_LINE[status], *lines]))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
