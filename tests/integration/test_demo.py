"""`make demo`, run as a process, and its figures against each other and against what it printed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from nvm_chain.cid import Cid
from nvm_chain.did import Did
from nvm_chain.plans import PlanId
from tests.processes import child
from tests.world import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
KEYS = [
    "did", "plan", "cid", "chain_id", "calls", "credits_before", "credits_after", "credits_charged",
    "settlement_tx", "settlement_gas", "earnings_wei", "seconds",
]  # fmt: skip


async def test_the_demo_tells_the_main_job_and_its_figures_add_up(tmp_path: Path) -> None:
    figures, env = tmp_path / "build" / "demo.json", {**os.environ, "OPENAI_API_KEY": ""}
    command = (sys.executable, str(ROOT / "scripts" / "demo.py"), "--json", str(figures))
    done = r"([\d.]+) s in all; figures in (\S+)"
    async with child("demo", *command, ready=done, log=tmp_path / "log", env=env, cwd=tmp_path, seconds=200) as demo:
        assert await demo.process.wait() == 0
        facts: dict[str, Any] = json.loads(figures.read_text())
        assert demo.found[2] == str(figures)
    assert list(facts) == KEYS
    assert facts["credits_before"] - facts["credits_after"] == facts["credits_charged"] == 100
    assert facts["credits_charged"] == 20 * facts["calls"]
    assert facts["earnings_wei"] == 5 * 10**15
    assert facts["chain_id"] == 31337
    assert 21_000 < facts["settlement_gas"] < 200_000
    assert re.fullmatch(r"0x[0-9a-f]{64}", facts["settlement_tx"])
    assert str(Did.parse(facts["did"])) == facts["did"]
    assert str(Cid.parse(facts["cid"])) == facts["cid"]
    assert str(PlanId.parse(facts["plan"])) == facts["plan"]
    assert float(demo.found[1]) == facts["seconds"]

    told = demo.output
    assert "\033" not in told, "no colours where nobody sees them"
    assert "✗" not in told
    for fact in (facts["did"], facts["plan"], facts["cid"], facts["settlement_tx"], f"{facts['settlement_gas']:,} gas"):
        assert fact in told
    assert "17 * 23 = 391" in told
    assert "402 plan_required" in told
    assert "402 credits_exhausted" in told
    assert re.search(r"4 answered, 4 refused", told)


def test_an_interrupt_while_packages_are_imported_ends_the_demo_like_any_other(tmp_path: Path) -> None:
    package = tmp_path / "openai"
    package.mkdir()
    (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo.py")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (130, "Everything has ended.", "")


async def test_a_world_that_is_kept_answers_whoever_follows_its_advice(tmp_path: Path) -> None:
    env = {**os.environ, "OPENAI_API_KEY": ""}
    command = (sys.executable, str(ROOT / "scripts" / "demo.py"), "--keep", "--json", str(tmp_path / "demo.json"))
    ready = r"OPENAI_BASE_URL=(http://\S+) OPENAI_API_KEY=(nvm_\S+)"
    async with child("demo", *command, ready=ready, log=tmp_path / "log", env=env, seconds=200) as demo:
        url, key = demo.found[1], demo.found[2]
        did = json.loads((tmp_path / "demo.json").read_text())["did"]
        async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
            answer = await client.responses.create(model=did, input="What is 6 * 7?", timeout=60)
            assert answer.output_text == "6 * 7 = 42"
        given = re.search(r"export (NVM_RPC_URL=.*)", demo.output)
        assert given is not None
        variables = {"NVM_CONFIG": str(tmp_path / "none.toml"), **dict(one.split("=", 1) for one in given[1].split())}
        for words, says in ((["assistant", "search", "maths"], did), (["usage"], "on chain")):
            command_line = [str(Path(sys.executable).parent / "nvm-chain"), *words]
            shell = await asyncio.create_subprocess_exec(*command_line, env=env | variables, stdout=subprocess.PIPE)
            assert says in (await shell.communicate())[0].decode()
        headers = {"authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(headers=headers) as http, http.get(f"{url}/account") as account:
            (plan,) = (await account.json())["plans"]
        assert plan["credits_left"] == 80
        demo.process.send_signal(signal.SIGTERM)
        assert await demo.process.wait() == 130
    assert "Everything has ended." in demo.output
    assert "Traceback" not in demo.output
