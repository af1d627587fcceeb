"""Streams of runs: the same events as a provider of the old API sends, and the SDK's helpers on top of them."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from openai.types.beta import AssistantStreamEvent
from typing_extensions import override

from nvm_chain.definition import Dialect
from tests.assistants import BETA, BUILDER, WEATHER_CALL, Shop, Sold, open_shop, read_stream
from tests.provider.conforms import assert_conforms
from tests.world import World

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]
DIALECTS: tuple[Dialect, ...] = ("responses", "responses-stateless", "chat", "assistants")
RUNS = "/v1/threads/{id}/runs"
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "weather", "description": "", "parameters": {}, "strict": False}}
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(world: World) -> AsyncIterator[Shop]:
    async with open_shop(world) as shop:
        yield shop


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def all_sold(shop: Shop) -> dict[str, Sold]:
    return {dialect: await shop.sell(dialect) for dialect in DIALECTS}


@pytest.fixture
def sold(all_sold: dict[str, Sold]) -> Sold:
    return all_sold["responses"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(world: World) -> str:
    """The same assistant, stored at a provider of the old API."""
    async with openai.AsyncOpenAI(base_url=world.provider.url, api_key=world.provider.key) as client:
        made = await client.beta.assistants.create(model="stand-in", instructions=BUILDER, tools=TOOLS)
        return made.id


HIDDEN = ("model", "instructions", "tools", "temperature", "top_p")
"""Members in which a node must differ from a provider: the definition is the builder's alone."""


def masked(value: Any, ids: dict[str, str]) -> Any:
    """Without what differs from run to run: ids become numbers in order, times whether there is one."""
    if isinstance(value, dict):
        return {
            name: (one is not None) if name.endswith("_at") else masked(one, ids)
            for name, one in value.items()
            if name not in HIDDEN
        }
    if isinstance(value, list):
        return [masked(one, ids) for one in value]
    if isinstance(value, str) and re.fullmatch(r"(asst|thread|run|step|msg|call)_[0-9A-Za-z]{20,}", value):
        return ids.setdefault(value, f"{value.partition('_')[0]} {len(ids)}")
    return value


@pytest.mark.conformance(f"POST {RUNS}", "POST /v1/threads/runs", client="http")
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "content", ["hello you", "What is 2 + 2?", WEATHER_CALL, "[[reason 4]]think", "[[tokens 60]]"], ids=str
)
async def test_a_stream_is_the_same_as_from_a_provider_of_the_old_api(
    all_sold: dict[str, Sold], stored: str, dialect: str, content: str
) -> None:
    sold = all_sold[dialect]
    thread = {"messages": [{"role": "user", "content": content}], "metadata": {"a": "b"}}
    options = {"stream": True, "thread": thread, "max_completion_tokens": 30}
    provider = sold.world.provider
    direct = await read_stream(f"{provider.url}/threads/runs", provider.key, {"assistant_id": stored, **options})
    through = await sold.stream("/threads/runs", {"assistant_id": sold.id, **options})
    for name, value in through[:-1]:
        assert_conforms(AssistantStreamEvent, {"event": name, "data": value})
    assert [name for name, _ in through] == [name for name, _ in direct]
    wanted: dict[str, str] = {}
    got: dict[str, str] = {}
    for (name, theirs), (_, ours) in zip(direct, through, strict=True):
        assert masked(ours, got) == masked(theirs, wanted), name


async def test_a_stream_of_tool_outputs_is_the_same(sold: Sold, stored: str) -> None:
    provider = sold.world.provider
    told = []
    for url, key, assistant in (
        (provider.url, provider.key, stored),
        (f"{sold.node.url}/v1", sold.key, sold.id),
    ):
        thread = {"messages": [{"role": "user", "content": WEATHER_CALL}]}
        asking = await read_stream(
            f"{url}/threads/runs", key, {"assistant_id": assistant, "stream": True, "thread": thread}
        )
        run = asking[-2][1]
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        path = f"{url}/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
        outputs = [{"tool_call_id": call["id"], "output": "rain"}]
        telling = await read_stream(path, key, {"tool_outputs": outputs, "stream": True})
        ids: dict[str, str] = {}
        told.append([(name, masked(value, ids)) for name, value in asking + telling])
    assert told[1] == told[0]


