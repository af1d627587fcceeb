"""Every method of the Assistants API through a real node, with every client: what comes back has the old API's form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from openai.types.beta import Assistant, Thread, ThreadDeleted
from openai.types.beta.threads import Message, MessageDeleted, Run
from openai.types.beta.threads.runs import RunStep

from nvm_chain.definition import DIALECTS
from tests.assistants import WEATHER_CALL, Shop, Sold, open_shop
from tests.openai_clients import CLIENTS, Client, Refused, open_client
from tests.provider.conforms import assert_conforms
from tests.world import World, until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]
THREAD, MESSAGE, RUN = "/v1/threads/{id}", "/v1/threads/{id}/messages/{message}", "/v1/threads/{id}/runs/{run}"
Json = dict[str, Any]
ByDialect = Callable[[str, str], Awaitable[tuple[Sold, Client]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(world: World) -> AsyncIterator[Shop]:
    async with open_shop(world) as shop:
        yield shop


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sold(shop: Shop) -> Sold:
    return await shop.sell()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def by_dialect(shop: Shop, sold: Sold) -> AsyncIterator[ByDialect]:
    """An assistant of each dialect, and a client of its subscriber's."""
    known: dict[str, Sold] = {"responses": sold}
    async with AsyncExitStack() as stack:

        async def find(dialect: Any, client: str) -> tuple[Sold, Client]:
            if dialect not in known:
                known[dialect] = await shop.sell(dialect)
            found = known[dialect]
            opened = open_client(client, f"{found.node.url}/v1", found.key)
            return found, await stack.enter_async_context(opened)

        yield find


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clients(sold: Sold) -> AsyncIterator[dict[str, Client]]:
    async with AsyncExitStack() as stack:
        yield {
            kind: await stack.enter_async_context(open_client(kind, f"{sold.node.url}/v1", sold.key))
            for kind in CLIENTS
        }


every_client = pytest.mark.parametrize("client", CLIENTS)


@pytest.mark.conformance("GET /v1/assistants", "GET /v1/assistants/{id}")
@every_client
async def test_assistants_show_their_public_face_only(sold: Sold, clients: dict[str, Client], client: str) -> None:
    api = clients[client]
    listed = await api.events("beta.assistants.list")
    assert [one["id"] for one in listed] == [sold.id]
    for name in (sold.id, str(sold.did)):
        shown = await api.call("beta.assistants.retrieve", name)
        assert_conforms(Assistant, shown)
        assert shown == listed[0]
    assert (shown["name"], shown["model"], shown["instructions"], shown["tools"]) == ("Otto", str(sold.did), None, [])


@pytest.mark.conformance("POST /v1/assistants", "POST /v1/assistants/{id}", "DELETE /v1/assistants/{id}", refused=True)
@every_client
async def test_assistants_are_made_by_their_builders(sold: Sold, clients: dict[str, Client], client: str) -> None:
    api = clients[client]
    for ids, method, params in (
        ((), "create", {"model": "gpt-4o"}),
        ((sold.id,), "update", {"instructions": "Be mine."}),
        ((sold.id,), "delete", {}),
    ):
        with pytest.raises(Refused, match="registered on the chain by their builders") as caught:
            await api.call(f"beta.assistants.{method}", *ids, **params)
        assert (caught.value.status, caught.value.code) == (400, "assistants_are_registered")


@pytest.mark.conformance("POST /v1/threads", f"GET {THREAD}", f"POST {THREAD}", f"DELETE {THREAD}")
@every_client
async def test_threads_come_and_go(clients: dict[str, Client], client: str) -> None:
    api = clients[client]
    empty = await api.call("beta.threads.create")
    assert_conforms(Thread, empty)
    thread = await api.call(
        "beta.threads.create", messages=[{"role": "user", "content": "one"}], metadata={"a": "b"}, tool_resources={}
    )
    assert_conforms(Thread, thread)
    assert thread["metadata"] == {"a": "b"}
    assert await api.call("beta.threads.retrieve", thread["id"]) == thread
    changed = await api.call("beta.threads.update", thread["id"], metadata={"a": "c"})
    assert changed == {**thread, "metadata": {"a": "c"}}
    gone = await api.call("beta.threads.delete", thread["id"])
    assert_conforms(ThreadDeleted, gone)
    with pytest.raises(Refused, match=f"No thread found with id '{thread['id']}'") as caught:
        await api.call("beta.threads.retrieve", thread["id"])
    assert caught.value.status == 404


