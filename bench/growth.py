"""What a call costs the ledger as the node grows: with more accounts, with more past calls. And what memory it takes.

`python -m bench.growth` prints the figures; bench/run.py merges `figures()`. The ledgers are filled by SQL, everything
measured goes through the ledger as a node's calls do: 32 at a time, of accounts chosen at random from those in use.
What is written later on behalf of a call, into the rows of accounts and keys, is part of what is measured. All sizes
take turns, so that a machine that is busy for a while is so for all of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from node_proxy.ledger import Ledger
from node_proxy.ledger.base import AccountId
from node_proxy.ledger.sqlite import open_sqlite

ACCOUNTS = (10, 1_000, 100_000, 1_000_000)
IN_USE = (10, 1_000)
PAST_CALLS = (1, 10_000, 1_000_000, 10_000_000)
KNOWN = 100_000
CALLS = 8_000
AT_ONCE = 32
ROUNDS = 7

Rows = list[dict[str, float]]

PLAN, DID = b"p" * 32, b"d" * 32
_NUMBERS = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})"


async def figures(*, quick: bool = False) -> dict[str, Any]:
    """`growth`: microseconds of processor time and of waiting per call, by number of accounts and of past calls.

    Accounts: once with the same few in use among ever more, and once with all in use, so that nearly every call is of
    an account that the node has to read from its file.
    """
    with tempfile.TemporaryDirectory(prefix="nvm-growth-") as name:
        accounts = await _by_accounts(Path(name), ACCOUNTS[:3] if quick else ACCOUNTS)
    with tempfile.TemporaryDirectory(prefix="nvm-growth-") as name:
        past = await _by_past_calls(Path(name), PAST_CALLS[:3] if quick else PAST_CALLS)
    return {"growth": {**accounts, "past_calls": past}, "resident_mb_100k_accounts": await _memory()}


async def _by_accounts(folder: Path, sizes: tuple[int, ...]) -> dict[str, Rows]:
    cases: list[tuple[str, int, Path, Sequence[int]]] = []
    for size in sizes:
        full = folder / f"{size}.db"
        await _fill_accounts(full, size)
        some = {f"accounts_{few}_in_use": few for few in IN_USE if few <= size}
        for name, in_use in {**some, "accounts_all_in_use": size}.items():
            # A file for each: what one leaves to be written later mustn't be at another's cost.
            path = folder / f"{size} {name}.db"
            await asyncio.to_thread(shutil.copyfile, full, path)
            cases.append((name, size, path, random.Random(3).sample(range(size), in_use)))
    rows: dict[str, Rows] = {}
    measured = await _in_turns([(path, used) for *_, path, used in cases])
    for (name, size, *_), figures in zip(cases, measured, strict=True):
        rows.setdefault(name, []).append({"accounts": size, **figures})
    return rows


async def _by_past_calls(folder: Path, sizes: tuple[int, ...]) -> Rows:
    paths = [folder / f"{size}.db" for size in sizes]
    for path, size in zip(paths, sizes, strict=True):
        await _fill_accounts(path, 1_000)
        await asyncio.to_thread(_fill_charges, path, size)
    measured = await _in_turns([(path, range(1_000)) for path in paths])
    return [{"past_calls": size, **figures} for size, figures in zip(sizes, measured, strict=True)]


async def _in_turns(cases: Sequence[tuple[Path, Sequence[int]]]) -> Rows:
    """For each ledger and accounts in use: medians of several rounds, the first left out.

    What a node has seen before it remembers.
    """
    await asyncio.to_thread(os.sync)  # what it took to fill them isn't to be measured
    spent: list[list[tuple[float, float]]] = [[] for _ in cases]
    async with AsyncExitStack() as stack:
        ledgers = [await stack.enter_async_context(open_sqlite(path, serving=True)) for path, _ in cases]
        rng = random.Random(7)
        for number in range(ROUNDS + 1):
            for ledger, (_, used), took in zip(ledgers, cases, spent, strict=True):
                figures = await _round(ledger, used, rng)
                if number:
                    took.append(figures)
    return [
        {
            "cpu_us": round(statistics.median(cpu for cpu, _ in took), 1),
            "wall_us": round(statistics.median(wall for _, wall in took), 1),
        }
        for took in spent
    ]


async def _round(ledger: Ledger, used: Sequence[int], rng: random.Random) -> tuple[float, float]:
    """Microseconds per call: of the processor, and from one to the next."""

    async def call() -> None:
        who = AccountId(PLAN, _subscriber(rng.choice(used)))
        hold = await ledger.reserve(who, DID, 3, key_id=f"key_{who.subscriber[-8:]!r}", key_budget=None, request_id="r")
        await ledger.capture(hold, 2, {"input_tokens": 25, "output_tokens": 60})

    async def caller() -> None:
        for _ in range(CALLS // AT_ONCE):
            await call()

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return (time.process_time() - cpu) / CALLS * 1e6, (time.perf_counter() - began) / CALLS * 1e6


def _subscriber(number: int) -> bytes:
    return b"%020d" % number


async def _fill_accounts(path: Path, size: int) -> None:
    async with open_sqlite(path, serving=False):
        pass  # makes the tables
    await asyncio.to_thread(
        _run,
        path,
        f"{_NUMBERS.format(last=size - 1)}"
        " INSERT INTO accounts (plan, subscriber, block, balance, consumed)"
        " SELECT ?, CAST(printf('%020d', i) AS BLOB), 1, 1099511627776, 0 FROM n",
        (PLAN,),
    )


def _fill_charges(path: Path, size: int) -> None:
    """Charges that were settled long ago, in the order in which a node would have written them."""
    _run(
        path,
        "INSERT INTO batches (id, did, plan, node, number, state, root, created, block, block_hash, tx_hash)"
        " VALUES (1, ?, ?, ?, 1, 'confirmed', ?, 1, 1, ?, ?) ON CONFLICT DO NOTHING",
        (DID, PLAN, bytes(20), bytes(32), bytes(32), bytes(32)),
    )
    _run(
        path,
        f"{_NUMBERS.format(last=size - 1)} INSERT INTO charges (id, plan, subscriber, did, credits, usage,"
        " flags, key_id, request_id, created, batch) SELECT printf('chg_%028x', i), ?, CAST(printf('%020d', i % 1000)"
        " AS BLOB), ?, 2, '{\"input_tokens\":25,\"output_tokens\":60}', '', 'key_1', 'req_1', 1, 1 FROM n",
        (PLAN, DID),
    )


def _run(path: Path, sql: str, values: tuple[Any, ...]) -> None:
    db = sqlite3.connect(path)
    try:
        # Nothing else has the file open, and nobody needs it after a crash: each page is written once.
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -200000")
        with db:
            db.execute(sql, values)
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()


async def _memory() -> float:
    """MiB of a process with all of the node's code loaded that has looked at 100,000 accounts and as many keys."""
    command = (sys.executable, "-m", "bench.growth", "--memory")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return float(output)


async def _know() -> None:
    import node_proxy.app  # noqa: F401 - everything that a node loads
    from bench.relay.proc import resident_mb

    with tempfile.TemporaryDirectory(prefix="nvm-growth-") as name:
        path = Path(name) / "ledger.db"
        await _fill_accounts(path, KNOWN)
        async with open_sqlite(path, serving=True) as ledger:
            for number in range(KNOWN):
                await ledger.standing(AccountId(PLAN, _subscriber(number)))
                await ledger.key_spent(f"key_{number:024d}")
            print(resident_mb(("self",)))


if __name__ == "__main__":
    if "--memory" in sys.argv:
        uvloop.run(_know())
    else:
        print(json.dumps(uvloop.run(figures(quick="--quick" in sys.argv)), indent=1))
