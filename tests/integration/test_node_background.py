"""Responses in the background: polled, streamed, resumed, cancelled, lost; charged before they show as completed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from openai.types.responses import Response, ResponseStreamEvent

from nvm_chain.pricing import Pricing
from tests.openai_clients import CLIENTS, Client, Refused, open_client
from tests.provider.conforms import assert_conforms
from tests.selling import Market
from tests.shop import DIALECTS, Shop
from tests.world import World, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PENDING = ("queued", "in_progress")
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(world: World) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        yield Shop(Market(world, stack=stack))


every_client = pytest.mark.parametrize("client", CLIENTS)
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def text(response: Json) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


async def ended(api: Client, id: str) -> Json:
    """The response as it is when it isn't at work any more."""
    found: Json = {}

    async def there() -> bool:
        found.update(await api.call("responses.retrieve", id))
        return found["status"] not in PENDING

    await until(there, f"the end of {id}")
    return found


@every_client
@every_dialect
@pytest.mark.conformance("POST /v1/responses", "GET /v1/responses/{id}")
async def test_it_is_asked_for_until_it_is_there(shop: Shop, client: str, dialect: str) -> None:
    api, did = await shop.client(client, dialect)
    sold = await shop.sold(dialect)
    before = await sold.left()
    made = await api.call("responses.create", model=did, input="hello [[wait 0.3]]", background=True)
    assert made["status"] in PENDING
    assert made["background"] is True
    found = await ended(api, made["id"])
    assert (found["status"], text(found), found["id"]) == ("completed", "You said: hello", made["id"])
    assert await sold.left() == before - 1
    following = await api.call("responses.create", model=did, input="[[history]]and", previous_response_id=made["id"])
    assert text(following) == "history of 3: user: hello | assistant: You said: hello | user: and"


@every_client
@every_dialect
@pytest.mark.conformance("POST /v1/responses", "GET /v1/responses/{id}")
async def test_its_stream_can_be_resumed_anywhere(shop: Shop, client: str, dialect: str) -> None:
    api, did = await shop.client(client, dialect)
    whole = await api.events("responses.create", model=did, input="one two three", background=True, stream=True)
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert whole[-1]["type"] == "response.completed"
    id = whole[0]["response"]["id"]
    for after in (0, 3, len(whole) - 2, len(whole) - 1, 1000):
        rest = await api.events("responses.retrieve", id, stream=True, starting_after=after)
        assert rest == whole[after + 1 :]
    assert await api.events("responses.retrieve", id, stream=True) == whole


async def test_whoever_resumes_hears_what_is_still_to_come(shop: Shop) -> None:
    """Two listeners, one of whom comes late, and a third who leaves, hear the same as it comes."""
    sold = await shop.sold("responses-stateless")
    body = {"model": str(sold.did), "input": "one two three [[delay 0.1]]", "background": True, "stream": True}
    async with sold.http() as http:
        async with http.post(f"{sold.url}/responses", json=body) as answer:
            first = await next_event(answer)
            assert_conforms(ResponseStreamEvent, first)
            id = first["response"]["id"]
            answer.close()
        times: list[float] = []

        async def listen(after: int) -> list[Json]:
            events = []
            url = f"{sold.url}/responses/{id}?stream=true&starting_after={after}"
            async with http.get(url) as answer:
                while event := await next_event(answer):
                    events.append(event)
                    times.append(asyncio.get_running_loop().time())
            return events

        early, late = await asyncio.gather(listen(-1), listen(2))
    assert early[0] == first
    assert late == early[3:]
    assert early[-1]["type"] == "response.completed"
    assert max(times) - min(times) > 0.5  # as they came, not all at the end
    for event in early:
        assert_conforms(ResponseStreamEvent, event)


async def next_event(answer: aiohttp.ClientResponse) -> Json:
    """Empty at the end."""
    while line := await answer.content.readline():
        if line.startswith(b"data: "):
            found: Json = orjson.loads(line[6:])
            return found
    return {}


