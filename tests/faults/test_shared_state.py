"""Two node processes on one PostgreSQL: what one does for a subscriber is seen, resumed and cancelled by the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import pytest_asyncio
from openai.types.responses import Response

from tests.postgres import postgres
from tests.world import NodeProcess, World, free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@dataclass(frozen=True, slots=True)
class Pair:
    """One subscriber at two processes. did: an assistant whose provider keeps state, stateless: whose doesn't."""

    world: World
    one: openai.AsyncOpenAI
    other: openai.AsyncOpenAI
    did: str
    stateless: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(postgres())
        world = await stack.enter_async_context(World(node={"ledger": server.database()}))
        url = f"http://127.0.0.1:{free_port()}"
        settings = {**world.node.settings, "bind": urlsplit(url).netloc}
        other = NodeProcess(url, world.node.wallet, world.node.registered, settings, world.node.on_start)
        await other.start()
        stack.push_async_callback(other.stop)
        plan = (await world.create_plan(price=10**12, credits=1_000)).plan_id
        did = str((await world.register(plan)).did)
        stateless = str((await world.register(plan, definition=world.definition(dialect="responses-stateless"))).did)
        wallet = await world.wallet()
        await world.buy(plan, wallet)
        key = await world.login(wallet)
        clients = [await stack.enter_async_context(world.async_openai(key, node=node)) for node in (world.node, other)]
        yield Pair(world, clients[0], clients[1], did, stateless)


async def ended(client: openai.AsyncOpenAI, id: str) -> Response:
    found: list[Response] = []

    async def there() -> bool:
        found.append(await client.responses.retrieve(id))
        return found[-1].status not in ("queued", "in_progress")

    await until(there, f"the end of {id}")
    return found[-1]


async def test_what_one_process_works_on_is_heard_at_the_other(pair: Pair) -> None:
    made = await pair.one.responses.create(model=pair.stateless, input="one two three [[delay 0.2]]", background=True)
    heard: list[Any] = [event async for event in await pair.other.responses.retrieve(made.id, stream=True)]
    assert [event.sequence_number for event in heard] == list(range(len(heard)))
    assert heard[-1].type == "response.completed"
    again = [event async for event in await pair.one.responses.retrieve(made.id, stream=True, starting_after=3)]
    assert again == heard[4:]
    assert (await pair.other.responses.retrieve(made.id)).output_text == "You said: one two three"


async def test_a_line_and_a_conversation_go_on_at_the_other(pair: Pair) -> None:
    conversation = (await pair.one.conversations.create()).id
    for client, words in ((pair.one, "one"), (pair.other, "two"), (pair.one, "[[history]]three")):
        last = await client.responses.create(model=pair.did, input=words, conversation=conversation)
    assert last.output_text.startswith("history of 5: user: one | assistant: You said: one | user: two")
    following = await pair.other.responses.create(
        model=pair.stateless, input="[[history]]4", previous_response_id=last.id
    )
    assert following.output_text.startswith("history of 7:")


async def test_the_other_can_cancel_it(pair: Pair) -> None:
    made = await pair.one.responses.create(model=pair.did, input="hello [[wait 60]]", background=True)
    assert (await pair.other.responses.cancel(made.id)).status == "cancelled"
    assert (await pair.one.responses.retrieve(made.id)).status == "cancelled"


async def test_a_conversation_is_locked_for_both(pair: Pair) -> None:
    conversation = (await pair.one.conversations.create()).id
    slow = pair.one.responses.create(model=pair.did, input="a [[wait 1.5]]", conversation=conversation)
    running = asyncio.create_task(slow)
    await asyncio.sleep(0.7)
    with pytest.raises(openai.BadRequestError) as caught:
        await pair.other.responses.create(model=pair.did, input="b", conversation=conversation)
    assert caught.value.code == "conversation_locked"
    await running


async def test_the_other_takes_over_from_one_that_was_killed(pair: Pair) -> None:
    """At once: no lease has to run out."""
    conversation = (await pair.one.conversations.create()).id
    made = await pair.one.responses.create(
        model=pair.did, input="one two three [[delay 3]]", background=True, conversation=conversation
    )

    async def at_work() -> bool:
        return (await pair.other.responses.retrieve(made.id)).status == "in_progress"

    await until(at_work, "the first events")
    process = pair.world.node.process
    assert process is not None
    process.process.kill()
    await process.process.wait()
    failed = await ended(pair.other, made.id)
    assert failed.status == "failed"
    heard: list[Any] = [event async for event in await pair.other.responses.retrieve(made.id, stream=True)]
    assert [event.sequence_number for event in heard] == list(range(len(heard)))
    assert heard[-1].type == "response.failed"
    told = await pair.other.responses.create(model=pair.did, input="[[history]]b", conversation=conversation)
    assert told.output_text == "history of 1: user: b"
    await pair.world.node.stop()
