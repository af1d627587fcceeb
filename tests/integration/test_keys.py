"""The node's keys from making to end: a keystore, rotation beside a running node, re-sealing, retirement."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
import pytest_asyncio
from eth_account import Account

from node_proxy import identity as identities
from node_proxy.config import ConfigInvalid
from nvm_chain.keys import generate_private_key
from nvm_chain.registration import publish
from nvm_chain.resealing import prepare_reseal, seals
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.world import NodeProcess, World, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(400)]

PASSWORD = "correct horse battery"


@pytest_asyncio.fixture(loop_scope="module")
async def node(world: World, tmp_path: Path) -> AsyncIterator[NodeProcess]:
    """A node with a keystore. Its first files are quick to open; those of `key rotate` take their full second."""
    folder, password = tmp_path / "keys", tmp_path / "password"
    folder.mkdir()
    password.write_text(PASSWORD + "\n")
    settlement = generate_private_key()
    for name, secret in (("settlement", settlement), ("encryption-1", generate_private_key())):
        text = json.dumps(Account.encrypt(secret.reveal_bytes(), PASSWORD, kdf="scrypt", iterations=2))
        (folder / f"{name}.json").write_text(text)
    wallet = LocalWallet(settlement)
    await world.fund(wallet.address)
    spare = await world.add_node(serve=False)
    settings = {k: v for k, v in spare.settings.items() if k not in ("settlement_key", "encryption_key")}
    settings |= {"keystore": str(folder), "keystore_password_file": str(password)}
    one = NodeProcess(spare.url, wallet, spare.registered, settings, spare.on_start)
    assert "registered" in await one.run("register")
    await one.start()
    yield one
    await one.stop()


async def rotated(one: NodeProcess, overlap: str) -> None:
    assert "is current" in await one.run("key", "rotate", "--overlap", overlap)


async def test_a_key_is_rotated_under_load_and_old_secrets_open_until_the_overlap_ends(
    world: World, node: NodeProcess
) -> None:
    plan = (await world.create_plan(credits=1000)).plan_id
    first = (await world.register(plan, node=node, title="Old")).did
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    key = await world.login(subscriber, node=node)

    async def answers(did: object) -> bool:
        async with world.async_openai(key, node=node) as client:
            try:
                await client.responses.create(model=str(did), input="hello")
            except openai.InternalServerError:
                return False
            return True

    assert await answers(first)
    await rotated(node, "1h")
    keys = json.loads(await node.run("key", "show", "--json"))["keys"]
    assert [(key["key"], key["version"]) for key in keys] == [("encryption-2", 2), ("encryption-1", 1)]
    assert keys[0]["state"] == "current"
    assert keys[1]["state"].startswith("previous, good until")

    second = (await world.register(plan, node=node, title="New")).did
    assert await answers(second), "a secret for the new key opens at once, without a restart"
    assert await answers(first), "a secret for the old key opens while the overlap lasts"
    rows = {row["did"]: row for row in json.loads(await node.run("assets", "--json"))["assets"]}
    assert (rows[str(second)]["sealed_to"], rows[str(second)]["state"]) == ([2], "ok")
    assert rows[str(first)]["sealed_to"] == [1]
    assert "re-seal before" in rows[str(first)]["state"]
    with pytest.raises(RuntimeError, match="can be retired when its overlap is over"):
        await node.run("key", "retire", "1", "--yes")
    with pytest.raises(RuntimeError, match="would end it at once"):
        await node.run("key", "rotate", "--overlap", "1h")

    # Re-sealed, it outlives the old key.
    (state,) = await seals(world.chain, world.deployment, world.store, first)
    assert (state.state, state.sealed_versions, state.current_version) == ("previous", (1,), 2)
    arguments = (world.chain, world.deployment, world.store, world.builder.address)
    prepared = await prepare_reseal(*arguments, first, world.definition())
    assert prepared is not None
    await publish(world.chain, world.store, world.builder, prepared)
    assert await prepare_reseal(*arguments, first, world.definition()) is None, "nothing to do any more"
    await node.restart()
    assert await answers(first)

    # The overlap ends at once in an emergency: what is sealed to the old key opens no more, in memory neither.
    third = (await world.register(plan, node=node, title="Third")).did
    assert await answers(third)
    await rotated(node, "0s")

    async def gone() -> bool:
        return not await answers(third)

    await until(gone, "the definition to be dropped with its key", 40, every=1)
    rows = {row["did"]: row for row in json.loads(await node.run("assets", "--json"))["assets"]}
    assert "opens nothing any more" in rows[str(third)]["state"]
    assert "of no use" in await node.run("key", "retire", "1", "--yes")
    keys = json.loads(await node.run("key", "show", "--json"))["keys"]
    assert [key["key"] for key in keys] == ["encryption-3", "encryption-2"]
    prepared = await prepare_reseal(*arguments, third, world.definition())
    assert prepared is not None
    await publish(world.chain, world.store, world.builder, prepared)

    async def back() -> bool:
        return await answers(third)

    await until(back, "the re-sealed definition to be served", 20, every=0.5)


async def test_a_rotation_that_was_cut_off_goes_on_with_the_key_that_it_made(world: World, node: NodeProcess) -> None:
    folder = Path(node.settings["keystore"])
    number, public_key = identities.add_encryption_key(folder, Secret(PASSWORD))
    assert number == 2
    shown = json.loads(await node.run("key", "show", "--json"))["keys"]
    assert [key["state"] for key in shown] == ["not published", "current"]
    assert "encryption-2 was made before" in await node.run("key", "rotate")
    record = await world.chain.call(world.deployment.nodes.node(node.account))
    assert (record.version, record.key) == (2, public_key)
    assert len(identities.encryption_files(folder)) == 2


async def test_a_node_retires(world: World, node: NodeProcess) -> None:
    assert "has retired" in await node.run("retire", "--yes")
    assert not (await world.chain.call(world.deployment.nodes.node(node.account))).active


async def test_a_keystore_is_made_for_its_owner_only_and_never_overwritten(world: World, tmp_path: Path) -> None:
    folder, password = tmp_path / "new", tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    made = await world.node.run("key", "new", str(folder), "--password-file", str(password))
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["encryption-1.json", "settlement.json"]
    assert made.split()[2] == identities.settlement_wallet(folder, Secret(PASSWORD)).address
    for file in files:
        assert file.stat().st_mode & 0o077 == 0
        crypto = json.loads(file.read_text())["crypto"]
        assert (crypto["kdf"], crypto["kdfparams"]["n"]) == ("scrypt", 2**18)
    with pytest.raises(RuntimeError, match="aren't overwritten"):
        await world.node.run("key", "new", str(folder), "--password-file", str(password))
    with pytest.raises(ConfigInvalid, match="the password is wrong"):
        identities.add_encryption_key(folder, Secret("another password"))
    assert len(identities.encryption_files(folder)) == 1
