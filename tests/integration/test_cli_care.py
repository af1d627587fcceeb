"""`nvm-chain ipfs`, `did` and `assistant reseal`: keeping what was published readable, findable and openable."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from nvm_chain.cid import Cid
from nvm_chain.cli import main
from nvm_chain.ipfs import LocalStore
from nvm_chain.keys import generate_private_key, public_key_of
from nvm_chain.registration import Registration
from tests.anvil import KEYS
from tests.peers.pinning import pinning_service
from tests.world import PROVIDER_KEY, World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def run(world: World, *arguments: object, **variables: str) -> Result:
    env: dict[str, str | None] = {name: None for name in os.environ if name.startswith(("NVM_", "OPENAI_"))}
    env |= {"NVM_RPC_URL": world.rpc_url, "NVM_STORE": world.store.name, "NVM_PRIVATE_KEY": KEYS[1]} | variables
    runner = CliRunner(mix_stderr=False)
    result = await asyncio.to_thread(runner.invoke, main, [str(one) for one in arguments], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


async def items(world: World, *arguments: object, code: int = 0, **variables: str) -> list[dict[str, Any]]:
    result = await run(world, *arguments, "--json", **variables)
    assert result.exit_code == code, result.output + result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)["items"]
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def assistant(world: World) -> Registration:
    return await world.register((await world.create_plan()).plan_id)


async def test_a_doctor_shows_who_holds_the_metadata_and_repin_makes_more_hold_it(
    world: World, assistant: Registration, tmp_path: Path
) -> None:
    copies = LocalStore(tmp_path / "copies")
    async with pinning_service(world.store, token="t0ken-of-mine") as peer:
        places = ("--pin", copies.name, "--pinning-service", peer.url)
        token = "t0ken-of-mine"
        before = await items(world, "ipfs", "doctor", assistant.did, *places, NVM_PINNING_TOKEN=token)
        assert [row["holds"] for row in before] == [True, False, False]
        assert before[0]["cid"] == str(assistant.cid)
        (dry,) = await items(world, "ipfs", "repin", assistant.did, *places, "--dry-run", NVM_PINNING_TOKEN=token)
        assert (dry["from"], dry["would_go_to"]) == (before[0]["place"], [row["place"] for row in before[1:]])
        assert not await copies.has(assistant.cid)
        (done,) = await items(world, "ipfs", "repin", assistant.did, *places, "--wait", 5, NVM_PINNING_TOKEN=token)
        assert done["problems"] == []
        assert done["held"][-1].endswith("(pinned)")
        after = await items(world, "ipfs", "doctor", assistant.did, *places, NVM_PINNING_TOKEN=token)
        assert [row["holds"] for row in after] == [True, True, True]
        wrong = await run(world, "ipfs", "repin", assistant.did, *places, NVM_PINNING_TOKEN="another")
        assert wrong.exit_code == 3
        assert "check its access token" in wrong.stdout
        assert "another" not in wrong.stdout + wrong.stderr
    assert await copies.has(assistant.cid)


async def test_a_block_that_nobody_holds_is_an_error(world: World) -> None:
    missing = Cid.of(b"nobody has this")
    assert [row["holds"] for row in await items(world, "ipfs", "doctor", "--cid", missing, code=3)] == [False]
    (row,) = await items(world, "ipfs", "repin", "--cid", missing, code=3)
    assert row["from"] is None
    nothing = await run(world, "ipfs", "doctor")
    assert nothing.exit_code == 2
    assert "name assistants" in nothing.stderr


async def test_a_did_url_is_resolved_and_its_history_listed(world: World, assistant: Registration) -> None:
    owner = await run(world, "did", "resolve", f"{assistant.did}#owner")
    assert json.loads(owner.stdout)["contentStream"]["id"] == f"{assistant.did}#owner"
    first = await run(world, "did", "resolve", f"{assistant.did}?versionId=1", "--json")
    assert json.loads(first.stdout)["didDocumentMetadata"]["versionId"] == "1"
    missing = await run(world, "did", "resolve", f"{assistant.did}?versionId=7", "--json")
    assert missing.exit_code == 3
    assert json.loads(missing.stdout)["didResolutionMetadata"]["error"] == "notFound"
    (version,) = await items(world, "did", "history", assistant.did)
    assert (version["version"], version["metadata"]) == ("1", str(assistant.cid))


async def test_an_assistant_is_resealed_when_its_node_has_a_new_key_and_only_then(world: World) -> None:
    node = await world.add_node(serve=False)
    did = (await world.register((await world.create_plan()).plan_id, node=node)).did
    reseal = ("assistant", "reseal", did, "--base-url", world.provider.url, "--model", "m", "--yes", "--json")
    (seal,) = await items(world, "assistant", "seals", did)
    assert (seal["key"], seal["sealed_to"], seal["state"]) == (1, [1], "current")
    same = await run(world, *reseal, OPENAI_API_KEY=PROVIDER_KEY)
    assert json.loads(same.stdout)["resealed"] is False, same.stderr
    key = public_key_of(generate_private_key())
    await world.chain.send(world.deployment.nodes.rotate_key(key, 3600), node.wallet)
    (seal,) = await items(world, "assistant", "seals", did)
    assert seal["state"].startswith("previous, opens until")
    done = await run(world, *reseal, OPENAI_API_KEY=PROVIDER_KEY)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["resealed"] is True
    (seal,) = await items(world, "assistant", "seals", did)
    assert (seal["key"], seal["sealed_to"], seal["state"]) == (2, [2], "current")
    assert PROVIDER_KEY not in done.stdout + done.stderr
