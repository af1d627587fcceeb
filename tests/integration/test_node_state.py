"""What the node keeps for subscribers, through three clients, over every dialect: responses, conversations, items."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest
import pytest_asyncio
from openai.types.conversations import Conversation, ConversationDeletedResource, ConversationItem, ConversationItemList
from openai.types.responses import Response
from openai.types.responses.response_item_list import ResponseItemList
from pydantic import BaseModel

from nvm_chain.policy import Policy
from tests.openai_clients import CLIENTS, Client, Refused, open_client
from tests.provider.conforms import assert_conforms
from tests.selling import Market
from tests.shop import DIALECTS, Shop
from tests.world import World, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
WEATHER: Json = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(world: World) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        yield Shop(Market(world, stack=stack))


every_client = pytest.mark.parametrize("client", CLIENTS)
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def text(response: Json) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def user(said: str) -> Json:
    return {"role": "user", "content": said}


# ---------------------------------------------------------------------------------------------------------- responses


@every_client
@every_dialect
@pytest.mark.conformance(
    "POST /v1/responses", "GET /v1/responses/{id}", "DELETE /v1/responses/{id}", "GET /v1/responses/{id}/input_items"
)
async def test_a_response_is_kept_until_it_is_deleted(shop: Shop, client: str, dialect: str) -> None:
    api, did = await shop.client(client, dialect)
    given = [user(f"message {n}") for n in range(5)]
    made = await api.call("responses.create", model=did, input=given, metadata={"mine": "1"})
    assert made["store"] is True
    again = await api.call("responses.retrieve", made["id"])
    assert without(again, "output_text") == without(made, "output_text")
    listed = await api.events("responses.input_items.list", made["id"], limit=2, order="asc")
    assert [item["content"][0]["text"] for item in listed] == [f"message {n}" for n in range(5)]
    await api.call("responses.delete", made["id"])
    for method in ("responses.retrieve", "responses.delete"):
        with pytest.raises(Refused) as caught:
            await api.call(method, made["id"])
        assert (caught.value.kind, caught.value.status) == ("NotFoundError", 404)


def without(value: Json, *names: str) -> Json:
    return {name: one for name, one in value.items() if name not in names}


@every_dialect
async def test_what_is_not_to_be_kept_is_not_kept(shop: Shop, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    made = await api.call("responses.create", model=did, input="hello", store=False)
    assert made["store"] is False
    with pytest.raises(Refused) as caught:
        await api.call("responses.retrieve", made["id"])
    assert caught.value.status == 404
    with pytest.raises(Refused) as caught:
        await api.call("responses.create", model=did, input="again", previous_response_id=made["id"])
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


@every_client
@every_dialect
@pytest.mark.conformance("POST /v1/responses")
async def test_a_response_goes_on_from_the_one_before(shop: Shop, client: str, dialect: str) -> None:
    api, did = await shop.client(client, dialect)
    first = await api.call("responses.create", model=did, input="one")
    second = await api.call("responses.create", model=did, input="two", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    third = await api.call("responses.create", model=did, input="[[history]]three", previous_response_id=second["id"])
    said = "user: one | assistant: You said: one | user: two | assistant: You said: two | user: three"
    assert text(third) == f"history of 5: {said}"
    branch = await api.call("responses.create", model=did, input="[[history]]other", previous_response_id=first["id"])
    assert text(branch) == "history of 3: user: one | assistant: You said: one | user: other"


async def test_a_small_server_that_gives_ids_again_overwrites_nothing(shop: Shop) -> None:
    """Some draw them from a million, some begin anew with every start."""
    api, did = await shop.client("python-async", "responses-stateless")
    ids = [(await api.call("conversations.create"))["id"] for _ in range(2)]
    made = []
    for number, id in enumerate(ids):
        made.append(await api.call("responses.create", model=did, input=f"[[same_ids]]in {number}", conversation=id))
        made.append(await api.call("responses.create", model=did, input=f"[[same_ids]]alone {number}"))
    for one in made:
        assert text(await api.call("responses.retrieve", one["id"])) == text(one)
    for number, id in enumerate(ids):
        items = await api.events("conversations.items.list", id, order="asc")
        assert [item["content"][0]["text"] for item in items][1:] == [f"You said: in {number}"]


async def test_a_chain_whose_middle_was_deleted_says_so(shop: Shop) -> None:
    """Where the node gives the whole history, it gives the whole history or none."""
    api, did = await shop.client("python-async", "chat")
    first = await api.call("responses.create", model=did, input="one")
    second = await api.call("responses.create", model=did, input="two", previous_response_id=first["id"])
    await api.call("responses.delete", first["id"])
    with pytest.raises(Refused, match=first["id"]) as caught:
        await api.call("responses.create", model=did, input="three", previous_response_id=second["id"])
    assert caught.value.code == "previous_response_not_found"


@every_dialect
async def test_functions_are_called_and_answered_over_the_response_before(shop: Shop, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    ask: Json = {"model": did, "tools": [WEATHER]}
    first = await api.call("responses.create", input='[[call weather {"city": "Oslo"}]]', **ask)
    (call,) = [item for item in first["output"] if item["type"] == "function_call"]
    with pytest.raises(Refused, match=f"No tool output found for function call {call['call_id']}"):
        await api.call("responses.create", input="and?", previous_response_id=first["id"], **ask)
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    other = {**output, "call_id": "call_no"}
    with pytest.raises(Refused, match="No tool call found for function call output with call_id call_no"):
        await api.call("responses.create", input=[output, other], previous_response_id=first["id"], **ask)
    told = await api.call("responses.create", input=[output], previous_response_id=first["id"], **ask)
    assert text(told) == "weather returned rain"
    listed = await api.events("responses.input_items.list", told["id"])
    assert [(item["type"], item["call_id"]) for item in listed] == [("function_call_output", call["call_id"])]
    after = await api.call("responses.create", input="hello", previous_response_id=told["id"], **ask)
    assert text(after) == "You said: hello"


@every_dialect
async def test_the_synchronous_clients_parse_goes_round_with_a_tool(shop: Shop, dialect: str) -> None:
    class Weather(BaseModel):
        city: str

    sold = await shop.sold(dialect)
    tools: Any = [openai.pydantic_function_tool(Weather, name="weather")]

    def talk() -> str:
        with openai.OpenAI(base_url=sold.url, api_key=sold.key, max_retries=0) as client:
            said: Any = [user('[[call weather {"city": "Oslo"}]]')]
            asked = client.responses.parse(model=str(sold.did), input=said, tools=tools, store=False)
            (call,) = (item for item in asked.output if item.type == "function_call")
            assert call.parsed_arguments == Weather(city="Oslo")
            said += [*asked.output, {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
            told = client.responses.parse(model=str(sold.did), input=said, tools=tools, store=False)
            parsed = client.responses.parse(model=str(sold.did), input="words", text_format=Weather)
            assert isinstance(parsed.output_parsed, Weather)
            return told.output_text

    assert await asyncio.to_thread(talk) == "weather returned rain"


@every_dialect
async def test_items_may_be_named_instead_of_repeated(shop: Shop, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    first = await api.call("responses.create", model=did, input="one")
    reference = {"type": "item_reference", "id": first["output"][-1]["id"]}
    second = await api.call("responses.create", model=did, input=[user("one"), reference, user("[[history]]two")])
    assert text(second) == "history of 3: user: one | assistant: You said: one | user: two"
    with pytest.raises(Refused) as caught:
        await api.call("responses.create", model=did, input=[{"type": "item_reference", "id": "msg_none"}])
    assert (caught.value.status, caught.value.param) == (404, "input")


async def test_everything_that_is_kept_has_openais_own_form(shop: Shop) -> None:
    sold = await shop.sold("responses")
    function = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}
    image = {"type": "input_image", "image_url": "https://example.org/x.png"}
    document = {"type": "input_file", "filename": "x.txt", "file_data": "data:text/plain;base64,aGk="}
    items: list[Json] = [
        {"role": "user", "content": [{"type": "input_text", "text": "look"}, image, document]},
        {"role": "developer", "content": "Be kind."},
        {"role": "assistant", "content": "I did."},
        function,
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        user("hello"),
    ]
    async with sold.http() as http:

        async def send(method: str, path: str, body: Json | None = None) -> Any:
            async with http.request(method, f"{sold.url}{path}", json=body) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        conversation = await send("POST", "/conversations", {"items": items[:5], "metadata": {"a": "b"}})
        assert_conforms(Conversation, conversation)
        asked = {"model": str(sold.did), "input": items[5:], "conversation": conversation["id"]}
        response = await send("POST", "/responses", asked)
        assert_conforms(Response, response)
        assert_conforms(Response, await send("GET", f"/responses/{response['id']}"))
        assert response["conversation"] == {"id": conversation["id"]}
        page = await send("GET", f"/conversations/{conversation['id']}/items")
        assert_conforms(ConversationItemList, page)
        assert [item["type"] for item in page["data"]][::-1] == [
            *(one.get("type", "message") for one in items),
            "message",
        ]
        for item in page["data"]:
            path = f"/conversations/{conversation['id']}/items/{item['id']}"
            assert_conforms(ConversationItem, await send("GET", path))
        plain = await send("POST", "/responses", {"model": str(sold.did), "input": items})
        assert_conforms(ResponseItemList, await send("GET", f"/responses/{plain['id']}/input_items"))
        deleted = await send("DELETE", f"/conversations/{conversation['id']}")
        assert_conforms(ConversationDeletedResource, deleted)


# ------------------------------------------------------------------------------------------------------ conversations


@every_client
@every_dialect
@pytest.mark.conformance(
    "POST /v1/conversations",
    "GET /v1/conversations/{id}",
    "POST /v1/conversations/{id}",
    "DELETE /v1/conversations/{id}",
    "POST /v1/conversations/{id}/items",
    "GET /v1/conversations/{id}/items",
    "GET /v1/conversations/{id}/items/{item}",
    "DELETE /v1/conversations/{id}/items/{item}",
)
async def test_a_conversation_from_its_beginning_to_its_end(shop: Shop, client: str, dialect: str) -> None:
    api, did = await shop.client(client, dialect)
    made = await api.call("conversations.create", items=[user("zero")], metadata={"topic": "numbers"})
    id = made["id"]
    await api.call("responses.create", model=did, input="one", conversation=id)
    added = await api.call("conversations.items.create", id, items=[user("two"), {"role": "assistant", "content": "2"}])
    await api.events("responses.create", model=did, input="three", conversation={"id": id}, stream=True)
    told = await api.call("responses.create", model=did, input="[[history]]four", conversation=id)
    said = [
        *("user: zero", "user: one", "assistant: You said: one", "user: two", "assistant: 2", "user: three"),
        *("assistant: You said: three", "user: four"),
    ]
    assert text(told) == f"history of 8: {' | '.join(said)}"

    listed = await api.events("conversations.items.list", id, limit=3, order="asc")
    assert len(listed) == 9
    newest = await api.events("conversations.items.list", id, limit=2)
    assert [item["id"] for item in newest] == [item["id"] for item in listed][::-1]
    second = added["data"][0]["id"]
    item = await retrieve_item(api, client, "retrieve", second, id)
    assert item["content"][0]["text"] == "two"
    await retrieve_item(api, client, "delete", second, id)
    told = await api.call("responses.create", model=did, input="[[history]]five", conversation=id)
    assert text(told).startswith("history of 9: user: zero | user: one | assistant: You said: one | assistant: 2 |")

    updated = await api.call("conversations.update", id, metadata={"topic": "more"})
    assert updated["metadata"] == {"topic": "more"}
    assert (await api.call("conversations.retrieve", id))["metadata"] == {"topic": "more"}
    assert (await api.call("conversations.delete", id))["deleted"] is True
    with pytest.raises(Refused) as caught:
        await api.call("responses.create", model=did, input="six", conversation=id)
    assert (caught.value.status, caught.value.param) == (404, "conversation")


async def retrieve_item(api: Client, client: str, verb: str, item: str, conversation: str) -> Any:
    """npm's package names the parameter as it is on the wire too."""
    return await api.call(f"conversations.items.{verb}", item, conversation_id=conversation)


