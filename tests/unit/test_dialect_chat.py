"""The dialect `chat`: the same question gives the same Response, event by event, as a provider of Responses gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from openai.types.responses import Response, ResponseStreamEvent

from node_proxy import dialects
from node_proxy.config import HostPort, Settings
from node_proxy.dialects import chat_request
from node_proxy.errors import (
    AssetUnusable,
    InvalidValue,
    NodeError,
    ProviderBusy,
    ProviderError,
    ProviderGarbage,
    ProviderRejected,
    UnsupportedParameter,
)
from node_proxy.openai.face import Face
from node_proxy.openai.ids import IdMap
from node_proxy.openai.metering import read_usage
from node_proxy.relay.provider import ProviderClient, open_provider_client
from nvm_chain.definition import Definition
from nvm_chain.secret import Secret
from tests.provider import Provider, serve
from tests.provider.conforms import assert_conforms
from tests.provider.server import KEY

Json = dict[str, Any]
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}}
SCHEMA = {"type": "json_schema", "name": "answer", "schema": NUMBER}
PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}
CALLS = '[[call weather {"city": "Oslo"}]] [[call weather {"city": "Rome now"}]]'
HISTORY: list[Json] = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
    {"type": "message", "role": "assistant", "content": "let me see"},
    {"type": "function_call", "call_id": "call_" + "a" * 48, "name": "weather", "arguments": '{"city": "Oslo"}'},
    {"type": "function_call", "call_id": "call_" + "b" * 48, "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_" + "a" * 48, "output": "snow"},
    {"type": "function_call_output", "call_id": "call_" + "b" * 48, "output": [{"type": "input_text", "text": "sun"}]},
]
QUESTIONS: dict[str, Json] = {
    "text": {"input": "What is 17 * 23?"},
    "several messages": {"input": [{"role": "user", "content": "hi"}, {"role": "user", "content": "[[history]]"}]},
    "instructions": {"input": "[[instructions]]"},
    "calls": {"input": CALLS, "tools": [WEATHER]},
    "forced": {"input": "hi", "tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}},
    "outputs": {"input": HISTORY, "tools": [WEATHER]},
    "schema": {"input": "two words", "text": {"format": SCHEMA}},
    "refusal": {"input": "[[refuse not this]]"},
    "too long": {"input": "[[tokens 50]]", "max_output_tokens": 16},
    "empty": {"input": "[[say ]]"},
    "image": {"input": [{"role": "user", "content": [PICTURE]}]},
}


def definition(url: str, dialect: str = "chat", **fields: Any) -> Definition:
    given = {"api_key": Secret(KEY), "model": "stand-in", "instructions": "Be brief."}
    return Definition(**{"base_url": url, "dialect": dialect, **given, **fields})


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[ProviderClient]:
    port = int(url.split(":")[2].split("/")[0])
    settings = Settings(rpc_url="http://x", allow_local_providers=(HostPort("127.0.0.1", port),))
    async with open_provider_client(settings) as client:
        yield client


def body(asked: Json, **more: Any) -> Json:
    fixed = {"model": "stand-in", "instructions": "Be brief.", "store": False, "safety_identifier": "nvm-someone"}
    return {**fixed, **asked, **more}


async def whole(client: ProviderClient, assistant: Definition, asked: Json, params: Sequence[str] = ("input",)) -> Json:
    async with dialects.ask(client, assistant, body(asked), caller_params=frozenset(params)) as answer:
        return await answer.json()


async def streamed(client: ProviderClient, assistant: Definition, asked: Json) -> list[Json]:
    told = []
    async with dialects.ask(client, assistant, body(asked, stream=True), caller_params=frozenset({"input"})) as answer:
        async for group in answer.events():
            told += [orjson.loads(event.data) for event in group]
    return told


def without_ids(value: Any) -> Any:
    """Ids and times differ from one answer to the next."""
    if isinstance(value, list):
        return [without_ids(one) for one in value]
    if not isinstance(value, dict):
        return value
    known = ("id", "item_id", "call_id", "created_at", "completed_at", "obfuscation")
    return {name: without_ids(one) for name, one in value.items() if name not in known}


def shown(events: Sequence[Json]) -> list[Json]:
    """The events as subscribers see them; each fits its type."""
    face = Face(IdMap(b"s" * 32, "0xb", "0xs"), "did:nv:x", {})
    faced = [one for event in events if (one := face.event(event)) is not None]
    for event in faced:
        assert_conforms(ResponseStreamEvent, event)
    return faced


def shown_whole(response: Json) -> Json:
    faced = Face(IdMap(b"s" * 32, "0xb", "0xs"), "did:nv:x", {}).response(response)
    assert_conforms(Response, faced)
    return faced


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serve() as provider:
        yield provider


@pytest.mark.parametrize("asked", QUESTIONS.values(), ids=QUESTIONS.keys())
async def test_the_answer_is_the_one_that_responses_would_have_given(provider: Provider, asked: Json) -> None:
    async with client_of(provider.url) as client:
        direct = definition(provider.url, "responses-stateless")
        over_chat = definition(provider.url)
        expected, got = await whole(client, direct, asked), await whole(client, over_chat, asked)
        assert without_ids(shown_whole(got)) == without_ids(shown_whole(expected))
        assert read_usage(got) == read_usage(expected)
        events, told = await streamed(client, direct, asked), await streamed(client, over_chat, asked)
        assert without_ids(shown(told)) == without_ids(shown(events))
        assert without_ids(told[-1]["response"]) == without_ids(got)
        for event in told:
            assert event["sequence_number"] == told.index(event)


async def test_ids_hold_together_over_a_stream(provider: Provider) -> None:
    async with client_of(provider.url) as client:
        told = await streamed(client, definition(provider.url), QUESTIONS["calls"])
    final = told[-1]["response"]["output"]
    for index, item in enumerate(final):
        about = [event for event in told if event.get("output_index") == index]
        assert {event["item"]["id"] if "item" in event else event["item_id"] for event in about} == {item["id"]}
    assert len({item["call_id"] for item in final}) == 2


async def test_the_provider_gets_chat_words(provider: Provider) -> None:
    """What the stand-in doesn't look at, and which of two names a server gets."""
    mine = {"type": "function", "function": {"name": "mine", "parameters": {}}}
    asked = {
        "input": "hi",
        "max_output_tokens": 20,
        "temperature": 0.5,
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low"},
        "tools": [
            mine,
            {**WEATHER, "description": None},
        ],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
    }
    async with client_of(provider.url) as client:
        await streamed(client, definition(provider.url, settings={"seed": 3}), asked)
    sent = provider.requests[-1].body
    assert sent == {
        "model": "stand-in",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "seed": 3,
        "max_tokens": 20,
        "temperature": 0.5,
        "reasoning_effort": "low",
        "verbosity": "low",
        "tools": [
            mine,
            {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": False}},
        ],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "user": "nvm-someone",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_openai_gets_its_own_new_names() -> None:
    sent, _ = translate({"input": "hi", "max_output_tokens": 20}, base_url="https://api.openai.com/v1")
    assert sent["max_completion_tokens"] == 20
    assert sent["safety_identifier"] == "nvm-someone"
    assert not {"max_tokens", "user"} & sent.keys()
    settings = {"max_completion_tokens": 90}
    sent, params = translate({"input": "hi", "max_output_tokens": 20}, ("max_output_tokens",), settings=settings)
    assert sent["max_completion_tokens"] == 20
    assert "max_tokens" not in sent
    assert "max_completion_tokens" in params
    sent, _ = translate({"input": "hi"}, settings={"response_format": {"type": "json_object"}})
    assert sent["response_format"] == {"type": "json_object"}


def translate(asked: Json, params: Sequence[str] = ("input",), **fields: Any) -> tuple[Json, frozenset[str]]:
    assistant = definition(fields.pop("base_url", "http://127.0.0.1:1/v1"), **fields)
    return chat_request.translate(assistant, body({**assistant.settings, **asked}), frozenset(params))


def test_outputs_follow_their_calls_wherever_they_stood() -> None:
    late = [*HISTORY[:5], {"role": "user", "content": "and?"}, HISTORY[5]]
    messages = translate({"input": late, "tools": [WEATHER]})[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "user"]
    calls = messages[2]["tool_calls"]
    assert messages[2]["content"] == "let me see"
    assert [message["tool_call_id"] for message in messages[3:5]] == [call["id"] for call in calls]
    assert [message["content"] for message in messages[3:5]] == ["snow", "sun"]
    assert all(len(call["id"]) == 9 and call["id"].isalnum() for call in calls)
    one_by_one = [HISTORY[2], HISTORY[4], HISTORY[3], HISTORY[5]]
    messages = translate({"input": one_by_one, "tools": [WEATHER]})[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "assistant", "tool", "assistant", "tool"]


IN = "input"
IMAGE = {"type": "input_image", "image_url": "https://x/y.png"}


def file_by(**how: str) -> Json:
    part = {"type": "input_file", **how}
    return {IN: [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({IN: "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({IN: "x", "conversation": "conv_1"}, "conversation"),
        ({IN: "x", "background": True}, "background"),
        ({IN: "x", "include": ["reasoning.encrypted_content"]}, "include"),
        ({IN: "x", "truncation": "auto"}, "truncation"),
        ({IN: "x", "max_tool_calls": 3}, "max_tool_calls"),
        ({IN: "x", "reasoning": {"effort": "low", "summary": "auto"}}, "reasoning.summary"),
        ({IN: "x", "tool_choice": "required"}, "tool_choice"),
        ({IN: "x", "tools": [WEATHER, WEATHER]}, "tools"),
        ({IN: "x", "messages": [], "n": 3}, "n"),
        ({IN: [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        (file_by(file_id="file-1"), "input[0].content[0].file_id"),
        (file_by(file_url="https://x"), "input[0].content[0].file_url"),
        ({IN: [HISTORY[2], {**HISTORY[4], "output": [IMAGE]}]}, "input[1].output[0]"),
        ({IN: [HISTORY[2]]}, "input"),
        ({IN: [HISTORY[4]]}, "input"),
    ],
)
def test_what_chat_can_not_say_is_refused_by_name(asked: Json, param: str) -> None:
    with pytest.raises((UnsupportedParameter, InvalidValue)) as caught:
        translate(asked, ("input", "n"))
    assert caught.value.status == 400
    assert caught.value.param == param


def test_a_hosted_tool_of_the_builders_is_the_builders_fault() -> None:
    with pytest.raises(AssetUnusable) as caught:
        translate({IN: "x", "tools": [{"type": "web_search"}]})
    assert caught.value.status == 503
    assert "web_search" not in caught.value.message


# ------------------------------------------------------------------------------------------------------------ servers
# What servers really send. One chunk per line, `choices` left away where there is one choice at index 0.

END = b"[DONE]"
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def text(content: Any, reason: str | None = None) -> Json:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}]}


def called(*calls: Json, reason: str | None = None) -> Json:
    return {"choices": [{"index": 0, "delta": {"tool_calls": list(calls)}, "finish_reason": reason}]}


def one(name: str | None, arguments: Any, **fields: Any) -> Json:
    function = {"arguments": arguments} | ({"name": name} if name is not None else {})
    return {"function": function, **fields}


@asynccontextmanager
async def server(*chunks: Any, kind: str = "text/event-stream", status: int = 200) -> AsyncIterator[str]:
    """A real server that sends the chunks as they are."""

    async def handler(_: web.Request) -> web.Response:
        if kind != "text/event-stream":
            return web.json_response(chunks[0], status=status)
        lines = [chunk if isinstance(chunk, bytes) else orjson.dumps(chunk) for chunk in chunks]
        return web.Response(body=b"".join(b"data: " + line + b"\n\n" for line in lines), content_type=kind)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def told_by(*chunks: Any) -> list[Json]:
    async with server(*chunks) as url, client_of(url) as client:
        told = await streamed(client, definition(url), {"input": "hi"})
    shown(told)
    return told


@pytest.mark.parametrize(
    ("chunks", "said", "usage"),
    [
        ([text("a"), text("b", "stop"), {"choices": [], "usage": USAGE}, END], "ab", 7),
        ([text("a"), text("b"), {**text("", "stop"), "usage": USAGE}, END], "ab", 7),
        ([{**text("a"), "usage": {**USAGE, "completion_tokens": 1}}, {**text("b", "stop"), "usage": USAGE}], "ab", 7),
        ([{"choices": []}, text(None), text("a"), text(None, "stop"), END], "a", None),
        ([text([{"type": "thinking"}, {"type": "text", "text": "a"}]), text("", "stop"), END], "a", None),
        ([text("a"), text("b", "stop")], "ab", None),
        ([text("a"), END], "a", None),
        ([text("a", "stop"), {"choices": [], "usage": {"prompt_tokens": -1}}, END], "a", None),
        ([text("a", "stop"), {"choices": [], "usage": {"prompt_tokens": 3}}, END], "a", 0),
        ([text("", "stop"), END], "", None),
        ([{**text("a"), "usage": None}, {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE}], "a", 7),
    ],
)
async def test_servers_may_differ(chunks: list[Any], said: str, usage: int | None) -> None:
    response = (await told_by(*chunks))[-1]["response"]
    assert response["status"] == "completed"
    ((part,),) = [item["content"] for item in response["output"]]
    assert part["text"] == said
    used = read_usage(response)
    assert (used and used.output_tokens) == usage


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        ([called(one("f", "", index=0, id="a")), called(one(None, "{}", index=0))], [("f", "{}")]),
        ([called(one("f", "{}"))], [("f", "{}")]),
        ([called(one("f", {"a": 1}, index=0))], [("f", '{"a":1}')]),
        ([called(one("f", "1", index=0, id="a"), one("g", "2", index=1, id="b"))], [("f", "1"), ("g", "2")]),
        ([called(one("f", "1", index=0, id="a")), called(one("g", "2", index=0, id="b"))], [("f", "1"), ("g", "2")]),
        ([called(one("f", "1", index=0, id="a")), called(one("f", "2", index=0, id="a"))], [("f", "12")]),
        ([called(one("f", "1", id="a")), called(one("g", "2", id="b"))], [("f", "1"), ("g", "2")]),
        ([called(one("f", "1", index=1, id="")), called(one("g", "2", index=2, id=""))], [("f", "1"), ("g", "2")]),
        ([text("look"), called(one("f", "", index=0, id="a")), called(one("", "1", index=0, id=""))], [("f", "1")]),
        ([called(one("f", "1", index=0, id="a")), text("hm"), called(one(None, "2", index=0))], [("f", "12")]),
        (
            [called(one("f", "1", index=0, id="a")), text("hm"), called(one("g", "2", index=1, id="b"))],
            [("f", "1"), ("g", "2")],
        ),
    ],
)
async def test_tool_calls_are_put_together_however_they_come(chunks: list[Any], calls: list[tuple[str, str]]) -> None:
    told = await told_by(*chunks, text(None, "tool_calls"), END)
    items = [item for item in told[-1]["response"]["output"] if item["type"] == "function_call"]
    assert [(item["name"], item["arguments"]) for item in items] == calls
    assert all(item["call_id"].startswith("call_") for item in items)
    deltas = [event for event in told if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(event["delta"] for event in deltas) == "".join(arguments for _, arguments in calls)
    said = [item["content"][0]["text"] for item in told[-1]["response"]["output"] if item["type"] == "message"]
    assert said == [one["choices"][0]["delta"]["content"] for one in chunks if "content" in str(one)]


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
        ("stop", "completed", None),
        ("eos", "completed", None),
        ("error", "failed", None),
    ],
)
async def test_reasons_to_stop(reason: str, status: str, why: str | None) -> None:
    last = (await told_by(text("a"), text("b", reason), END))[-1]
    assert last["type"] == f"response.{status}"
    assert (last["response"]["incomplete_details"] or {}).get("reason") == why
    item = last["response"]["output"][0]
    assert item["status"] == ("completed" if status == "completed" else "incomplete")


@pytest.mark.parametrize(
    "chunks",
    [
        [text("a")],
        [],
        [text("a"), b"{broken"],
        [text("a"), b"[]"],
        [called(one(None, "1", index=0)), END],
        [called(one("f", "1", index=0), one("g", "2", index=1)), called(one(None, "3", index=0)), END],
        [called({"index": 0, "id": "a"}), END],
        [called("x"), END],  # type: ignore[arg-type]
    ],
)
async def test_what_has_no_clear_end_or_no_sense_is_garbage(chunks: list[Any]) -> None:
    with pytest.raises(ProviderGarbage):
        await told_by(*chunks)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": 429, "message": "slow"}, "rate_limit_exceeded"),
        ({"code": "server_error"}, "server_error"),
        ("oops", "server_error"),
    ],
)
async def test_an_error_in_the_stream_stays_one(error: Any, code: str) -> None:
    last = (await told_by(text("a"), {"error": error}))[-1]
    assert (last["type"], last["code"]) == ("error", code)
    assert "slow" not in str(last)


