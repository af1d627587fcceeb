"""The legacy Assistants v2, against the real client, its helpers and its types."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from openai.types.beta import Assistant, AssistantDeleted, AssistantStreamEvent, Thread, ThreadDeleted
from openai.types.beta.threads import Message, MessageDeleted, Run
from openai.types.beta.threads.runs import RunStep
from typing_extensions import override

from tests.provider import tokens
from tests.provider.conforms import assert_conforms

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")

TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "description": "", "parameters": {}}}]
CALL = '[[call weather {"city": "Oslo"}]]what weather?'


async def _assistant(client: openai.AsyncOpenAI, **fields: Any) -> Assistant:
    return await client.beta.assistants.create(model="stand-in", instructions="Be brief.", **fields)


async def test_a_run_answers_in_its_thread_and_counts(client: openai.AsyncOpenAI) -> None:
    assistant = await _assistant(client)
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": "What is 6 * 7?"}])
    run = await client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=10
    )
    assert run.status == "completed"
    assert run.usage is not None
    assert run.usage.prompt_tokens == tokens.count("Be brief. What is 6 * 7?")
    assert run.usage.completion_tokens == tokens.count("6 * 7 = 42")
    messages = [message async for message in await client.beta.threads.messages.list(thread.id)]
    assert [message.role for message in messages] == ["assistant", "user"]
    content = messages[0].content[0]
    assert content.type == "text"
    assert content.text.value == "6 * 7 = 42"
    assert messages[0].run_id == run.id
    steps = [step async for step in await client.beta.threads.runs.steps.list(run.id, thread_id=thread.id)]
    assert [step.step_details.type for step in steps] == ["message_creation"]
    assert steps[0].usage is not None
    assert steps[0].usage.total_tokens == run.usage.total_tokens


async def test_tool_outputs_continue_the_run_and_its_usage_is_the_sum(client: openai.AsyncOpenAI) -> None:
    assistant = await _assistant(client, tools=TOOLS)
    run = await client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": CALL}]}, poll_interval_ms=10
    )
    assert run.status == "requires_action"
    assert run.usage is None
    assert run.required_action is not None
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Oslo"}')
    with pytest.raises(openai.BadRequestError, match="Expected tool outputs for call_ids"):
        await client.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": "call_no", "output": ""}]
        )
    run = await client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=run.thread_id,
        tool_outputs=[{"tool_call_id": call.id, "output": "snow"}],
        poll_interval_ms=10,
    )
    assert run.status == "completed"
    messages = [message async for message in await client.beta.threads.messages.list(run.thread_id, limit=1)]
    assert messages[0].content[0].type == "text"
    assert messages[0].content[0].text.value == "weather returned snow"
    steps = [step async for step in await client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id)]
    assert [step.type for step in steps] == ["message_creation", "tool_calls"]
    assert run.usage is not None
    assert run.usage.total_tokens == sum(step.usage.total_tokens for step in steps if step.usage)


class _Handler(openai.AsyncAssistantEventHandler):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.calls: list[str] = []

    @override
    async def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.text.append(delta.value)

    @override
    async def on_tool_call_done(self, tool_call: Any) -> None:
        self.calls.append(tool_call.function.name)


async def test_the_streaming_helpers_work(client: openai.AsyncOpenAI) -> None:
    assistant = await _assistant(client, tools=TOOLS)
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": CALL}])
    asking = _Handler()
    async with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=asking
    ) as stream:
        await stream.until_done()
    assert asking.calls == ["weather"]
    run = asking.current_run
    assert run is not None
    assert run.required_action is not None
    telling = _Handler()
    outputs: list[Any] = [
        {"tool_call_id": call.id, "output": "hail"} for call in run.required_action.submit_tool_outputs.tool_calls
    ]
    async with client.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs, event_handler=telling
    ) as stream:
        await stream.until_done()
    assert "".join(telling.text) == "weather returned hail"


@pytest.mark.parametrize(
    ("content", "fields", "names"),
    [
        (
            "hello you",
            {},
            "created queued in_progress step.created step.in_progress message.created message.in_progress "
            "message.delta message.delta message.delta message.delta message.completed step.completed completed",
        ),
        (
            CALL,
            {},
            "created queued in_progress step.created step.in_progress step.delta step.delta step.delta requires_action",
        ),
        ("[[tokens 9]]", {"max_completion_tokens": 1}, "incomplete"),
        ("[[fail_after 4]]hi", {}, "created queued in_progress step.created failed"),
        ("a b c", {"max_prompt_tokens": 256}, "completed"),
    ],
)
async def test_events_come_in_the_old_order_and_conform(
    http: aiohttp.ClientSession, client: openai.AsyncOpenAI, content: str, fields: dict[str, Any], names: str
) -> None:
    assistant = await _assistant(client, tools=TOOLS)
    body = {
        "assistant_id": assistant.id,
        "thread": {"messages": [{"role": "user", "content": content}]},
        "stream": True,
        **fields,
    }
    async with http.post("/v1/threads/runs", json=body, headers={"openai-beta": "assistants=v2"}) as answer:
        frames = [frame.split("\n") for frame in (await answer.text()).split("\n\n") if frame]
    assert frames.pop() == ["event: done", "data: [DONE]"]
    events = [
        {"event": name.removeprefix("event: "), "data": orjson.loads(data.removeprefix("data: "))}
        for name, data in frames
    ]
    for event in events:
        assert_conforms(AssistantStreamEvent, event)
    told = [
        event["event"].removeprefix("thread.").removeprefix("run.") if event["event"] != "thread.created" else None
        for event in events
    ]
    assert told[0] is None
    assert told[1:][-len(names.split()) :] == names.split()


async def test_objects_conform(http: aiohttp.ClientSession, client: openai.AsyncOpenAI) -> None:
    headers = {"openai-beta": "assistants=v2"}

    async def get(method: str, path: str, wanted: Any, body: object = None) -> Any:
        async with http.request(method, "/v1" + path, json=body, headers=headers) as answer:
            payload = await answer.json()
            assert answer.status == 200, payload
        for one in payload["data"] if payload.get("object") == "list" else [payload]:
            assert_conforms(wanted, one)
        return payload

    async def until(path: str, status: str) -> Any:
        for _ in range(500):
            run = await get("GET", path, Run)
            if run["status"] == status:
                break
            await asyncio.sleep(0.01)
        assert run["status"] == status
        return run

    assistant = await get("POST", "/assistants", Assistant, {"model": "stand-in", "name": "A", "tools": TOOLS})
    await get("GET", "/assistants", Assistant)
    await get("POST", f"/assistants/{assistant['id']}", Assistant, {"description": "changed"})
    thread = await get("POST", "/threads", Thread, {"metadata": {"a": "b"}})
    path = f"/threads/{thread['id']}"
    await get("POST", path, Thread, {"metadata": {"a": "c"}})
    message = await get("POST", path + "/messages", Message, {"role": "user", "content": CALL})
    await get("POST", f"{path}/messages/{message['id']}", Message, {"metadata": {"x": "y"}})
    run = await get("POST", path + "/runs", Run, {"assistant_id": assistant["id"]})
    polled = await until(f"{path}/runs/{run['id']}", "requires_action")
    outputs = [
        {"tool_call_id": call["id"], "output": "fog"}
        for call in polled["required_action"]["submit_tool_outputs"]["tool_calls"]
    ]
    await get("POST", f"{path}/runs/{run['id']}/submit_tool_outputs", Run, {"tool_outputs": outputs})
    await until(f"{path}/runs/{run['id']}", "completed")
    await get("GET", path + "/runs", Run)
    steps = await get("GET", f"{path}/runs/{run['id']}/steps", RunStep)
    await get("GET", f"{path}/runs/{run['id']}/steps/{steps['data'][0]['id']}", RunStep)
    await get("POST", f"{path}/runs/{run['id']}", Run, {"metadata": {"a": "b"}})
    await get("GET", path + "/messages", Message)
    await get("DELETE", f"{path}/messages/{message['id']}", MessageDeleted)
    await get("DELETE", path, ThreadDeleted)
    await get("DELETE", f"/assistants/{assistant['id']}", AssistantDeleted)


async def test_one_active_run_per_thread(client: openai.AsyncOpenAI) -> None:
    assistant = await _assistant(client, tools=TOOLS)
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": CALL}])
    run = await client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=10
    )
    with pytest.raises(
        openai.BadRequestError, match=f"Can't add messages to {thread.id} while a run {run.id} is active"
    ):
        await client.beta.threads.messages.create(thread.id, role="user", content="more")
    with pytest.raises(openai.BadRequestError, match=f"already has an active run {run.id}"):
        await client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    assert (await client.beta.threads.runs.cancel(run.id, thread_id=thread.id)).status == "cancelling"
    cancelled = await client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=10)
    assert cancelled.status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'cancelled'"):
        await client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    with pytest.raises(openai.BadRequestError, match="do not accept tool outputs"):
        await client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=[])
    await client.beta.threads.messages.create(thread.id, role="user", content="more")


async def test_a_running_run_can_be_cancelled_and_a_waiting_one_expires(client: openai.AsyncOpenAI) -> None:
    assistant = await _assistant(client, tools=TOOLS)
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": "[[delay 0.02]][[tokens 500]]"}])
    run = await client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    await asyncio.sleep(0.2)
    await client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    run = await client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=10)
    assert run.status == "cancelled"
    await client.beta.threads.messages.create(thread.id, role="user", content="[[expire 0.2]]" + CALL)
    run = await client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=10
    )
    assert run.status == "requires_action"
    await asyncio.sleep(0.3)
    assert (await client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)).status == "expired"


async def test_the_run_sees_what_its_settings_say(client: openai.AsyncOpenAI) -> None:
    assistant = await _assistant(client)
    thread = await client.beta.threads.create(
        messages=[{"role": "user", "content": text} for text in ("one", "two", "[[history]]three")]
    )
    await client.beta.threads.runs.create_and_poll(
        thread_id=thread.id,
        assistant_id=assistant.id,
        truncation_strategy={"type": "last_messages", "last_messages": 2},
        additional_instructions="Also this.",
        poll_interval_ms=10,
    )
    (message,) = (await client.beta.threads.messages.list(thread.id, limit=1)).data
    assert message.content[0].type == "text"
    assert message.content[0].text.value == "history of 2: user: two | user: three"
    run = (await client.beta.threads.runs.list(thread.id)).data[0]
    assert run.instructions == "Be brief.\nAlso this."


async def test_what_is_missing_is_said(http: aiohttp.ClientSession, client: openai.AsyncOpenAI) -> None:
    async with http.get("/v1/assistants") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "invalid_beta")
    with pytest.raises(openai.NotFoundError, match="No assistant found with id 'asst_x'"):
        await client.beta.assistants.retrieve("asst_x")
    with pytest.raises(openai.NotFoundError, match="No thread found with id 'thread_x'"):
        await client.beta.threads.retrieve("thread_x")
    thread = await client.beta.threads.create()
    with pytest.raises(openai.NotFoundError, match="No run found"):
        await client.beta.threads.runs.retrieve("run_x", thread_id=thread.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await client.beta.threads.messages.create(thread.id, role="king", content="x")  # type: ignore[arg-type]
    assert caught.value.param == "role"