async def test_a_conversation_goes_on_with_another_assistant_at_another_provider(shop: Shop, world: World) -> None:
    """The builder of each sees what was said; the provider that keeps state is told what it missed, once."""
    market = shop.market
    wallet, key = None, ""
    dids: dict[str, str] = {}
    for dialect in DIALECTS:
        sold = await market.sell(dialect)
        dids[dialect] = str(sold.did)
        if wallet is None:
            wallet, key = sold.wallet, sold.key
        else:
            await world.buy(sold.plan, wallet)
    async with open_client("python-async", f"{world.node.url}/v1", key) as api:
        id = (await api.call("conversations.create"))["id"]
        said: list[str] = []
        for number, dialect in enumerate(
            ("responses", "chat", "responses-stateless", "responses", "responses", "chat")
        ):
            words = f"number {number}"
            told = await api.call("responses.create", model=dids[dialect], input=f"[[history]]{words}", conversation=id)
            said.append(f"user: {words}")
            assert text(told) == f"history of {len(said)}: {' | '.join(said)}"
            said.append(f"assistant: {text(told)}")


async def test_one_response_at_a_time_works_on_a_conversation(shop: Shop) -> None:
    api, did = await shop.client("python-async", "responses-stateless")
    id = (await api.call("conversations.create"))["id"]
    slow = asyncio.create_task(api.call("responses.create", model=did, input="a [[wait 1]]", conversation=id))
    await asyncio.sleep(0.3)
    others = [
        api.call("responses.create", model=did, input="b", conversation=id),
        api.call("conversations.items.create", id, items=[user("c")]),
    ]
    for outcome in await asyncio.gather(*others, return_exceptions=True):
        assert isinstance(outcome, Refused)
        assert (outcome.status, outcome.code) == (400, "conversation_locked")
    await slow
    await api.call("responses.create", model=did, input="d", conversation=id)
    assert len(await api.events("conversations.items.list", id)) == 4


