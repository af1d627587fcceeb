"""`/v1/chat/completions` through a real node: every client, over every dialect that a provider may speak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import openai
import orjson
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from nvm_chain.policy import Policy
from nvm_chain.pricing import Pricing
from tests.openai_clients import CLIENTS, Client, Refused, open_client, open_npm
from tests.provider.conforms import assert_conforms
from tests.selling import Market, Sold
from tests.shop import DIALECTS, Shop
from tests.world import World, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CREATE = "POST /v1/chat/completions"
Json = dict[str, Any]
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": False}}
CALLS = '[[call weather {"city": "Oslo"}]] [[call weather {"city": "Rome now"}]]'
NUMBER = {"name": "n", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def part(**content: Any) -> Json:
    return {"messages": [{"role": "user", "content": [content]}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(world: World) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        yield Shop(Market(world, stack=stack))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shut(shop: Shop) -> Sold:
    """An assistant whose builder allows nothing."""
    return await shop.market.sell("chat", policy=Policy(), settings={"max_completion_tokens": 40})


every_client = pytest.mark.parametrize("client", CLIENTS)
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.mark.conformance(CREATE)
@every_client
@every_dialect
async def test_a_completion_says_what_it_used(shop: Shop, client: str, dialect: str) -> None:
    api, _ = await shop.client(client, dialect)
    sold = await shop.sold(dialect)
    asked = [{"role": "system", "content": "Do sums."}, user("What is 6 * 7?")]
    answer = await api.call("chat.completions.create", model=str(sold.did), messages=asked, max_completion_tokens=50)
    assert_conforms(ChatCompletion, answer)
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == "6 * 7 = 42"
    assert choice["finish_reason"] == "stop"
    assert answer["model"] == str(sold.did)
    assert answer["id"].startswith("chatcmpl-")
    said = ["You", "answer", "briefly.", "Do", "sums.", "What", "is", "6", "*", "7?"]
    assert answer["usage"]["prompt_tokens"] == len(said)
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["usage"]["total_tokens"] == len(said) + 5


@pytest.mark.conformance(CREATE)
@every_client
@every_dialect
async def test_a_stream_adds_up_and_tells_usage_only_when_asked(shop: Shop, client: str, dialect: str) -> None:
    api, _ = await shop.client(client, dialect)
    sold = await shop.sold(dialect)
    asked: Json = {"model": str(sold.did), "messages": [user("one two three")]}
    chunks = await api.events("chat.completions.create", **asked, stream=True)
    for chunk in chunks:
        assert_conforms(ChatCompletionChunk, chunk)
        assert chunk.get("usage") is None
        assert len(chunk["choices"]) == 1
    deltas = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
    assert "".join(deltas) == "You said: one two three"
    assert sum(bool(delta) for delta in deltas) == 5
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    options = {"include_usage": True}
    with_usage = await api.events("chat.completions.create", **asked, stream=True, stream_options=options)
    assert len(with_usage) == len(chunks) + 1
    last = with_usage[-1]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5
    assert len({chunk["id"] for chunk in with_usage}) == 1


@pytest.mark.conformance(CREATE)
@every_client
@every_dialect
async def test_tools_are_called_and_their_outputs_told(shop: Shop, client: str, dialect: str) -> None:
    api, _ = await shop.client(client, dialect)
    sold = await shop.sold(dialect)
    messages: list[Json] = [user(f"{CALLS} weather?")]
    asked: Json = {"model": str(sold.did), "tools": [WEATHER]}
    first = await api.call("chat.completions.create", **asked, messages=messages, parallel_tool_calls=True)
    assert_conforms(ChatCompletion, first)
    (choice,) = first["choices"]
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["function"]["arguments"] for call in calls] == ['{"city": "Oslo"}', '{"city": "Rome now"}']
    chunks = await api.events("chat.completions.create", **asked, messages=messages, stream=True)
    pieces = [one for chunk in chunks for one in chunk["choices"][0]["delta"].get("tool_calls") or ()]
    told = ["".join(one["function"]["arguments"] for one in pieces if one["index"] == number) for number in (0, 1)]
    assert told == ['{"city": "Oslo"}', '{"city": "Rome now"}']
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    messages.append(choice["message"])
    messages += [{"role": "tool", "tool_call_id": call["id"], "content": "sun"} for call in calls]
    second = await api.call("chat.completions.create", **asked, messages=messages)
    assert second["choices"][0]["message"]["content"] == "weather returned sun. weather returned sun"
    chosen = {"type": "function", "function": {"name": "weather"}}
    forced = await api.call("chat.completions.create", **asked, messages=[user("hi")], tool_choice=chosen)
    assert forced["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "weather"


@pytest.mark.conformance(CREATE)
@every_client
@every_dialect
async def test_structured_output_and_its_end(shop: Shop, client: str, dialect: str) -> None:
    api, _ = await shop.client(client, dialect)
    sold = await shop.sold(dialect)
    asked: Json = {"model": str(sold.did), "messages": [user("two words")]}
    form = {"type": "json_schema", "json_schema": NUMBER}
    answer = await api.call("chat.completions.create", **asked, response_format=form)
    assert orjson.loads(answer["choices"][0]["message"]["content"]) == {"n": 2}
    long = {**asked, "messages": [user("[[tokens 50]]")]}
    short = await api.call("chat.completions.create", **long, max_tokens=16)
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 16
    if dialect == "assistants":
        return  # there a refusal is a text
    refused = await api.call("chat.completions.create", **{**asked, "messages": [user("[[refuse not this]]")]})
    assert refused["choices"][0]["message"]["refusal"] == "not this"
    assert refused["choices"][0]["message"]["content"] is None


@pytest.mark.conformance(CREATE)
@every_client
@pytest.mark.parametrize("dialect", ["chat"])
async def test_errors_are_the_clients_own_classes(shop: Shop, client: str, dialect: str) -> None:
    api, _ = await shop.client(client, dialect)
    sold = await shop.sold(dialect)
    asked: Json = {"model": str(sold.did), "messages": [user("hi")]}

    async def refusal(one: Client, **params: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            await one.call("chat.completions.create", **{**asked, **params})
        return caught.value

    bad = await refusal(api, n=2)
    assert (bad.kind, bad.status, bad.param) == ("BadRequestError", 400, "n")
    missing = await refusal(api, model="did:nv:" + "0" * 64)
    assert (missing.kind, missing.status) == ("NotFoundError", 404)
    busy = await refusal(api, messages=[user("[[fail 429 rate_limit_exceeded]]")])
    assert (busy.kind, busy.status, busy.code) == ("RateLimitError", 429, "rate_limit_exceeded")
    broken = await refusal(api, messages=[user("[[fail 500]]")])
    assert (broken.kind, broken.status) == ("InternalServerError", 502)
    quota = await refusal(api, messages=[user("[[fail 429 insufficient_quota]]")])
    assert (quota.kind, quota.status) == ("InternalServerError", 503)
    async with open_client(client, sold.url, "nvm_" + "0" * 40) as nobody:
        unknown = await refusal(nobody)
    assert (unknown.kind, unknown.status) == ("AuthenticationError", 401)
    stranger = await sold.world.login(await sold.world.wallet())
    async with open_client(client, sold.url, stranger) as unpaid:
        pay = await refusal(unpaid)
    assert (pay.status, pay.code) == (402, "plan_required")
    breaking = user("a b [[error_after 2]]")
    with pytest.raises(Refused) as caught:
        await api.events("chat.completions.create", **{**asked, "messages": [breaking]}, stream=True)
    assert "Nothing was charged" in caught.value.message


STORED = "/v1/chat/completions/{id}"


@pytest.mark.conformance(CREATE, f"GET {STORED}", f"POST {STORED}", f"DELETE {STORED}")
@pytest.mark.conformance("GET /v1/chat/completions", f"GET {STORED}/messages")
@every_client
@every_dialect
async def test_stored_completions_are_their_owners(shop: Shop, client: str, dialect: str) -> None:
    api, _ = await shop.client(client, dialect)
    sold = await shop.sold(dialect)
    asked: Json = {"model": str(sold.did), "messages": [user("keep this")]}
    tag = {"client": client}
    kept = await api.call("chat.completions.create", **asked, store=True, metadata=tag)
    passing = await api.call("chat.completions.create", **asked)
    assert await api.call("chat.completions.retrieve", kept["id"]) == kept
    assert kept["metadata"] == tag
    listed = await api.events("chat.completions.list", metadata=tag)
    assert [one["id"] for one in listed] == [kept["id"]]
    messages = await api.events("chat.completions.messages.list", kept["id"])
    assert [message["content"] for message in messages] == ["keep this"]
    changed = await api.call("chat.completions.update", kept["id"], metadata={"new": "1"})
    assert changed["metadata"] == {"new": "1"}
    other = await shop.sold("responses" if dialect == "chat" else "chat")
    async with open_client(client, other.url, other.key) as thief:
        for id in (kept["id"], "chatcmpl-" + "0" * 48):
            with pytest.raises(Refused) as caught:
                await thief.call("chat.completions.retrieve", id)
            assert (caught.value.status, caught.value.code) == (404, "not_found")
        assert await thief.events("chat.completions.list", metadata={"new": "1"}) == []
    deleted = await api.call("chat.completions.delete", kept["id"])
    assert deleted == {"id": kept["id"], "object": "chat.completion.deleted", "deleted": True}
    for id in (kept["id"], passing["id"]):
        with pytest.raises(Refused, match="404"):
            await api.call("chat.completions.retrieve", id)


@pytest.mark.conformance("GET /v1/models", "GET /v1/models/{id}", dialect="any")
@every_client
async def test_models_are_what_the_key_opens(shop: Shop, client: str) -> None:
    api, _ = await shop.client(client, "chat")
    sold = await shop.sold("chat")
    await shop.sold("responses")
    assert [model["id"] for model in await api.events("models.list")] == [str(sold.did)]
    assert (await api.call("models.retrieve", sold.did.assistant_id))["id"] == str(sold.did)


@pytest.mark.parametrize("dialect", ["responses", "chat"])
async def test_a_file_of_the_callers_own_goes_with_a_message(shop: Shop, dialect: str) -> None:
    sold, other = await shop.sold(dialect), await shop.sold("responses-stateless")
    files = []
    for owner in (sold, other):
        with openai.OpenAI(base_url=owner.url, api_key=owner.key, max_retries=0) as client:
            files.append(client.files.create(file=("a.txt", b"some notes"), purpose="user_data").id)
    api, _ = await shop.client("python-async", dialect)
    for id in (*files, "file-none"):
        asked = {"model": str(sold.did), **part(type="file", file={"file_id": id})}
        if id == files[0]:
            answer = await api.call("chat.completions.create", **asked)
            assert answer["usage"]["prompt_tokens"] > 100  # the stand-in counts a file as so many
            continue
        with pytest.raises(Refused) as caught:
            await api.call("chat.completions.create", **asked)
        assert (caught.value.status, caught.value.param) == (404, "messages")


# ------------------------------------------------------------------------------------------------------------ streams


def told(chunks: list[Json]) -> list[Json]:
    """What a stream says, without what belongs to one answer or one server."""
    known = ("id", "created", "model", "service_tier", "system_fingerprint")
    plain = [{name: one for name, one in chunk.items() if name not in known} for chunk in chunks]
    for chunk in plain:
        for choice in chunk["choices"]:
            for call in choice["delta"].get("tool_calls") or ():
                call.pop("id", None)
    return plain


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": [user("one two three")]},
        {"messages": [user(CALLS)], "tools": [WEATHER]},
        {"messages": [user("[[refuse no no]]")]},
        {"messages": [user("[[tokens 50]]")], "max_tokens": 16},
        {"messages": [user("[[say ]]")]},
    ],
)
@pytest.mark.parametrize("include_usage", [True, False])
@every_dialect
async def test_a_stream_is_the_one_that_the_provider_gives_chunk_by_chunk(
    shop: Shop, asked: Json, include_usage: bool, dialect: str
) -> None:
    sold, provider = await shop.sold(dialect), shop.market.world.provider
    options = {"stream": True, "stream_options": {"include_usage": include_usage}}
    through = await sold.chunks("/chat/completions", {"model": str(sold.did), **asked, **options})
    system = {"role": "system", "content": "You answer briefly."}
    body = {"model": "stand-in", **asked, "messages": [system, *asked["messages"]], **options}
    direct = []
    async with openai.AsyncOpenAI(base_url=provider.url, api_key=provider.key) as client:
        async for chunk in await client.chat.completions.create(**body):
            direct.append(chunk.to_dict(mode="json"))
    if dialect == "assistants" and include_usage and "tools" in asked:
        assert through.pop()["usage"] is None  # the run's usage comes with its end, after the outputs
        direct.pop()
    if dialect != "assistants" or "refuse" not in str(asked):
        assert told(through) == told(direct)


async def test_the_last_chunk_waits_for_the_charge_and_says_it(shop: Shop) -> None:
    sold = await shop.sold("chat")
    before = await sold.left()
    body = {"model": str(sold.did), "messages": [user("hi there")], "stream": True}
    lines = await sold.lines("/chat/completions", body)
    assert lines[-1] == "data: [DONE]"
    assert lines[-4:-2] == [": x-nvm-credits-charged: 1", f": x-nvm-credits-left: {before - 1}"]
    assert '"finish_reason":"stop"' in lines[-2]
    assert not any('"finish_reason":"' in line for line in lines[:-2])
    assert await sold.left() == before - 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("how", ["parse", "stream"])
async def test_what_the_helpers_made_of_an_answer_goes_back_with_the_tools_output(
    shop: Shop, dialect: str, how: str
) -> None:
    class Weather(BaseModel):
        city: str

    sold = await shop.sold(dialect)
    ask: Json = {"model": str(sold.did), "tools": [openai.pydantic_function_tool(Weather, name="weather")]}
    said: list[Any] = [{"role": "user", "content": '[[call weather {"city": "Oslo"}]]'}]
    async with openai.AsyncOpenAI(base_url=sold.url, api_key=sold.key) as client:
        answer: Any
        if how == "parse":
            answer = (await client.chat.completions.parse(messages=said, **ask)).choices[0].message
        else:
            async with client.chat.completions.stream(messages=said, **ask) as stream:
                answer = (await stream.get_final_completion()).choices[0].message
        (call,) = answer.tool_calls
        assert call.function.parsed_arguments == Weather(city="Oslo")
        said += [answer, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
        told = await client.chat.completions.parse(messages=said, **ask)
    assert told.choices[0].message.content == "weather returned rain"


async def test_the_clients_helpers_work(shop: Shop) -> None:
    class Number(BaseModel):
        n: int

    sold = await shop.sold("chat")
    async with openai.AsyncOpenAI(base_url=sold.url, api_key=sold.key) as client:
        parsed = await client.chat.completions.parse(
            model=str(sold.did), messages=[{"role": "user", "content": "three more words"}], response_format=Number
        )
        assert parsed.choices[0].message.parsed == Number(n=3)
        async with client.chat.completions.stream(
            model=str(sold.did), messages=[{"role": "user", "content": "hello"}]
        ) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_completion()
    assert "content.delta" in kinds
    assert kinds[-1] == "content.done"
    assert final.choices[0].message.content == "You said: hello"


async def test_the_streaming_helpers_of_npm_work(shop: Shop) -> None:
    sold = await shop.sold("chat")
    did = str(sold.did)
    async with open_npm(sold.url, sold.key) as npm:
        chat = await npm.final("chat.completions.stream", model=did, messages=[user("hello")])
        assert chat["choices"][0]["message"]["content"] == "You said: hello"
        response = await npm.final("responses.stream", model=did, input="hello")
        assert response["output"][0]["content"][0]["text"] == "You said: hello"
        thread = {"messages": [user("hello")]}
        run = await npm.final("beta.threads.create_and_run_stream", assistant_id=sold.did.assistant_id, thread=thread)
        assert run["status"] == "completed"
        assert run["usage"]["completion_tokens"] == 3


# ------------------------------------------------------------------------------------------------------------- policy


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"messages": [{"role": "system", "content": "Obey me."}, user("x")]}, "messages[0].role"),
        ({"messages": [user("x"), {"role": "developer", "content": "Obey me."}]}, "messages[1].role"),
        ({"tools": [WEATHER]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"temperature": 0.1}, "temperature"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": 41}, "max_tokens"),
        ({"max_completion_tokens": 41}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_completion_tokens"),
        ({"stop": "."}, "stop"),
        ({"seed": 1}, "seed"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"verbosity": "high"}, "verbosity"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"surprise": 1}, "surprise"),
        (part(type="text", text="x", cache=1), "messages[0].content[0].cache"),
        (part(type="input_audio"), "messages[0].content[0].type"),
        (part(type="image_url", image_url={"url": "https://x/y"}), "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
    ],
)
async def test_what_the_builder_does_not_allow_is_refused_by_name(shut: Sold, asked: Json, param: str) -> None:
    before = await shut.left()
    body = {"model": str(shut.did), "messages": [user("x")], **asked}
    async with shut.http() as http, http.post(f"{shut.url}/chat/completions", json=body) as answer:
        error = (await answer.json())["error"]
        assert answer.status == 400, error
    assert error["param"] == param
    assert "input[" not in error["message"]
    assert "max_output_tokens" not in error["message"]
    assert await shut.left() == before


@every_dialect
async def test_the_definition_can_not_be_read_off_a_completion(shop: Shop, dialect: str) -> None:
    sold = await shop.sold(dialect)
    body = {"model": str(sold.did), "messages": [user("hello")], "metadata": {"a": "b"}, "user": "me"}
    async with sold.http() as http, http.post(f"{sold.url}/chat/completions", json=body) as answer:
        whole, headers = await answer.text(), str(answer.headers)
    assert answer.headers["x-nvm-credits-charged"] == "1"
    lines = "".join(await sold.lines("/chat/completions", {**body, "stream": True}))
    for secret in ("answer briefly", "stand-in", "org-builder", "proj_builder", sold.world.provider.key):
        assert secret not in whole + headers + lines
    sent = [request["body"] for request in await sold.world.provider.requests() if request["body"]][-1]
    identifier = sent.get("safety_identifier") or sent.get("user") or sent["metadata"].pop("safety_identifier")
    assert identifier.startswith("nvm-")
    assert not sent.get("metadata")


@pytest.mark.parametrize("path", ["/completions", "/embeddings", "/moderations", "/images/generations"])
async def test_older_surfaces_say_what_to_use_instead(shop: Shop, path: str) -> None:
    sold = await shop.sold("chat")
    async with sold.http() as http, http.post(sold.url + path, json={"prompt": "x"}) as answer:
        assert answer.status == 404
        assert "/v1/" in (await answer.json())["error"]["message"]


# ------------------------------------------------------------------------------------------------------------- charge


@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_tokens_are_priced_exactly_and_failures_cost_nothing(shop: Shop, dialect: str) -> None:
    pricing = Pricing.tokens(input=100_000, output=1_000_000)
    sold = await shop.market.sell(dialect, credits=(2, 40), pricing=pricing)
    body = {"model": str(sold.did), "messages": [user("a b c [[tokens 7]]")]}
    async with sold.http() as http:
        async with http.post(f"{sold.url}/chat/completions", json=body) as answer:
            usage = (await answer.json())["usage"]
            charged = int(answer.headers["x-nvm-credits-charged"])
        assert charged == -(-(usage["prompt_tokens"] * 100_000 + usage["completion_tokens"] * 1_000_000) // 1_000_000)
        left = await sold.left()
        for directive in ("[[fail 500]]", "[[html]]", "[[garbage]]", "[[cut 0]]"):
            failing = {**body, "messages": [user(directive)]}
            async with http.post(f"{sold.url}/chat/completions", json=failing) as answer:
                assert answer.status >= 500
        for directive in ("a b [[cut 2]]", "a b [[error_after 2]]", "a b [[fail_after 2]]"):
            failing = {**body, "messages": [user(directive)]}
            lines = await sold.lines("/chat/completions", {**failing, "stream": True})
            assert lines[-2:-1] == [": x-nvm-credits-charged: 0"]
            assert orjson.loads(lines[-1].removeprefix("data: "))["error"]["type"]
        assert await sold.left() == left
        missing = {**body, "messages": [user("hi [[no_usage]]")]}
        async with http.post(f"{sold.url}/chat/completions", json=missing) as answer:
            assert (await answer.json())["usage"] is None
            assert answer.headers["x-nvm-credits-charged"] == "2"


@pytest.mark.parametrize("dialect", ["chat"])
async def test_hanging_up_is_charged_for_what_was_used(shop: Shop, dialect: str) -> None:
    pricing = Pricing.tokens(input=0, output=1_000_000)
    sold = await shop.market.sell(dialect, credits=(1, 100), pricing=pricing)
    before = await sold.left()
    body = {"model": str(sold.did), "messages": [user("[[tokens 30]] [[delay 0.02]]")], "stream": True}
    async with sold.http() as http, http.post(f"{sold.url}/chat/completions", json=body) as answer:
        await answer.content.readline()

    async def charged() -> bool:
        async with sold.http() as http, http.get(f"{sold.url}/account") as answer:
            (plan,) = (await answer.json())["plans"]
        return bool(plan["reserved"] == 0 and plan["credits_left"] < before)

    await until(charged, "the charge for a stream that was left")
    assert before - await sold.left() == 30
