"""`POST /v1/responses` over every dialect: the same events as from a provider of Responses, the same metering."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai.types.responses import ResponseStreamEvent

from nvm_chain.pricing import Pricing
from tests.provider.conforms import assert_conforms
from tests.selling import Market, Sold
from tests.shop import DIALECTS, Shop
from tests.world import World, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
WEATHER: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
CALLS = '[[call weather {"city": "Oslo"}]] [[call weather {"city": "Rome now"}]]'
NUMBER = {"type": "json_schema", "name": "n", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
ASKED: dict[str, Json] = {
    "text": {"input": "one two three"},
    "calls": {"input": CALLS, "tools": [WEATHER]},
    "schema": {"input": "two words", "text": {"format": NUMBER}},
    "too long": {"input": "[[tokens 50]]", "max_output_tokens": 16},
}
PRICING = Pricing.tokens(input=100_000, output=1_000_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(world: World) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        yield Shop(Market(world, stack=stack))


def told(events: list[Any]) -> list[Any]:
    """Events without what belongs to one answer, one server, or to the face that the node gives it."""
    return [_plain(event) for event in events]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("object") == "response":
        value = {name: value[name] for name in ("status", "output", "incomplete_details", "usage")}
    own = ("id", "item_id", "call_id")
    details = {"input_tokens_details": None} if "input_tokens_details" in value else {}
    return {name: _plain(one) for name, one in {**value, **details}.items() if name not in own}


@pytest.mark.conformance("POST /v1/responses", client="http")
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_is_the_one_that_openai_gives_event_by_event(shop: Shop, asked: Json, dialect: str) -> None:
    sold, provider = await shop.sold(dialect), shop.market.world.provider
    through = await sold.chunks("/responses", {"model": str(sold.did), "store": False, **asked})
    for event in through:
        assert_conforms(ResponseStreamEvent, event)
    direct = []
    async with openai.AsyncOpenAI(base_url=provider.url, api_key=provider.key) as client:
        body = {"model": "stand-in", "instructions": "You answer briefly.", "stream": True, "store": False, **asked}
        async for event in await client.responses.create(**body):
            direct.append(event.to_dict(mode="json"))
    if dialect == "assistants" and "tools" in asked:  # usage comes when the run ends, with the outputs
        direct[-1]["response"]["usage"] = None
    assert told(through) == told(direct)


async def charged(sold: Sold, body: Json) -> tuple[int, Json]:
    """What a call cost, and its answer."""
    async with sold.http() as http, http.post(f"{sold.url}/responses", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return int(answer.headers["x-nvm-credits-charged"]), await answer.json()


def price(usage: Json) -> int:
    micro: int = usage["input_tokens"] * 100_000 + usage["output_tokens"] * 1_000_000
    return -(-micro // 1_000_000)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_tool_rounds_are_priced_to_the_token(shop: Shop, dialect: str) -> None:
    sold = await shop.market.sell(dialect, credits=(1, 90), pricing=PRICING)
    question: list[Json] = [{"role": "user", "content": CALLS}]
    body: Json = {"model": str(sold.did), "tools": [WEATHER], "store": False}
    first_cost, first = await charged(sold, {**body, "input": question})
    calls = [item for item in first["output"] if item["type"] == "function_call"]
    outputs = [{"type": "function_call_output", "call_id": call["call_id"], "output": "sun"} for call in calls]
    cost, second = await charged(sold, {**body, "input": [*question, *first["output"], *outputs]})
    assert second["output"][-1]["content"][0]["text"] == "weather returned sun. weather returned sun"
    assert cost == price(second["usage"])
    if dialect == "assistants":
        assert (first_cost, first["usage"]) == (1, None)
    else:
        assert first_cost == price(first["usage"])
    total, whole = second["usage"]["output_tokens"], 2 + 3 + 6  # two calls' names and arguments, and the answer
    if dialect != "assistants":
        total += first["usage"]["output_tokens"]
    assert total == whole + 2
    if dialect == "assistants":

        async def forgotten() -> bool:
            asked = await sold.world.provider.requests()
            threads = [one for one in asked if one["path"].startswith("/v1/threads/")]
            return bool(threads[-1]["method"] == "DELETE")

        await until(forgotten, "the thread to be deleted at the provider")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_who_hangs_up_pays_for_what_was_used(shop: Shop, dialect: str) -> None:
    sold = await shop.market.sell(dialect, credits=(1, 100), pricing=Pricing.tokens(input=0, output=1_000_000))
    before = await sold.left()
    body = {"model": str(sold.did), "input": "[[tokens 30]] [[delay 0.02]]", "stream": True}
    async with sold.http() as http, http.post(f"{sold.url}/responses", json=body) as answer:
        await answer.content.readline()

    async def settled() -> bool:
        async with sold.http() as http, http.get(f"{sold.url}/account") as answer:
            (plan,) = (await answer.json())["plans"]
        return bool(plan["reserved"] == 0 and plan["credits_left"] < before)

    await until(settled, "the charge for a stream that was left")
    assert before - await sold.left() == 30


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", ["fail 500", "html", "cut 3", "fail_after 3", "error_after 3"])
async def test_what_the_provider_fails_to_give_costs_nothing(shop: Shop, dialect: str, fault: str) -> None:
    sold = await shop.sold(dialect)
    before = await sold.left()
    body = {"model": str(sold.did), "input": f"a b c d [[{fault}]]"}
    async with sold.http() as http:
        async with http.post(f"{sold.url}/responses", json=body) as answer:
            if answer.status == 200:
                assert (await answer.json())["status"] == "failed"
        async with http.post(f"{sold.url}/responses", json={**body, "stream": True}) as answer:
            text = await answer.text()
    assert "response.completed" not in text
    assert await sold.left() == before


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_the_dialect_can_not_say_is_refused_by_name(shop: Shop, dialect: str) -> None:
    sold = await shop.sold(dialect)
    body = {"model": str(sold.did), "input": "hi", "reasoning": {"effort": "low", "summary": "auto"}}
    async with sold.http() as http, http.post(f"{sold.url}/responses", json=body) as answer:
        if dialect.startswith("responses"):
            assert answer.status == 200
        else:
            assert answer.status == 400
            assert (await answer.json())["error"]["param"] == "reasoning.summary"


async def test_a_hosted_tool_that_the_dialect_lacks_is_the_builders_fault(shop: Shop) -> None:
    sold = await shop.market.sell("chat", tools=({"type": "web_search"},))
    body = {"model": str(sold.did), "input": "hi"}
    async with sold.http() as http, http.post(f"{sold.url}/responses", json=body) as answer:
        assert answer.status == 503
        error = (await answer.json())["error"]
    assert error["code"] == "assistant_unavailable"
    assert "web_search" not in error["message"]
    assert (await sold.left()) > 0
