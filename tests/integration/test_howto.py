"""The commands in docs/howto/ and docs/tutorials/, run as they stand, by bash, one page after the other, in a world.

What a reader has to fill in or has elsewhere is substituted; where a page says "as printed", what was printed is taken.
Wallets get their money as soon as they are made.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.world import ROOT, World, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PROLOGUE = """
set -euo pipefail
finish() {
    status=$?
    if [ -n "${NODE_PID:-}" ]; then kill "$NODE_PID" 2>/dev/null; wait "$NODE_PID"; fi
    exit $status
}
trap finish EXIT
nvm-chain() {
    local yes=""
    case "$1 ${2:-}" in "plan create"|"plan buy"|"plan pause"|"assistant register"|"assistant update") yes=--yes ;; esac
    if [ "${3:-}" = --help ]; then yes=""; fi
    command nvm-chain "$@" $yes
}
nvm-node() {
    local yes=""
    case "$1 ${2:-}" in register*|settle*|"key rotate") yes=--yes ;; esac
    command nvm-node "$@" $yes
}
fund() {
    for account in $(grep -oE '0x[0-9a-fA-F]{40}\\b' "$1" | sort -u); do
        curl -sS "$NVM_RPC_URL" -H 'content-type: application/json' -o /dev/null \\
            -d '{"jsonrpc":"2.0","id":1,"method":"anvil_setBalance","params":["'"$account"'","0x8ac7230489e80000"]}'
    done
}
field() { sed -n "s/^ *$1  *\\($2\\).*/\\1/p" out/* | tail -1; }
serving() {
    for _ in $(seq 600); do
        if curl -fsS -o /dev/null "$1/readyz" 2>/dev/null; then return; fi
        sleep 0.1
    done
    cat node.log
    return 1
}
mkdir -p out
"""
PRINTED = {
    "PLAN=0x…": "PLAN=$(field plan '0x[0-9a-f]*')",
    "NODE=0x…": "NODE=$(field 'node address' '0x[0-9a-fA-F]*')",
    "DID=did:nv:…": "DID=$(field did 'did:nv:[0-9a-f]*')",
    "NVM_API_KEY=nvm_…": "NVM_API_KEY=$(field key 'nvm_[0-9A-Za-z]*')",
}


HOWTO = ("howto/operator", "howto/builder", "howto/subscriber")
TUTORIALS = ("tutorials/run-an-access-node", "tutorials/monetize-your-openai-assistant", "tutorials/use-an-assistant")


def blocks(page: str) -> list[str]:
    """The shell blocks of a page."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def script(pages: tuple[str, ...], swaps: dict[str, str], node_url: str) -> str:
    """All pages as one script. What block n prints goes to out/<n>."""
    parts, number = [PROLOGUE], 100
    for page in pages:
        parts.append(f"echo '=== {page}'")
        for block in blocks(page):
            number += 1
            for before, after in {**swaps, **PRINTED}.items():
                block = block.replace(before, after)
            if block.strip() == "nvm-node serve":
                parts.append(f"nvm-node serve > node.log 2>&1 & NODE_PID=$!\nserving {node_url}")
                continue
            file = f"out/{number}-{Path(page).name}"
            parts.append(f"{{\n{block}}} > >(tee {file}) 2>&1\nsleep 0.1")
            if any(making in block for making in ("key new", "wallet new", "nvm-node init", "nvm-chain init")):
                parts.append(f"fund {file}")
    return "\n".join(parts)


async def follow(pages: tuple[str, ...], tmp_path: Path) -> list[str]:
    """What following the pages prints, page by page."""
    node_url = f"http://127.0.0.1:{free_port()}"
    world = World(folder=tmp_path / "world")
    try:
        await world.start()
        await world.deploy()
        provider = urlsplit(world.provider.url).netloc
        swaps = {
            "base-sepolia": "local",
            "https://sepolia.base.org": world.rpc_url,
            "84532": str(world.chain.chain_id),
            "https://node.example.org": node_url,
            "127.0.0.1:8402": urlsplit(node_url).netloc,
            "kubo:/ip4/127.0.0.1/tcp/5001": f"file://{tmp_path}/blocks",
            "https://ipfs.io": f"file://{tmp_path}/blocks",
            'allowed_hosts = ["api.openai.com"]': f'allow_local_providers = ["{provider}"]',
            " --allow-host api.openai.com": f"; export NVM_NODE_ALLOW_LOCAL_PROVIDERS={provider}",
            "OPENAI_API_KEY=sk-…": f"OPENAI_API_KEY={world.provider.key}",
            "--model gpt-5.4-mini": f"--model stand-in --base-url {world.provider.url}",
        }
        folder = tmp_path / "reader"
        folder.mkdir()
        (folder / "howto.sh").write_text(script(pages, swaps, node_url))
        told = await _bash(folder, world.rpc_url)
    finally:
        await world.close()
    return re.split(r"^=== .*\n", told, flags=re.MULTILINE)[1:]


async def test_the_howto_pages_do_what_they_say(tmp_path: Path) -> None:
    operator, builder, subscriber = await follow(HOWTO, tmp_path)
    assert subscriber.count("17 * 23 = 391") == 3, subscriber
    assert "FAIL" not in operator
    assert re.search(r"withdrawable +0 ETH", builder)
    assert re.search(r"spendable +100\b", subscriber)
    assert '"spent":5' in subscriber
    assert "laptop" in subscriber


async def test_the_tutorials_do_what_they_say(tmp_path: Path) -> None:
    operator, builder, subscriber = await follow(TUTORIALS, tmp_path)
    assert "the ledger and the chain agree" in operator
    assert re.search(r"assistant id +asst_", builder)
    assert "Maths teacher" in subscriber
    assert subscriber.count("17 * 23 = 391") == 2, subscriber
    assert re.search(r"credits left.*\n0x[0-9a-f]{64} +99 +100 +1 ", subscriber)


@pytest.mark.parametrize("page", [*HOWTO, *TUTORIALS])
def test_the_pages_point_to_what_is_there(page: str) -> None:
    path = ROOT / "docs" / f"{page}.md"
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target


async def _bash(folder: Path, rpc_url: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NVM_", "OPENAI_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "bash", "howto.sh",
        cwd=folder, env={**inherited, "PATH": path, "HOME": str(folder), "NVM_RPC_URL": rpc_url},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    told = output.decode("utf-8", errors="replace")
    assert process.returncode == 0, told[-4000:]
    return told