@pytest.mark.conformance(f"POST {THREAD}/messages", f"GET {THREAD}/messages", f"GET {MESSAGE}")
@pytest.mark.conformance(f"POST {MESSAGE}", f"DELETE {MESSAGE}")
@every_client
async def test_messages_are_added_listed_changed_and_deleted(clients: dict[str, Client], client: str) -> None:
    api = clients[client]
    thread = (await api.call("beta.threads.create"))["id"]
    added = []
    for number in range(5):
        content: Any = f"message {number}" if number else [{"type": "text", "text": "message 0"}]
        message = await api.call("beta.threads.messages.create", thread, role="user", content=content)
        assert_conforms(Message, message)
        assert message["content"] == [{"type": "text", "text": {"value": f"message {number}", "annotations": []}}]
        added.append(message)
    ids = [one["id"] for one in added]

    async def listed(**query: Any) -> list[str]:
        return [one["id"] for one in await api.events("beta.threads.messages.list", thread, **query)]

    assert await listed() == ids[::-1]
    assert await listed(order="asc", limit=2) == ids  # three pages
    assert await listed(order="asc", after=ids[2]) == ids[3:]
    page = await api.call("beta.threads.messages.list", thread, order="asc", before=ids[4], limit=2)
    assert [one["id"] for one in page["data"]] == ids[2:4]
    assert page["has_more"] is True
    changed = await api.call("beta.threads.messages.update", ids[0], thread_id=thread, metadata={"seen": "yes"})
    assert changed == {**added[0], "metadata": {"seen": "yes"}}
    assert await api.call("beta.threads.messages.retrieve", ids[0], thread_id=thread) == changed
    gone = await api.call("beta.threads.messages.delete", ids[1], thread_id=thread)
    assert_conforms(MessageDeleted, gone)
    assert await listed(order="asc") == [ids[0], *ids[2:]]
    with pytest.raises(Refused, match="No message found"):
        await api.call("beta.threads.messages.retrieve", ids[1], thread_id=thread)


@pytest.mark.conformance("POST /v1/threads/runs", f"GET {THREAD}/runs", f"GET {RUN}", f"POST {RUN}")
@pytest.mark.conformance(f"POST {RUN}/submit_tool_outputs", f"POST {THREAD}/runs", f"POST {RUN}/cancel")
@pytest.mark.conformance(f"GET {RUN}/steps", f"GET {RUN}/steps/{{step}}")
@every_client
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_run_with_a_tool_round_from_beginning_to_end(by_dialect: ByDialect, client: str, dialect: str) -> None:
    sold, api = await by_dialect(dialect, client)
    before = await sold.left()
    run = await api.call(
        "beta.threads.create_and_run",
        assistant_id=sold.id,
        thread={"messages": [{"role": "user", "content": WEATHER_CALL}]},
        metadata={"a": "b"},
    )
    assert_conforms(Run, run)
    assert run["status"] == "queued"
    assert (run["assistant_id"], run["model"], run["instructions"], run["tools"]) == (sold.id, str(sold.did), "", [])
    thread = run["thread_id"]

    async def state() -> Json:
        found: Json = await api.call("beta.threads.runs.retrieve", run["id"], thread_id=thread)
        assert_conforms(Run, found)
        return found

    async def is_at(*statuses: str) -> bool:
        return (await state())["status"] in statuses

    await until(lambda: is_at("requires_action"), "the call")
    run = await state()
    assert run["usage"] is None
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}
    with pytest.raises(Refused, match="Expected tool outputs for call_ids"):
        await api.call(
            "beta.threads.runs.submit_tool_outputs",
            run["id"],
            thread_id=thread,
            tool_outputs=[{"tool_call_id": "call_other", "output": "x"}],
        )
    changed = await api.call("beta.threads.runs.update", run["id"], thread_id=thread, metadata={"a": "c"})
    assert changed == {**run, "metadata": {"a": "c"}}
    outputs = [{"tool_call_id": call["id"], "output": "snow"}]
    going = await api.call("beta.threads.runs.submit_tool_outputs", run["id"], thread_id=thread, tool_outputs=outputs)
    assert_conforms(Run, going)
    await until(lambda: is_at("completed"), "the end")
    run = await state()
    assert run["metadata"] == {"a": "c"}
    assert (run["required_action"], run["expires_at"], run["last_error"]) == (None, None, None)
    steps = await api.events("beta.threads.runs.steps.list", run["id"], thread_id=thread)
    for step in steps:
        assert_conforms(RunStep, step)
    assert [step["type"] for step in steps] == ["message_creation", "tool_calls"]
    assert steps[1]["step_details"]["tool_calls"][0]["function"]["output"] == "snow"
    assert run["usage"]["total_tokens"] == sum(step["usage"]["total_tokens"] for step in steps if step["usage"])
    one = await api.call("beta.threads.runs.steps.retrieve", steps[0]["id"], thread_id=thread, run_id=run["id"])
    assert one == steps[0]
    answers = await api.events("beta.threads.messages.list", thread, run_id=run["id"])
    assert [answer["content"][0]["text"]["value"] for answer in answers] == ["weather returned snow"]
    assert_conforms(Message, answers[0])
    assert (answers[0]["run_id"], answers[0]["assistant_id"]) == (run["id"], sold.id)

    await api.call("beta.threads.messages.create", thread, role="user", content=WEATHER_CALL)
    second = await api.call("beta.threads.runs.create", thread, assistant_id=str(sold.did))
    assert_conforms(Run, second)
    assert [one["id"] for one in await api.events("beta.threads.runs.list", thread)] == [second["id"], run["id"]]
    run = second
    await until(lambda: is_at("requires_action"), "the second call")
    stopping = await api.call("beta.threads.runs.cancel", run["id"], thread_id=thread)
    assert stopping["status"] == "cancelling"
    await until(lambda: is_at("cancelled"), "its end")
    # The call without an answer is no hindrance for the next run.
    await api.call("beta.threads.messages.create", thread, role="user", content="[[history]]and now?")
    run = await api.call("beta.threads.runs.create", thread, assistant_id=sold.id)
    await until(lambda: is_at("completed", "failed"), "the third run")
    assert (await state())["status"] == "completed"
    assert await sold.left() == before - 3


