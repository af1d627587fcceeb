"""Requests that come again, as the official client and plain HTTP send them to a real node."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import openai
import orjson
import pytest
import pytest_asyncio

from tests.world import World, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@dataclass(frozen=True, slots=True)
class Buyer:
    """Holds the plan of an assistant that costs 1 credit a call."""

    world: World
    did: str
    key: str

    async def left(self) -> int:
        return int((await self._plan())["credits_left"])

    async def reserved(self) -> int:
        return int((await self._plan())["reserved"])

    async def _plan(self) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"{self.world.node.url}/v1/account"
        async with aiohttp.ClientSession(headers=headers) as http, http.get(url) as answer:
            (plan,) = (await answer.json())["plans"]
        return dict(plan)

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> tuple[int, bytes, dict[str, str]]:
        sent = {
            "authorization": f"Bearer {self.key}",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        url = self.world.node.url + path
        async with aiohttp.ClientSession(headers=sent) as http:
            answer = await http.post(url, json={"model": self.did, **body})
            return answer.status, await answer.read(), {name.lower(): text for name, text in answer.headers.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def buyer(world: World) -> AsyncIterator[Buyer]:
    plan = (await world.create_plan(price=10**12, credits=1_000)).plan_id
    did = str((await world.register(plan)).did)
    wallet = await world.wallet()
    await world.buy(plan, wallet)
    yield Buyer(world, did, await world.login(wallet))


ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/responses", {"input": "hello"}),
    ("/v1/responses", {"input": "hello", "stream": True}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}], "stream": True}),
]


@pytest.mark.parametrize(("path", "body"), ASKED)
async def test_every_surface_repeats_its_answer_for_one_charge(buyer: Buyer, path: str, body: dict[str, Any]) -> None:
    before, name = await buyer.left(), f"{path} {body}"[:200]
    await buyer.world.provider.forget()
    first = await buyer.post(path, body, idempotency_key=name)
    again = await buyer.post(path, body, idempotency_key=name)
    assert first[0] == again[0] == 200
    assert first[1] == again[1]
    assert first[2]["content-type"] == again[2]["content-type"]
    assert again[2]["idempotent-replayed"] == "true"
    assert again[2]["x-nvm-first-request-id"] == first[2]["x-request-id"]
    assert before - await buyer.left() == 1
    assert len(await buyer.world.provider.requests()) == 1
    status, refused, _ = await buyer.post(path, {**body, "metadata": {"a": "b"}}, idempotency_key=name)
    assert status == 422
    assert b"idempotency_key_reused" in refused


async def test_a_replayed_stream_is_one_that_the_client_understands(buyer: Buyer) -> None:
    async with buyer.world.async_openai(buyer.key) as client:
        texts = []
        for _ in range(2):
            stream = await client.responses.create(
                model=buyer.did, input="hello again", stream=True, extra_headers={"Idempotency-Key": "understood"}
            )
            texts.append([event.type async for event in stream])
    assert texts[0] == texts[1]
    assert texts[0][-1] == "response.completed"


async def test_the_client_s_own_retries_after_a_timeout_get_the_answer_for_one_charge(buyer: Buyer) -> None:
    before = await buyer.left()
    await buyer.world.provider.forget()
    url = f"{buyer.world.node.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=buyer.key, max_retries=8, timeout=1.5) as client:
        answer = await client.responses.create(model=buyer.did, input="[[wait 4]] patience")
    assert "patience" in answer.output_text
    assert before - await buyer.left() == 1
    assert len(await buyer.world.provider.requests()) == 1


LOST: list[tuple[str, dict[str, Any]]] = [
    ("/v1/responses", {"input": "[[wait 1]] hello", "background": True}),
    ("/v1/responses", {"input": "[[wait 1]] hello", "background": True, "stream": True}),
    ("/v1/threads/runs", {"thread": {"messages": [{"role": "user", "content": "hello"}]}}),
    ("/v1/threads/runs", {"thread": {"messages": [{"role": "user", "content": "hello"}]}, "stream": True}),
]


@pytest.mark.parametrize(("path", "body"), LOST)
async def test_what_goes_on_after_its_answer_is_begun_once_for_all_tries(
    buyer: Buyer, path: str, body: dict[str, Any]
) -> None:
    before = await buyer.left()
    body = {"assistant_id" if "threads" in path else "model": buyer.did, **body}
    await hang_up(buyer, path, body)
    await until(partial(charged, buyer, before), "the charge")
    sent = {"authorization": f"Bearer {buyer.key}", "x-stainless-retry-count": "1"}
    async with aiohttp.ClientSession(headers=sent) as http, http.post(buyer.world.node.url + path, json=body) as answer:
        assert (answer.status, answer.headers.get("idempotent-replayed")) == (200, "true")
        text = await answer.text()
    assert (".completed" in text) == body.get("stream", False)
    assert before - await buyer.left() == 1


async def hang_up(buyer: Buyer, path: str, body: dict[str, Any]) -> None:
    """Sends the first try, and closes the connection as soon as the node has all of it: sooner, and it isn't begun."""
    node, data = urlsplit(buyer.world.node.url), orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: {node.netloc}\r\nAuthorization: Bearer {buyer.key}\r\n"
    head += f"Content-Type: application/json\r\nX-Stainless-Retry-Count: 0\r\nContent-Length: {len(data)}\r\n\r\n"

    def send() -> None:  # without an event loop, which would close the connection a turn later
        with socket.create_connection((node.hostname, node.port)) as connection:
            connection.sendall(head.encode() + data[:-1])
            time.sleep(0.5)  # the node waits for the last byte
            connection.sendall(data[-1:])

    await asyncio.to_thread(send)


async def charged(buyer: Buyer, before: int) -> bool:
    return await buyer.left() < before and not await buyer.reserved()


async def test_a_call_that_the_provider_failed_is_made_again_under_its_key(buyer: Buyer) -> None:
    before = await buyer.left()
    await buyer.world.provider.queue("[[fail 500]]")
    status, _, headers = await buyer.post("/v1/responses", {"input": "try"}, idempotency_key="failed once")
    assert (status, headers["x-nvm-credits-charged"]) == (502, "0")
    status, _, headers = await buyer.post("/v1/responses", {"input": "try"}, idempotency_key="failed once")
    assert status == 200
    assert "idempotent-replayed" not in headers
    assert before - await buyer.left() == 1


async def test_a_key_that_is_no_key_is_refused_before_anything_else(buyer: Buyer) -> None:
    headers = {"authorization": "Bearer nvm_wrong", "idempotency-key": "x"}
    url = f"{buyer.world.node.url}/v1/responses"
    async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json={}) as answer:
        assert answer.status == 401


async def test_a_node_that_is_killed_while_it_answers_charges_once(buyer: Buyer) -> None:
    before, node = await buyer.left(), buyer.world.node
    await buyer.world.provider.forget()
    body = {"input": "[[wait 3]] again"}
    first = asyncio.create_task(buyer.post("/v1/responses", body, idempotency_key="killed"))
    async with asyncio.timeout(30):
        while not await buyer.world.provider.requests():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert node.process is not None
    node.process.process.kill()
    with pytest.raises(aiohttp.ClientError):
        await first
    await node.stop()
    await node.start()
    status, data, _ = await buyer.post("/v1/responses", body, idempotency_key="killed")
    assert status == 200
    assert b"again" in data
    assert before - await buyer.left() == 1
