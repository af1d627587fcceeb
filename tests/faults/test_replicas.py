"""Several node processes on one PostgreSQL ledger, some of which die, and a database that does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from node_proxy.ledger import open_ledger
from node_proxy.ledger.base import AccountId, Checkpoint, LedgerError, LedgerFailed, Promise, Snapshot
from tests.faults import victims
from tests.postgres import Postgres, postgres

DID, PLAN = b"\x01" * 32, b"\x02" * 32
ACCOUNTS = [AccountId(PLAN, bytes([n]) * 20) for n in range(1, 6)]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


async def stock(url: str, credits: int) -> None:
    async with open_ledger(url, serving=False) as ledger:
        await ledger.advance(Checkpoint(1, bytes(32), 0.0), [Snapshot(a, 1, credits, 0, 0, 0, 1) for a in ACCOUNTS])


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.1)


async def test_four_processes_admit_exactly_the_balance(server: Postgres) -> None:
    url = server.database()
    await stock(url, 100)
    started = [victims.start(victims.call_until_empty, url, ACCOUNTS[:1], DID) for _ in range(4)]
    served = 0
    for process, connection in started:
        await asyncio.to_thread(process.join, 60)
        assert process.exitcode == 0
        served += sum(victims.received(connection))
    assert served == 100
    async with open_ledger(url, serving=True) as ledger:
        standing = await ledger.standing(ACCOUNTS[0])
        assert (standing.captured, standing.reserved, standing.spendable) == (100, 0, 0)
        assert (await ledger.audit()).clean


async def test_two_processes_admit_exactly_what_the_voucher_covers(server: Postgres) -> None:
    url = server.database()
    who = ACCOUNTS[0]
    async with open_ledger(url, serving=False) as ledger:
        await ledger.advance(Checkpoint(1, bytes(32), 0.0), [Snapshot(who, 1, 500, 40, 0, 0, 1)])
        await ledger.keep_voucher(Promise(who, 110, b"signed", 1))
    started = [victims.start(victims.call_until_empty, url, [who], DID, True) for _ in range(2)]
    async with open_ledger(url, serving=False) as ledger:  # a higher one comes while they are at work
        await ledger.keep_voucher(Promise(who, 120, b"signed again", 2))
    served = 0
    for process, connection in started:
        await asyncio.to_thread(process.join, 60)
        assert process.exitcode == 0
        served += sum(victims.received(connection))
        connection.close()
    assert 70 <= served <= 80, "110 or 120, of which 40 were used before"
    started = [victims.start(victims.call_until_empty, url, [who], DID, True) for _ in range(2)]
    for process, connection in started:
        await asyncio.to_thread(process.join, 60)
        served += sum(victims.received(connection))
        connection.close()
    assert served == 80
    async with open_ledger(url, serving=True) as ledger:
        standing = await ledger.standing(who)
        assert (standing.captured, standing.under(120), standing.spendable) == (80, 0, 420)
        assert (await ledger.audit()).clean


async def test_what_a_killed_process_held_is_given_back_and_what_it_charged_is_kept(server: Postgres) -> None:
    url = server.database()
    await stock(url, 1_000_000)
    acknowledged: dict[str, int] = {}
    async with open_ledger(url, serving=True) as ledger:

        async def reservations_are_gone() -> bool:
            return not any([(await ledger.standing(who)).reserved for who in ACCOUNTS])

        for _ in range(4):
            process, connection = victims.start(victims.charge_for_ever, url, ACCOUNTS, DID)
            assert await asyncio.to_thread(connection.recv) == "ready"
            told: list[tuple[str, int]] = []
            while len(told) < 60:
                told += victims.received(connection, 50)
                await asyncio.sleep(0.005)
            victims.kill(process)
            acknowledged |= dict(told + victims.received(connection))
        await until(reservations_are_gone)
        assert (await ledger.audit()).clean
        kept = {one.id: one.credits for one in await ledger.charges(limit=1_000_000)}
        assert {one: kept.get(one) for one in acknowledged} == acknowledged


async def test_a_database_that_is_restarted_costs_calls_but_no_charge(server: Postgres) -> None:
    url = server.database()
    await stock(url, 1_000_000)
    acknowledged: dict[str, int] = {}
    failures = 0
    async with open_ledger(url, serving=True) as ledger:
        stop = asyncio.Event()

        async def caller(number: int) -> None:
            nonlocal failures
            who = ACCOUNTS[number % len(ACCOUNTS)]
            while not stop.is_set():
                try:
                    hold = await ledger.reserve(who, DID, 3, key_id="k", key_budget=None, request_id="r")
                except LedgerFailed:
                    failures += 1
                    await asyncio.sleep(0.05)
                    continue
                try:
                    made = await ledger.capture(hold, 2, None)
                    acknowledged[made.id] = made.credits
                except LedgerError:
                    failures += 1
                    with suppress(LedgerError):
                        await ledger.release(hold)

        callers = [asyncio.create_task(caller(n)) for n in range(10)]
        await asyncio.sleep(1)
        await asyncio.to_thread(server.crash)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.start)
        before = len(acknowledged)
        await until(lambda: len(acknowledged) >= before + 50)
        stop.set()
        await asyncio.gather(*callers)
        assert failures > 0
        kept = {one.id: one.credits for one in await ledger.charges(limit=1_000_000)}
        assert {one: kept.get(one) for one in acknowledged} == acknowledged
        assert len(kept) - len(acknowledged) <= 10
        assert (await ledger.audit()).clean
    async with open_ledger(url, serving=True) as ledger:
        assert [(await ledger.standing(who)).reserved for who in ACCOUNTS] == [0] * len(ACCOUNTS)
