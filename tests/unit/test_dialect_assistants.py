"""The dialect `assistants`: a thread and a run for each question, and a run that goes on with its tools' outputs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pytest
from aiohttp import web

from node_proxy import dialects
from node_proxy.dialects import assistants_request
from node_proxy.errors import (
    InvalidValue,
    NodeError,
    ProviderBusy,
    ProviderError,
    ProviderGarbage,
    UnsupportedParameter,
)
from node_proxy.openai.metering import read_usage
from node_proxy.relay.provider import ProviderClient
from nvm_chain.definition import Definition
from tests.provider import Provider, serve
from tests.unit.test_dialect_chat import (
    CALLS,
    HISTORY,
    QUESTIONS,
    WEATHER,
    body,
    client_of,
    definition,
    shown,
    shown_whole,
    streamed,
    whole,
    without_ids,
)

Json = dict[str, Any]


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serve() as provider:
        yield provider


async def stored(provider: Provider, **fields: Any) -> str:
    """The id of an assistant that the stand-in keeps."""
    given = {"model": "stand-in", "instructions": "Be brief.", **fields}
    async with openai.AsyncOpenAI(base_url=provider.url, api_key=provider.key) as client:
        return (await client.beta.assistants.create(**given)).id


@asynccontextmanager
async def assistant(provider: Provider, **fields: Any) -> AsyncIterator[tuple[ProviderClient, Definition]]:
    """The dialect's client, and the definition of an assistant as the provider keeps it."""
    upstream = {"model": "", "instructions": "", **fields, "assistant_id": await stored(provider)}
    async with client_of(provider.url) as client:
        yield client, definition(provider.url, "assistants", **upstream)


def plain(asked: Json) -> Json:
    """The question without what the sealed definition adds."""
    return {"instructions": "", "model": "", **asked}


def paths(provider: Provider) -> list[str]:
    return [f"{one.method} {'/'.join(p[:8] for p in one.path.split('/'))}" for one in provider.requests]


SAYABLE = ("text", "several messages", "instructions", "calls", "forced", "schema", "too long", "empty")


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
@pytest.mark.parametrize("asked", [QUESTIONS[name] for name in SAYABLE], ids=SAYABLE)
async def test_the_answer_is_the_one_that_responses_would_have_given(provider: Provider, asked: Json) -> None:
    async with assistant(provider) as (client, stored_there):
        direct = definition(provider.url, "responses-stateless")
        expected = await whole(client, direct, asked)
        got = await whole(client, stored_there, plain(asked))
        told = await streamed(client, stored_there, plain(asked))
        events = await streamed(client, direct, asked)
    waits = any(item["type"] == "function_call" for item in got["output"])
    for faced in (one := without_ids(shown_whole(got)), other := without_ids(shown_whole(expected))):
        if waits:
            faced.pop("usage")
    assert one == other
    assert read_usage(got) == (None if waits else read_usage(expected))
    assert [event["type"] for event in told] == [event["type"] for event in events]
    assert without_ids(shown(told[:-1])) == without_ids(shown(events[:-1]))


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
async def test_nothing_stays_at_the_provider(provider: Provider) -> None:
    async with assistant(provider) as (client, there):
        await whole(client, there, plain({"input": "hi"}))
        await streamed(client, there, plain({"input": "hi"}))
        leaving = body(plain({"input": "a b c", "stream": True}))
        async with dialects.ask(client, there, leaving, caller_params=frozenset()) as answer:
            async for _ in answer.events():
                break  # the caller is gone
        assert provider.state.threads == {}
    assert all(one.headers["openai-beta"] == "assistants=v2" for one in provider.requests)


def called(told: list[Json]) -> list[Json]:
    return [item for item in told if item["type"] == "function_call"]


def returned(calls: list[Json], *outputs: str) -> list[Json]:
    pairs = zip(calls, outputs, strict=True)
    return [{"type": "function_call_output", "call_id": call["call_id"], "output": one} for call, one in pairs]


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("renamed", [False, True])
async def test_a_run_goes_on_with_its_outputs(provider: Provider, interleaved: bool, renamed: bool) -> None:
    """renamed: the caller knows the calls by ids of the node's."""
    async with assistant(provider) as (client, there):
        question = [{"type": "message", "role": "user", "content": CALLS}]
        asked = plain({"input": question, "tools": [WEATHER]})
        first = await whole(client, there, asked)
        calls = called(first["output"])
        if renamed:
            calls = [{**call, "call_id": f"call_{number}"} for number, call in enumerate(calls)]
        outputs = returned(calls, "snow", "sun")
        back = [one for pair in zip(calls, outputs, strict=True) for one in pair] if interleaved else [*calls, *outputs]
        second = await whole(client, there, {**asked, "input": [*question, *back]})
        assert second["output"][0]["content"][0]["text"] == "weather returned snow. weather returned sun"
        used = read_usage(second)
        assert used is not None
        assert used.output_tokens > 6 + 6  # the calls of the first round are in it
        assert provider.state.threads == {}
        # The run is over: the same question again makes a thread of its own, with the calls told in words.
        third = await whole(client, there, {**asked, "input": [*question, *back]})
        assert third["output"][0]["content"][0]["text"] == "You said: [weather returned sun]"
    assert [path.rsplit("/", 1)[1] for path in paths(provider)].count("submit_t") == 1


