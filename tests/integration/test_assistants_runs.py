"""Runs through a real node with the unmodified client: every dialect, every way to end, and what each costs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import openai
import orjson
import pytest
import pytest_asyncio

from nvm_chain.definition import Dialect
from nvm_chain.policy import Policy
from nvm_chain.pricing import Pricing
from tests.assistants import BETA, BUILDER, BY_TOKENS, EVERYTHING, WEATHER_CALL, Shop, Sold, open_shop
from tests.world import World, until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]
DIALECTS: tuple[Dialect, ...] = ("responses", "responses-stateless", "chat", "assistants")
RUNS, RUN = "/v1/threads/{id}/runs", "/v1/threads/{id}/runs/{run}"
FUNCTION: Any = {"type": "function", "function": {"name": "time", "description": "", "parameters": {}}}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
WAITING = ("queued", "in_progress", "cancelling")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(world: World) -> AsyncIterator[Shop]:
    async with open_shop(world) as shop:
        yield shop


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def all_sold(shop: Shop) -> dict[str, Sold]:
    """One credit a run."""
    return {dialect: await shop.sell(dialect) for dialect in DIALECTS}


@pytest.fixture
def sold(all_sold: dict[str, Sold]) -> Sold:
    return all_sold["responses"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def metered(shop: Shop) -> Sold:
    """A credit for each token, up to 5,000 a run."""
    return await shop.sell(credits=(1, 5000), pricing=BY_TOKENS)


every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


async def ended(sold: Sold, thread: str, run: str) -> Any:
    """The run, once nothing goes on by itself."""

    async def there() -> bool:
        found = await sold.client.beta.threads.runs.retrieve(run, thread_id=thread)
        return found.status not in WAITING

    await until(there, f"the end of {run}")
    return await sold.client.beta.threads.runs.retrieve(run, thread_id=thread)


async def hear(sold: Sold, path: str, body: object, events: int) -> list[bytes]:
    """The first events of a stream, of which the client hangs up then."""
    found: list[bytes] = []
    headers = {"authorization": f"Bearer {sold.key}", **BETA}
    url = f"{sold.node.url}/v1{path}"
    async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            if line.startswith(b"event: "):
                found.append(line[7:].strip())
                if len(found) == events:
                    break
    return found


# ------------------------------------------------------------------------------------------------------- the dialects


@pytest.mark.conformance(f"POST {RUNS}", f"GET {RUN}", client="python-async")
@every_dialect
async def test_a_run_answers_in_its_thread_and_costs_one_access(all_sold: dict[str, Sold], dialect: str) -> None:
    sold = all_sold[dialect]
    before = await sold.left()
    thread = await sold.thread("What is 6 * 7?")
    run = await sold.run(thread)
    assert run.status == "completed", run
    assert await sold.said(thread) == "6 * 7 = 42"
    assert await sold.left() == before - 1
    assert run.usage.total_tokens == run.usage.prompt_tokens + run.usage.completion_tokens > 0
    assert (run.instructions, run.tools, run.model) == ("", [], str(sold.did))


@pytest.mark.conformance(f"POST {RUN}/submit_tool_outputs", client="python-async")
@every_dialect
async def test_tool_rounds_are_one_access_with_summed_usage(all_sold: dict[str, Sold], dialect: str) -> None:
    sold = all_sold[dialect]
    before = await sold.left()
    thread = await sold.thread('[[call weather {"city": "Oslo"}]] [[call weather {"city": "Rome"}]] [[reason 3]] both?')
    run = await sold.run(thread)
    assert run.status == "requires_action", run
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert [call.function.arguments for call in calls] == ['{"city": "Oslo"}', '{"city": "Rome"}']
    outputs: list[Any] = [{"tool_call_id": call.id, "output": call.function.arguments[-6:-2]} for call in calls]
    run = await sold.client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread, tool_outputs=outputs, poll_interval_ms=50
    )
    assert run.status == "completed", run
    assert await sold.said(thread) == "weather returned Oslo. weather returned Rome"
    steps = [step async for step in await sold.client.beta.threads.runs.steps.list(run.id, thread_id=thread)]
    assert [step.type for step in steps] == ["message_creation", "tool_calls"]
    assert run.usage is not None
    assert run.usage.total_tokens == sum(step.usage.total_tokens for step in steps if step.usage)
    assert await sold.left() == before - 1


@pytest.mark.conformance(f"POST {RUNS}", client="http")
@every_dialect
async def test_a_thread_is_remembered_from_run_to_run(all_sold: dict[str, Sold], dialect: str) -> None:
    sold = all_sold[dialect]
    thread = await sold.thread("one", "two")
    assert (await sold.run(thread)).status == "completed"
    deleted = (await sold.client.beta.threads.messages.list(thread, order="asc", limit=1)).data[0].id
    await sold.client.beta.threads.messages.delete(deleted, thread_id=thread)
    run = await sold.run(thread, additional_messages=[{"role": "user", "content": "[[history]]three"}])
    assert run.status == "completed"
    expected = "user: two | assistant: You said: two | user: three"
    assert (await sold.said(thread)).endswith(expected)
    texts = [message.content[0] async for message in await sold.client.beta.threads.messages.list(thread, order="asc")]
    assert len(texts) == 4


@pytest.mark.conformance(f"POST {RUNS}", client="python-async")
@every_dialect
async def test_settings_reach_the_assistant_as_far_as_its_builder_allows(
    all_sold: dict[str, Sold], dialect: str
) -> None:
    sold = all_sold[dialect]
    await sold.world.provider.forget()
    thread = await sold.thread("a b c", "[[history]]d")
    schema = {"name": "answer", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    run = await sold.run(
        thread,
        instructions="Be kind.",
        additional_instructions="Be brief.",
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=100,
        truncation_strategy={"type": "last_messages", "last_messages": 1},
        tools=[FUNCTION],
        tool_choice="none",
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": schema},
        metadata={"who": "me"},
    )
    assert run.status == "completed", run
    assert orjson.loads(await sold.said(thread)) == {"n": 1}
    assert run.instructions == "Be kind.\nBe brief."
    assert (run.temperature, run.top_p, run.max_completion_tokens) == (0.5, 0.9, 100)
    assert (run.tool_choice, run.parallel_tool_calls, run.metadata) == ("none", False, {"who": "me"})
    assert run.tools[0].function.name == "time"
    assert run.truncation_strategy.last_messages == 1
    (asked,) = [one["body"] for one in await sold.world.provider.requests() if one["method"] == "POST"]
    assert (asked["temperature"], asked["top_p"], asked["parallel_tool_calls"]) == (0.5, 0.9, False)
    text = orjson.dumps(asked).decode()
    assert f"{BUILDER}\\n\\nBe kind.\\nBe brief." in text
    assert "a b c" not in text
    assert "who" not in text


@pytest.mark.conformance(f"POST {RUNS}", "POST /v1/files", client="python-async")
@pytest.mark.parametrize("dialect", ["responses", "responses-stateless", "chat"])
async def test_pictures_and_attachments_of_the_callers_own_reach_the_assistant(
    all_sold: dict[str, Sold], dialect: str
) -> None:
    sold = all_sold[dialect]
    text = await sold.client.files.create(file=("note.txt", b"the cat is out"), purpose="assistants")
    picture = await sold.client.files.create(file=("cat.png", PNG), purpose="vision")
    thread = (
        await sold.client.beta.threads.create(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "look"},
                        {"type": "image_file", "image_file": {"file_id": picture.id}},
                        {"type": "image_url", "image_url": {"url": "https://example.org/dog.png", "detail": "low"}},
                    ],
                    "attachments": [{"file_id": text.id, "tools": [{"type": "file_search"}]}],
                }
            ]
        )
    ).id
    await sold.world.provider.forget()
    run = await sold.run(thread)
    assert run.status == "completed", run
    asked = [one["body"] for one in await sold.world.provider.requests() if (one["body"] or {}).get("model")]
    sent = orjson.dumps(asked[-1]).decode()
    assert "https://example.org/dog.png" in sent
    assert text.id not in sent
    assert picture.id not in sent
    if dialect == "responses":
        parts = asked[-1]["input"][0]["content"]
        assert [part["type"] for part in parts] == ["input_text", "input_image", "input_image", "input_file"]
        assert parts[1]["file_id"] != parts[3]["file_id"]
    else:
        assert base64.b64encode(b"the cat is out").decode() in sent
        assert base64.b64encode(PNG).decode() in sent
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        await sold.run(
            thread,
            additional_messages=[
                {"role": "user", "content": "x", "attachments": [{"file_id": "file-other", "tools": []}]}
            ],
        )


# -------------------------------------------------------------------------------------------------------- what it ends


async def test_a_run_that_reaches_its_limit_is_incomplete_and_charged(metered: Sold) -> None:
    before = await metered.left()
    thread = await metered.thread("[[tokens 300]]go on")
    run = await metered.run(thread, max_completion_tokens=16)
    assert run.status == "incomplete"
    assert run.incomplete_details.reason == "max_completion_tokens"
    (message,) = (await metered.client.beta.threads.messages.list(thread, limit=1)).data
    assert message.status == "incomplete"
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == "max_tokens"
    assert run.usage.completion_tokens == 16
    assert await metered.left() == before - run.usage.total_tokens


async def test_a_run_that_has_used_up_what_it_may_cost_goes_no_further(shop: Shop) -> None:
    sold = await shop.sell(credits=(1, 3), pricing=Pricing.tokens(input=0, output=1_000_000))
    before = await sold.left()
    thread = await sold.thread(WEATHER_CALL)
    run = await sold.run(thread)
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    await sold.world.provider.forget()
    run = await sold.client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=thread,
        tool_outputs=[{"tool_call_id": call.id, "output": "sunny"}],
        poll_interval_ms=50,
    )
    assert run.status == "incomplete"
    assert run.usage is not None
    assert run.usage.completion_tokens >= 3
    assert await sold.world.provider.requests() == []
    assert await sold.left() == before - 3


@pytest.mark.parametrize("whose", ["the caller's", "the policy's", "the settings'"])
async def test_completion_tokens_count_down_over_the_rounds(shop: Shop, whose: str) -> None:
    limits: dict[str, Any] = {"policy": replace(EVERYTHING, max_output_tokens=20)} if whose == "the policy's" else {}
    if whose == "the settings'":
        limits = {"settings": {"max_output_tokens": 20}, "policy": replace(EVERYTHING, max_output_tokens=None)}
    metered = await shop.sell(credits=(1, 5000), pricing=BY_TOKENS, **limits)
    thread = await metered.thread(WEATHER_CALL)
    run = await metered.run(thread, **({"max_completion_tokens": 20} if whose == "the caller's" else {}))
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    await metered.world.provider.forget()
    run = await metered.client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=thread,
        tool_outputs=[{"tool_call_id": call.id, "output": "x " * 100}],
        poll_interval_ms=50,
    )
    (asked,) = [one["body"] for one in await metered.world.provider.requests()]
    steps = [step async for step in await metered.client.beta.threads.runs.steps.list(run.id, thread_id=thread)]
    assert steps[-1].usage is not None
    spent = steps[-1].usage.completion_tokens
    assert 0 < spent < 20
    assert asked["max_output_tokens"] == 20 - spent
    assert run.status == "incomplete"
    assert run.usage is not None
    assert run.usage.completion_tokens == 20


async def test_old_messages_are_dropped_for_max_prompt_tokens_and_too_long_ones_refused(metered: Sold) -> None:
    thread = await metered.thread(*("x" * 500 for _ in range(4)), "[[history]]now")
    run = await metered.run(thread, max_prompt_tokens=256)
    assert run.status == "completed"
    assert (await metered.said(thread)).startswith("history of 2:")
    before = await metered.left()
    thread = await metered.thread("y" * 5_000)
    run = await metered.run(thread, max_prompt_tokens=256)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert run.usage is None
    assert await metered.left() == before


@pytest.mark.parametrize(
    ("directive", "code"),
    [
        ("[[fail 500]]", "server_error"),
        ("[[fail 429]]", "rate_limit_exceeded"),
        ("[[fail_after 6]]", "server_error"),
        ("[[error_after 6]]", "server_error"),
        ("[[cut 6]]", "server_error"),
        ("[[garbage]]", "server_error"),
        ("[[html]]", "server_error"),
    ],
)
async def test_a_run_whose_provider_fails_is_free_and_says_so(metered: Sold, directive: str, code: str) -> None:
    before = await metered.left()
    thread = await metered.thread(f"{directive}one two three")
    run = await metered.run(thread)
    assert run.status == "failed", run
    assert run.last_error.code == code
    assert run.failed_at is not None
    for step in (await metered.client.beta.threads.runs.steps.list(run.id, thread_id=thread)).data:
        assert step.status == "failed"
    for message in (await metered.client.beta.threads.messages.list(thread)).data:
        assert message.status == ("incomplete" if message.role == "assistant" else "completed")
    assert await metered.left() == before
    await metered.client.beta.threads.messages.create(thread, role="user", content="again")
    assert (await metered.run(thread)).status == "completed"


@pytest.mark.parametrize("directive", ["[[fail 500]]", "[[fail 429]]", "[[cut 2]]", "[[html]]"])
async def test_a_later_round_that_fails_makes_the_earlier_ones_no_gift(metered: Sold, directive: str) -> None:
    before = await metered.left()
    thread = await metered.thread(WEATHER_CALL)
    run = await metered.run(thread)
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    await metered.world.provider.queue(directive, path="/v1/responses")
    run = await metered.client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=thread,
        tool_outputs=[{"tool_call_id": call.id, "output": "sunny"}],
        poll_interval_ms=50,
    )
    assert run.status == "failed"
    assert run.usage is not None
    assert run.last_error is not None
    assert "Nothing was charged" not in run.last_error.message
    assert await metered.left() == before - run.usage.total_tokens < before


@pytest.mark.conformance(f"POST {RUN}/cancel", client="python-async", dialect="responses")
async def test_a_cancelled_run_is_charged_for_what_was_used_and_frees_its_thread(metered: Sold) -> None:
    before = await metered.left()
    thread = await metered.thread("[[delay 0.02]][[tokens 40]]slowly")
    run = await metered.client.beta.threads.runs.create(thread, assistant_id=metered.id)

    async def speaks() -> bool:
        return len((await metered.client.beta.threads.messages.list(thread)).data) > 1

    await until(speaks, "the first words")
    assert (await metered.client.beta.threads.runs.cancel(run.id, thread_id=thread)).status == "cancelling"
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'cancelling'"):
        await metered.client.beta.threads.runs.cancel(run.id, thread_id=thread)
    run = await ended(metered, thread, run.id)
    assert run.status == "cancelled"
    assert run.cancelled_at is not None
    assert run.usage is not None
    assert await metered.left() == before - run.usage.total_tokens
    (message,) = (await metered.client.beta.threads.messages.list(thread, limit=1)).data
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == "run_cancelled"
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'cancelled'"):
        await metered.client.beta.threads.runs.cancel(run.id, thread_id=thread)
    await metered.client.beta.threads.messages.create(thread, role="user", content="hello")
    assert (await metered.run(thread)).status == "completed"


async def test_a_run_at_a_fixed_price_is_cancelled_at_once(sold: Sold) -> None:
    before = await sold.left()
    thread = await sold.thread("[[wait 60]]slowly")
    run = await sold.client.beta.threads.runs.create(thread, assistant_id=sold.id)
    await sold.client.beta.threads.runs.cancel(run.id, thread_id=thread)
    run = await ended(sold, thread, run.id)
    assert run.status == "cancelled"
    assert await sold.left() == before - 1


async def test_a_call_that_was_cancelled_is_paid_and_no_hindrance(metered: Sold) -> None:
    before = await metered.left()
    thread = await metered.thread(WEATHER_CALL)
    run = await metered.run(thread)
    await metered.client.beta.threads.runs.cancel(run.id, thread_id=thread)
    run = await ended(metered, thread, run.id)
    assert run.status == "cancelled"
    assert run.required_action is None
    (step,) = (await metered.client.beta.threads.runs.steps.list(run.id, thread_id=thread)).data
    assert step.status == "cancelled"
    assert await metered.left() == before - run.usage.total_tokens < before
    with pytest.raises(openai.BadRequestError, match='Runs in status "cancelled" do not accept tool outputs'):
        await metered.client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread, tool_outputs=[])
    await metered.client.beta.threads.messages.create(thread, role="user", content="never mind")
    assert (await metered.run(thread)).status == "completed"
    assert await metered.said(thread) == "You said: never mind"


async def test_who_hangs_up_pays_and_finds_the_answer(metered: Sold) -> None:
    before = await metered.left()
    thread = await metered.thread("[[delay 0.01]][[tokens 30]]tell")
    body = {"assistant_id": metered.id, "stream": True}
    heard = await hear(metered, f"/threads/{thread}/runs", body, 9)
    assert heard[-1] == b"thread.message.delta"
    run = (await metered.client.beta.threads.runs.list(thread)).data[0]
    run = await ended(metered, thread, run.id)
    assert run.status == "completed"
    assert (await metered.said(thread)).endswith("token-30")
    assert await metered.left() == before - run.usage.total_tokens


# --------------------------------------------------------------------------------------------------- one at a time


async def test_a_thread_has_one_run_at_a_time(sold: Sold) -> None:
    thread = await sold.thread(WEATHER_CALL)
    run = await sold.run(thread)
    assert run.status == "requires_action"
    client = sold.client.beta.threads
    with pytest.raises(openai.BadRequestError) as caught:
        await client.messages.create(thread, role="user", content="more")
    assert caught.value.message.endswith(f"Can't add messages to {thread} while a run {run.id} is active.")
    assert caught.value.type == "invalid_request_error"
    message = (await client.messages.list(thread)).data[0]
    with pytest.raises(openai.BadRequestError, match=f"Can't delete messages of {thread} while a run {run.id} is"):
        await client.messages.delete(message.id, thread_id=thread)
    with pytest.raises(openai.BadRequestError, match=f"Thread {thread} already has an active run {run.id}"):
        await client.runs.create(thread, assistant_id=sold.id)
    await client.runs.cancel(run.id, thread_id=thread)
    await ended(sold, thread, run.id)


async def test_of_runs_that_begin_at_once_one_does(sold: Sold) -> None:
    before = await sold.left()
    thread = await sold.thread("[[wait 0.5]]hello")
    body = {"assistant_id": sold.id}
    answers = await asyncio.gather(*(sold.call("POST", f"/threads/{thread}/runs", body) for _ in range(8)))
    begun = [body for status, body in answers if status == 200]
    refused = [body["error"]["message"] for status, body in answers if status == 400]
    assert (len(begun), len(refused)) == (1, 7), answers
    assert refused == [f"Thread {thread} already has an active run {begun[0]['id']}."] * 7
    assert (await ended(sold, thread, begun[0]["id"])).status == "completed"
    assert [run.id for run in (await sold.client.beta.threads.runs.list(thread)).data] == [begun[0]["id"]]
    assert await sold.left() == before - 1


async def test_outputs_that_come_twice_count_once(sold: Sold) -> None:
    before = await sold.left()
    thread = await sold.thread(WEATHER_CALL)
    run = await sold.run(thread)
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    body = {"tool_outputs": [{"tool_call_id": call.id, "output": "sun"}]}
    path = f"/threads/{thread}/runs/{run.id}/submit_tool_outputs"
    answers = await asyncio.gather(*(sold.call("POST", path, body) for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 400, 400, 400, 400]
    assert (await ended(sold, thread, run.id)).status == "completed"
    assert await sold.left() == before - 1


async def test_a_thread_can_be_deleted_under_its_run(sold: Sold) -> None:
    before = await sold.left()
    thread = await sold.thread("[[delay 0.02]][[tokens 20]]on")
    run = await sold.client.beta.threads.runs.create(thread, assistant_id=sold.id)
    await sold.client.beta.threads.delete(thread)
    with pytest.raises(openai.NotFoundError, match=f"No thread found with id '{thread}'"):
        await sold.client.beta.threads.runs.retrieve(run.id, thread_id=thread)
    assert await sold.left() == before - 1


async def test_an_assistant_can_be_changed_within_a_thread(all_sold: dict[str, Sold], shop: Shop) -> None:
    sold = all_sold["responses"]
    other = await shop.world.register(sold.plan, definition=shop.world.definition(instructions="You are Anna."))
    await sold.knows(other.did)
    thread = await sold.thread("one")
    await sold.run(thread)
    await sold.client.beta.threads.messages.create(thread, role="user", content="[[instructions]] [[history]]")
    run = await sold.client.beta.threads.runs.create_and_poll(
        thread_id=thread, assistant_id=other.did.assistant_id, poll_interval_ms=50
    )
    assert run.status == "completed", run
    assert "assistant: You said: one" in await sold.said(thread)
    assert run.assistant_id == other.did.assistant_id


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "gpt-4o"}, 400, "model"),
        ({"surprise": 1}, 400, "surprise"),
        ({"tools": [{"type": "code_interpreter"}]}, 400, "tools[0].type"),
        ({"max_completion_tokens": 10_001}, 400, "max_completion_tokens"),
        ({"assistant_id": "asst_unknown"}, 404, "assistant_id"),
        ({"assistant_id": ""}, 400, "assistant_id"),
        ({"thread_id": "thread_1"}, 400, "thread_id"),
    ],
)
async def test_what_a_run_may_not_ask_for_is_refused_by_name(sold: Sold, body: Any, status: int, param: str) -> None:
    thread = await sold.thread("hello")
    before = await sold.left()
    got, answer = await sold.call("POST", f"/threads/{thread}/runs", {"assistant_id": sold.id, **body})
    assert (got, answer["error"]["param"]) == (status, param), answer
    assert (await sold.client.beta.threads.runs.list(thread)).data == []
    assert await sold.left() == before


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"instructions": "Obey."}, "instructions"),
        ({"additional_instructions": "Obey."}, "instructions"),
        ({"temperature": 0.1}, "temperature"),
        ({"top_p": 0.1}, "top_p"),
        ({"tools": [FUNCTION]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"metadata": {"a": "b"}}, "metadata"),
        (
            {
                "additional_messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a"}}]}
                ]
            },
            "thread",
        ),
    ],
)
async def test_what_the_builder_does_not_allow_is_refused_by_name(strict: Sold, body: Any, param: str) -> None:
    thread = await strict.thread("hello")
    got, answer = await strict.call("POST", f"/threads/{thread}/runs", {"assistant_id": strict.id, **body})
    assert (got, answer["error"]["param"]) == (400, param), answer
    assert "builder" in answer["error"]["message"]
    assert BUILDER not in str(answer)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(shop: Shop) -> Sold:
    """A builder who allows nothing."""
    return await shop.sell(policy=Policy(metadata=False))


async def test_a_thread_without_messages_cannot_run(sold: Sold) -> None:
    thread = await sold.thread()
    with pytest.raises(openai.BadRequestError, match="The thread has no messages yet"):
        await sold.client.beta.threads.runs.create(thread, assistant_id=sold.id)
    status, answer = await sold.call("POST", "/threads/runs", {"assistant_id": sold.id})
    assert (status, answer["error"]["param"]) == (400, "thread")


async def test_version_1_is_refused_and_the_header_may_be_missing(sold: Sold) -> None:
    status, answer = await sold.call("POST", "/threads", {}, **{"openai-beta": "assistants=v1"})
    assert (status, answer["error"]["code"]) == (400, "invalid_beta")
    headers = {"authorization": f"Bearer {sold.key}"}
    async with aiohttp.ClientSession(headers=headers) as http, http.post(f"{sold.node.url}/v1/threads") as made:
        assert made.status == 200
        assert (await made.json())["object"] == "thread"


async def test_threads_need_a_plan_that_is_live(shop: Shop, sold: Sold) -> None:
    stranger = await shop.world.login(await shop.world.wallet())
    async with shop.world.async_openai(stranger) as client:
        with pytest.raises(openai.APIStatusError, match="holds no live plan") as caught:
            await client.beta.threads.create()
        assert caught.value.status_code == 402
        assert (await client.beta.assistants.retrieve(sold.id)).name == "Otto"


async def test_the_last_credits_answer_stays_readable(shop: Shop) -> None:
    sold = await shop.sell(per_unit=1)
    thread = await sold.thread("What is 1 + 1?")
    assert (await sold.run(thread)).status == "completed"
    assert await sold.said(thread) == "1 + 1 = 2"
    await sold.client.beta.threads.messages.create(thread, role="user", content="more")
    with pytest.raises(openai.APIStatusError) as caught:
        await sold.client.beta.threads.runs.create(thread, assistant_id=sold.id)
    assert (caught.value.status_code, caught.value.code) == (402, "credits_exhausted")
    assert (await sold.client.beta.threads.runs.list(thread)).data[0].status == "completed"


async def test_a_key_may_imply_the_assistant_and_sees_only_its_threads(shop: Shop, sold: Sold) -> None:
    other = await shop.world.register(sold.plan)
    narrow = await shop.world.login(sold.wallet, assistants=[str(other.did)])
    thread = await sold.thread("hello")
    await sold.run(thread)
    async with shop.world.async_openai(narrow) as client:
        with pytest.raises(openai.NotFoundError):
            await client.beta.threads.retrieve(thread)
        mine = await client.beta.threads.create(messages=[{"role": "user", "content": "hi"}])
        run = await client.beta.threads.runs.create_and_poll(thread_id=mine.id, assistant_id="", poll_interval_ms=50)
        assert run.assistant_id == other.did.assistant_id
        with pytest.raises(openai.PermissionDeniedError):
            await client.beta.threads.runs.create(mine.id, assistant_id=sold.id)


async def test_nothing_of_the_definition_comes_back(sold: Sold) -> None:
    thread = await sold.thread("hello", "[[fail_after 5]]x")
    await sold.run(thread)
    seen = [await sold.call("GET", f"/threads/{thread}{path}") for path in ("", "/messages", "/runs")]
    run = seen[2][1]["data"][0]["id"]
    seen += [await sold.call("GET", f"/threads/{thread}/runs/{run}{path}") for path in ("", "/steps")]
    seen += [await sold.call("GET", "/assistants"), await sold.call("GET", f"/assistants/{sold.id}")]
    seen += [await sold.call("POST", f"/assistants/{sold.id}", {"instructions": "x"})]
    text = orjson.dumps([body for _, body in seen]).decode()
    for secret in (BUILDER, "stand-in", sold.world.provider.url, sold.world.provider.key, "resp_", "weather"):
        assert secret not in text, secret


# ------------------------------------------------------------------------------------------------------------- in time


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(world: World, shop: Shop) -> AsyncIterator[Sold]:
    """At a node where runs live for 6 seconds, and a provider is given one to finish what nobody listens to."""
    node = await world.add_node({"run_lifetime": "6", "drain_timeout": "1"})
    yield await shop.sell(credits=(1, 5000), pricing=BY_TOKENS, node=node)
    await node.stop()


@pytest.mark.slow
async def test_a_run_that_waits_too_long_expires_and_is_charged(hasty: Sold) -> None:
    before = await hasty.left()
    thread = await hasty.thread(WEATHER_CALL)
    run = await hasty.client.beta.threads.runs.create(thread, assistant_id=hasty.id)
    assert run.expires_at == run.created_at + 6

    async def over() -> bool:
        return (await hasty.client.beta.threads.runs.retrieve(run.id, thread_id=thread)).status == "expired"

    await until(over, "the run to expire")
    run = await hasty.client.beta.threads.runs.retrieve(run.id, thread_id=thread)
    (step,) = (await hasty.client.beta.threads.runs.steps.list(run.id, thread_id=thread)).data
    assert (step.status, run.expires_at, run.required_action) == ("expired", None, None)
    with pytest.raises(openai.BadRequestError, match='Runs in status "expired" do not accept tool outputs'):
        await hasty.client.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread, tool_outputs=[{"tool_call_id": "call_1", "output": "late"}]
        )
    assert run.usage is not None
    assert await hasty.left() == before - run.usage.total_tokens


@pytest.mark.slow
@pytest.mark.parametrize(
    ("directive", "words", "credits"), [("[[hang_after 8]]", True, 5000), ("[[hang]]", False, 1)], ids=["begun", "not"]
)
async def test_an_answer_that_hangs_costs_what_it_might_have_used_once_it_is_left(
    hasty: Sold, directive: str, words: bool, credits: int
) -> None:
    before = await hasty.left()
    thread = await hasty.thread(f"{directive}[[tokens 40]]hang")
    run = await hasty.client.beta.threads.runs.create(thread, assistant_id=hasty.id)
    run = await ended(hasty, thread, run.id)
    assert run.status == "expired"
    assert await hasty.left() == before - credits
    messages = (await hasty.client.beta.threads.messages.list(thread)).data
    assert [message.status for message in messages] == [*["incomplete"] * words, "completed"]
    raw = await hasty.client.beta.threads.runs.with_raw_response.retrieve(run.id, thread_id=thread)
    assert raw.headers["x-nvm-run-credits"] == str(credits)
