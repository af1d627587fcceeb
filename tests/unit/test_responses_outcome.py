"""How a question ended is counted, also where it was never asked; and what its caller got until then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson
import pytest

from node_proxy.asgi import HOLD_SECONDS, Exchange
from node_proxy.dialects.responses import refuse_state
from node_proxy.errors import LedgerUnavailable, UnsupportedParameter
from node_proxy.ledger.base import Charge
from node_proxy.openai.face import Face
from node_proxy.openai.ids import IdMap
from node_proxy.openai.request import Prepared
from node_proxy.openai.responses import _Call
from node_proxy.relay import sse
from node_proxy.relay.heartbeat import Heartbeat


class Access:
    """Its provider can't be told what was asked."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def face(self, _: object) -> None:
        """Nothing will be shown."""

    def ask(self, body: dict[str, Any], **_: object) -> None:
        refuse_state(body)

    def ended(self, outcome: str) -> None:
        self.outcomes.append(outcome)


async def test_a_question_that_the_dialect_refuses_is_counted() -> None:
    access, prepared = Access(), Prepared(body={"previous_response_id": "resp_1"})
    call = _Call(cast(Any, None), cast(Any, access), prepared, None, Heartbeat(), 1.0)
    with pytest.raises(UnsupportedParameter):
        await call.run()
    assert access.outcomes == ["unsupported_parameter"]


DELTA = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0}
DONE = {
    "type": "response.completed",
    "sequence_number": 3,
    "response": {"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": None},
}


class Streaming:
    """An access whose provider sends a stream in `pieces`, events that arrive together. charging: what it costs."""

    max_credits = 1
    headers: tuple[()] = ()

    def __init__(self, pieces: list[list[dict[str, Any]]]) -> None:
        self.pieces = pieces
        self.outcomes: list[str] = []
        self.charging: asyncio.Future[Charge] = asyncio.get_running_loop().create_future()

    def face(self, echo: dict[str, Any]) -> Face:
        return Face(IdMap(b"secret", "0x1", "0x2"), "did:nv:1", echo)

    @asynccontextmanager
    async def ask(self, *_: object, **__: object) -> AsyncIterator[Streaming]:
        yield self

    async def events(self, _: object) -> AsyncIterator[list[sse.Event]]:
        for piece in self.pieces:
            yield [sse.Event(event["type"].encode(), orjson.dumps(event)) for event in piece]
            await asyncio.sleep(0)

    def charge(self, *_: object, **__: object) -> asyncio.Future[Charge]:
        return self.charging

    def ended(self, outcome: str) -> None:
        self.outcomes.append(outcome)


class Client:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.more = True

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.pieces.append(message["body"])
            self.more = message.get("more_body", False)


def delta(number: int) -> dict[str, Any]:
    return {**DELTA, "sequence_number": number, "delta": f"word{number} "}


async def begin(pieces: list[list[dict[str, Any]]]) -> tuple[Client, Streaming, asyncio.Task[None]]:
    client = Client()
    exchange = Exchange({"method": "POST", "path": "/", "headers": []}, client.receive, client.send)
    access = Streaming(pieces)
    call = _Call(exchange, cast(Any, access), Prepared(body={}, stream=True), None, Heartbeat(), 1.0)
    task = asyncio.create_task(call.run())
    for _ in range(10):
        await asyncio.sleep(0)
    return client, access, task


async def test_what_came_with_the_end_leaves_with_it_and_nothing_of_the_end_before_the_charge() -> None:
    client, access, task = await begin([[delta(1)], [delta(2), DONE]])
    assert [b"word1" in piece for piece in client.pieces] == [True]
    access.charging.set_result(Charge("chg_1", 1, 41))
    await task
    last = client.pieces[1]
    places = [last.index(part) for part in (b"word2", b": x-nvm-credits-left: 41", b"event: response.completed")]
    assert places == sorted(places)
    assert len(client.pieces) == 2
    assert not client.more
    assert access.outcomes == ["completed"]


async def test_what_came_with_the_end_does_not_wait_for_a_charge_that_takes_long() -> None:
    client, _, task = await begin([[delta(1), DONE]])
    await asyncio.sleep(3 * HOLD_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [text] = client.pieces
    assert b"word1" in text
    assert b"response.completed" not in text


async def test_what_came_with_the_end_is_shown_also_where_the_charge_fails() -> None:
    client, access, task = await begin([[delta(1), delta(2), DONE]])
    assert client.pieces == []
    access.charging.set_exception(LedgerUnavailable("The charge couldn't be written down."))
    await task
    [whole] = client.pieces
    places = [whole.index(part) for part in (b"word1", b"word2", b": x-nvm-credits-charged: 0", b"event: error")]
    assert places == sorted(places)
    assert b"response.completed" not in whole
    assert access.outcomes == ["ledger_unavailable"]