@pytest.mark.parametrize(
    ("content", "last"),
    [("[[fail_after 6]]a b c", "thread.run.failed"), ("[[cut 6]]a b c", "thread.run.failed")],
)
async def test_a_stream_that_fails_ends_as_the_old_api_ended_it(sold: Sold, content: str, last: str) -> None:
    thread = {"messages": [{"role": "user", "content": content}]}
    told = await sold.stream("/threads/runs", {"assistant_id": sold.id, "stream": True, "thread": thread})
    for name, value in told[:-1]:
        assert_conforms(AssistantStreamEvent, {"event": name, "data": value})
    names = [name for name, _ in told]
    assert names[-4:] == ["thread.message.incomplete", "thread.run.step.failed", last, "done"]
    assert dict(told)[last]["last_error"]["code"] == "server_error"


async def test_a_stream_that_is_cancelled_says_so(sold: Sold) -> None:
    thread = await sold.thread("[[delay 0.05]][[tokens 200]]slowly")
    hearing = asyncio.create_task(sold.stream(f"/threads/{thread}/runs", {"assistant_id": sold.id, "stream": True}))
    run = None
    while run is None or len((await sold.client.beta.threads.messages.list(thread)).data) < 2:
        run = next(iter((await sold.client.beta.threads.runs.list(thread)).data), None)
        await asyncio.sleep(0.05)
    await sold.client.beta.threads.runs.cancel(run.id, thread_id=thread)
    names = [name.removeprefix("thread.") for name, _ in await hearing]
    assert names[-5:] == ["run.cancelling", "message.incomplete", "run.step.cancelled", "run.cancelled", "done"]


async def test_no_event_waits_for_the_next_one(sold: Sold) -> None:
    thread = await sold.thread("[[delay 0.2]]one two")
    headers = {"authorization": f"Bearer {sold.key}", **BETA}
    body = {"assistant_id": sold.id, "stream": True}
    path = f"{sold.node.url}/v1/threads/{thread}/runs"
    at: list[float] = []
    async with aiohttp.ClientSession(headers=headers) as http, http.post(path, json=body) as answer:
        async for line in answer.content:
            if line.startswith(b"event: thread.message.delta"):
                at.append(time.monotonic())
    assert len(at) == 4
    assert min(later - earlier for earlier, later in itertools.pairwise(at)) > 0.1


# --------------------------------------------------------------------------------------------------------- the helpers


