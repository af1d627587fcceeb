"""A stream whose client has hung up, or takes nothing any more: nobody waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from node_proxy import asgi
from node_proxy.asgi import Exchange


class Client:
    """The server's side of a client. room: whether it takes what is sent."""

    def __init__(self) -> None:
        self.room, self.left = asyncio.Event(), asyncio.Event()
        self.room.set()
        self.taken: list[bytes] = []

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.room.wait()
        self.taken.append(message.get("body", b""))

    async def stream(self) -> Exchange:
        exchange = Exchange({"method": "POST", "path": "/", "headers": []}, self.receive, self.send)
        await exchange.start_stream(b"text/event-stream")
        return exchange


async def test_a_client_that_stops_to_read_counts_as_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "STALL_SECONDS", 0.05)
    client, told = Client(), asyncio.Event()
    exchange = await client.stream()
    exchange.on_gone(told.set)
    await exchange.write(b"one")
    client.room.clear()
    async with asyncio.timeout(5):
        await exchange.write(b"two")
        await told.wait()
        assert exchange.gone
        client.room.set()
        await exchange.write(b"three")
        await exchange.finish()
    assert client.taken == [b"", b"one"]
    exchange.close()


async def test_a_client_that_does_not_take_the_end_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "STALL_SECONDS", 0.05)
    client = Client()
    exchange = await client.stream()
    client.room.clear()
    async with asyncio.timeout(5):
        await exchange.finish()
    assert exchange.gone
    exchange.close()


async def test_a_slow_client_gets_everything() -> None:
    client = Client()
    exchange = await client.stream()
    client.room.clear()
    asyncio.get_running_loop().call_later(0.1, client.room.set)
    await exchange.write(b"one")
    await exchange.finish()
    assert client.taken == [b"", b"one", b""]
    assert not exchange.gone
    exchange.close()


async def test_what_is_held_leaves_with_the_next_piece_in_its_order() -> None:
    client = Client()
    exchange = await client.stream()
    exchange.hold(b"one")
    exchange.hold(b"two")
    assert client.taken == [b""]
    await exchange.write(b"three")
    exchange.hold(b"four")
    await exchange.finish(b"five")
    assert client.taken == [b"", b"onetwothree", b"fourfive"]
    exchange.close()


async def test_whoever_asks_is_told_when_the_client_hangs_up_and_not_when_the_stream_ends() -> None:
    told: list[str] = []
    for name, leaves in (("left", True), ("ended", False)):
        client = Client()
        exchange = await client.stream()
        exchange.on_gone(lambda name=name: told.append(name))  # type: ignore[misc]
        if leaves:
            client.left.set()
        await asyncio.sleep(0.02)
        exchange.close()
        await asyncio.sleep(0.02)
        assert exchange.gone is leaves
    assert told == ["left"]
