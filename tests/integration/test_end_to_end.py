"""The main job across process borders: what is bought, served, charged, settled and earned agrees everywhere."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import openai
import orjson
import pytest

from nvm_chain.chain import event_topics, topic
from nvm_chain.plans import PlanId
from nvm_chain.purchases import buy
from nvm_chain.wallet import LocalWallet
from tests.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
INSTRUCTIONS = "Never tell that the magic word is swordfish."


async def _ask(world: World, key: str, did: object, text: str = "What is 17 * 23?") -> str:
    async with world.async_openai(key) as client:
        return (await client.responses.create(model=str(did), input=text, timeout=60)).output_text


async def test_plan_assistant_purchase_call_settlement_and_withdrawal_agree(world: World) -> None:
    plan = (await world.create_plan(credits=100, price=10**16)).plan_id
    assistant = await world.register(plan, credits=7)
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    key = await world.login(subscriber)
    async with world.async_openai(key) as client:
        async with client.responses.stream(model=str(assistant.did), input="What is 17 * 23?") as stream:
            final = await stream.get_final_response()
        assert final.output_text == "17 * 23 = 391"
        raw = await client.responses.with_raw_response.create(model=str(assistant.did), input="What is 2 + 2?")
        assert raw.headers["x-nvm-credits-charged"] == "7"
        assert raw.headers["x-nvm-credits-left"] == "86"
        assert raw.parse().output_text == "2 + 2 = 4"
    assert await world.credits(plan, subscriber) == 100, "nothing is on the chain before it is settled"
    report = orjson.loads(await world.node.run("settle", "--json"))
    (batch,) = [batch for batch in report["batches"] if batch["plan"] == str(plan)]
    assert (batch["calls"], batch["credits"], batch["number"]) == (2, 14, 1)
    assert await world.credits(plan, subscriber) == 86
    assert await world.consumed(plan, subscriber) == 14
    assert await world.earnings(plan) == 10**16
    before = await world.chain.balance(world.builder.address)
    receipt = await world.chain.send(world.deployment.plans.withdraw(plan, world.builder.address), world.builder)
    assert await world.chain.balance(world.builder.address) == before + 10**16 - receipt.fee
    assert orjson.loads(await world.node.run("settle", "--json")) == {"batches": []}


async def test_a_top_up_goes_on_with_the_same_key(world: World) -> None:
    plan = (await world.create_plan(credits=2)).plan_id
    assistant = await world.register(plan)
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    key = await world.login(subscriber)
    for _ in range(2):
        await _ask(world, key, assistant.did)
    with pytest.raises(openai.APIStatusError) as caught:
        await _ask(world, key, assistant.did)
    assert (caught.value.status_code, caught.value.code) == (402, "credits_exhausted")
    await world.buy(plan, subscriber, units=2)
    for _ in range(4):
        await _ask_soon(world, key, assistant.did)
    await world.node.run("settle")
    assert await world.credits(plan, subscriber) == 0
    assert await world.consumed(plan, subscriber) == 6


async def _ask_soon(world: World, key: str, did: object, seconds: float = 10) -> None:
    """Asks, and gives the node the time of its poll interval to see a purchase."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            await _ask(world, key, did)
        except openai.APIStatusError as error:
            if error.status_code != 402 or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def test_one_plan_opens_many_assistants_and_one_assistant_takes_many_plans(world: World) -> None:
    small, large = (await world.create_plan(credits=1)).plan_id, (await world.create_plan(credits=50)).plan_id
    both = await world.register(small, large)
    only_large = await world.register(large)
    subscriber = await world.wallet()
    await world.buy(small, subscriber)
    await world.buy(large, subscriber)
    key = await world.login(subscriber)
    await _ask(world, key, only_large.did)
    for _ in range(3):
        await _ask(world, key, both.did)
    await world.node.run("settle")
    spent = [await world.consumed(plan, subscriber) for plan in (small, large)]
    assert sum(spent) == 4
    assert spent[0] <= 1


async def test_a_time_plan_opens_until_it_ends_and_costs_no_credits() -> None:
    async with World(node={"max_chain_age": "86400"}) as world:
        plan = (await world.create_plan(credits=0, duration=3600)).plan_id
        assistant = await world.register(plan, credits=0)
        subscriber = await world.wallet()
        await world.buy(plan, subscriber)
        key = await world.login(subscriber)
        await _ask(world, key, assistant.did)
        assert await world.credits(plan, subscriber) == 1
        await world.mine(2, seconds=3601)
        assert await world.credits(plan, subscriber) == 0
        assert await _refusal(world, key, assistant.did) == (402, "plan_expired")
        await world.buy(plan, subscriber)
        await _ask_soon(world, key, assistant.did)


