"""kill -9 at any moment: every charge that was acknowledged is on disk, and each reaches the chain once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from node_proxy.ledger import open_ledger
from node_proxy.ledger.base import AccountId, Checkpoint, Snapshot
from node_proxy.reconcile import reconcile
from tests.faults import victims
from tests.metering import open_market, open_meter

DID, PLAN = b"\x01" * 32, b"\x02" * 32


@pytest.mark.parametrize("kills", [12, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_a_killed_process_loses_no_charge_and_leaves_no_reservation(tmp_path: Path, kills: int) -> None:
    url = str(tmp_path / "ledger.db")
    accounts = [AccountId(PLAN, bytes([n]) * 20) for n in range(1, 6)]
    async with open_ledger(url, serving=True) as ledger:
        await ledger.advance(Checkpoint(1, bytes(32), 0.0), [Snapshot(a, 1, 10**9, 0, 0, 0, 1) for a in accounts])
    acknowledged: dict[str, int] = {}
    for seed in range(kills):
        process, connection = victims.start(victims.charge_for_ever, url, accounts, DID)
        assert await asyncio.to_thread(connection.recv) == "ready"
        told: list[tuple[str, int]] = []
        enough = random.Random(seed).randint(1, 300)
        while len(told) < enough:
            told += victims.received(connection, 50)
            await asyncio.sleep(0.001)
        assert victims.kill(process) == -9
        acknowledged |= dict(told + victims.received(connection))
    async with open_ledger(url, serving=True) as ledger:
        audit = await ledger.audit()
        assert audit.clean, audit.imbalances
        kept: dict[str, int] = {}
        after = ""
        while page := await ledger.charges(after=after, limit=5_000):
            kept |= {one.id: one.credits for one in page}
            after = page[-1].id
        lost = {one: credits for one, credits in acknowledged.items() if kept.get(one) != credits}
        assert lost == {}
        # At most the calls in flight at each kill were written without being acknowledged.
        assert len(kept) - len(acknowledged) <= 30 * kills
        for who in accounts:
            standing = await ledger.standing(who)
            assert standing.reserved == 0
            assert standing.spendable == 10**9 - standing.captured


@pytest.mark.parametrize("step", ["prepared", "rooted", "signed", "written", "sent"])
async def test_settlement_killed_at_a_step_goes_on_where_it_was(tmp_path: Path, step: str) -> None:
    async with open_market() as market:
        plan = await market.plan(100)
        did = await market.asset((plan, 1, 5))
        wallets = [await market.subscriber(plan) for _ in range(4)]
        path = tmp_path / "ledger.db"
        async with open_meter(market, path) as meter:
            for wallet in wallets:
                await meter.call(did, wallet, 2)
        key = market.node_key.reveal_bytes()
        # Killed there once per batch: each run gets one step further.
        for _ in range(3):
            process, connection = victims.start(victims.settle, market.url, str(path), key, step)
            await asyncio.to_thread(process.join, 30)
            assert process.exitcode in (0, -9), victims.received(connection)
        async with open_meter(market, path) as meter:
            await meter.settle()
            assert [await market.consumed(plan, wallet) for wallet in wallets] == [2] * 4
            found = await reconcile(meter.ledger, meter.view)
            assert found.clean, found.differences
            assert (found.waiting, found.calls) == (0, 4)


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1_800)])])
async def test_settlement_killed_at_random_settles_each_charge_once(tmp_path: Path, kills: int) -> None:
    async with open_market() as market:
        plan = await market.plan(1_000_000)
        did = await market.asset((plan, 1, 5))
        wallets = [await market.subscriber(plan) for _ in range(4)]
        path = tmp_path / "ledger.db"
        key = market.node_key.reveal_bytes()
        charged = 0
        for seed in range(kills):
            async with open_meter(market, path) as meter:
                for wallet in wallets:
                    await meter.call(did, wallet, 1 + seed % 5)
                    charged += 1 + seed % 5
            process, connection = victims.start(victims.settle, market.url, str(path), key, "never")
            await asyncio.sleep(random.Random(seed).uniform(0.05, 0.6))
            victims.kill(process)
            connection.close()
        async with open_meter(market, path) as meter:
            await meter.settle()
            assert sum([await market.consumed(plan, wallet) for wallet in wallets]) == charged
            found = await reconcile(meter.ledger, meter.view)
            assert found.clean, found.differences
            assert found.waiting == 0
