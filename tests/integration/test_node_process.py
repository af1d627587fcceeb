"""The node as a process: how it starts, how it ends, and what it does while the chain is away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from nvm_chain.errors import NotFound
from nvm_chain.wallet import LocalWallet
from tests.processes import child
from tests.world import NODE, ROOT, World, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def command(environ: dict[str, str], *arguments: str, seconds: float = 40) -> tuple[int | None, str]:
    """Exit code and output of `nvm-node …`."""
    process = await asyncio.create_subprocess_exec(
        *NODE, *arguments, env=environ, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode, output.decode()


def told(output: str) -> dict[str, Any]:
    """The JSON object, which stands behind what was said to people."""
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def spare(world: World) -> dict[str, str]:
    """The environment of one more node with a ledger of its own, that isn't running."""
    ledger = world.folder / "spare" / "ledger.db"
    return {**world.node.environ, "NVM_NODE_LEDGER": str(ledger), "NVM_NODE_BIND": "127.0.0.1:0"}


async def test_without_settings_everything_that_is_missing_is_named() -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("NVM_NODE_")}
    code, output = await command({**bare, "NVM_NODE_BIND": "nowhere"}, "serve")
    assert code == 2
    assert "NVM_NODE_RPC_URL is not set" in output
    assert "NVM_NODE_BIND is 'nowhere'" in output
    assert "Traceback" not in output


async def test_without_keys_the_way_to_make_them_is_told(spare: dict[str, str]) -> None:
    environ = {name: value for name, value in spare.items() if "KEY" not in name}
    code, output = await command(environ, "serve")
    assert code == 2
    assert "NVM_NODE_SETTLEMENT_KEY is not set" in output
    assert "nvm-node key new" in output


async def test_where_it_listens_is_told_to_programs_as_json(spare: dict[str, str], tmp_path: Path) -> None:
    ready = r'^\{"listening": "http://127\.0\.0\.1:\d+"\}$'
    async with child("node", *NODE, "serve", "--json", ready=ready, log=tmp_path / "log", env=spare, cwd=ROOT) as node:
        assert await node.stop() == 0


