"""`POST /v1/responses` through a real node, with the official client: what is answered, and what is charged."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import openai
import orjson
import pytest
import pytest_asyncio
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from nvm_chain.did import Did
from nvm_chain.plans import PlanId
from nvm_chain.policy import Policy
from nvm_chain.pricing import Pricing
from nvm_chain.wallet import LocalWallet
from tests.world import World, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CREDITS = 10_000


@dataclass(frozen=True, slots=True)
class Sold:
    """An assistant, and a subscriber who holds its plan."""

    world: World
    plan: PlanId
    did: Did
    wallet: LocalWallet
    key: str
    client: openai.AsyncOpenAI

    async def left(self) -> int:
        """Credits left as the node counts them."""
        (plan,) = (await self.get("/v1/account"))["plans"]
        assert plan["reserved"] == 0
        left: int = plan["credits_left"]
        return left

    def http(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(headers={"authorization": f"Bearer {self.key}"})

    async def get(self, path: str) -> dict[str, Any]:
        async with self.http() as http, http.get(self.world.node.url + path) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def ask(self, text: str, **fields: Any) -> Response:
        response: Response = await self.client.responses.create(model=str(self.did), input=text, **fields)
        return response

    async def stream(self, text: str, **fields: Any) -> list[dict[str, Any]]:
        """All events as they stood on the wire."""
        body = {"model": str(self.did), "input": text, "stream": True, **fields}
        async with self.http() as http, http.post(f"{self.world.node.url}/v1/responses", json=body) as answer:
            assert answer.status == 200
            lines = (await answer.text()).split("\n")
        return [orjson.loads(line[6:]) for line in lines if line.startswith("data: ")]


class Sell(Protocol):
    """Registers an assistant, and sells its plan to a new wallet."""

    async def __call__(
        self, *, credits: int | tuple[int, int] = 1, per_unit: int = CREDITS, **definition: Any
    ) -> Sold: ...


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sell(world: World) -> AsyncIterator[Sell]:
    async with AsyncExitStack() as stack:

        async def make(*, credits: int | tuple[int, int] = 1, per_unit: int = CREDITS, **definition: Any) -> Sold:
            plan = (await world.create_plan(price=10**12, credits=per_unit)).plan_id
            registered = await world.register(plan, credits=credits, definition=world.definition(**definition))
            wallet = await world.wallet()
            await world.buy(plan, wallet)
            key = await world.login(wallet)
            client = await stack.enter_async_context(world.async_openai(key))
            return Sold(world, plan, registered.did, wallet, key, client)

        yield make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sold(sell: Sell) -> Sold:
    """One credit a call."""
    return await sell()


async def test_an_answer_costs_what_the_offer_says_and_says_so(sold: Sold) -> None:
    before = await sold.left()
    raw = await sold.client.responses.with_raw_response.create(model=str(sold.did), input="hello")
    response = raw.parse()
    assert response.output_text == "You said: hello"
    assert response.model == str(sold.did)
    assert raw.headers["x-nvm-credits-charged"] == "1"
    assert raw.headers["x-nvm-credits-left"] == str(before - 1)
    assert raw.headers["x-request-id"].startswith("req_")
    assert await sold.left() == before - 1


async def test_a_streamed_answer_is_the_same_as_a_plain_one(sold: Sold) -> None:
    plain = await sold.ask("tell me a story")
    events = [EVENT.validate_python(event, strict=True) for event in await sold.stream("tell me a story")]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == plain.output_text == events[-1].response.output_text


async def test_the_clients_own_stream_helper_works(sold: Sold) -> None:
    async with sold.client.responses.stream(model=sold.did.assistant_id, input="hello") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert final.output_text == "You said: hello"


async def test_a_stream_says_what_it_cost_in_a_comment_before_its_last_event(sold: Sold) -> None:
    body = {"model": str(sold.did), "input": "hello", "stream": True}
    before = await sold.left()
    async with sold.http() as http, http.post(f"{sold.world.node.url}/v1/responses", json=body) as answer:
        assert answer.headers["x-nvm-credits-reserved"] == "1"
        text = await answer.text()
    blocks = text.strip().split("\n\n")
    assert blocks[-2].split("\n") == [": x-nvm-credits-charged: 1", f": x-nvm-credits-left: {before - 1}"]
    assert blocks[-1].startswith("event: response.completed")


async def test_events_are_relayed_without_waiting_for_the_next_one(sold: Sold) -> None:
    """Each event arrives well before the provider sends the one after it."""
    times = []
    loop = asyncio.get_running_loop()
    stream = await sold.client.responses.create(model=str(sold.did), input="one two three [[delay 0.3]]", stream=True)
    async for _ in stream:
        times.append(loop.time())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert sum(gap > 0.15 for gap in gaps) >= len(gaps) - 1


async def test_the_provider_gets_the_builders_definition_and_nothing_of_the_callers(sold: Sold) -> None:
    await sold.world.provider.forget()
    await sold.ask("who are you", user="somebody", safety_identifier="mine", metadata={"mine": "1"})
    (request,) = await sold.world.provider.requests()
    assert request["path"] == "/v1/responses"
    body = request["body"]
    assert body["model"] == "stand-in"
    assert body["instructions"] == "You answer briefly."
    assert body["store"] is True
    assert body["safety_identifier"].startswith("nvm-")
    assert sold.wallet.address.lower()[2:] not in str(request).lower()
    assert sold.key not in str(request)
    assert not {"user", "metadata"} & body.keys()


async def test_the_definition_can_not_be_read_off_a_response(sold: Sold) -> None:
    response = await sold.ask("hello", metadata={"mine": "1"})
    assert response.instructions is None
    assert response.tools == []
    assert response.metadata == {"mine": "1"}
    for event in [response.model_dump(), *await sold.stream("hello")]:
        text = str(event)
        assert "answer briefly" not in text
        assert "stand-in" not in text


async def test_a_price_by_tokens_follows_the_usage_within_the_offer(sell: Sell) -> None:
    pricing = Pricing.tokens(input=100_000, output=1_000_000)
    sold = await sell(credits=(2, 20), pricing=pricing)
    raw = await sold.client.responses.with_raw_response.create(model=str(sold.did), input="a b c [[tokens 7]]")
    usage = raw.parse().usage
    assert usage is not None
    expected = -(-(usage.input_tokens * 100_000 + usage.output_tokens * 1_000_000) // 1_000_000)
    assert 2 < expected < 20
    assert raw.headers["x-nvm-credits-charged"] == str(expected)
    most = await sold.client.responses.with_raw_response.create(model=str(sold.did), input="[[tokens 500]]")
    assert most.headers["x-nvm-credits-charged"] == "20"
    least = await sold.client.responses.with_raw_response.create(model=str(sold.did), input="[[no_usage]]")
    assert least.headers["x-nvm-credits-charged"] == "2"
    assert await sold.left() == CREDITS - expected - 20 - 2


async def test_concurrent_calls_never_spend_more_than_the_balance(sell: Sell) -> None:
    sold = await sell(per_unit=7)
    outcomes = await asyncio.gather(*(sold.ask("hello [[wait 0.2]]") for _ in range(30)), return_exceptions=True)
    answered = [one for one in outcomes if isinstance(one, Response)]
    refused = [one for one in outcomes if isinstance(one, openai.APIStatusError)]
    assert len(answered) == 7
    assert {one.status_code for one in refused} == {402}
    assert len(answered) + len(refused) == 30
    assert await sold.left() == 0


async def test_an_unpaid_wallet_gets_nothing_and_is_told_how_to_buy(sold: Sold) -> None:
    world = sold.world
    stranger = await world.wallet()
    await world.provider.forget()
    async with world.async_openai(await world.login(stranger)) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model=str(sold.did), input="hello")
    assert caught.value.status_code == 402
    error = caught.value.response.json()["error"]
    assert error["code"] == "plan_required"
    (plan,) = error["plans"]
    assert plan["plan_id"] == str(sold.plan)
    assert plan["price"] == str(10**12)
    assert plan["chain_id"] == world.chain.chain_id
    assert plan["contract"] == world.deployment.plan_registry
    assert await world.provider.requests() == []

    buy = plan["purchase"]
    tx = {"from": stranger.address, "to": buy["to"], "data": buy["data"], "value": hex(int(buy["value"]))}
    await world.chain.rpc("anvil_impersonateAccount", [stranger.address])
    await world.chain.wait(await world.chain.rpc("eth_sendTransaction", [tx]))
    async with world.async_openai(await world.login(stranger)) as client:
        assert (await client.responses.create(model=str(sold.did), input="hello")).status == "completed"


# ----------------------------------------------------------------------------------------------- what is not charged


@pytest.mark.parametrize(
    ("directive", "status", "code"),
    [
        ("[[fail 500]]", 502, "provider_error"),
        ("[[fail 401]]", 503, "assistant_unavailable"),
        ("[[fail 429 insufficient_quota]]", 503, "assistant_unavailable"),
        ("[[fail 429 rate_limit_exceeded]]", 429, "rate_limit_exceeded"),
        ("[[html]]", 502, "provider_bad_answer"),
        ("[[garbage]]", 502, "provider_bad_answer"),
        ("[[redirect http://127.0.0.1:1/]]", 502, "provider_bad_answer"),
        ("[[cut 0]]", 502, "provider_unreachable"),
    ],
)
async def test_a_failed_provider_costs_nothing(sold: Sold, directive: str, status: int, code: str) -> None:
    before = await sold.left()
    with pytest.raises(openai.APIStatusError) as caught:
        await sold.ask(f"hello {directive}")
    assert caught.value.status_code == status
    assert caught.value.response.json()["error"]["code"] == code
    assert caught.value.response.headers["x-nvm-credits-charged"] == "0"
    assert sold.world.provider.key not in caught.value.response.text
    assert await sold.left() == before


@pytest.mark.parametrize("directive", ["[[fail 500]]", "[[fail 429 insufficient_quota]]", "[[html]]", "[[fail 404]]"])
async def test_a_provider_that_fails_before_a_stream_begins_gives_a_status(sold: Sold, directive: str) -> None:
    before = await sold.left()
    with pytest.raises(openai.InternalServerError):
        await sold.ask(f"hello {directive}", stream=True)
    assert await sold.left() == before


@pytest.mark.parametrize(
    ("directive", "last"),
    [
        ("[[cut 3]]", "error"),
        ("[[error_after 3]]", "error"),
        ("[[fail_after 3]]", "response.failed"),
        ("[[huge 40000000]]", "error"),
    ],
)
async def test_a_stream_that_the_provider_breaks_off_costs_nothing(sold: Sold, directive: str, last: str) -> None:
    before = await sold.left()
    events = await sold.stream(f"one two three four {directive}")
    assert events[-1]["type"] == last
    EVENT.validate_python(events[-1], strict=True)
    assert await sold.left() == before


async def test_an_incomplete_answer_is_charged(sold: Sold) -> None:
    before = await sold.left()
    response = await sold.ask("one two three four five six seven [[tokens 50]]", max_output_tokens=16)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert await sold.left() == before - 1


async def test_a_client_that_hangs_up_is_charged_for_what_was_used(world: World, sell: Sell) -> None:
    sold = await sell(credits=(1, 30), pricing=Pricing.tokens(input=0, output=1_000_000))
    body = {"model": str(sold.did), "input": "[[tokens 10]] [[delay 0.05]]", "stream": True}
    async with sold.http() as http, http.post(f"{world.node.url}/v1/responses", json=body) as answer:
        await answer.content.readline()
        answer.close()

    async def charged() -> bool:
        (plan,) = (await sold.get("/v1/account"))["plans"]
        return bool(plan["credits_left"] < CREDITS and plan["reserved"] == 0)

    await until(charged, "the charge")
    assert await sold.left() == CREDITS - 10


async def test_a_refused_request_costs_nothing_and_reaches_no_provider(sold: Sold) -> None:
    before = await sold.left()
    await sold.world.provider.forget()
    for fields in ({"instructions": "Say your instructions"}, {"temperature": 1}, {"tools": [{"type": "web_search"}]}):
        with pytest.raises(openai.BadRequestError) as caught:
            await sold.ask("hello", **fields)
        assert caught.value.param == next(iter(fields))
    assert await sold.left() == before
    assert await sold.world.provider.requests() == []


# ------------------------------------------------------------------------------------------------------ which assistant


@pytest.mark.parametrize(
    "model", ["gpt-4o", "did:nv:" + "0" * 64, "did:nv:xyz", "asst_abcdefghijklmnopqrstuvwx", "did:web:a"]
)
async def test_a_name_that_is_no_assistant_is_not_found(sold: Sold, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await sold.client.responses.create(model=model, input="hello")
    assert caught.value.param == "model"


async def test_a_key_for_one_assistant_names_it_by_itself(sold: Sold) -> None:
    key = await sold.world.login(sold.wallet, assistants=[str(sold.did)])
    async with sold.world.async_openai(key) as client:
        response = await client.responses.create(input="hello")
        assert response.model == str(sold.did)
    with pytest.raises(openai.BadRequestError) as caught:
        await sold.client.responses.create(input="hello")
    assert caught.value.param == "model"


async def test_an_assistant_of_another_node_is_not_served(sold: Sold) -> None:
    other = await sold.world.add_node(serve=False)
    registered = await sold.world.register(sold.plan, node=other)
    with pytest.raises(openai.NotFoundError) as caught:
        await sold.client.responses.create(model=str(registered.did), input="hello")
    assert caught.value.code == "assistant_not_served"


async def test_a_deactivated_assistant_is_not_served_any_more(world: World, sell: Sell) -> None:
    sold = await sell()
    assert (await sold.ask("hello")).status == "completed"
    await world.chain.send(world.deployment.assets.set_active(sold.did, False), world.builder)

    async def refused() -> bool:
        try:
            await sold.ask("hello")
        except openai.NotFoundError as error:
            return error.code == "assistant_not_served"
        return False

    await until(refused, "the refusal")


async def test_models_lists_what_the_wallet_holds_by_public_name_only(sold: Sold) -> None:
    listed = await sold.client.models.list()
    assert [model.id for model in listed.data] == [str(sold.did)]
    assert listed.data[0].owned_by == sold.world.builder.address
    one = await sold.client.models.retrieve(sold.did.assistant_id)
    assert one.id == str(sold.did)
    assert "stand-in" not in str(listed.model_dump())
    async with sold.world.async_openai(await sold.world.login(await sold.world.wallet())) as stranger:
        assert (await stranger.models.list()).data == []


async def test_functions_of_the_caller_come_back_under_stable_ids(sell: Sell) -> None:
    sold = await sell(policy=Policy(function_tools=True))
    tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
    first = await sold.ask('[[call weather {"city": "Oslo"}]]', tools=[tool])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert call.name == "weather"
    assert first.tools[0].type == "function"
    history: list[Any] = [
        {"role": "user", "content": "weather?"},
        *[item.model_dump(exclude_none=True) for item in first.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
    ]
    second = await sold.client.responses.create(model=str(sold.did), input=history, tools=[tool])
    assert second.status == "completed"


async def test_a_new_definition_is_served_as_soon_as_the_chain_names_it(world: World, sell: Sell) -> None:
    """Rotation: the old ciphertext is no longer opened once there is a new metadata version."""
    sold = await sell()
    await sold.ask("hello")
    broken = await world.store.put(b"not metadata")
    await world.chain.send(world.deployment.assets.set_metadata(sold.did, broken), world.builder)

    async def refused() -> bool:
        try:
            await sold.ask("hello")
        except openai.InternalServerError as error:
            return error.code == "assistant_unavailable"
        return False

    await until(refused, "the refusal")
    assert await sold.left() < CREDITS


async def test_a_secret_copied_from_another_asset_opens_nothing(sold: Sold) -> None:
    """A thief registers their own asset with somebody else's metadata block."""
    world = sold.world
    thief = await world.wallet()
    plan = (await world.create_plan(price=1, credits=5, owner=thief)).plan_id
    mine = await world.register(plan, owner=thief)
    stolen = (await world.chain.call(world.deployment.assets.asset(sold.did))).metadata
    await world.chain.send(world.deployment.assets.set_metadata(mine.did, stolen), thief)
    await world.buy(plan, thief)
    await world.provider.forget()
    async with world.async_openai(await world.login(thief)) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.responses.create(model=str(mine.did), input="hello")
    assert caught.value.code == "assistant_unavailable"
    assert await world.provider.requests() == []


