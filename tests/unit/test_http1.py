"""An answer leaves in one piece; a stream's head, pieces and end leave when they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from node_proxy import http1
from node_proxy.asgi import Exchange

Handler = Callable[[Exchange], Awaitable[None]]


class Wire(asyncio.Transport):
    """Keeps the pieces that are written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.pieces.append(bytes(data))

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def ask(handler: Handler, method: str = "GET", headers: str = "", wire: Wire | None = None) -> Wire:
    """What a handler's answer looks like on the wire."""
    wire = wire or Wire()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await handler(Exchange(scope, receive, send))

    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None)
    config.load()
    protocol = HttpToolsProtocol(config, ServerState(), {})
    protocol.connection_made(wire)
    protocol.data_received(f"{method} / HTTP/1.1\r\nhost: node\r\n{headers}\r\n".encode())
    while protocol.tasks:
        await asyncio.gather(*protocol.tasks)
        await asyncio.sleep(0)
    return wire


async def whole(exchange: Exchange) -> None:
    await exchange.respond(200, b"all of it")


def test_the_locked_uvicorn_is_the_one_whose_inside_is_known() -> None:
    assert http1.KNOWN, f"compare http1.answer with RequestResponseCycle.send of uvicorn {uvicorn.__version__}"


async def test_an_unknown_uvicorn_sends_the_same_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def undated(wire: Wire) -> bytes:
        return b"".join(
            line for line in b"".join(wire.pieces).splitlines(True) if not line.startswith(b"x-request-id:")
        )

    for method, headers in (("GET", ""), ("HEAD", ""), ("GET", "connection: close\r\n")):
        known = await ask(whole, method, headers)
        with monkeypatch.context() as patch:
            patch.setattr(http1, "KNOWN", False)
            unknown = await ask(whole, method, headers)
        assert undated(known) == undated(unknown)


async def test_head_and_body_leave_in_one_piece() -> None:
    wire = await ask(whole)
    assert len(wire.pieces) == 1
    assert wire.pieces[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert wire.pieces[0].endswith(b"\r\n\r\nall of it")


async def test_an_answer_without_a_body_leaves_too() -> None:
    wire = await ask(whole, "HEAD")
    assert [piece[-4:] for piece in wire.pieces] == [b"\r\n\r\n"]
    assert b"content-length: 9\r\n" in wire.pieces[0]


async def test_the_connection_is_closed_after_the_answer() -> None:
    wire = await ask(whole, headers="connection: close\r\n")
    assert wire.closed
    assert wire.pieces[0].endswith(b"all of it")


async def test_what_can_not_be_sent_holds_nothing_back() -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.respond(200, b"never seen", headers=[(b"x-bad", b"two\r\nlines")])

    wire = await ask(broken)
    assert b"".join(wire.pieces).startswith(b"HTTP/1.1 500 ")
    assert b"never seen" not in b"".join(wire.pieces)


async def test_a_request_has_one_answer() -> None:
    async def twice(exchange: Exchange) -> None:
        await whole(exchange)
        with pytest.raises(RuntimeError):
            await whole(exchange)

    assert len((await ask(twice)).pieces) == 1


async def test_requests_that_come_at_once_are_answered_in_their_order() -> None:
    async def named(exchange: Exchange) -> None:
        await exchange.respond(200, exchange.path.encode())

    wire = await ask(named, headers="\r\nGET /2 HTTP/1.1\r\nhost: node\r\n")
    assert [piece[-2:] for piece in wire.pieces] == [b"\n/", b"/2"]


async def test_a_stream_leaves_piece_by_piece_and_its_end_with_the_last_one() -> None:
    wire, seen = Wire(), []

    async def stream(exchange: Exchange) -> None:
        await exchange.start_stream(b"text/event-stream")
        seen.append(len(wire.pieces))
        await exchange.write(b"one")
        seen.append(len(wire.pieces))
        await exchange.finish(b"two")
        exchange.close()

    await ask(stream, wire=wire)
    assert seen == [1, 2]
    assert wire.pieces[1:] == [b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\n\r\n"]
