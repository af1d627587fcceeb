"""Each role at a terminal, from nothing to a streamed answer: operator, builder, subscriber, one after the other."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.terminal import TMUX, Terminal, terminal
from tests.world import PROVIDER_KEY, ROOT, World, free_port

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(TMUX is None, reason="tmux isn't installed"),
]

SCREENS = os.environ.get("NVM_SCREENS")
"""A folder for what each terminal showed at its end, for people to look at."""


class Town:
    """What the roles share: a chain, a provider, and what one tells the other."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.operator: Terminal
        self.node = self.did = self.plan = ""

    async def fund(self, screen: str) -> str:
        """Gives the address on the screen some money."""
        found = re.search(r"0x[0-9a-fA-F]{40}", screen)
        assert found, screen
        await self.world.fund(found[0])
        return found[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    world = World()
    try:
        await world.start()
        await world.deploy()
        async with AsyncExitStack() as stack:
            town = Town(world, tmp_path_factory.mktemp("town"))
            town.operator = await stack.enter_async_context(person(town, "operator"))
            yield town
            await town.operator.press("C-c")
            await town.operator.see(r"\[0\] ready>\Z")
    finally:
        await world.close()


def person(town: Town, name: str, **env: str):  # type: ignore[no-untyped-def]  # the context manager of `terminal`
    """Somebody with a home of their own and the two commands."""
    home = town.folder / name
    home.mkdir(exist_ok=True)
    (home / "password").write_text("correct horse battery")
    commands = Path(sys.executable).parent
    common = {"PATH": f"{commands}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "NVM_STORE": f"file://{town.folder}/blocks"}
    return terminal(home, {**common, **env})


async def keep(screen: Terminal, name: str) -> None:
    if SCREENS:
        (Path(SCREENS) / f"{name}.txt").write_text(await screen.screen())


async def test_an_operator_sets_a_node_up_and_serves(town: Town) -> None:
    shell, world = town.operator, town.world
    made = await shell.run(
        f"nvm-node init node --rpc-url {world.rpc_url} --public-url {town.url} --bind {town.url.removeprefix('http://')}"
    )
    town.node = await town.fund(made)
    settings = {
        "CONFIG": "$HOME/node/node.toml",
        "STORE": f"file://{town.folder}/blocks",
        "CONFIRMATIONS": "1",
        "POLL_INTERVAL": "0.2",
        "ALLOW_LOCAL_PROVIDERS": world.provider.url.split("/")[2],
    }
    exports = " ".join(f"NVM_NODE_{name}={value}" for name, value in settings.items())
    await shell.run(f"echo 'export {exports}' > settings; . ./settings")
    await shell.start("nvm-node register")
    await shell.see(r"Register 0x\w+ at .*\? Gas costs at most .*\[y/N\]: *\Z")
    await shell.type("y")
    await shell.see(r"(?s)^registered 0x.*^\[0\] ready>")
    assert "failed" not in await shell.run("nvm-node check")
    await shell.start("nvm-node serve 2> node.log")
    await shell.see(f"listening on {town.url}")


async def test_a_builder_sells_an_assistant(town: Town) -> None:
    async with person(town, "builder", OPENAI_API_KEY=PROVIDER_KEY) as shell:
        await shell.start("nvm-chain init --password-file password")
        for question, answer in (
            ("Network", "local"),
            ("Keystore", ""),
            ("Access node", town.url),
        ):
            await shell.see(rf"^{question}.*: *\Z")
            await shell.type(answer)
        await town.fund((await shell.see(r"(?s)address +(0x\w+).*^\[0\] ready>"))[1])
        await shell.run(f"export NVM_RPC_URL={town.world.rpc_url}")

        created = await shell.run('nvm-chain plan create --title "Maths" --price "0.01 ETH" --credits 10 --yes')
        town.plan = re.search(r"plan +(0x[0-9a-f]{64})", created)[1]  # type: ignore[index]
        registered = await shell.run(
            f'nvm-chain assistant register --title "Tutor" --tag maths --plan {town.plan}=1 --node {town.node} '
            f'--base-url {town.world.provider.url} --model stand-in --instructions "Answer briefly." --yes'
        )
        town.did = re.search(r"did +(did:nv:[0-9a-f]{64})", registered)[1]  # type: ignore[index]
        assert PROVIDER_KEY not in registered
        await shell.run(f"nvm-chain assistant show {town.did}")
        await keep(shell, "builder")


async def test_a_subscriber_buys_and_gets_a_streamed_answer(town: Town) -> None:
    async with person(town, "subscriber") as shell:
        ready = await shell.run(
            f"nvm-chain init --rpc-url {town.world.rpc_url} --node-url {town.url} --password-file password --yes"
        )
        await town.fund(ready)
        found = await shell.run("nvm-chain assistant search maths")
        assert town.did in found
        await shell.start(f"nvm-chain plan buy {town.plan}")
        await shell.see(r"Buy 1 unit of plan .* for 0\.01 ETH\? .*\[y/N\]: *\Z")
        await shell.type("y")
        await shell.see(r"(?s)spendable +10.*^\[0\] ready>")

        key = await shell.run("nvm-chain key create --name laptop")
        await shell.run(f"export NVM_API_KEY={re.search(r'nvm_[0-9A-Za-z]+', key)[0]}")  # type: ignore[index]
        await shell.start(f"nvm-chain chat {town.did}")
        await shell.see(r"^> *\Z")
        await shell.type("How much is 1 + 1?")
        await shell.see(r"(?s)^> How much is 1 \+ 1\?\n\S.*\n> *\Z")
        await keep(shell, "chat")
        await shell.press("C-d")
        await shell.see(r"^\[0\] ready>")
        usage = await shell.run("nvm-chain usage")
        assert town.plan in usage
        await keep(shell, "usage")


async def test_the_operator_settles_what_was_used(town: Town) -> None:
    async with person(town, "operator") as shell:
        await shell.run(". ./settings")
        assert re.search(r"batch 1 of did:nv:\w+: 1 calls, 1 credits", await shell.run("nvm-node settle --yes"))
        assert "the ledger and the chain agree" in await shell.run("nvm-node reconcile")
        rows = await shell.run("nvm-node export 2> /dev/null | cut -d, -f 6,8")
        assert rows.splitlines() == ["did,credits", f"{town.did},1"]
        await shell.run("nvm-node status")
        await keep(shell, "operator")
