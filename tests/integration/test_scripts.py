"""The scripts that `ape run` runs, one after the other, as processes against a running anvil."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nvm_chain.chain import open_chain
from nvm_chain.deployments import Deployment
from nvm_chain.did import Did
from nvm_chain.keys import generate_private_key, public_key_of
from nvm_chain.plans import PlanId
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.anvil import CHAIN_ID, KEYS, ROOT, anvil

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

APE = Path(sys.executable).with_name("ape")
BUILDER, SUBSCRIBER, NODE = (LocalWallet(Secret(key)) for key in KEYS[:3])
SCRIPTS = ("deploy", "create_plan", "mint_assistant", "buy_plan", "settle", "earnings", "withdraw")


async def ape(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Runs `ape run …`; exit code, stdout and stderr."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("NVM_", "OPENAI_"))} | variables
    env.setdefault("APE_DATA_FOLDER", str(ROOT / ".tools" / "ape"))
    process = await asyncio.create_subprocess_exec(
        str(APE), "run", *arguments, cwd=ROOT, env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), 120)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, out.decode(), err.decode()


async def test_ape_lists_every_script_with_what_it_does() -> None:
    code, out, _ = await ape("--help")
    assert code == 0
    for script in SCRIPTS:
        assert re.search(rf"^  {script} +[A-Z]", out, re.MULTILINE), script


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_explains_itself(script: str) -> None:
    command = import_module(f"scripts.{script}").cli
    shown = CliRunner().invoke(command, ["--help"])
    assert shown.exit_code == 0
    assert "--network" in shown.output
    assert "--account" in shown.output


async def test_the_scripts_do_the_whole_job_on_a_running_chain(tmp_path: Path) -> None:
    async with anvil() as process, open_chain(process.url, CHAIN_ID) as chain:
        store = (tmp_path / "blocks").as_uri()

        async def run(*arguments: str, **variables: str) -> dict[str, Any]:
            code, out, err = await ape(*arguments, "--network", process.url, NVM_STORE=store, **variables)
            assert code == 0, out + err
            found: dict[str, Any] = json.loads(out[out.index("{") :])
            return found

        deployment = Deployment.standard()
        deployed = await run("deploy")
        assert {name: deployed[name] for name in deployment.to_dict()} == deployment.to_dict()
        assert deployed["gas"] > 0

        made = await run("create_plan", "--title", "Math tutor", "--price", "0.001 ETH", "--credits", "100")
        plan = PlanId.parse(made["plan"])
        assert (await chain.call(deployment.plans.plan(plan))).owner == BUILDER.address

        key = public_key_of(generate_private_key())
        await chain.send(deployment.nodes.register(key, "https://node.example"), NODE)
        minted = await run(
            "mint_assistant", "--title", "Math tutor", "--plan", f"{plan}=1-5", "--node", NODE.address,
            "--model", "gpt-5", OPENAI_API_KEY="sk-proj-abcdefghijklmnopqrstuvwxyz0123",
        )  # fmt: skip
        did = Did.parse(minted["did"])
        assert minted["assistant_id"] == did.assistant_id

        bought = await run("buy_plan", str(plan), "--units", "2", "--account", "TEST::1")
        assert (bought["subscriber"], bought["paid"], bought["spendable"]) == (SUBSCRIBER.address, str(2 * 10**15), 200)

        settled = await run(
            "settle", str(did), str(plan), "--entry", f"{SUBSCRIBER.address}=3:7", NVM_PRIVATE_KEY=KEYS[2]
        )
        assert (settled["batch"], settled["calls"], settled["taken"]) == (1, 3, 7)

        assert (await run("earnings", str(plan)))["withdrawable"] == str(2 * 10**15)
        paid = await run("withdraw", str(plan), "--to", NODE.address)
        assert (paid["to"], paid["amount"]) == (NODE.address, str(2 * 10**15))


async def test_an_error_ends_a_script_with_its_message_and_code() -> None:
    async with anvil() as process:
        code, _, err = await ape("earnings", "0x" + "01" * 32, "--network", process.url)
        assert (code, "not deployed" in err, "Traceback" in err) == (4, True, False)
