"""Comments on streams that are silent, so that no proxy between the node and the client takes them for dead.

A model that thinks for minutes sends nothing; many proxies close a connection after 60 seconds of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from node_proxy.asgi import Exchange
from node_proxy.relay import sse

BEAT = sse.comment("keep-alive")


class Heartbeat:
    """One task for all streams, which runs only while there are any. interval: seconds of silence."""

    def __init__(self, interval: float = 15.0) -> None:
        self._interval = interval
        self._streams: set[Exchange] = set()
        self._task: asyncio.Task[None] | None = None
        self._beats: set[asyncio.Task[None]] = set()

    @contextmanager
    def on(self, exchange: Exchange) -> Iterator[None]:
        """Keeps the stream alive inside the block."""
        self._streams.add(exchange)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._streams.discard(exchange)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._streams:
            await asyncio.sleep(self._interval / 3)
            silent_since = loop.time() - self._interval
            for exchange in self._streams:
                if exchange.written_at <= silent_since:
                    # Each on its own: a client that doesn't read keeps only its own beat waiting.
                    beat = asyncio.create_task(self._beat(exchange))
                    self._beats.add(beat)
                    beat.add_done_callback(self._beats.discard)

    async def _beat(self, exchange: Exchange) -> None:
        if exchange in self._streams:
            with suppress(RuntimeError):  # ended while we waited for room in the connection
                await exchange.write(BEAT)
