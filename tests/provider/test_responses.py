"""Responses, against the real client and its types."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from openai.types.responses import FunctionToolParam, Response, ResponseStreamEvent
from openai.types.responses.response_item_list import ResponseItemList

from tests.provider import Provider, tokens
from tests.provider.conforms import assert_conforms

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": None,
}


HI = {"model": "stand-in", "input": "hi"}
PREVIOUS = {"previous_response_id": "a"}
BOTH = {**PREVIOUS, "conversation": "b"}


async def _post(http: aiohttp.ClientSession, body: dict[str, Any], path: str = "/v1/responses") -> Any:
    async with http.post(path, json=body) as answer:
        return answer.status, await answer.json()


async def _events(http: aiohttp.ClientSession, body: dict[str, Any]) -> list[Any]:
    async with http.post("/v1/responses", json={**body, "stream": True}) as answer:
        text = await answer.text()
    frames = [frame.split("\n") for frame in text.split("\n\n") if frame]
    events = [orjson.loads(data.removeprefix("data: ")) for _, data in frames]
    assert [name.removeprefix("event: ") for name, _ in frames] == [event["type"] for event in events]
    return events


async def test_an_answer_says_what_was_asked_and_what_it_used(client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(model="stand-in", input="What is 17 * 23?", instructions="Do sums.")
    assert response.output_text == "17 * 23 = 391"
    assert response.usage is not None
    assert response.usage.input_tokens == tokens.count("What is 17 * 23?") + tokens.count("Do sums.") == 7
    assert response.usage.output_tokens == 5
    assert response.usage.total_tokens == 12
    again = await client.responses.create(model="stand-in", input="What is 17 * 23?", instructions="Do sums.")
    assert again.output_text == response.output_text
    assert again.id != response.id


def test_the_synchronous_client_works_from_another_process() -> None:
    import subprocess
    import sys

    server = subprocess.Popen([sys.executable, "-m", "tests.provider"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with openai.OpenAI(base_url=url, api_key="sk-stand-in-builder-0123456789abcdef", max_retries=0) as client:
            assert client.responses.create(model="stand-in", input="hello").output_text == "You said: hello"
            with client.responses.stream(model="stand-in", input="hello") as stream:
                deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
            assert deltas == ["You", " said:", " hello"]
        server.terminate()
        assert server.wait(10) == 0
    finally:
        server.kill()
        server.wait()
        if server.stdout:
            server.stdout.close()


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("stand-in", {"input": "hello"}),
        ("stand-in-reasoning", {"input": "hello", "reasoning": {"effort": "low"}}),
        ("stand-in", {"input": '[[call weather {"city": "Paris"}]]', "tools": [WEATHER]}),
        ("stand-in", {"input": "hello", "tools": [WEATHER], "tool_choice": "required"}),
        ("stand-in", {"input": "[[refuse I will not]]"}),
        ("stand-in", {"input": "[[tokens 40]]", "max_output_tokens": 16}),
        ("stand-in", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}),
        ("stand-in", {"input": "[[fail_after 4]]"}),
        ("stand-in", {"input": "[[no_usage]]"}),
    ],
)
async def test_a_stream_conforms_and_tells_the_same_as_the_plain_answer(
    http: aiohttp.ClientSession, model: str, asked: dict[str, Any]
) -> None:
    events = await _events(http, {"model": model, **asked})
    for event in events:
        assert_conforms(ResponseStreamEvent, event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    final = events[-1]["response"]
    assert events[-1]["type"] == f"response.{final['status']}"
    status, plain = await _post(http, {"model": model, **asked})
    if final["status"] == "failed":
        assert status == 500
        return
    assert_conforms(Response, plain)
    varying = {"id", "call_id", "created_at", "completed_at"}
    assert _without(final, varying) == _without(plain, varying)


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, names) for key, item in value.items() if key not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value


async def test_a_stream_has_one_delta_per_output_token(http: aiohttp.ClientSession) -> None:
    events = await _events(http, {"model": "stand-in", "input": "[[tokens 30]]"})
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert len(deltas) == events[-1]["response"]["usage"]["output_tokens"] == 30


async def test_too_few_tokens_make_an_incomplete_answer_that_is_counted(client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(model="stand-in", input="[[tokens 99]]", max_output_tokens=16)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 16


async def test_history_comes_with_the_previous_response_but_instructions_do_not(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(model="stand-in", input="one", instructions="secret")
    second = await client.responses.create(model="stand-in", input="[[history]]two", previous_response_id=first.id)
    assert second.output_text == "history of 3: user: one | assistant: You said: one | user: two"
    assert second.instructions is None
    third = await client.responses.create(model="stand-in", input="[[instructions]]", previous_response_id=first.id)
    assert third.output_text.endswith("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


async def test_a_tool_call_must_be_answered(client: openai.AsyncOpenAI) -> None:
    call = await client.responses.create(model="stand-in", input='[[call weather {"city": "Bonn"}]]', tools=[WEATHER])
    assert call.output[0].type == "function_call"
    call_id = call.output[0].call_id
    with pytest.raises(openai.BadRequestError, match=f"No tool output found for function call {call_id}"):
        await client.responses.create(model="stand-in", input="and?", previous_response_id=call.id)
    with pytest.raises(
        openai.BadRequestError, match="No tool call found for function call output with call_id call_no"
    ):
        await client.responses.create(
            model="stand-in", input=[{"type": "function_call_output", "call_id": "call_no", "output": "x"}]
        )
    told = await client.responses.create(
        model="stand-in",
        previous_response_id=call.id,
        input=[{"type": "function_call_output", "call_id": call_id, "output": "rain"}],
    )
    assert told.output_text == "weather returned rain"


async def test_structured_output_fits_its_schema(client: openai.AsyncOpenAI) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "words": {"type": "integer"}},
        "required": ["city", "words"],
        "additionalProperties": False,
    }
    response = await client.responses.create(
        model="stand-in",
        input="Bonn on the Rhine",
        text={"format": {"type": "json_schema", "name": "place", "schema": schema}},
    )
    assert orjson.loads(response.output_text) == {"city": "Bonn on the Rhine", "words": 4}


async def test_background_can_be_polled_resumed_and_cancelled(client: openai.AsyncOpenAI) -> None:
    started = await client.responses.create(model="stand-in", input="[[delay 0.01]]hello", background=True)
    assert started.status == "queued"
    async with asyncio.timeout(10):
        while (polled := await client.responses.retrieve(started.id)).status != "completed":
            assert polled.status in ("queued", "in_progress")
            await asyncio.sleep(0.01)
    assert polled.output_text == "You said: hello"

    whole: list[Any] = []
    async with await client.responses.create(
        model="stand-in", input="[[delay 0.01]]hello", background=True, stream=True
    ) as stream:
        async for event in stream:
            whole.append(event)
    id = whole[0].response.id
    async with await client.responses.retrieve(id, stream=True, starting_after=3) as resumed:
        rest = [event async for event in resumed]
    assert [event.sequence_number for event in rest] == [event.sequence_number for event in whole][4:]
    assert [event.type for event in whole[:3]] == ["response.created", "response.queued", "response.in_progress"]

    slow = await client.responses.create(model="stand-in", input="[[wait 60]]hello", background=True)
    cancelled = await client.responses.cancel(slow.id)
    assert cancelled.status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
        await client.responses.cancel(id)
    plain = await client.responses.create(model="stand-in", input="hello")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await client.responses.cancel(plain.id)


async def test_input_items_are_listed_in_pages_and_deleted_with_the_response(
    client: openai.AsyncOpenAI, http: aiohttp.ClientSession
) -> None:
    response = await client.responses.create(
        model="stand-in", input=[{"role": "user", "content": f"message {n}"} for n in range(5)]
    )
    async with http.get(f"/v1/responses/{response.id}/input_items?limit=2&order=asc") as answer:
        page = await answer.json()
    assert_conforms(ResponseItemList, page)
    assert page["has_more"]
    listed = [item async for item in await client.responses.input_items.list(response.id, limit=2, order="asc")]
    texts = [item.content[0].text for item in listed if item.type == "message" and item.content[0].type == "input_text"]
    assert texts == [f"message {n}" for n in range(5)]
    await client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)


async def test_what_is_not_stored_cannot_be_found(client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(model="stand-in", input="hello", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError, match="not found"):
        await client.responses.create(model="stand-in", input="again", previous_response_id=response.id)


async def test_input_tokens_are_those_of_the_answer(client: openai.AsyncOpenAI) -> None:
    counted = await client.responses.input_tokens.count(model="stand-in", input="one two three", tools=[WEATHER])
    answered = await client.responses.create(model="stand-in", input="one two three", tools=[WEATHER])
    assert answered.usage is not None
    assert counted.input_tokens == answered.usage.input_tokens


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({"input": "hi"}, 400, "model", "missing_required_parameter"),
        ({"model": "stand-in"}, 400, "input", "missing_required_parameter"),
        ({"model": "gpt-nope", "input": "hi"}, 404, "model", "model_not_found"),
        ({**HI, "colour": "red"}, 400, "colour", "unknown_parameter"),
        ({"model": "stand-in", "input": 5}, 400, "input", "invalid_type"),
        ({**HI, "stream": "yes"}, 400, "stream", "invalid_type"),
        ({**HI, "temperature": 3}, 400, "temperature", "integer_above_max_value"),
        ({**HI, "max_output_tokens": 1}, 400, "max_output_tokens", "integer_below_min_value"),
        ({"model": "stand-in", "input": [{"role": "user"}]}, 400, "input[0].content", "missing_required_parameter"),
        ({"model": "stand-in", "input": [{"role": "king", "content": "x"}]}, 400, "input[0].role", "invalid_value"),
        ({**HI, "tools": [{"type": "oracle"}]}, 400, "tools[0].type", "invalid_value"),
        ({**HI, "metadata": {"a": 1}}, 400, "metadata.a", "invalid_type"),
        ({**HI, **BOTH}, 400, None, "mutually_exclusive_parameters"),
        ({**HI, **PREVIOUS}, 400, "previous_response_id", "previous_response_not_found"),
        ({**HI, "conversation": "conv_x"}, 404, None, None),
        ({**HI, "background": True, "store": False}, 400, "background", None),
        ({"model": "stand-in", "input": [{"type": "item_reference", "id": "msg_x"}]}, 404, "input", None),
        ({"model": "stand-in", "input": "[[sing]]"}, 400, "input", None),
    ],
)  # fmt: skip
async def test_refusals_name_the_parameter(
    http: aiohttp.ClientSession, body: dict[str, Any], status: int, param: str | None, code: str | None
) -> None:
    got, answer = await _post(http, body)
    error = answer["error"]
    assert (got, error["param"], error["code"]) == (status, param, code), error
    assert set(error) == {"message", "type", "param", "code"}


async def test_bodies_that_are_not_json_objects_are_refused(http: aiohttp.ClientSession) -> None:
    for raw in (b"{", b"[]", b'"x"'):
        async with http.post("/v1/responses", data=raw) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_models_are_listed_with_their_end(client: openai.AsyncOpenAI, provider: Provider) -> None:
    models = {model.id: model async for model in await client.models.list()}
    assert "stand-in" in models
    assert models["stand-in-retiring"].shutdown_date == "2026-12-31"
    assert (await client.models.retrieve("stand-in")).id == "stand-in"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-nope")
