"""Comments on streams that are silent, so that no proxy between the node and the client takes them for dead.

A model that thinks for minutes sends nothing; many proxies close a connection after 60 seconds of that.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

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

    def on(self, exchange: Exchange) -> _Kept:
        """`with heartbeat.on(exchange):` keeps the stream alive inside the block."""
        return _Kept(self, exchange)

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


class _Kept:
    """See `Heartbeat.on`."""

    __slots__ = ("_exchange", "_heartbeat")

    def __init__(self, heartbeat: Heartbeat, exchange: Exchange) -> None:
        self._heartbeat = heartbeat
        self._exchange = exchange

    def __enter__(self) -> None:
        heartbeat = self._heartbeat
        heartbeat._streams.add(self._exchange)
        if heartbeat._task is None or heartbeat._task.done():
            heartbeat._task = asyncio.create_task(heartbeat._run())

    def __exit__(self, *_: object) -> None:
        self._heartbeat._streams.discard(self._exchange)