@pytest.mark.conformance("POST /v1/threads/runs", f"POST {THREAD}/runs", f"POST {RUN}/submit_tool_outputs")
@every_client
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_streams_end_where_the_run_does(by_dialect: ByDialect, client: str, dialect: str) -> None:
    sold, api = await by_dialect(dialect, client)
    events = await api.events(
        "beta.threads.create_and_run",
        assistant_id=sold.id,
        thread={"messages": [{"role": "user", "content": WEATHER_CALL}]},
        stream=True,
    )
    assert [events[0]["event"], events[-1]["event"]] == ["thread.created", "thread.run.requires_action"]
    run = events[-1]["data"]
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    events = await api.events(
        "beta.threads.runs.submit_tool_outputs",
        run["id"],
        thread_id=run["thread_id"],
        tool_outputs=[{"tool_call_id": call["id"], "output": "hail"}],
        stream=True,
    )
    assert [events[0]["event"], events[-1]["event"]] == ["thread.run.step.completed", "thread.run.completed"]
    texts = [one["data"]["delta"]["content"][0]["text"] for one in events if one["event"] == "thread.message.delta"]
    assert "".join(text["value"] for text in texts) == "weather returned hail"
    await api.call("beta.threads.messages.create", run["thread_id"], role="user", content="hello")
    events = await api.events("beta.threads.runs.create", run["thread_id"], assistant_id=sold.id, stream=True)
    assert events[-1]["data"]["usage"]["completion_tokens"] == 3
    assert events[-1]["data"]["status"] == "completed"


@pytest.mark.conformance("POST /v1/threads/runs", f"POST {THREAD}/runs", client="npm")
async def test_the_npm_packages_poll_helpers_work_unchanged(sold: Sold, clients: dict[str, Client]) -> None:
    api = clients["npm"]
    asked = {"messages": [{"role": "user", "content": "hello"}]}
    run = await api.call("beta.threads.create_and_run_poll", assistant_id=sold.id, thread=asked)
    assert run["status"] == "completed"
    await api.call("beta.threads.messages.create", run["thread_id"], role="user", content=WEATHER_CALL)
    run = await api.call("beta.threads.runs.create_and_poll", run["thread_id"], assistant_id=sold.id)
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    run = await api.call(
        "beta.threads.runs.submit_tool_outputs_and_poll",
        run["id"],
        thread_id=run["thread_id"],
        tool_outputs=[{"tool_call_id": call["id"], "output": "wind"}],
    )
    assert run["status"] == "completed"
    (newest, *_) = await api.events("beta.threads.messages.list", run["thread_id"])
    assert newest["content"][0]["text"]["value"] == "weather returned wind"