class Handler(openai.AsyncAssistantEventHandler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.text = ""

    @override
    async def on_text_created(self, text: Any) -> None:
        self.heard.append("text")

    @override
    async def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.text += delta.value
        assert snapshot.value == self.text

    @override
    async def on_text_done(self, text: Any) -> None:
        assert text.value == self.text
        self.heard.append("text done")

    @override
    async def on_tool_call_done(self, tool_call: Any) -> None:
        self.heard.append(f"{tool_call.function.name} {tool_call.function.arguments}")

    @override
    async def on_message_done(self, message: Any) -> None:
        self.heard.append(f"message {message.status}")

    @override
    async def on_run_step_done(self, run_step: Any) -> None:
        self.heard.append(f"step {run_step.status}")

    @override
    async def on_end(self) -> None:
        self.heard.append("end")


class SyncHandler(openai.AssistantEventHandler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.text = ""

    @override
    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.text += delta.value

    @override
    def on_tool_call_done(self, tool_call: Any) -> None:
        self.heard.append(f"{tool_call.function.name} {tool_call.function.arguments}")

    @override
    def on_message_done(self, message: Any) -> None:
        self.heard.append(f"message {message.status}")

    @override
    def on_end(self) -> None:
        self.heard.append("end")


@pytest.mark.conformance(f"POST {RUNS}", f"POST {RUNS}/{{run}}/submit_tool_outputs", client="python-async")
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_asynchronous_helpers_work_unchanged(all_sold: dict[str, Sold], dialect: str) -> None:
    sold = all_sold[dialect]
    threads = sold.client.beta.threads
    thread = await sold.thread(WEATHER_CALL)
    asking = Handler()
    async with threads.runs.stream(thread_id=thread, assistant_id=sold.id, event_handler=asking) as stream:
        await stream.until_done()
    assert asking.heard == ['weather {"city": "Oslo"}', "end"]
    run = asking.current_run
    assert run is not None
    assert run.required_action is not None
    calls = run.required_action.submit_tool_outputs.tool_calls
    outputs: list[Any] = [{"tool_call_id": call.id, "output": "sleet"} for call in calls]
    telling = Handler()
    async with threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread, tool_outputs=outputs, event_handler=telling
    ) as stream:
        await stream.until_done()
    assert telling.text == "weather returned sleet"
    assert telling.heard == ["step completed", "text", "text done", "message completed", "step completed", "end"]
    final = await telling.get_final_run()
    assert (final.status, final.id) == ("completed", run.id)
    asked: Any = {"messages": [{"role": "user", "content": "hello"}]}
    async with threads.create_and_run_stream(assistant_id=sold.id, thread=asked) as plain:
        text = "".join([piece async for piece in plain.text_deltas])
    assert text == "You said: hello"
    done = await threads.create_and_run_poll(assistant_id=sold.id, thread=asked, poll_interval_ms=50)
    assert done.status == "completed"
    (message,) = (await threads.messages.list(done.thread_id, limit=1)).data
    assert message.run_id == done.id


@pytest.mark.conformance(f"POST {RUNS}", f"POST {RUNS}/{{run}}/submit_tool_outputs", client="python")
@pytest.mark.parametrize("dialect", ["responses"])
async def test_the_synchronous_helpers_work_unchanged(all_sold: dict[str, Sold], dialect: str) -> None:
    sold = all_sold[dialect]

    def work() -> None:
        with sold.world.openai(sold.key) as client:
            threads = client.beta.threads
            thread = threads.create(messages=[{"role": "user", "content": WEATHER_CALL}])
            asking = SyncHandler()
            with threads.runs.stream(thread_id=thread.id, assistant_id=sold.id, event_handler=asking) as stream:
                stream.until_done()
            assert asking.heard == ['weather {"city": "Oslo"}', "end"]
            run = asking.current_run
            assert run is not None
            assert run.required_action is not None
            calls = run.required_action.submit_tool_outputs.tool_calls
            outputs: list[Any] = [{"tool_call_id": call.id, "output": "fog"} for call in calls]
            telling = SyncHandler()
            with threads.runs.submit_tool_outputs_stream(
                run_id=run.id, thread_id=thread.id, tool_outputs=outputs, event_handler=telling
            ) as stream:
                stream.until_done()
            assert telling.text == "weather returned fog"
            assert telling.heard == ["message completed", "end"]
            threads.messages.create(thread.id, role="user", content=WEATHER_CALL)
            waiting = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=sold.id, poll_interval_ms=50)
            assert waiting.required_action is not None
            (call,) = waiting.required_action.submit_tool_outputs.tool_calls
            done = threads.runs.submit_tool_outputs_and_poll(
                run_id=waiting.id,
                thread_id=thread.id,
                tool_outputs=[{"tool_call_id": call.id, "output": "ice"}],
                poll_interval_ms=50,
            )
            assert done.status == "completed"
            asked: Any = {"messages": [{"role": "user", "content": "hi"}]}
            with threads.create_and_run_stream(assistant_id=sold.id, thread=asked) as plain:
                assert "".join(plain.text_deltas) == "You said: hi"
            assert threads.create_and_run_poll(assistant_id=sold.id, thread=asked).status == "completed"
            texts = [
                message.content[0].text.value
                for message in threads.messages.list(thread.id, order="asc")
                if message.content[0].type == "text"
            ]
            assert texts[-1] == "weather returned ice"

    await asyncio.to_thread(work)