async def test_a_conversation_that_is_at_work_is_not_deleted_from_under_its_response(shop: Shop) -> None:
    """Its items would be left behind, out of their owner's reach and for good."""
    api, did = await shop.client("python-async", "responses-stateless")
    id = (await api.call("conversations.create"))["id"]
    slow = asyncio.create_task(api.call("responses.create", model=did, input="b [[wait 2]]", conversation=id))

    async def at_work() -> bool:
        return any("b [[wait 2]]" in str(one["body"]) for one in await shop.market.world.provider.requests())

    await until(at_work, "the response at work")
    with pytest.raises(Refused) as caught:
        await api.call("conversations.delete", id)
    assert (caught.value.status, caught.value.code) == (400, "conversation_locked")
    await slow
    assert (await api.call("conversations.delete", id))["deleted"] is True
    with pytest.raises(Refused):
        await api.call("conversations.items.list", id)


@every_dialect
async def test_a_failed_response_leaves_the_conversation_as_it_was(shop: Shop, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    id = (await api.call("conversations.create"))["id"]
    await api.call("responses.create", model=did, input="one", conversation=id)
    for directive in ("[[fail 500]]", "[[fail 429 rate_limit_exceeded]]"):
        with pytest.raises(Refused):
            await api.call("responses.create", model=did, input=f"two {directive}", conversation=id)
    events = await api.events("responses.create", model=did, input="three [[cut 3]]", conversation=id, stream=True)
    assert events[-1]["type"] == "error"
    told = await api.call("responses.create", model=did, input="[[history]]four", conversation=id)
    assert text(told) == "history of 3: user: one | assistant: You said: one | user: four"


@every_dialect
async def test_functions_are_called_and_answered_in_a_conversation(shop: Shop, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    id = (await api.call("conversations.create"))["id"]
    ask: Json = {"model": did, "tools": [WEATHER], "conversation": id}
    first = await api.call("responses.create", input='[[call weather {"city": "Oslo"}]]', **ask)
    (call,) = [item for item in first["output"] if item["type"] == "function_call"]
    with pytest.raises(Refused, match="No tool output found"):
        await api.call("responses.create", input="and?", **ask)
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    assert text(await api.call("responses.create", input=[output], **ask)) == "weather returned rain"
    assert text(await api.call("responses.create", input="hello", **ask)) == "You said: hello"


@every_dialect
async def test_a_call_may_be_answered_by_an_item_added_to_the_conversation(shop: Shop, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    id = (await api.call("conversations.create"))["id"]
    ask: Json = {"model": did, "tools": [WEATHER], "conversation": id}
    first = await api.call("responses.create", input='[[call weather {"city": "Oslo"}]]', **ask)
    (call,) = [item for item in first["output"] if item["type"] == "function_call"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    await api.call("conversations.items.create", id, items=[output])
    assert text(await api.call("responses.create", input="so?", **ask)) == "You said: so?"


async def test_a_call_is_answered_though_the_provider_lost_the_conversation(shop: Shop) -> None:
    api, did = await shop.client("python-async", "responses")
    id = (await api.call("conversations.create"))["id"]
    ask: Json = {"model": did, "tools": [WEATHER], "conversation": id}
    first = await api.call("responses.create", input="[[call weather {}]]", **ask)
    (call,) = [item for item in first["output"] if item["type"] == "function_call"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    await shop.market.world.provider.queue("[[cut 2]]", path="/v1/responses")
    events = await api.events("responses.create", input=[output], stream=True, **ask)
    assert events[-1]["type"] == "error"  # what the provider remembers isn't known now
    assert text(await api.call("responses.create", input=[output], **ask)) == "weather returned rain"


async def test_a_provider_that_has_lost_its_memory_is_told_everything(shop: Shop, world: World) -> None:
    """Somebody tidied the builder's account up: nothing of it is needed."""
    api, did = await shop.client("python-async", "responses")
    await world.provider.forget()
    id = (await api.call("conversations.create"))["id"]
    ask: Json = {"model": did, "tools": [WEATHER]}
    await api.call("responses.create", input="one", conversation=id, **ask)
    called = await api.call("responses.create", input="[[call weather {}]]", conversation=id, **ask)
    first = await api.call("responses.create", input="[[call weather {}]]", **ask)
    theirs = {r["body"]["conversation"] for r in await world.provider.requests() if "conversation" in (r["body"] or {})}
    async with openai.AsyncOpenAI(base_url=world.provider.url, api_key=world.provider.key) as builder:
        for one in theirs:
            await builder.conversations.delete(one)
    output = {"type": "function_call_output", "call_id": called["output"][0]["call_id"], "output": "rain"}
    told = await api.call("responses.create", input=[output], conversation=id, **ask)
    assert text(told) == "weather returned rain"
    told = await api.call("responses.create", input="[[history]]two", conversation=id, **ask)
    assert text(told).startswith("history of 7: user: one | assistant: You said: one")

    await world.provider.queue("[[fail 404]]", path="/v1/responses")  # as for a response that isn't there
    output["call_id"] = first["output"][0]["call_id"]
    for background in (False, True):
        told = await api.call(
            "responses.create", input=[output], previous_response_id=first["id"], background=background, **ask
        )
        await until(lambda id=told["id"]: completed(api, id), "the response")  # type: ignore[misc]
        assert text(await api.call("responses.retrieve", told["id"])) == "weather returned rain"
        await world.provider.queue("[[fail 404]]", path="/v1/responses")
    with pytest.raises(Refused):
        await api.call("responses.create", input="nothing before", **ask)


# --------------------------------------------------------------------------------------------------------------- costs


async def test_keeping_reading_and_counting_cost_nothing(shop: Shop) -> None:
    sold = await shop.sold("responses")
    api, did = await shop.client("python-async", "responses")
    before = await sold.left()
    made = await api.call("responses.create", model=did, input="hello")
    assert await sold.left() == before - 1
    id = (await api.call("conversations.create", items=[user("a")]))["id"]
    await api.call("conversations.items.create", id, items=[user("b")])
    await api.call("responses.retrieve", made["id"])
    await api.call("responses.input_tokens.count", model=did, input="how many tokens are these")
    await api.events("responses.input_items.list", made["id"])
    await api.call("conversations.delete", id)
    await api.call("responses.delete", made["id"])
    assert await sold.left() == before - 1


async def test_what_credits_paid_for_stays_readable_when_they_are_used_up(shop: Shop) -> None:
    sold = await shop.market.sell("responses", per_unit=1)
    async with open_client("python-async", sold.url, sold.key) as api:
        made = await api.call("responses.create", model=str(sold.did), input="hello")
        with pytest.raises(Refused) as caught:
            await api.call("responses.create", model=str(sold.did), input="hello")
        assert caught.value.status == 402
        assert (await api.call("responses.retrieve", made["id"]))["id"] == made["id"]


async def test_who_holds_no_plan_keeps_nothing(shop: Shop, world: World) -> None:
    async with open_client("python-async", f"{world.node.url}/v1", await world.login(await world.wallet())) as api:
        for method, given in (
            ("conversations.create", {}),
            ("files.create", {"file": ("a.txt", b"a"), "purpose": "user_data"}),
        ):
            with pytest.raises(Refused) as caught:
                await api.call(method, **given)
            assert (caught.value.status, caught.value.code) == (402, "plan_required")


@pytest.mark.parametrize(
    "path",
    [
        *("responses/resp_1", "responses/resp_1?stream=true", "responses/resp_1/input_items"),
        *("conversations/conv_1", "conversations/conv_1/items", "conversations/conv_1/items/msg_1"),
        *("chat/completions", "chat/completions/chatcmpl-1", "chat/completions/chatcmpl-1/messages"),
        *("files", "files/file-1", "files/file-1/content"),
        *("threads/thread_1", "threads/thread_1/messages", "threads/thread_1/runs/run_1/steps"),
    ],
)
async def test_who_holds_no_plan_reads_nothing_and_may_delete(shop: Shop, world: World, path: str) -> None:
    nobody = replace(await shop.sold("responses"), key=await world.login(await world.wallet()))
    async with nobody.http() as http:
        async with http.get(f"{nobody.url}/{path}") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (402, "plan_required")
        if path in ("responses/resp_1", "conversations/conv_1", "files/file-1", "threads/thread_1"):
            async with http.delete(f"{nobody.url}/{path}") as answer:
                assert answer.status == 404


@every_client
@pytest.mark.conformance("POST /v1/responses/input_tokens", dialect="responses")
async def test_tokens_are_counted_without_the_builders_part(shop: Shop, client: str) -> None:
    api, did = await shop.client(client, "responses")
    counted = await api.call("responses.input_tokens.count", model=did, input="one two three")
    assert counted["input_tokens"] == 3
    first = await api.call("responses.create", model=did, input="one two three")
    assert first["usage"]["input_tokens"] == 3 + 3  # and "You answer briefly."
    following = await api.call(
        "responses.input_tokens.count", model=did, input="four", previous_response_id=first["id"]
    )
    assert following["input_tokens"] == 3 + 5 + 1


@pytest.mark.parametrize("dialect", ["responses-stateless", "chat", "assistants"])
@pytest.mark.conformance("POST /v1/responses/input_tokens", client="python-async", refused=True)
async def test_where_the_provider_does_not_count_a_400_says_so(shop: Shop, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    with pytest.raises(Refused, match="doesn't count tokens") as caught:
        await api.call("responses.input_tokens.count", model=did, input="hello")
    assert caught.value.status == 400


# -------------------------------------------------------------------------------------------------------------- borders


async def test_the_providers_ids_and_the_builders_words_stay_on_the_other_side(shop: Shop, world: World) -> None:
    """Nothing that the provider called anything appears in what a subscriber gets, of any object."""
    api, did = await shop.client("python-async", "responses")
    await world.provider.forget()
    id = (await api.call("conversations.create", items=[user("a")]))["id"]
    first = await api.call("responses.create", model=did, input="[[call weather {}]]", tools=[WEATHER], conversation=id)
    shown = [first, await api.events("conversations.items.list", id)]
    made = await api.call("responses.create", model=did, input="hello")
    shown += [
        made,
        await api.call("responses.retrieve", made["id"]),
        await api.events("responses.input_items.list", made["id"]),
    ]
    shown.append(await api.events("responses.create", model=did, input="hi", background=True, stream=True))
    sent = orjson.dumps([request["body"] for request in await world.provider.requests()]).decode()
    assert id not in sent
    assert made["id"] not in sent
    (theirs,) = {
        request["body"].get("conversation") for request in await world.provider.requests() if request["body"]
    } - {None}
    assert theirs not in str(shown)
    assert "answer briefly" not in str(shown)
    assert "stand-in" not in str(shown)


async def test_a_builder_who_allows_no_images_is_sent_none_by_a_conversation(shop: Shop) -> None:
    sold = await shop.market.sell("responses", policy=Policy())
    async with open_client("python-async", sold.url, sold.key) as api:
        image = {"type": "input_image", "image_url": "https://example.org/x.png"}
        id = (await api.call("conversations.create", items=[{"role": "user", "content": [image]}]))["id"]
        with pytest.raises(Refused) as caught:
            await api.call("responses.create", model=str(sold.did), input="what is it", conversation=id)
    assert (caught.value.status, caught.value.param) == (400, "conversation[0].content[0]")


async def test_nothing_of_what_was_said_is_on_disk_in_the_clear(shop: Shop, world: World) -> None:
    api, did = await shop.client("python-async", "responses")
    secret = "the-secret-of-the-subscriber"
    id = (await api.call("conversations.create", items=[user(secret)], metadata={"about": secret}))["id"]
    await api.call("responses.create", model=did, input=secret, conversation=id)
    made = await api.call("responses.create", model=did, input=secret, background=True)
    await until(lambda: completed(api, made["id"]), "the response")
    assert secret in text(await api.call("responses.retrieve", made["id"]))
    folder = world.folder / f"node-{world.node.account[2:10].lower()}"
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(b"CREATE TABLE objects" in file.read_bytes() for file in files)
    assert [file.name for file in files if secret.encode() in file.read_bytes()] == []


async def completed(api: Client, id: str) -> bool:
    return bool((await api.call("responses.retrieve", id))["status"] == "completed")
