"""What a call costs the ledger as the node grows: with more accounts, with more past calls. And what memory it takes.

`python -m bench.growth` prints the figures; bench/run.py merges `figures()`. The ledgers are filled by SQL, everything
measured goes through the ledger as a node's calls do: 32 at a time, of accounts chosen at random from those in use.
What is written later on behalf of a call, into the rows of accounts and keys, is part of what is measured.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from node_proxy.ledger.base import AccountId
from node_proxy.ledger.sqlite import open_sqlite

ACCOUNTS = (10, 1_000, 100_000, 1_000_000)
IN_USE = (10, 1_000)
PAST_CALLS = (1, 10_000, 1_000_000, 10_000_000)
KNOWN = 100_000
CALLS = 3_200
AT_ONCE = 32
ROUNDS = 3

PLAN, DID = b"p" * 32, b"d" * 32
_NUMBERS = "WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"


async def figures(*, quick: bool = False) -> dict[str, Any]:
    """`growth`: microseconds of processor time and of waiting per call, by number of accounts and of past calls.

    Accounts: once with the same few in use among ever more, and once with all in use, so that nearly every call is of
    an account that the node has to read from its file.
    """
    with tempfile.TemporaryDirectory(prefix="nvm-growth-") as name:
        accounts = await _by_accounts(Path(name) / "accounts.db", ACCOUNTS[:3] if quick else ACCOUNTS)
    with tempfile.TemporaryDirectory(prefix="nvm-growth-") as name:
        past = await _by_past_calls(Path(name) / "past.db", PAST_CALLS[:3] if quick else PAST_CALLS)
    return {"growth": {**accounts, "past_calls": past}, "resident_mb_100k_accounts": await _memory()}


async def _by_accounts(path: Path, sizes: tuple[int, ...]) -> dict[str, list[dict[str, float]]]:
    rows: dict[str, list[dict[str, float]]] = {}
    known = 0
    for size in sizes:
        await _fill_accounts(path, known, size)
        known = size
        some = {f"accounts_{few}_in_use": few for few in IN_USE if few <= size}
        for name, in_use in {**some, "accounts_all_in_use": size}.items():
            used = random.Random(3).sample(range(size), in_use)
            rows.setdefault(name, []).append({"accounts": size, **await _measure(path, used)})
    return rows


async def _by_past_calls(path: Path, sizes: tuple[int, ...]) -> list[dict[str, float]]:
    rows, known = [], 0
    await _fill_accounts(path, 0, 1_000)
    for size in sizes:
        await asyncio.to_thread(_fill_charges, path, known, size)
        known = size
        rows.append({"past_calls": size, **await _measure(path, range(1_000))})
    return rows


async def _measure(path: Path, used: Sequence[int]) -> dict[str, float]:
    """Medians of several rounds, the first left out: what a node has seen before it remembers. used: the accounts."""
    cpu, wait, rng = [], [], random.Random(7)
    async with open_sqlite(path, serving=True) as ledger:

        async def call() -> None:
            who = AccountId(PLAN, _subscriber(rng.choice(used)))
            hold = await ledger.reserve(
                who, DID, 3, key_id=f"key_{who.subscriber[-8:]!r}", key_budget=None, request_id="r"
            )
            await ledger.capture(hold, 2, {"input_tokens": 25, "output_tokens": 60})

        async def caller() -> None:
            for _ in range(CALLS // AT_ONCE):
                await call()

        for number in range(ROUNDS + 1):
            began, used_before = time.perf_counter(), time.process_time()
            await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
            if number:
                cpu.append((time.process_time() - used_before) / CALLS * 1e6)
                wait.append((time.perf_counter() - began) / CALLS * 1e6)
    return {"cpu_us": round(statistics.median(cpu), 1), "wall_us": round(statistics.median(wait), 1)}


def _subscriber(number: int) -> bytes:
    return b"%020d" % number


async def _fill_accounts(path: Path, known: int, size: int) -> None:
    async with open_sqlite(path, serving=False):
        pass  # makes the tables
    await asyncio.to_thread(
        _run,
        path,
        f"{_NUMBERS.format(first=known, last=size - 1)}"
        " INSERT INTO accounts (plan, subscriber, block, balance, consumed)"
        " SELECT ?, CAST(printf('%020d', i) AS BLOB), 1, 1099511627776, 0 FROM n",
        (PLAN,),
    )


def _fill_charges(path: Path, known: int, size: int) -> None:
    """Charges that were settled long ago, in the order in which a node would have written them."""
    _run(
        path,
        "INSERT INTO batches (id, did, plan, node, number, state, root, created, block, block_hash, tx_hash)"
        " VALUES (1, ?, ?, ?, 1, 'confirmed', ?, 1, 1, ?, ?) ON CONFLICT DO NOTHING",
        (DID, PLAN, bytes(20), bytes(32), bytes(32), bytes(32)),
    )
    _run(
        path,
        f"{_NUMBERS.format(first=known, last=size - 1)} INSERT INTO charges (id, plan, subscriber, did, credits, usage,"
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
        await _fill_accounts(path, 0, KNOWN)
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
