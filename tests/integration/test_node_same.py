"""A stream through the node is the provider's stream, event by event, but for what is on purpose not the same."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent

from tests.provider.conforms import assert_conforms
from tests.selling import Market, Sold
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
INSTRUCTIONS = "You answer briefly."
WEATHER: Json = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
_ID = re.compile(r"^(resp|msg|fc|rs|call|conv)_[0-9a-f]+$")

OURS = {
    *("model", "instructions", "safety_identifier", "created_at", "completed_at"),
    *("service_tier", "prompt_cache_key", "user", "top_logprobs", "max_tool_calls", "conversation"),
    # What the builder set up is not repeated, what the caller asked for is.
    *("temperature", "top_p", "text", "tools", "reasoning", "tool_choice"),
}
"""Members of a response that the node answers by itself or leaves out."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sold(world: World) -> AsyncIterator[Sold]:
    async with AsyncExitStack() as stack:
        yield await Market(world, stack=stack).sell("responses", model="stand-in-reasoning")


async def both(sold: Sold, body: Json) -> tuple[list[bytes], list[bytes]]:
    """The blocks of both streams: the provider's, and the node's."""
    provider = sold.world.provider
    direct = {**body, "model": "stand-in-reasoning", "instructions": INSTRUCTIONS, "stream": True}
    relayed = {**body, "model": str(sold.did), "stream": True}
    headers = {"authorization": f"Bearer {provider.key}"}
    async with aiohttp.ClientSession(headers=headers) as http, sold.http() as ours:
        found = []
        for session, url, asked in ((http, provider.url, direct), (ours, sold.url, relayed)):
            async with session.post(f"{url}/responses", json=asked) as answer:
                assert answer.status == 200, await answer.text()
                found.append((await answer.read()).strip().split(b"\n\n"))
        return found[0], found[1]


def events(blocks: list[bytes]) -> list[Json]:
    """Events with ids numbered in the order of their appearance, without what is ours."""
    known: dict[str, str] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            mine = OURS if value.get("object") == "response" else set()
            return {name: plain(one) for name, one in value.items() if name not in mine}
        if isinstance(value, list):
            return [plain(one) for one in value]
        if isinstance(value, str) and (found := _ID.match(value)):
            return known.setdefault(value, f"{found[1]}_{len(known)}")
        return value

    found = []
    for block in blocks:
        lines = block.split(b"\n")
        data = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
        if data:
            (name,) = [line.removeprefix(b"event: ").decode() for line in lines if line.startswith(b"event: ")]
            value = orjson.loads(data[0])
            assert value["type"] == name
            found.append(plain(value))
    return found


@pytest.mark.parametrize(
    "asked",
    [
        {"input": "hello"},
        {"input": "one two three four", "store": False},
        {"input": '[[call weather {"city": "Oslo"}]][[call weather {"city": "Rome"}]]', "tools": [WEATHER]},
        {"input": "hello", "tools": [WEATHER], "tool_choice": "required"},
        {"input": "[[refuse I will not]]"},
        {"input": "[[tokens 40]]", "max_output_tokens": 16},
        {"input": "[[fail_after 6]]"},
        {"input": "[[no_usage]]"},
        {"input": "a number", "text": {"format": SCHEMA}},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "ünïcödé 🙂 \u2028"}]}]},
        {"input": "[[drip 7]] many pieces"},
        {"input": "in the background", "background": True},
    ],
    ids=lambda asked: str(asked["input"])[:24],
)
async def test_the_events_are_the_same_and_in_the_same_order(sold: Sold, asked: Json) -> None:
    direct, relayed = map(events, await both(sold, asked))
    if direct[-1]["type"] == "response.failed":  # the provider's own words about a failure aren't repeated
        for end in (direct[-1], relayed[-1]):
            assert end["response"].pop("error")["code"] == "server_error"
    assert relayed == direct


async def test_the_bytes_of_an_event_are_as_openai_writes_them(sold: Sold) -> None:
    """Name, data, nothing else; what the call cost is a comment, which clients ignore."""
    _, relayed = await both(sold, {"input": "hello"})
    comments = [line for block in relayed for line in block.split(b"\n") if line.startswith(b":")]
    assert [comment.split(b":")[1].strip() for comment in comments] == [b"x-nvm-credits-charged", b"x-nvm-credits-left"]
    for block in relayed:
        lines = [line for line in block.split(b"\n") if not line.startswith(b":")]
        assert [line.split(b":")[0] for line in lines] in ([], [b"event", b"data"])


@pytest.mark.parametrize("asked", [{"store": True}, {"store": False}, {"background": True}], ids=str)
async def test_no_event_waits_for_the_next_one(sold: Sold, asked: Json) -> None:
    """Each arrives well before the provider sends the one after it; only the end waits for its charge."""
    body = {**asked, "model": str(sold.did), "input": "one two [[delay 0.3]]", "stream": True}
    times: list[float] = []
    async with sold.http() as http, http.post(f"{sold.url}/responses", json=body) as answer:
        async for line in answer.content:
            if line.startswith(b"data: "):
                times.append(asyncio.get_running_loop().time())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert sum(gap > 0.15 for gap in gaps) >= len(gaps) - 2


# Whatever is said, what comes back fits the client's own types, strictly.

_words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[]"), min_size=1, max_size=40)
_said = st.one_of(
    _words,
    st.lists(
        st.one_of(
            st.builds(lambda text: {"role": "user", "content": text}, _words),
            st.builds(lambda text: {"role": "assistant", "content": text}, _words),
            st.builds(lambda text: {"role": "developer", "content": [{"type": "input_text", "text": text}]}, _words),
        ),
        min_size=1,
        max_size=4,
    ),
)
_asked = st.fixed_dictionaries(
    {"input": _said},
    optional={
        "store": st.booleans(),
        "background": st.booleans(),
        "metadata": st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=20), max_size=3),
        "max_output_tokens": st.integers(16, 500),
        "temperature": st.floats(0, 2),
        "tools": st.just([WEATHER]),
        "text": st.just({"format": SCHEMA}),
        "reasoning": st.just({"effort": "low", "summary": "auto"}),
        "instructions": _words,
        "user": _words,
    },
)


@pytest.mark.slow
async def test_whatever_is_said_every_object_fits_the_clients_types(sold: Sold) -> None:
    loop = asyncio.get_running_loop()

    @given(_asked)
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def holds(asked: Json) -> None:
        if asked.get("background"):
            asked["store"] = True
        asyncio.run_coroutine_threadsafe(fits(sold, asked), loop).result(60)

    await asyncio.to_thread(holds)


async def fits(sold: Sold, asked: Json) -> None:
    body = {**asked, "model": str(sold.did)}
    async with sold.http() as http:
        async with http.post(f"{sold.url}/responses", json={**body, "stream": True}) as answer:
            assert answer.status == 200, await answer.text()
            lines = (await answer.read()).split(b"\n")
        told = [orjson.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
        for event in told:
            assert_conforms(ResponseStreamEvent, event)
        final = told[-1]["response"]
        assert [event["sequence_number"] for event in told] == list(range(len(told)))
        if asked.get("store") is not False:
            async with http.get(f"{sold.url}/responses/{final['id']}") as answer:
                kept = await answer.json()
            assert kept == final
        async with http.post(f"{sold.url}/responses", json={**body, "background": False}) as answer:
            plain = await answer.json()
    assert_conforms(Response, plain)
    different = {"id", "created_at", "completed_at", "output", "background"}
    assert {k: v for k, v in plain.items() if k not in different} == {
        k: v for k, v in final.items() if k not in different
    }
