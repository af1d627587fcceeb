"""Silent streams get a comment now and then; busy and ended ones don't."""

from __future__ import annotations

import asyncio
from typing import Any

from node_proxy.asgi import Exchange
from node_proxy.relay.heartbeat import BEAT, Heartbeat


async def stream() -> tuple[Exchange, list[bytes]]:
    """A stream that has begun, and what was written to it."""
    written: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        written.append(message.get("body", b""))

    exchange = Exchange({"method": "POST", "path": "/", "headers": []}, receive, send)
    await exchange.start_stream(b"text/event-stream")
    written.clear()
    return exchange, written


async def test_a_silent_stream_is_kept_alive_until_it_ends() -> None:
    exchange, written = await stream()
    heartbeat = Heartbeat(interval=0.06)
    with heartbeat.on(exchange):
        await asyncio.sleep(0.4)
    beats = len(written)
    assert beats >= 3
    assert set(written) == {BEAT}
    await asyncio.sleep(0.2)
    assert len(written) == beats
    exchange.close()


async def test_a_busy_stream_is_left_alone() -> None:
    exchange, written = await stream()
    with Heartbeat(interval=0.3).on(exchange):
        for _ in range(30):
            await exchange.write(b"x")
            await asyncio.sleep(0.02)
    assert BEAT not in written
    exchange.close()


async def test_the_task_ends_with_the_last_stream_and_starts_again() -> None:
    heartbeat = Heartbeat(interval=0.03)
    for _ in range(2):
        exchange, written = await stream()
        with heartbeat.on(exchange):
            await asyncio.sleep(0.2)
        assert BEAT in written
        await asyncio.sleep(0.05)
        assert heartbeat._task is not None
        assert heartbeat._task.done()
        exchange.close()


async def test_a_client_that_does_not_read_keeps_nobody_elses_stream_silent() -> None:
    never = asyncio.Event()
    stuck, _ = await stream()

    async def send(_: Any) -> None:
        await never.wait()

    stuck._send = send
    heartbeat = Heartbeat(interval=0.06)
    with heartbeat.on(stuck):
        await asyncio.sleep(0.2)
        other, written = await stream()
        with heartbeat.on(other):
            await asyncio.sleep(0.4)
    assert BEAT in written
    never.set()
    for exchange in (stuck, other):
        exchange.close()