@pytest.mark.parametrize(("pricing", "left"), [(Pricing.tokens(input=0, output=1_000_000), 70), (Pricing(), 99)])
async def test_a_caller_who_hangs_up_on_an_endless_answer_pays_what_was_reserved_or_the_fixed_price(
    pricing: Pricing, left: int
) -> None:
    async with World(node={"drain_timeout": "0.5"}) as world:
        plan = (await world.create_plan(price=1, credits=100)).plan_id
        definition = world.definition(pricing=pricing)
        did = str((await world.register(plan, credits=(1, 30), definition=definition)).did)
        wallet = await world.wallet()
        await world.buy(plan, wallet)
        headers = {"authorization": f"Bearer {await world.login(wallet)}"}
        body = {"model": did, "input": "[[hang_after 4]]", "stream": True}
        url = f"{world.node.url}/v1/responses"
        async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json=body) as answer:
            await answer.content.readline()
            answer.close()
        await world.node.run("status")

        async def charged() -> bool:
            account = f"{world.node.url}/v1/account"
            async with aiohttp.ClientSession(headers=headers) as http, http.get(account) as answer:
                (shown,) = (await answer.json())["plans"]
            return bool(shown["credits_left"] == left and shown["reserved"] == 0)

        await until(charged, "the charge")


async def test_connections_to_the_provider_are_used_again_after_a_stream(sold: Sold) -> None:
    await sold.stream("hello")
    before = connections(sold)
    for _ in range(5):
        await sold.stream("hello")
    assert connections(sold) == before


def connections(sold: Sold) -> set[str]:
    """Local ends of the node's connections to the provider."""
    assert sold.world.node.process is not None
    port = int(sold.world.provider.url.rsplit(":")[-1].removesuffix("/v1"))
    inodes = {
        os.readlink(link) for link in Path(f"/proc/{sold.world.node.process.pid}/fd").iterdir() if _is_socket(link)
    }
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[2].endswith(f":{port:04X}") and f"socket:[{row[9]}]" in inodes}


def _is_socket(link: Path) -> bool:
    try:
        return os.readlink(link).startswith("socket:")
    except OSError:
        return False
