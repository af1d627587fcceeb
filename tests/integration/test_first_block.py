"""Nothing looks for events in blocks that are older than the contracts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nvm_chain.chain import Chain
from nvm_chain.cli import main
from nvm_chain.deployments import deploy, deployed_at, first_block
from nvm_chain.errors import NotFound
from nvm_chain.receipt_check import check_receipt
from nvm_chain.receipts import Proof
from tests.world import World, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first block of every search."""
    begins: list[int] = []
    real = Chain.logs

    async def logs(self: Chain, addresses: Any, from_block: int, *rest: Any) -> Any:
        begins.append(from_block)
        return await real(self, addresses, from_block, *rest)

    monkeypatch.setattr(Chain, "logs", logs)
    return begins


async def nvm_chain(world: World, *arguments: str) -> None:
    words = [*arguments, "--rpc-url", world.rpc_url, "--json"]
    await asyncio.to_thread(main, words, standalone_mode=False)


async def test_whoever_deploys_is_told_the_block(world: World) -> None:
    registry, head = world.deployment.plan_registry, await world.chain.block_number()
    first = world.deployment.block
    assert await world.chain.code(registry, first)
    assert not await world.chain.code(registry, first - 1)
    assert await deployed_at(world.chain, registry, head) == first
    assert (await deploy(world.chain, world.operator)).block == first, "and again, where all is there"


async def test_what_was_asked_for_goes_first_then_the_file_then_the_chain(world: World) -> None:
    head, known = await world.chain.block_number(), replace(world.deployment, block=7)
    assert await first_block(world.chain, known, head, 5) == 5
    assert await first_block(world.chain, known, head) == 7
    assert await first_block(world.chain, replace(known, block=0), head) == world.deployment.block


@pytest.mark.parametrize("command", [["plan", "list"], ["assistant", "list"], ["assistant", "search"]])
async def test_lists_begin_at_the_deployment(
    world: World, looked: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    await world.register((await world.create_plan()).plan_id)
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps({**world.deployment.to_dict(), "block": world.deployment.block + 1}))
    store = ["--store", f"file://{world.folder / 'blocks'}"]
    await nvm_chain(world, *command, *store)
    assert json.loads(capsys.readouterr().out)["items"]
    await nvm_chain(world, *command, *store, "--deployment", str(file))
    await nvm_chain(world, *command, *store, "--from-block", "0")
    assert looked == [world.deployment.block, world.deployment.block + 1, 0]


async def test_the_node_and_its_console_begin_where_the_file_says(world: World, tmp_path: Path) -> None:
    async def begins() -> int:
        async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/console.json") as answer:
            found: int = (await answer.json())["from_block"]
            return found

    async def there() -> bool:
        return await begins() == world.deployment.block

    await until(there, "the node to find the deployment's block")
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps({**world.deployment.to_dict(), "block": world.deployment.block + 2}))
    await world.node.restart(deployment=str(file))
    assert await begins() == world.deployment.block + 2
    await world.node.restart(from_block=str(world.deployment.block + 3))
    assert await begins() == world.deployment.block + 3, "the setting goes first"
    del world.node.settings["from_block"], world.node.settings["deployment"]
    await world.node.restart()


async def test_a_node_that_starts_on_a_chain_at_rest_knows_the_first_block_too() -> None:
    async with World(block_time=0) as world:
        deployed = world.deployment.block

        async def told() -> bool:
            async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/console.json") as answer:
                return bool((await answer.json())["from_block"] == deployed)

        await until(told, "the console to be told the first block", 15)
        head = await world.chain.block_number()
        await world.node.restart()
        assert await world.chain.block_number() == head
        await until(told, "the console to be told the first block again", 15)


async def test_a_receipt_is_looked_for_from_the_deployment_on(world: World, looked: list[int], tmp_path: Path) -> None:
    plan, subscriber = (await world.create_plan()).plan_id, await world.wallet()
    did = (await world.register(plan)).did
    await world.buy(plan, subscriber)
    key = await world.login(subscriber)
    with world.openai(key) as client:
        client.responses.create(model=str(did), input="hello")
    await world.node.run("settle")
    await world.proven(key)
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as http:
        async with http.get(f"{world.node.url}/v1/receipts") as answer:
            (receipt,) = (await answer.json())["data"]
        async with http.get(f"{world.node.url}/v1/receipts/{receipt['id']}/proof") as answer:
            answered = await answer.read()
    proof = Proof.parse(answered)
    await check_receipt(world.chain, replace(world.deployment, block=0), replace(proof, block=None))
    assert looked[0] == world.deployment.block
    looked.clear()
    file = tmp_path / "deployment.json"
    late = await world.chain.block_number() + 1
    file.write_text(json.dumps({**world.deployment.to_dict(), "block": late}))
    (tmp_path / "proof.json").write_text(json.dumps({**json.loads(answered), "block": None}))
    verify = ["receipt", "verify", str(tmp_path / "proof.json"), "--deployment", str(file)]
    with pytest.raises(NotFound):
        await nvm_chain(world, *verify)
    await nvm_chain(world, *verify, "--from-block", "0")
    assert looked[:2] == [late, 0], "0 is a block like any other"