@pytest.mark.parametrize("dialect", ["responses-stateless", "responses"])
async def test_only_what_runs_in_the_background_can_be_streamed_again_or_cancelled(shop: Shop, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    made = await api.call("responses.create", model=did, input="hello")
    with pytest.raises(Refused) as caught:
        await api.events("responses.retrieve", made["id"], stream=True)
    assert (caught.value.status, caught.value.param) == (400, "stream")
    with pytest.raises(Refused, match="Cannot cancel a synchronous response"):
        await api.call("responses.cancel", made["id"])


@every_client
@every_dialect
@pytest.mark.conformance("POST /v1/responses/{id}/cancel")
async def test_it_can_be_cancelled(shop: Shop, client: str, dialect: str) -> None:
    api, did = await shop.client(client, dialect)
    made = await api.call("responses.create", model=did, input="hello [[wait 60]]", background=True)
    cancelled = await api.call("responses.cancel", made["id"])
    assert (cancelled["status"], cancelled["output"]) == ("cancelled", [])
    assert_conforms(Response, {name: value for name, value in cancelled.items() if name != "output_text"})
    assert (await api.call("responses.cancel", made["id"]))["status"] == "cancelled"
    done = await api.call("responses.create", model=did, input="hello", background=True)
    await ended(api, done["id"])
    with pytest.raises(Refused, match="Cannot cancel a completed response"):
        await api.call("responses.cancel", done["id"])


async def test_a_cancelled_one_ends_its_streams_and_its_work_at_the_provider(shop: Shop, world: World) -> None:
    api, did = await shop.client("python-async", "responses")
    await world.provider.forget()
    made = await api.call("responses.create", model=did, input="a b c [[delay 5]]", background=True)
    listening = asyncio.create_task(api.events("responses.retrieve", made["id"], stream=True))
    await asyncio.sleep(0.3)
    await api.call("responses.cancel", made["id"])
    async with asyncio.timeout(10):
        events = await listening
    assert not {event["type"] for event in events} & {"response.completed", "response.failed"}
    paths = [request["path"] for request in await world.provider.requests()]
    assert paths[-1].endswith("/cancel")


async def test_cancelling_is_no_way_to_get_an_answer_for_less(shop: Shop) -> None:
    sold = await shop.market.sell("responses", credits=(2, 30), pricing=Pricing.tokens(input=0, output=1_000_000))
    async with open_client("python-async", sold.url, sold.key) as api:
        did, before = str(sold.did), await sold.left()
        made = await api.call("responses.create", model=did, input="[[wait 60]]", background=True)
        await api.call("responses.cancel", made["id"])
        assert await sold.left() == before - 2  # nothing of it was seen
        made = await api.call("responses.create", model=did, input="[[tokens 20]][[delay 0.2]]", background=True)
        stream = api.events("responses.retrieve", made["id"], stream=True)
        listening = asyncio.create_task(stream)
        await asyncio.sleep(1.5)
        await api.call("responses.cancel", made["id"])
        assert any(event["type"] == "response.output_text.delta" for event in await listening)
        assert await sold.left() == before - 2 - 30


@every_dialect
async def test_one_that_the_provider_fails_is_failed_and_costs_nothing(shop: Shop, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    sold = await shop.sold(dialect)
    before = await sold.left()
    made = await api.call("responses.create", model=did, input="one two [[error_after 4]]", background=True)
    found = await ended(api, made["id"])
    assert (found["status"], found["error"]["code"]) == ("failed", "server_error")
    events = await api.events("responses.retrieve", made["id"], stream=True)
    assert events[-1]["type"] == "response.failed"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert await sold.left() == before


async def test_what_the_provider_refuses_at_once_is_refused_at_once(shop: Shop) -> None:
    api, did = await shop.client("python-async", "responses")
    with pytest.raises(Refused) as caught:
        await api.call("responses.create", model=did, input="hello [[fail 429 rate_limit_exceeded]]", background=True)
    assert caught.value.status == 429
    with pytest.raises(Refused) as caught:
        await api.call("responses.create", model=did, input="hello", background=True, store=False)
    assert (caught.value.status, caught.value.param) == (400, "background")


async def test_a_connection_to_the_provider_that_breaks_is_taken_up_again(shop: Shop) -> None:
    api, did = await shop.client("python-async", "responses")
    whole = await api.events("responses.create", model=did, input="one two", background=True, stream=True)
    cut = await api.events("responses.create", model=did, input="one two [[cut 5]]", background=True, stream=True)
    assert [event["type"] for event in cut] == [event["type"] for event in whole]
    assert text(cut[-1]["response"]) == "You said: one two"


async def test_a_conversation_is_locked_as_long_as_it_works(shop: Shop) -> None:
    api, did = await shop.client("python-async", "responses")
    id = (await api.call("conversations.create"))["id"]
    made = await api.call("responses.create", model=did, input="a [[wait 1]]", conversation=id, background=True)
    with pytest.raises(Refused) as caught:
        await api.call("responses.create", model=did, input="b", conversation=id)
    assert caught.value.code == "conversation_locked"
    await ended(api, made["id"])
    assert text(await api.call("responses.create", model=did, input="[[history]]c", conversation=id)).startswith(
        "history of 3"
    )


async def test_one_that_is_asked_for_twice_under_one_name_is_one(shop: Shop) -> None:
    sold = await shop.sold("chat")
    before = await sold.left()
    body = {"model": str(sold.did), "input": "hello", "background": True}
    ids = []
    async with sold.http() as http:
        for _ in range(2):
            headers = {"idempotency-key": "the same"}
            async with http.post(f"{sold.url}/responses", json=body, headers=headers) as answer:
                ids.append((await answer.json())["id"])
    assert ids[0] == ids[1]
    api, _ = await shop.client("python-async", "chat")
    assert (await ended(api, ids[0]))["status"] == "completed"
    assert await sold.left() == before - 1


async def test_one_at_work_can_be_deleted(shop: Shop) -> None:
    api, did = await shop.client("python-async", "responses-stateless")
    made = await api.call("responses.create", model=did, input="hello [[wait 60]]", background=True)
    await api.call("responses.delete", made["id"])
    with pytest.raises(Refused) as caught:
        await api.call("responses.retrieve", made["id"])
    assert caught.value.status == 404
    sold = await shop.sold("responses-stateless")
    assert await sold.left() > 0  # nothing is reserved any more


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_what_a_node_leaves_behind_has_failed_and_was_not_charged(world: World, shop: Shop, how: str) -> None:
    sold = await shop.market.sell("responses")
    async with open_client("python-async", sold.url, sold.key) as api:
        did, before = str(sold.did), await sold.left()
        conversation = (await api.call("conversations.create"))["id"]
        body: Json = {"model": did, "conversation": conversation, "background": True}
        made = await api.call("responses.create", input="one two three [[delay 1]]", **body)
        kept = await api.call("responses.create", model=did, input="hello", background=True)
        await ended(api, kept["id"])
        await asyncio.sleep(1.5)
        if how == "killed":
            assert world.node.process is not None
            world.node.process.process.kill()
            await world.node.process.process.wait()
        await world.node.restart()
        found = await api.call("responses.retrieve", made["id"])
        assert (found["status"], found["error"]["code"], found["output"]) == ("failed", "server_error", [])
        events = await api.events("responses.retrieve", made["id"], stream=True)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["type"] == "response.failed"
        assert len(events) > 1
        assert (await api.call("responses.retrieve", kept["id"]))["status"] == "completed"
        assert await sold.left() == before - 1
        again = await api.call("responses.create", model=did, input="[[history]]again", conversation=conversation)
        assert text(again) == "history of 1: user: again"