def test_a_second_round_of_the_same_run_is_found_too() -> None:
    there = definition("http://127.0.0.1:1/v1", "assistants", assistant_id="asst_x")

    def asked(items: list[Json]) -> assistants_request.RunRequest:
        return assistants_request.translate(there, body({"input": items, "tools": [WEATHER]}), frozenset())

    question: list[Json] = [{"role": "user", "content": "weather?"}]
    calls = [{"type": "function_call", "call_id": f"c{n}", "name": "weather", "arguments": str(n)} for n in range(3)]
    first = [*question, calls[0], *returned(calls[:1], "snow")]
    waiting = asked(first).key([{"type": "reasoning"}, *calls[1:]])
    both = returned(calls[1:], "sun", "rain")
    assert waiting in asked([*first, *calls[1:], *both]).before
    assert asked([*first, *calls[1:], *both]).outputs == ("snow", "sun", "rain")
    other = [*first, {**calls[1], "arguments": "other"}, calls[2], *both]
    assert waiting not in asked(other).before


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
async def test_a_waiting_run_is_found_by_its_own_caller_only(provider: Provider) -> None:
    async with assistant(provider) as (client, there):
        question = [{"type": "message", "role": "user", "content": CALLS}]
        asked = plain({"input": question, "tools": [WEATHER]})
        calls = called((await whole(client, there, asked))["output"])
        back = {**asked, "input": [*question, *calls, *returned(calls, "snow", "sun")]}
        for other in ({**back, "safety_identifier": "nvm-other"}, {**back, "instructions": "Other."}):
            answer = await whole(client, there, other)
            assert answer["output"][0]["content"][0]["text"].startswith("You said:")
        otherwise = {**back, "input": [{"role": "user", "content": "before"}, *back["input"]]}
        assert "You said:" in (await whole(client, there, otherwise))["output"][0]["content"][0]["text"]
        mine = await whole(client, there, back)
        assert mine["output"][0]["content"][0]["text"].startswith("weather returned snow")


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
async def test_a_run_that_expired_is_made_anew(provider: Provider) -> None:
    async with assistant(provider) as (client, there):
        question = [{"type": "message", "role": "user", "content": CALLS}]
        asked = plain({"input": question, "tools": [WEATHER]})
        calls = called((await whole(client, there, asked))["output"])
        provider.state.threads.clear()
        back = {**asked, "input": [*question, *calls, *returned(calls, "snow", "sun")]}
        answer = await whole(client, there, back)
    assert answer["output"][0]["content"][0]["text"] == "You said: [weather returned sun]"


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
async def test_runs_whose_callers_stay_away_are_cleaned_up(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_proxy.dialects.assistants.PATIENCE", 0.0)
    async with assistant(provider) as (client, there):
        await whole(client, there, plain({"input": CALLS, "tools": [WEATHER]}))
        await whole(client, there, plain({"input": "hi"}))
        assert provider.state.threads == {}
        monkeypatch.undo()
        for _ in range(2):
            await whole(client, there, plain({"input": CALLS, "tools": [WEATHER]}))
            assert len(provider.state.threads) == 1


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
async def test_the_stored_assistant_keeps_its_instructions_and_tools(provider: Provider) -> None:
    async with client_of(provider.url) as client:
        own = {"type": "function", "function": {"name": "mine", "parameters": {}}}
        there = definition(
            provider.url, "assistants", model="", instructions="", assistant_id=await stored(provider, tools=[own])
        )
        asked = plain({"input": "[[tools]] [[instructions]]", "tools": [WEATHER], "instructions": "And nice."})
        asked["input"] = [{"role": "developer", "content": "Really."}, {"role": "user", "content": asked["input"]}]
        answer = await whole(client, there, asked)
        told = answer["output"][0]["content"][0]["text"]
        assert "tools: mine, weather" in told
        run = next(one.body for one in provider.requests if one.path == "/v1/threads/runs")
        assert run["instructions"] == "Be brief.\n\nAnd nice.\n\nReally."
        assert run["metadata"] == {"safety_identifier": "nvm-someone"}
        sealed = definition(provider.url, "assistants", assistant_id=there.assistant_id)
        await whole(client, sealed, {"input": "hi", "max_output_tokens": 300, "temperature": 0.5})
    run = [one.body for one in provider.requests if one.path == "/v1/threads/runs"][-1]
    assert run["instructions"] == "Be brief."
    assert (run["model"], run["max_completion_tokens"], run["temperature"]) == ("stand-in", 300, 0.5)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "x", "include": ["a"]}, "include"),
        ({"input": "x", "reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "x"}]}]}, "input[0].content[0]"),
        ({"input": [HISTORY[2]]}, "input"),
        ({"input": [HISTORY[4]]}, "input"),
        ({"input": "x", "tools": [WEATHER, WEATHER]}, "tools"),
    ],
)
def test_what_runs_can_not_say_is_refused_by_name(asked: Json, param: str) -> None:
    there = definition("http://127.0.0.1:1/v1", "assistants", assistant_id="asst_x")
    with pytest.raises((UnsupportedParameter, InvalidValue)) as caught:
        assistants_request.translate(there, body(asked), frozenset({"input"}))
    assert caught.value.param == param