@pytest.mark.parametrize(
    ("value", "status", "raised"),
    [
        ({"error": {"code": 429}}, 200, ProviderBusy),
        ({"error": {"code": 502}}, 200, ProviderError),
        ({"choices": []}, 200, ProviderGarbage),
        ({"choices": [{"index": 0}]}, 200, ProviderGarbage),
        ({}, 200, ProviderGarbage),
        ({"error": {"code": 1, "param": "messages[3].content"}}, 400, ProviderRejected),
    ],
)
async def test_what_is_no_answer_is_an_error(value: Any, status: int, raised: type[NodeError]) -> None:
    async with server(value, kind="application/json", status=status) as url, client_of(url) as client:
        with pytest.raises(raised) as caught:
            await whole(client, definition(url), {"input": "hi"})
    if raised is ProviderRejected:
        assert caught.value.param == "input"


async def test_a_plain_answer_may_leave_out_what_is_optional() -> None:
    message = {"content": None, "tool_calls": [one("f", "{}"), one("g", "{}")]}
    async with server({"choices": [{"message": message}]}, kind="application/json") as url, client_of(url) as client:
        response = await whole(client, definition(url), {"input": "hi"})
    assert [item["name"] for item in response["output"]] == ["f", "g"]
    assert response["usage"] is None
    assert shown_whole(response)["status"] == "completed"
