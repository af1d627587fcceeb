"""What the node tells its operator, and nobody else."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from nvm_chain.deployments import deployed_at
from tests.world import World, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


async def facts(world: World, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession(headers=headers) as http, http.get(world.node.url + path) as answer:
        return answer.status, await answer.json()


async def metric(world: World, name: str) -> float:
    async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("authorization", ["", "Bearer " + "0" * 64])
async def test_strangers_see_neither_problems_nor_the_signers_balance(
    world: World, path: str, authorization: str
) -> None:
    status, shown = await facts(world, path, authorization=authorization)
    assert status == 200
    assert {"settlement", "signer_balance", "problems", "signer"}.isdisjoint(shown)
    assert "wei" not in json.dumps(shown)


async def test_the_operators_command_sees_them(world: World) -> None:
    async def there() -> bool:
        return json.loads(await world.node.run("status", "--json"))["settlement"] is not None

    await until(there, "the first look at settlement", every=1)
    shown = json.loads(await world.node.run("status", "--json"))["settlement"]
    assert int(shown["signer_balance"]) == await world.chain.balance(world.node.account)
    assert shown["problems"] == []
    assert shown["signer_low"] is False


async def test_a_signer_that_runs_dry_alarms_before_settlement_stops(world: World) -> None:
    async def low() -> bool:
        return await metric(world, "nvm_settlement_signer_low") == 1

    log = world.folder / f"node-{world.node.account[2:10].lower()}" / "node.log"
    await world.fund(world.node.account, 10**14)
    await until(low, "the alarm", seconds=60, every=0.5)
    assert await metric(world, "nvm_settlement_problems") == 0, "nothing is blocked yet"
    shown = json.loads(await world.node.run("status", "--json"))["settlement"]
    assert shown["signer_low"] is True
    assert 0 <= shown["runway"] < 20
    alarms = [json.loads(line) for line in log.read_text().splitlines() if "settlement.signer_low" in line]
    assert [alarm["signer"] for alarm in alarms] == [world.node.account], "once, not with every look"
    await world.fund(world.node.account)

    async def filled() -> bool:
        return "settlement.signer_filled" in log.read_text()

    await until(filled, "the end of the alarm", seconds=60, every=0.5)


async def test_own_assistants_are_searched_from_the_contracts_deployment_on(world: World) -> None:
    registry, head = world.deployment.asset_registry, await world.chain.block_number()
    first = await deployed_at(world.chain, registry, head)
    assert 0 < first < head
    assert await world.chain.code(registry, first)
    assert not await world.chain.code(registry, first - 1)
    assert await deployed_at(world.chain, world.builder.address, head) == head
    log = world.folder / f"node-{world.node.account[2:10].lower()}" / "node.log"

    def searches() -> list[str]:
        return [line for line in log.read_text().splitlines() if '"records.search"' in line]

    async def searched() -> bool:
        return bool(searches())

    await until(searched, "the first search")
    (started,) = map(json.loads, searches())
    assert started["from_block"] == first


async def test_a_damaged_metadata_block_is_named(world: World) -> None:
    plan = (await world.create_plan(price=10**12)).plan_id
    registered = await world.register(plan)
    wallet = await world.wallet()
    await world.buy(plan, wallet)
    (block,) = [
        path for path in (world.folder / "blocks").rglob("*") if registered.cid and str(registered.cid) in path.name
    ]
    block.write_bytes(block.read_bytes()[:-1] + b"!")
    key = await world.login(wallet)
    headers = {"authorization": f"Bearer {key}"}
    body = {"model": str(registered.did), "input": "hello"}
    url = f"{world.node.url}/v1/responses"
    async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json=body) as answer:
        error = (await answer.json())["error"]
    assert answer.status == 503
    assert str(registered.did) in error["message"]
    assert str(registered.cid) in error["message"]
