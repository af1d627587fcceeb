"""The commands in docs/howto/, docs/tutorials/, README.md and docs/http-api.md, run as they stand, by bash, in a world.

What a reader has to fill in or has elsewhere is substituted; where a page says "as printed", what was printed is taken.
Wallets get their money as soon as they are made.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.anvil import KEYS
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
    case "$*" in *serve) exec nvm-node "$@" ;; esac  # in the background: $! is the node's
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


Pages = Sequence[tuple[str, Sequence[str]]]
"""Titles, and the shell blocks below each."""

NOT_RUN = {
    "make demo": "tests/integration/test_demo.py does",
    "make lighthouse": "tests/browser/test_lighthouse.py does",
    "pytest -s tests/browser/test_in_time.py": "they are tests themselves",
    "pytest tests/browser": "the browser's tests are tests themselves",
}
"""How blocks begin that nothing here runs, and why not."""

SIGN = """
import asyncio, json
from nvm_chain.wallet import LocalWallet

message = json.load(open("nonce.json"))["message"]
signature = "0x" + asyncio.run(LocalWallet.from_env().sign_message(message)).hex()
json.dump({"message": message, "signature": signature, "name": "laptop"}, open("login.json", "w"))
"""


def blocks(page: str) -> list[str]:
    """The shell blocks of a page."""
    text = (ROOT / f"{page}.md").read_text("utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def docs(*pages: str) -> Pages:
    return [(page, blocks(f"docs/{page}")) for page in pages]


def script(pages: Pages, swaps: dict[str, str], node_url: str) -> str:
    """All pages as one script. What block n prints goes to out/<n>."""
    parts, number = [PROLOGUE], 100
    for page, commands in pages:
        parts.append(f"echo '=== {page}'")
        for block in commands:
            number += 1
            for before, after in {**swaps, **PRINTED}.items():
                block = block.replace(before, after)
            block = re.sub(
                r"^(nvm-node.* serve)$",
                rf"\1 > node.log 2>\&1 & NODE_PID=$!\nserving {node_url}",
                block,
                flags=re.MULTILINE,
            )
            file = f"out/{number}-{Path(page).name}"
            parts.append(f"{{\n{block}}} > >(tee {file}) 2>&1\nsleep 0.1")
            if any(making in block for making in ("key new", "wallet new", "nvm-node init", "nvm-chain init")):
                parts.append(f"fund {file}")
    return "\n".join(parts)


async def follow(pages: Pages, tmp_path: Path, more: dict[str, str] | None = None) -> list[str]:
    """What following the pages prints, page by page. more: what else is substituted, before anything else is."""
    node_url = f"http://127.0.0.1:{free_port()}"
    world = World(folder=tmp_path / "world")
    try:
        await world.start()
        await world.deploy()
        provider = urlsplit(world.provider.url).netloc
        swaps = {
            **(more or {}),
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
        (folder / "sign.py").write_text(SIGN)
        (folder / "howto.sh").write_text(script(pages, swaps, node_url))
        told = await _bash(folder, world.rpc_url)
    finally:
        await world.close()
    return re.split(r"^=== .*\n", told, flags=re.MULTILINE)[1:]


async def test_the_howto_pages_do_what_they_say(tmp_path: Path) -> None:
    operator, builder, subscriber = await follow(docs(*HOWTO), tmp_path)
    assert subscriber.count("17 * 23 = 391") == 3, subscriber
    assert "FAIL" not in operator
    assert re.search(r"withdrawable +0 ETH", builder)
    assert re.search(r"spendable +100\b", subscriber)
    assert '"spent":5' in subscriber
    assert "laptop" in subscriber


async def test_the_tutorials_do_what_they_say(tmp_path: Path) -> None:
    operator, builder, subscriber = await follow(docs(*TUTORIALS), tmp_path)
    assert "the ledger and the chain agree" in operator
    assert re.search(r"assistant id +asst_", builder)
    assert "Maths teacher" in subscriber
    assert subscriber.count("17 * 23 = 391") == 2, subscriber
    assert re.search(r"credits left.*\n0x[0-9a-f]{64} +99 +100 +1 ", subscriber)


async def test_the_readme_and_the_http_api_page_do_what_they_say(tmp_path: Path) -> None:
    _, builder, subscriber, operator = blocks("README")
    (login,) = blocks("docs/http-api")
    wallet = LocalWallet(Secret(KEYS[4]))
    before = (
        f"export NVM_PRIVATE_KEY={KEYS[4]} NVM_STORE=file://{tmp_path}/blocks OPENAI_API_KEY=sk-…\n"
        f"export NVM_NODE_STORE=$NVM_STORE NVM_NODE_BIND=127.0.0.1:8402 NVM_NODE_CONFIRMATIONS=1\n"
        "echo 'You are a maths teacher.' > instructions.txt\n"
    )
    plan = "$(field plan '0x[0-9a-f]*')"
    told = await follow(
        [
            ("operator", [before, operator]),
            ("builder", [builder]),
            ("subscriber", [subscriber]),
            ("login", [login]),
        ],
        tmp_path,
        {
            " register\n": " register --yes\n",
            "nvm-node --config node/node.toml register": "sleep 0.5; fund out/102-operator\n"
            "nvm-node --config node/node.toml register",
            "--plan 0x…=1 --node 0x…": f"--plan {plan}=1 --node $(field 'node address' '0x[0-9a-fA-F]*')",
            "earnings 0x…": f"earnings {plan}",
            "plan buy 0x…": f"plan buy {plan}",
            'address=0x…" ': f'address={wallet.address}" | tee nonce.json ',
            "# sign `message` as it is (personal_sign)": "python3 sign.py",
            '\'{"message": "…", "signature": "0x…", "name": "laptop"}\'': "@login.json",
        },
    )
    assert "registered 0x" in told[0]
    assert re.search(r"withdrawable +0 ETH", told[1])
    assert re.search(r"spendable +100\b(?s:.*)key +nvm_", told[2])
    assert re.search(r'"key": ?"nvm_', told[3])


def test_every_shell_block_is_run_or_said_not_to_be() -> None:
    run = {"README", "docs/http-api"}
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        page = str(path.relative_to(ROOT).with_suffix(""))
        left = [block for block in blocks(page) if not block.startswith(tuple(NOT_RUN))]
        assert not left or page in run, f"{page}: {left}"


def test_the_targets_that_the_readme_names_are_there() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    named = re.findall(r"^`?make ([a-z-]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert named
    assert set(named) <= set(targets)


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
