"""Chat Completions and Files, against the real client and its types."""

from __future__ import annotations

from typing import Any

import aiohttp
import openai
import orjson
import pytest
from openai.types import FileDeleted, FileObject
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionToolParam

from tests.provider import tokens
from tests.provider.conforms import assert_conforms

WEATHER: ChatCompletionToolParam = {"type": "function", "function": {"name": "weather", "parameters": {}}}
SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "hello there"}
HI = {"model": "stand-in", "messages": [HELLO]}
TOLD = {"role": "tool", "tool_call_id": "x", "content": ""}
CALL = {"role": "user", "content": '[[call weather {"city": "Rome"}]]'}
ASKED: list[dict[str, Any]] = [
    {"messages": [SYSTEM, HELLO]},
    {"messages": [CALL], "tools": [WEATHER]},
    {"messages": [{"role": "user", "content": "[[refuse no]]"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "[[tokens 9]]"}]}], "max_completion_tokens": 4},
    {"messages": [HELLO], "n": 2},
]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("include_usage", [False, True])
async def test_a_stream_conforms_and_adds_up_to_the_plain_answer(
    http: aiohttp.ClientSession, asked: dict[str, Any], include_usage: bool
) -> None:
    body = {"model": "stand-in-reasoning", **asked}
    async with http.post("/v1/chat/completions", json=body) as answer:
        plain = await answer.json()
    assert_conforms(ChatCompletion, plain)
    options = {"stream": True, "stream_options": {"include_usage": include_usage}}
    async with http.post("/v1/chat/completions", json={**body, **options}) as answer:
        lines = [line.removeprefix("data: ") for line in (await answer.text()).split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    chunks = [orjson.loads(line) for line in lines]
    for chunk in chunks:
        assert_conforms(ChatCompletionChunk, chunk)
    if include_usage:
        assert chunks[-1]["choices"] == []
        assert chunks.pop()["usage"] == plain["usage"]
        assert all(chunk["usage"] is None for chunk in chunks)
    else:
        assert all("usage" not in chunk for chunk in chunks)
    for choice in plain["choices"]:
        deltas = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == choice["index"]]
        for key in ("content", "refusal"):
            assert "".join(delta["delta"].get(key) or "" for delta in deltas) == (choice["message"][key] or "")
        arguments = [
            call["function"]["arguments"] for delta in deltas for call in delta["delta"].get("tool_calls") or ()
        ]
        calls = choice["message"].get("tool_calls") or []
        assert "".join(arguments) == "".join(call["function"]["arguments"] for call in calls)
        assert deltas[-1]["finish_reason"] == choice["finish_reason"]


async def test_the_answer_counts_and_knows_the_system_message(client: openai.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(
        model="stand-in", messages=[{"role": "system", "content": "Do sums."}, {"role": "user", "content": "6 * 7?"}]
    )
    assert completion.choices[0].message.content == "6 * 7 = 42"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == tokens.count("Do sums. 6 * 7?")
    assert completion.usage.completion_tokens == tokens.count("6 * 7 = 42")


async def test_tools_are_called_and_their_outputs_told(client: openai.AsyncOpenAI) -> None:
    asked: list[Any] = [CALL]
    first = await client.chat.completions.create(model="stand-in", messages=asked, tools=[WEATHER])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls
    asked.append(message.model_dump(exclude_none=True))
    with pytest.raises(openai.BadRequestError, match=message.tool_calls[0].id):
        await client.chat.completions.create(model="stand-in", messages=asked, tools=[WEATHER])
    asked.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sun"})
    second = await client.chat.completions.create(model="stand-in", messages=asked, tools=[WEATHER])
    assert second.choices[0].message.content == "weather returned sun"


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({"messages": [HELLO]}, 400, "model", "missing_required_parameter"),
        ({"model": "stand-in"}, 400, "messages", "missing_required_parameter"),
        ({"model": "stand-in", "messages": []}, 400, "messages", "empty_array"),
        ({"model": "nope", "messages": [HELLO]}, 404, "model", "model_not_found"),
        ({"model": "stand-in", "messages": [HELLO], "best_of": 2}, 400, "best_of", "unknown_parameter"),
        ({**HI, "messages": [{"role": "user"}]}, 400, "messages[0].content", "missing_required_parameter"),
        ({"model": "stand-in", "messages": [HELLO], "stream_options": {}, "stream": 1}, 400, "stream", "invalid_type"),
        ({"model": "stand-in", "messages": [HELLO], "n": 0}, 400, "n", "integer_below_min_value"),
        ({**HI, "messages": [TOLD]}, 400, "messages[0].role", None),
    ],
)  # fmt: skip
async def test_refusals_name_the_parameter(
    http: aiohttp.ClientSession, body: dict[str, Any], status: int, param: str | None, code: str | None
) -> None:
    async with http.post("/v1/chat/completions", json=body) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["param"], error["code"]) == (status, param, code), error


async def test_files_are_kept(client: openai.AsyncOpenAI, http: aiohttp.ClientSession) -> None:
    uploaded = await client.files.create(file=("notes.txt", b"some notes"), purpose="user_data")
    async with http.get(f"/v1/files/{uploaded.id}") as answer:
        assert_conforms(FileObject, await answer.json())
    assert (await client.files.content(uploaded.id)).content == b"some notes"
    assert [file.id async for file in await client.files.list()] == [uploaded.id]
    async with http.delete(f"/v1/files/{uploaded.id}") as answer:
        assert_conforms(FileDeleted, await answer.json())
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(uploaded.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await client.files.create(file=b"x", purpose="mischief")  # type: ignore[arg-type]
    assert caught.value.param == "purpose"
