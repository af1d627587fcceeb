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


class Tape:
    """Keeps what it is told of."""

    def __init__(self) -> None:
        self.raw: bytes | None = None
        self.listens = True
        self.pieces: list[bytes] = []

    async def promised(self, data: bytes) -> None:
        """Not asked for here."""

    def began(self, *_: object) -> None:
        """It has."""

    def written(self, data: bytes) -> None:
        self.pieces.append(data)

    async def ended(self) -> None:
        """It has."""


async def test_what_is_held_leaves_with_the_next_piece_in_its_order() -> None:
    client, tape = Client(), Tape()
    exchange = await client.stream()
    exchange.tape = tape
    exchange.hold(b"one")
    exchange.hold(b"two")
    assert client.taken == [b""]
    assert tape.pieces == [b"one", b"two"]
    await exchange.write(b"three")
    exchange.hold(b"four")
    await exchange.finish(b"five")
    await asyncio.sleep(2 * asgi.HOLD_SECONDS)
    exchange.close()
    assert client.taken == [b"", b"onetwothree", b"fourfive"]
    assert tape.pieces == [b"one", b"two", b"three", b"four", b"five"]


async def test_what_is_held_leaves_by_itself_where_the_next_piece_is_late() -> None:
    client = Client()
    exchange = await client.stream()
    exchange.hold(b"one")
    await asyncio.sleep(3 * asgi.HOLD_SECONDS)
    assert client.taken == [b"", b"one"]
    await exchange.finish(b"two")
    exchange.close()
    assert client.taken == [b"", b"one", b"two"]


async def test_what_is_held_waits_on_for_a_client_that_takes_nothing_at_the_moment() -> None:
    client = Client()
    exchange = await client.stream()
    client.room.clear()
    exchange.hold(b"one")
    await asyncio.sleep(3 * asgi.HOLD_SECONDS)
    client.room.set()
    assert client.taken == [b""]
    await exchange.finish(b"two")
    exchange.close()
    assert client.taken == [b"", b"onetwo"]


async def test_what_is_held_leaves_also_where_the_answer_breaks_off() -> None:
    client = Client()
    exchange = await client.stream()
    exchange.hold(b"one")
    exchange.close()
    assert client.taken == [b"", b"one"]


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
