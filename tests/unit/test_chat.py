"""One chat completion as a call: what was paid for leaves, whatever happens beside it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from node_proxy.openai.chat import _Call
from node_proxy.openai.chat_face import Chunks
from node_proxy.openai.chat_request import Asked
from node_proxy.openai.face import Face
from node_proxy.openai.ids import IdMap
from node_proxy.relay.heartbeat import Heartbeat
from node_proxy.storage import StorageFailed

PART = {"type": "output_text", "text": "hi", "annotations": []}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "created_at": 1,
    "output": [{"type": "message", "id": "msg_1", "role": "assistant", "content": [PART]}],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


class Client:
    """Takes the place of an exchange."""

    def __init__(self) -> None:
        self.gone, self.heard, self.written_at = False, True, 0.0
        self.facts: dict[str, Any] = {}
        self.data = b""
        self.ended = False

    async def promise(self, data: bytes) -> None:
        """Nobody asks again."""

    async def respond(self, status: int, body: bytes, **_: Any) -> None:
        assert status == 200
        self.data, self.ended = body, True

    async def start_stream(self, *_: Any, **__: Any) -> None:
        """Nothing to prepare."""

    def on_gone(self, _: Any) -> None:
        """Stays."""

    async def write(self, data: bytes) -> None:
        self.data += data

    def hold(self, data: bytes) -> None:
        self.data += data

    async def finish(self, data: bytes = b"") -> None:
        self.data += data
        self.ended = True


class Provider:
    """Answers with the response."""

    headers: tuple[()] = ()

    async def json(self) -> dict[str, Any]:
        return RESPONSE

    async def events(self) -> Any:
        yield [("", orjson.dumps({"type": "response.completed", "response": RESPONSE}))]


class Paid:
    """An access. Counts its charges."""

    max_credits, charges = 1, 0

    async def charge(self, *_: Any, **__: Any) -> SimpleNamespace:
        self.charges += 1
        return SimpleNamespace(credits=1, credits_left=9)

    def ended(self, _: str) -> None:
        """Not counted here."""


class FullDisk:
    """Keeps nothing."""

    async def keep(self, *_: Any) -> None:
        raise StorageFailed("the disk is full")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_that_can_not_be_kept_is_delivered_all_the_same(stream: bool) -> None:
    client, access = Client(), Paid()
    call = _Call(*cast(Any, (client, access, Asked({}, store=True), FullDisk(), None, 1.0)))
    face = Face(IdMap(b"k" * 32, "0x1", "0x2"), "did", {"model": "did"})
    if stream:
        await call._stream(cast(Any, Provider()), face, Chunks("did", False), None, Heartbeat())
    else:
        await call._whole(cast(Any, Provider()), face, None)
    assert access.charges == 1
    assert client.ended
    assert b'"finish_reason":"stop"' in client.data
