"""Runs whose node dies, stops, or isn't the one that they began at: each ends, each is charged once or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import pytest_asyncio

from node_proxy.ledger import open_ledger
from tests.assistants import BY_TOKENS, WEATHER_CALL, Shop, Sold, open_shop
from tests.postgres import postgres
from tests.world import NodeProcess, World, free_port, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]
SLOWLY = "[[delay 0.05]][[tokens 80]]slowly"


async def charges(sold: Sold) -> list[int]:
    """Credits of every charge, in the order of the reservations."""
    async with open_ledger(sold.node.settings["ledger"], serving=False) as ledger:
        found = [one.credits for one in await ledger.charges(plan=sold.plan.value, limit=1_000)]
        audit = await ledger.audit()
        assert audit.clean, audit.imbalances
    return found


async def kill(node: NodeProcess) -> None:
    """kill -9, and a new start on the same files."""
    assert node.process is not None
    node.process.process.kill()
    await node.process.process.wait()
    await node.stop()
    await node.start()


async def speaks(sold: Sold, thread: str) -> None:
    """Waits for the answer's message to be there."""

    async def there() -> bool:
        return len((await sold.client.beta.threads.messages.list(thread)).data) > 1

    await until(there, "the first words")


async def status(sold: Sold, thread: str, run: str, *wanted: str) -> Any:
    """The run, once it has one of these statuses."""

    async def there() -> bool:
        return (await sold.client.beta.threads.runs.retrieve(run, thread_id=thread)).status in wanted

    await until(there, f"{run} to be {' or '.join(wanted)}")
    return await sold.client.beta.threads.runs.retrieve(run, thread_id=thread)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(world: World) -> AsyncIterator[Shop]:
    async with open_shop(world) as shop:
        yield shop


async def metered(shop: Shop) -> Sold:
    """A credit for each token."""
    return await shop.sell(credits=(1, 5000), pricing=BY_TOKENS)


async def test_runs_outlive_their_node_or_end_uncharged(world: World, shop: Shop) -> None:
    sold = await metered(shop)
    runs = sold.client.beta.threads.runs
    before = await sold.left()
    talking, waiting = await sold.thread(SLOWLY), await sold.thread(WEATHER_CALL)
    asked = await sold.run(waiting)
    assert asked.status == "requires_action"
    told = await runs.create(talking, assistant_id=sold.id)
    await speaks(sold, talking)
    await kill(world.node)

    # The run that was at work has failed, and is free.
    told = await runs.retrieve(told.id, thread_id=talking)
    assert told.status == "failed"
    assert told.last_error is not None
    assert told.last_error.code == "server_error"
    (message, _) = (await sold.client.beta.threads.messages.list(talking)).data
    assert (message.status, message.incomplete_details and message.incomplete_details.reason) == (
        "incomplete",
        "run_failed",
    )
    assert [step.status for step in (await runs.steps.list(told.id, thread_id=talking)).data] == ["failed"]
    assert await sold.left() == before
    await sold.client.beta.threads.messages.create(talking, role="user", content="hello")
    assert (await sold.run(talking)).status == "completed"
    paid = await charges(sold)
    assert len(paid) == 1

    # The run that waited goes on, and is charged once for both rounds.
    with pytest.raises(openai.BadRequestError, match=f"already has an active run {asked.id}"):
        await runs.create(waiting, assistant_id=sold.id)
    (call,) = asked.required_action.submit_tool_outputs.tool_calls
    done = await runs.submit_tool_outputs_and_poll(
        run_id=asked.id,
        thread_id=waiting,
        tool_outputs=[{"tool_call_id": call.id, "output": "snow"}],
        poll_interval_ms=50,
    )
    assert done.status == "completed"
    assert await sold.said(waiting) == "weather returned snow"
    steps = (await runs.steps.list(done.id, thread_id=waiting)).data
    assert done.usage is not None
    assert done.usage.total_tokens == sum(step.usage.total_tokens for step in steps if step.usage)
    assert await charges(sold) == [*paid, done.usage.total_tokens]


async def test_a_run_that_waits_for_nobody_is_charged_when_it_expires_after_a_restart(world: World, shop: Shop) -> None:
    await world.node.restart(run_lifetime="10")
    sold = await metered(shop)
    thread = await sold.thread(WEATHER_CALL)
    run = await sold.run(thread)
    assert run.status == "requires_action"
    await kill(world.node)
    run = await status(sold, thread, run.id, "expired")
    assert run.usage is not None

    async def charged() -> bool:
        return bool(await charges(sold))

    await until(charged, "the charge")
    assert await charges(sold) == [run.usage.total_tokens]
    (step,) = (await sold.client.beta.threads.runs.steps.list(run.id, thread_id=thread)).data
    assert step.status == "expired"
    assert await sold.left()
    await world.node.restart(run_lifetime="600")


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_key_that_has_spent_its_budget_ends_no_waiting_run_for_free(world: World, shop: Shop, how: str) -> None:
    sold = await metered(shop)
    poor = await world.login(sold.wallet, budget=1)
    thread = await sold.thread(WEATHER_CALL)
    run = await sold.run(thread)
    assert run.status == "requires_action"
    assert run.usage is None
    await kill(world.node)
    async with openai.AsyncOpenAI(base_url=f"{sold.node.url}/v1", api_key=poor, max_retries=0) as client:
        if how == "cancel":
            assert (await client.beta.threads.runs.cancel(run.id, thread_id=thread)).status == "cancelled"
        else:
            await client.beta.threads.delete(thread)

    async def charged() -> bool:
        return len(await charges(sold)) == 1

    await until(charged, "the charge")