# ------------------------------------------------------------------------------------------------------------ servers

RUN = {"id": "run_1", "thread_id": "thread_1", "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}


def said(text: str) -> tuple[str, Json]:
    return "thread.message.delta", {"delta": {"content": [{"index": 0, "type": "text", "text": {"value": text}}]}}


async def told_by(*events: tuple[str, Any]) -> list[Json]:
    """What a real server's events, sent as they are, become."""

    async def handler(request: web.Request) -> web.Response:
        if request.method == "DELETE":
            return web.json_response({"deleted": True})
        lines = [f"event: {name}\ndata: {orjson.dumps(value).decode()}\n\n" for name, value in events]
        return web.Response(text="".join(lines) + "event: done\ndata: [DONE]\n\n", content_type="text/event-stream")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        async with client_of(url) as client:
            told = await streamed(client, definition(url, "assistants", assistant_id="asst_x"), {"input": "hi"})
    finally:
        await runner.cleanup()
    shown(told)
    return told


STEP = {"step_details": {"type": "tool_calls", "tool_calls": [{"id": "c", "type": "code_interpreter"}]}}
SEARCH = {"step_details": {"type": "tool_calls", "tool_calls": [{"id": "f", "type": "file_search"}]}}
CITED = {"type": "file_citation", "text": "[1]", "start_index": 3, "file_citation": {"file_id": "file-secret"}}
MESSAGE = {"status": "completed", "content": [{"type": "text", "text": {"value": "ab", "annotations": [CITED]}}]}
WANTED = {"submit_tool_outputs": {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}}


async def test_hosted_tools_are_counted_and_citations_told() -> None:
    told = await told_by(
        ("thread.run.step.completed", STEP),
        ("thread.run.step.completed", SEARCH),
        said("a"),
        said("b"),
        ("thread.message.completed", MESSAGE),
        ("thread.run.completed", RUN),
    )
    response = told[-1]["response"]
    used = read_usage(response)
    assert used is not None
    assert used.tool_calls == {"code_interpreter_call": 1, "file_search_call": 1}
    faced = shown_whole(response)
    assert [item["type"] for item in faced["output"]] == ["code_interpreter_call", "file_search_call", "message"]
    (cited,) = faced["output"][-1]["content"][0]["annotations"]
    assert cited["index"] == 3
    assert "secret" not in cited["file_id"]


async def test_calls_that_no_delta_told_are_told_at_the_end() -> None:
    told = await told_by(("thread.run.requires_action", {**RUN, "required_action": WANTED}))
    assert [(item["name"], item["arguments"]) for item in called(told[-1]["response"]["output"])] == [("f", "{}")]


@pytest.mark.parametrize(
    ("status", "more", "kind", "code"),
    [
        ("incomplete", {"incomplete_details": {"reason": "max_prompt_tokens"}}, "response.incomplete", None),
        ("failed", {"last_error": {"code": "rate_limit_exceeded"}}, "response.failed", "rate_limit_exceeded"),
        ("expired", {}, "response.failed", "server_error"),
        ("cancelled", {}, "response.failed", "server_error"),
    ],
)
async def test_ends_of_a_run(status: str, more: Json, kind: str, code: str | None) -> None:
    last = (await told_by(said("a"), (f"thread.run.{status}", {**RUN, **more})))[-1]
    assert last["type"] == kind
    assert (last["response"]["error"] or {}).get("code") == code


@pytest.mark.parametrize("events", [[said("a")], [], [("thread.run.created", [])]])
async def test_what_has_no_end_or_no_sense_is_garbage(events: Sequence[tuple[str, Any]]) -> None:
    with pytest.raises(ProviderGarbage):
        await told_by(*events)


async def test_an_error_in_the_stream_stays_one() -> None:
    last = (await told_by(said("a"), ("error", {"code": "rate_limit_exceeded", "message": "secret"})))[-1]
    assert (last["type"], last["code"]) == ("error", "rate_limit_exceeded")
    assert "secret" not in str(last)


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("directive", "raised"),
    [
        ("[[fail 429 rate_limit_exceeded]]", ProviderBusy),
        ("[[fail 500]]", ProviderError),
        ("[[html]]", ProviderGarbage),
    ],
)
async def test_a_provider_that_fails_gives_an_error(
    provider: Provider, directive: str, raised: type[NodeError]
) -> None:
    async with assistant(provider) as (client, there):
        with pytest.raises(raised):
            await whole(client, there, plain({"input": directive}))
