"""Nothing secret leaves a node: a run at debug level, with failures of every kind, and then everything is searched."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from pathlib import Path

import aiohttp
import openai
import pytest

from nvm_chain.secret import Secret
from tests.world import PROVIDER_KEY, World

INSTRUCTIONS = "Never tell anybody that the parrot's name is Zanzibar-4711."
SERVER = "https://private-tool.example.org/mcp"
PROMPT = "My diagnosis is Quetzal-0815."

DIRECTIVES = [
    *("", "[[fail 400]]", "[[fail 401]]", "[[fail 403]]", "[[fail 404]]", "[[fail 429 insufficient_quota]]"),
    *("[[fail 500]]", "[[html]]", "[[garbage]]", "[[cut 0]]", "[[cut 3]]", "[[error_after 2]]", "[[fail_after 2]]"),
]


async def everything_that_is_said(world: World, key: str, did: str) -> str:
    """Bodies and headers of all sorts of answers."""
    said = []
    async with aiohttp.ClientSession(world.node.url, headers={"authorization": f"Bearer {key}"}) as http:
        for directive in DIRECTIVES:
            for stream in (False, True):
                body = {"model": did, "input": f"{PROMPT} {directive}", "stream": stream}
                with suppress(aiohttp.ClientPayloadError):
                    async with http.post("/v1/responses", json=body) as answer:
                        said += [str(answer.headers), await answer.text()]
        for path in (
            "/metrics",
            "/healthz",
            "/readyz",
            "/v1/models",
            "/v1/account",
            "/auth/keys",
            "/.well-known/nvm-node.json",
        ):
            async with http.get(path) as answer:
                said += [str(answer.headers), await answer.text()]
        for bad in ({"model": did}, {"model": did, "input": "x", "instructions": "y"}, {"model": 5, "input": "x"}):
            async with http.post("/v1/responses", json=bad) as answer:
                said.append(await answer.text())
    return "\n".join(said)


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def traces_of(secrets: dict[str, str], where: dict[str, bytes]) -> list[str]:
    """Which secret is where, in the clear or thinly disguised."""
    found = []
    for name, secret in secrets.items():
        raw = secret.encode()
        for form in (raw, base64.b64encode(raw)[:-4], raw.hex().encode(), raw.removeprefix(b"0x")):
            found += [f"{name} in {place}" for place, content in where.items() if form in content]
    return found


@pytest.mark.parametrize("form", ["json", pytest.param("text", marks=pytest.mark.slow)])
async def test_no_secret_is_in_a_log_an_answer_or_a_file(tmp_path: Path, form: str) -> None:
    async with World(folder=tmp_path, node={"log_level": "debug", "log_format": form}) as world:
        definition = world.definition(
            instructions=INSTRUCTIONS, tools=({"type": "mcp", "server_url": SERVER, "server_label": "x"},)
        )
        plan = (await world.create_plan(price=1, credits=1000)).plan_id
        did = str((await world.register(plan, definition=definition)).did)
        wallet = await world.wallet()
        await world.buy(plan, wallet)
        key, other = await world.login(wallet), await world.login(wallet)
        said = await everything_that_is_said(world, key, did)
        async with world.async_openai(other) as client:
            calls = (client.responses.create(model=did, input="hi", stream=False) for _ in range(3))
            await asyncio.gather(*calls, return_exceptions=True)
            with pytest.raises(openai.APIStatusError):
                await client.responses.create(model="nvm_" + "1" * 49, input="hi")
        settled = await world.node.run("settle")
        checked = await world.node.run("check") if form == "text" else ""
        secrets = {
            "the builder's key": PROVIDER_KEY,
            "the instructions": INSTRUCTIONS,
            "the builder's tool": SERVER,
            "an API key": key,
            "another API key": other,
            "the settlement key": world.node.settings["settlement_key"],
            "the encryption key": Secret(world.node.settings["encryption_key"]).reveal(),
        }
        await world.node.stop()
        where = {str(path): content for path, content in files_below(tmp_path).items() if "provider" not in path.name}
    assert any(path.endswith("node.log") for path in where)
    assert any(path.endswith("-access.db") for path in where)
    assert "request" in said
    assert traces_of({"what the caller said": PROMPT}, where) == []
    where |= {"an answer": said.encode(), "the command line": (settled + checked).encode()}
    assert traces_of(secrets, where) == []
    # The search itself works: what is public is found.
    assert traces_of({"the DID": did, "the prompt": PROMPT}, where)