async def _refusal(world: World, key: str, did: object) -> tuple[int, str | None]:
    for _ in range(100):
        try:
            await _ask(world, key, did)
        except openai.APIStatusError as error:
            return error.status_code, error.code
        await asyncio.sleep(0.1)
    raise AssertionError("the call was answered all the time")


async def test_charges_survive_the_sudden_death_of_the_node_and_settle_once(world: World) -> None:
    plan = (await world.create_plan(credits=1_000)).plan_id
    node = await world.add_node({"settle_min_calls": "1000000"})
    assistant = await world.register(plan, node=node)
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    key = await world.login(subscriber, node=node)
    async with world.async_openai(key, node=node) as client:
        answers = [
            asyncio.create_task(
                client.responses.create(model=str(assistant.did), input=f"[[wait {n // 8}.{n % 8}]]{n}")
            )
            for n in range(40)
        ]
        for early in asyncio.as_completed(answers):
            await early
            if sum(one.done() for one in answers) >= 5:
                break
        assert node.process is not None
        node.process.process.send_signal(signal.SIGKILL)
        got = await asyncio.gather(*answers, return_exceptions=True)
    answered = sum(not isinstance(one, BaseException) for one in got)
    assert 5 <= answered < 40, "it died in the middle"
    await node.restart()
    reports = await asyncio.gather(node.run("settle", "--json"), node.run("settle", "--json"))
    calls = await _settled_calls(world, plan)
    assert answered <= calls <= 40, "what reached the subscriber is charged, and nothing twice"
    assert await world.consumed(plan, subscriber) == calls
    assert await world.credits(plan, subscriber) == 1_000 - calls
    assert any(orjson.loads(report)["batches"] for report in reports)
    await node.restart()
    await node.run("settle")
    assert await world.consumed(plan, subscriber) == calls
    await node.stop()


async def _settled_calls(world: World, plan: PlanId) -> int:
    head = await world.chain.block_number()
    wanted = [event_topics("Settled"), None, topic(plan.value)]
    events = await world.chain.logs([world.deployment.plan_registry], 0, head, wanted)
    return sum(int(event.args["calls"]) for event in events)


async def test_no_secret_is_on_disk_or_in_a_log_in_the_clear() -> None:
    async with World(node={"log_level": "debug"}) as world:
        plan = (await world.create_plan(credits=10)).plan_id
        assistant = await world.register(plan, definition=world.definition(instructions=INSTRUCTIONS))
        subscriber = await world.wallet()
        await world.buy(plan, subscriber)
        key = await world.login(subscriber)
        await _ask(world, key, assistant.did)
        for text in ("[[fail 401]]", "[[fail 500]]", "[[html]]", "[[garbage]]"):
            with pytest.raises(openai.APIStatusError) as caught:
                await _ask(world, key, assistant.did, text)
            assert "sk-" not in str(caught.value.body)
        await world.node.run("settle")
        secrets = {
            "the builder's key": world.provider.key,
            "the instructions": INSTRUCTIONS,
            "the subscriber's key": key,
            "the settlement key": world.node.settings["settlement_key"],
            "the encryption key": world.node.settings["encryption_key"],
        }
        await world.node.stop()
        files = [path for path in world.folder.rglob("*") if path.is_file() and path.name not in ("provider.log",)]
        assert {"node.log", "ledger.db"} <= {path.name for path in files}
        for path in files:
            _check(path, secrets)


def _check(path: Path, secrets: dict[str, str]) -> None:
    content = path.read_bytes()
    for name, secret in secrets.items():
        assert secret.encode() not in content, f"{name} is in {path.name}"
        if name.endswith("key") and len(secret) == 64:
            assert bytes.fromhex(secret) not in content, f"{name} is in {path.name}, as bytes"


async def test_a_gift_opens_the_assistant_for_somebody_who_paid_nothing(world: World) -> None:
    plan = (await world.create_plan(credits=5)).plan_id
    assistant = await world.register(plan)
    friend, giver = LocalWallet.create(), await world.wallet()
    await buy(world.chain, world.deployment.plans, giver, plan, subscriber=friend.address)
    assert await world.chain.balance(friend.address) == 0
    assert await _ask(world, await world.login(friend), assistant.did) == "17 * 23 = 391"
