"""An AI provider that costs next to nothing: one canned Responses answer, whole or as a stream of 50 text events.

`python -m bench.relay.upstream --port 0 [--pace-ms N]` prints its URL. With a pace, each event carries the monotonic
time at which it was written (`@123456789@`, nanoseconds), so that the load generator can tell what a relay added to it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import cast

import orjson
import uvloop

from bench.relay.http1 import Framer

EVENTS = 50
_USAGE = {
    "input_tokens": 25,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 60,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 85,
}


def response(text: str, status: str, usage: dict[str, object] | None) -> dict[str, object]:
    """A Responses object as openai 3.x parses it."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message = {"type": "message", "id": "msg_0001", "status": status, "role": "assistant", "content": [part]}
    return {
        "id": "resp_0001",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "bench-1",
        "output": [message] if text else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage,
    }


def _event(kind: str, number: int, **fields: object) -> bytes:
    body = orjson.dumps({"type": kind, "sequence_number": number, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_WHOLE = orjson.dumps(response("x" * 420, "completed", _USAGE))
JSON_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\ncontent-length: %d\r\n\r\n"
    % len(_WHOLE)
) + _WHOLE
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-request-id: req_1\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_DELTA = {"item_id": "msg_0001", "output_index": 0, "content_index": 0, "logprobs": []}
STREAM_EVENTS = [
    _event("response.created", 0, response=response("", "in_progress", None)),
    *(_event("response.output_text.delta", n, delta="a few words ", **_DELTA) for n in range(1, EVENTS - 1)),
    _event("response.completed", EVENTS - 1, response=response("a few words " * 48, "completed", _USAGE)),
]


class Upstream(asyncio.Protocol):
    """Answers each request on the connection as soon as its body is there."""

    pace: float = 0.0

    def __init__(self) -> None:
        self.framer = Framer()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class, not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.transport = None

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        message = self.framer.feed(data)
        if message is None or self.transport is None:
            return
        if b'"stream":true' in message or b'"stream": true' in message:
            self.transport.write(STREAM_HEAD)
            self.step(0)
        else:
            self.transport.write(JSON_ANSWER)

    def step(self, index: int) -> None:
        """Writes event `index` and plans the next one."""
        if self.transport is None:
            return
        event = STREAM_EVENTS[index]
        if self.pace:
            event = event.replace(b"a few words ", b"@%d@" % time.monotonic_ns(), 1)
        if index == EVENTS - 1:
            self.transport.write(_chunk(event) + b"0\r\n\r\n")
            return
        self.transport.write(_chunk(event))
        loop = asyncio.get_running_loop()
        if self.pace:
            loop.call_later(self.pace, self.step, index + 1)
        else:
            loop.call_soon(self.step, index + 1)


async def serve(port: int, pace: float) -> None:
    """Serves until cancelled."""
    Upstream.pace = pace
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pace-ms", type=float, default=0.0)
    args = parser.parse_args()
    uvloop.run(serve(args.port, args.pace_ms / 1000))


if __name__ == "__main__":
    main()