async def test_a_node_that_stops_lets_its_runs_end(world: World, shop: Shop) -> None:
    sold = await metered(shop)
    thread, waiting = await sold.thread("[[delay 0.05]][[tokens 40]]slowly"), await sold.thread(WEATHER_CALL)
    asked = await sold.run(waiting)
    run = await sold.client.beta.threads.runs.create(thread, assistant_id=sold.id)
    await speaks(sold, thread)
    await world.node.restart()
    run = await sold.client.beta.threads.runs.retrieve(run.id, thread_id=thread)
    assert run.status == "completed"
    assert run.usage is not None
    assert await charges(sold) == [run.usage.total_tokens]
    asked = await sold.client.beta.threads.runs.cancel(asked.id, thread_id=waiting)
    asked = await status(sold, waiting, asked.id, "cancelled")
    assert sorted(await charges(sold)) == sorted([run.usage.total_tokens, asked.usage.total_tokens])


async def test_replicas_share_runs() -> None:
    async with AsyncExitStack() as stack:
        url = stack.enter_context(postgres()).database()
        world = await stack.enter_async_context(World(node={"ledger": url}))
        first = world.node
        address = f"http://127.0.0.1:{free_port()}"
        settings = {**first.settings, "bind": urlsplit(address).netloc}
        second = NodeProcess(address, first.wallet, first.registered, settings, first.on_start)
        await second.start()
        stack.push_async_callback(second.stop)
        shop: Shop = await stack.enter_async_context(open_shop(world))
        here = await shop.sell(credits=(1, 5000), pricing=BY_TOKENS)
        client = await stack.enter_async_context(world.async_openai(here.key, node=second))
        there = replace(here, client=client, node=second)
        await there.knows(here.did)
        runs = there.client.beta.threads.runs

        # Of runs that begin at both at once, one does.
        thread = await here.thread(SLOWLY)
        body = {"assistant_id": here.id}
        both = [one.call("POST", f"/threads/{thread}/runs", body) for one in (here, there) for _ in range(3)]
        answers = await asyncio.gather(*both)
        assert sorted(code for code, _ in answers) == [200, *[400] * 5], answers
        (run,) = [answer for code, answer in answers if code == 200]
        await speaks(there, thread)
        with pytest.raises(openai.BadRequestError, match=f"while a run {run['id']} is active"):
            await there.client.beta.threads.messages.create(thread, role="user", content="more")

        # Either cancels what one of them holds.
        for one in (here, there):
            assert (await one.call("GET", f"/threads/{thread}/runs/{run['id']}"))[1]["status"] == "in_progress"
        cancelled = await runs.cancel(run["id"], thread_id=thread)
        assert cancelled.status == "cancelling"
        ended = await status(here, thread, run["id"], "cancelled")
        assert await charges(here) == [ended.usage.total_tokens]

        # One goes on with what waits at the other, and the other lets go.
        thread = await here.thread(WEATHER_CALL)
        asked = await here.run(thread)
        (call,) = asked.required_action.submit_tool_outputs.tool_calls
        outputs: Any = [{"tool_call_id": call.id, "output": "sun"}]
        path = f"/threads/{thread}/runs/{asked.id}/submit_tool_outputs"
        answers = await asyncio.gather(
            *(one.call("POST", path, {"tool_outputs": outputs}) for one in (here, there) for _ in range(3))
        )
        assert sorted(code for code, _ in answers) == [200, *[400] * 5], answers
        done = await status(here, thread, asked.id, "completed")
        asked = await there.run(await here.thread(WEATHER_CALL))
        (call,) = asked.required_action.submit_tool_outputs.tool_calls
        after = await here.client.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=asked.id,
            thread_id=asked.thread_id,
            tool_outputs=[{"tool_call_id": call.id, "output": "ice"}],
            poll_interval_ms=50,
        )
        assert after.status == "completed"
        assert await there.said(asked.thread_id) == "weather returned ice"
        await here.left()  # nothing stays reserved, at either
        totals = [one.usage.total_tokens for one in (ended, done, after) if one.usage]
        assert await charges(here) == totals

        # What a dead one was at work on has failed at the other.
        thread = await here.thread(SLOWLY)
        run = (await here.call("POST", f"/threads/{thread}/runs", body))[1]
        await speaks(here, thread)
        assert first.process is not None
        first.process.process.kill()
        failed = await status(there, thread, run["id"], "failed")
        assert failed.usage is None
        assert (await there.run(await there.thread("hello"))).status == "completed"
