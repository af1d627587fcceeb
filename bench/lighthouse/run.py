"""`make lighthouse`: how fast and how usable the console's pages are. Writes build/lighthouse.json.

Lighthouse's phone (slow network, slow processor) in the system's Chromium, cold caches, against a real node and chain;
the best of several runs, interleaved: what else a machine does can only slow a page down, and build/lighthouse.json has
all of them. The pages that need somebody have a wallet that is connected, and a session.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from nvm_chain.wallet import LocalWallet
from tests.browser.console import FLAGS, chromium
from tests.browser.wallet import SCRIPT
from tests.world import ROOT, World

HERE = Path(__file__).parent
OUT = ROOT / "build" / "lighthouse.json"
ASSISTANTS = 6
RUNS = 3

# The wallet of the browser tests signs; this one only says who it is, which is all that a load asks.
_WALLET = """
localStorage.setItem('nvm.wallet', 'test.wallet')
const answers = %s
window.__wallet = async (method) => method in answers ? { result: answers[method] } : { error: { code: -32601 } };
"""


@dataclass(frozen=True, slots=True)
class Page:
    """path: after the node's address. who: whose wallet is connected and signed in; None: nobody's."""

    name: str
    path: str
    who: LocalWallet | None = None


def missing() -> str | None:
    """What has to be installed before anything can be measured."""
    if chromium() is None:
        return "no Chromium: apt-get install chromium, or name one in CHROMIUM"
    if not (HERE / "node_modules" / "lighthouse").is_dir() or not shutil.which("node"):
        return "no Lighthouse: run `python scripts/setup.py lighthouse`"
    return None


async def measure(runs: int = RUNS, only: str = "") -> list[dict[str, Any]]:
    """Each page's best run, which it also writes to build/lighthouse.json. Raises RuntimeError if a page can't load."""
    async with World() as world:
        pages = [page for page in await _pages(world) if only in page.name]
        results = await _run(world, pages, runs)
    found = [_best(page.name, [one for one in results if one["name"] == page.name]) for page in pages]
    OUT.parent.mkdir(exist_ok=True)
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "index": [one["machine"] for one in results]}
    OUT.write_text(json.dumps({"runs": runs, "machine": machine, "pages": found}, indent=2) + "\n")
    return found


async def _pages(world: World) -> list[Page]:
    plan = (await world.create_plan(title="A hundred credits", credits=100, price=10**16)).plan_id
    assistants = [
        await world.register(
            plan,
            title=f"Assistant {number}",
            description="Helps you solve math problems, step by step.",
            tags=("maths", "teaching"),
            notes="# How to ask\n\nWrite `2 + 2`, or **any** question.",
        )
        for number in range(1, ASSISTANTS + 1)
    ]
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    return [
        Page("marketplace", "/#/"),
        Page("an assistant", f"/a/{assistants[0].did}"),
        Page("wizard, step 1", "/#/new/assistant", world.builder),
        Page("my plans", "/#/me", subscriber),
        Page("builder", "/#/builder", world.builder),
        Page("operator", "/#/operator", world.node.wallet),
    ]


async def _run(world: World, pages: list[Page], runs: int) -> list[dict[str, Any]]:
    orders = {
        "chromium": chromium(),
        "flags": [flag for flag in FLAGS if flag != "--headless"],
        "runs": runs,
        "pages": [
            {
                "name": page.name,
                "url": f"{world.node.url}{page.path}",
                "script": _script(world, page.who) if page.who else "",
                "cookie": await _session(world, page.who) if page.who else None,
            }
            for page in pages
        ],
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("node", HERE / "measure.mjs", cwd=HERE, stdin=pipe, stdout=pipe)
    output, _ = await process.communicate(json.dumps(orders).encode())
    if process.returncode:
        raise RuntimeError(f"Lighthouse failed after {len(output.splitlines())} of {runs * len(pages)} runs")
    return [json.loads(line) for line in output.splitlines()]


def _script(world: World, wallet: LocalWallet) -> str:
    answers = {
        "eth_accounts": [wallet.address],
        "eth_requestAccounts": [wallet.address],
        "eth_chainId": hex(world.chain.chain_id),
    }
    return _WALLET % json.dumps(answers) + SCRIPT


async def _session(world: World, wallet: LocalWallet) -> dict[str, str]:
    """The cookie of a session, as Puppeteer takes it."""
    url, body = f"{world.node.url}/auth/session", await world.signed(wallet)
    async with aiohttp.ClientSession(raise_for_status=True) as http, http.post(url, json=body) as answer:
        (cookie,) = answer.cookies.values()
    world.leaks.note(cookie.value)
    return {"name": cookie.key, "value": cookie.value, "domain": "127.0.0.1", "path": "/"}


def _best(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    best = max(runs, key=lambda run: (run["scores"]["performance"], -run["blocked_ms"]))
    return {
        "page": name,
        "performance": best["scores"]["performance"],
        "accessibility": min(run["scores"]["accessibility"] for run in runs),
        "first_paint_s": round(best["seconds"]["first_paint"], 2),
        "largest_paint_s": round(best["seconds"]["largest_paint"], 2),
        "blocked_ms": round(best["blocked_ms"]),
        "layout_shift": round(best["layout_shift"], 3),
        "kilobytes": round(max(run["bytes"] for run in runs) / 1000),
        "runs": [run["scores"]["performance"] for run in runs],
        "headings": best["headings"],
        "faults": [fault for run in runs for fault in run["faults"]],
    }


def show(found: list[dict[str, Any]]) -> None:
    """A table that docs/console.md can take."""
    print("| page | performance | accessibility | largest paint, s | blocked, ms | layout shift | KB |")
    print("|---|---|---|---|---|---|---|")
    names = ("page", "performance", "accessibility", "largest_paint_s", "blocked_ms", "layout_shift", "kilobytes")
    for page in found:
        print("| " + " | ".join(str(page[name]) for name in names) + " |")
        for fault in page["faults"]:
            print(f"  {page['page']}: {fault['id']}: {fault['where']}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each page; the best counts")
    parser.add_argument("--page", default="", metavar="WORDS", help="only those with WORDS in their name")
    arguments = parser.parse_args()
    if reason := missing():
        sys.exit(f"lighthouse: {reason}")
    show(asyncio.run(measure(arguments.runs, arguments.page)))
    print(f"\nwrote {OUT.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