async def test_a_port_that_is_taken_is_told_and_nothing_is_started(spare: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = await command({**spare, "NVM_NODE_BIND": f"127.0.0.1:{port}"}, "serve")
    assert code == 1
    assert f"can't listen on 127.0.0.1:{port}: the port is taken" in output
    assert "NVM_NODE_BIND" in output
    assert "Traceback" not in output


async def test_a_chain_that_is_down_at_the_start_is_told(spare: dict[str, str]) -> None:
    code, output = await command({**spare, "NVM_NODE_RPC_URL": "http://127.0.0.1:1"}, "serve")
    assert code == 4
    assert "nothing answers at http://127.0.0.1:1" in output
    assert "Traceback" not in output


async def test_another_chain_than_the_configured_one_is_refused(spare: dict[str, str]) -> None:
    code, output = await command({**spare, "NVM_NODE_CHAIN_ID": "1"}, "serve")
    assert code == 4
    assert "expected 1" in output


async def test_a_ledger_has_one_serving_process(world: World, spare: dict[str, str]) -> None:
    code, output = await command({**spare, "NVM_NODE_LEDGER": world.node.settings["ledger"]}, "serve")
    assert code == 1
    assert "another process serves calls" in output


async def test_check_tries_everything_and_says_what_is_wrong(spare: dict[str, str]) -> None:
    code, output = await command(spare, "check")
    assert code == 0, output
    assert output.count("ok ") == 6
    code, output = await command({**spare, "NVM_NODE_RPC_URL": "http://127.0.0.1:1"}, "check")
    assert code == 1
    assert "FAIL  chain" in output
    assert output.count("ok ") == 5
    code, output = await command({**spare, "NVM_NODE_RPC_URL": "http://127.0.0.1:1"}, "check", "--json")
    found = json.loads(output)
    assert (code, found["ok"]) == (1, False)
    assert [one["check"] for one in found["checks"] if not one["ok"]] == ["chain"]


async def test_a_node_registers_itself_once(world: World) -> None:
    operator = LocalWallet.create()
    await world.fund(operator.address)
    folder = world.folder / "register"
    folder.mkdir()
    (folder / "password").write_text("correct horse battery")
    base = {name: value for name, value in world.node.environ.items() if "KEY" not in name}
    code, output = await command(base, "key", "new", str(folder / "keys"), "--password-file", str(folder / "password"))
    assert code == 0, output
    address = output.split()[2]
    await world.fund(address)
    environ = {
        **base,
        "NVM_NODE_KEYSTORE": str(folder / "keys"),
        "NVM_NODE_KEYSTORE_PASSWORD_FILE": str(folder / "password"),
        "NVM_NODE_PUBLIC_URL": "https://node.example.org",
    }
    code, output = await command(environ, "register")
    assert (code, "--yes to go on" in output) == (2, True), output
    code, output = await command(environ, "register", "--dry-run", "--json")
    assert (code, json.loads(output)["function"]) == (0, "NodeRegistry.register"), output
    with pytest.raises(NotFound):
        await world.chain.call(world.deployment.nodes.node(address))
    code, output = await command(environ, "register", "--yes")
    assert code == 0, output
    assert f"registered {address}" in output
    record = await world.chain.call(world.deployment.nodes.node(address))
    assert record.endpoint == "https://node.example.org"
    code, output = await command({**environ, "NVM_NODE_PUBLIC_URL": "https://other.example.org"}, "register", "--yes")
    assert "endpoint changed" in output
    code, output = await command(
        environ, "key", "new", str(folder / "keys"), "--password-file", str(folder / "password")
    )
    assert code == 2
    assert "aren't overwritten" in output
    (folder / "password").write_text("wrong")
    code, output = await command(environ, "register")
    assert code == 2
    assert "the password is wrong" in output


async def test_what_cannot_be_taken_back_asks_first_and_can_be_looked_at(world: World, tmp_path: Path) -> None:
    node = await world.add_node(serve=False)
    (tmp_path / "password").write_text("correct horse battery")
    code, output = await command(
        node.environ, "key", "new", str(tmp_path / "keys"), "--password-file", str(tmp_path / "password"), "--json"
    )
    account = told(output)["node"]
    assert code == 0
    await world.fund(account)
    keys = {"NVM_NODE_KEYSTORE": str(tmp_path / "keys"), "NVM_NODE_KEYSTORE_PASSWORD_FILE": str(tmp_path / "password")}
    environ = {name: value for name, value in node.environ.items() if not name.endswith("_KEY")} | keys
    code, output = await command(environ, "register", "--yes", "--json")
    assert (code, told(output)["key_version"]) == (0, 1)

    files = sorted(path.name for path in (tmp_path / "keys").iterdir())
    before = await world.chain.nonce(account)
    for words in (["key", "rotate"], ["retire"]):
        code, output = await command(environ, *words)
        assert (code, "--yes to go on" in output) == (2, True), output
        code, output = await command(environ, *words, "--dry-run", "--json")
        assert code == 0, output
        assert account in told(output)["action"]
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == files
    assert await world.chain.nonce(account) == before

    code, output = await command(environ, "key", "rotate", "--overlap", "0s", "--yes", "--json")
    rotated = told(output)
    assert (code, rotated["key"], rotated["key_version"]) == (0, "encryption-2", 2), output
    assert (await command(environ, "key", "retire", "1"))[0] == 2
    code, output = await command(environ, "key", "retire", "1", "--dry-run", "--json")
    assert (code, told(output)["state"]) == (0, "of no use"), output
    assert (tmp_path / "keys" / "encryption-1.json").exists()
    code, output = await command(environ, "key", "retire", "1", "--yes", "--json")
    assert (code, told(output)["removed"]) == (0, True)
    assert not (tmp_path / "keys" / "encryption-1.json").exists()
    code, output = await command(environ, "retire", "--yes", "--json")
    assert (code, told(output)["retired"]) == (0, True)


async def test_settling_asks_first_and_shows_what_waits(world: World) -> None:
    plan = (await world.create_plan(price=1, credits=10)).plan_id
    did = str((await world.register(plan)).did)
    wallet = await world.wallet()
    await world.buy(plan, wallet)
    async with world.async_openai(await world.login(wallet)) as client:
        await client.responses.create(model=did, input="hello")
    code, output = await command(world.node.environ, "settle")
    assert (code, "Settle 1 calls for 1 credits?" in output, "--yes" in output) == (2, True, True), output
    code, output = await command(world.node.environ, "settle", "--dry-run", "--json")
    (waits,) = told(output)["waiting"]
    assert (code, waits["did"], waits["calls"]) == (0, did, 1)
    assert await world.consumed(plan, wallet) == 0
    code, output = await command(world.node.environ, "settle", "--yes", "--json")
    (batch,) = told(output)["batches"]
    assert (code, batch["state"] in ("mined", "confirmed")) == (0, True)
    assert await world.consumed(plan, wallet) == 1
    code, output = await command(world.node.environ, "settle")
    assert (code, "nothing waits" in output) == (0, True), "there is nothing to ask about"


async def test_status_tells_how_the_running_node_is(world: World, spare: dict[str, str]) -> None:
    assert "ready" in await world.node.run("status")
    code, output = await command({**spare, "NVM_NODE_BIND": "127.0.0.1:1"}, "status")
    assert code == 4
    assert "no node answers" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_lets_running_calls_end_and_loses_no_charge(world: World, number: signal.Signals) -> None:
    plan = (await world.create_plan(price=1, credits=10)).plan_id
    did = str((await world.register(plan)).did)
    wallet = await world.wallet()
    await world.buy(plan, wallet)
    key = await world.login(wallet)
    assert world.node.process is not None
    async with world.async_openai(key) as client:
        call = asyncio.create_task(client.responses.create(model=did, input="hello [[wait 1.5]]"))
        await asyncio.sleep(0.7)
        world.node.process.process.send_signal(number)
        assert (await call).output_text == "You said: hello"
    assert await world.node.process.process.wait() == 0
    assert "node.closed" in world.node.process.output
    await world.node.stop()
    await world.node.start()
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/v1/account", headers=headers) as answer:
        (shown,) = (await answer.json())["plans"]
    assert shown["credits_left"] == 9
    await world.node.run("settle")
    assert await world.credits(plan, wallet) == 9


async def test_a_killed_node_has_lost_nothing_that_it_answered(world: World) -> None:
    plan = (await world.create_plan(price=1, credits=10)).plan_id
    did = str((await world.register(plan)).did)
    wallet = await world.wallet()
    await world.buy(plan, wallet)
    key = await world.login(wallet)
    assert world.node.process is not None
    async with world.async_openai(key) as client:
        for _ in range(3):
            await client.responses.create(model=did, input="hello")
        running = asyncio.create_task(client.responses.create(model=did, input="hello [[wait 5]]"))
        await asyncio.sleep(0.3)
        world.node.process.process.kill()
        with pytest.raises(openai.APIConnectionError):
            await running
    await world.node.stop()
    await world.node.start()
    await world.node.run("settle")
    assert await world.consumed(plan, wallet) == 3
    assert "agree" in await world.node.run("reconcile")


async def test_calls_go_on_while_the_chain_is_away_and_stop_when_that_is_too_long_ago(tmp_path: Path) -> None:
    async with World(folder=tmp_path, node={"max_chain_age": "6", "poll_interval": "0.5"}) as world:
        plan = (await world.create_plan(price=1, credits=100)).plan_id
        did = str((await world.register(plan)).did)
        wallet = await world.wallet()
        await world.buy(plan, wallet)
        key = await world.login(wallet)
        anvil = next(process for process in world.processes if process.name == "anvil")
        async with world.async_openai(key) as client:
            await client.responses.create(model=did, input="hello")
            anvil.process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            assert (await client.responses.create(model=did, input="hello")).status == "completed"
            answered = 2

            async def refused() -> bool:
                nonlocal answered
                try:
                    await client.responses.create(model=did, input="hello")
                except openai.InternalServerError as error:
                    assert error.status_code == 503  # noqa: PT017
                    assert error.code == "chain_unavailable"  # noqa: PT017
                    return True
                answered += 1
                return False

            await until(refused, "the refusal", seconds=60, every=0.5)
            assert time.monotonic() - stopped > 3
            async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/readyz") as answer:
                assert answer.status == 503
                assert (await answer.json())["reasons"] == ["the chain was not reached recently"]
            anvil.process.send_signal(signal.SIGCONT)

            async def admitted() -> bool:
                try:
                    await client.responses.create(model=did, input="hello")
                except openai.InternalServerError:
                    return False
                return True

            await until(admitted, "calls again", seconds=60, every=0.5)
            answered += 1
        await world.node.run("settle")
        assert await world.consumed(plan, wallet) == answered
