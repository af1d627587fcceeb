"""Two processes that both believe to lead: a network split cut one off from the database's lock, not from the chain."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

import psycopg
import pytest

from node_proxy.ledger.base import BatchState
from node_proxy.reconcile import reconcile
from tests.faults import victims
from tests.metering import Market, open_market, open_meter, wallet_id
from tests.postgres import Postgres, postgres
from tests.world import until

pytestmark = pytest.mark.slow

# First half of the advisory lock that the leader holds.
LEADER = 0x6E766D33


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    async with open_market() as market:
        yield market


def cut_off_leader(url: str) -> int:
    """Ends the connection that holds the leader's lock, as a server does after a network split; how many there were."""
    with psycopg.connect(url, autocommit=True) as db:
        rows = db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND granted",
            (LEADER,),
        ).fetchall()
    return len(rows)


async def told(connection: Connection, seconds: float = 60) -> tuple[str, int]:
    async def there() -> bool:
        return connection.poll(0)

    await until(there, "the other leader", seconds)
    message: tuple[str, int] = connection.recv()
    return message


@pytest.mark.parametrize(
    ("step", "refused"),
    [*((step, False) for step in ("prepared", "rooted", "signed", "written", "sent")), ("prepared", True)],
)
async def test_an_old_leader_that_wakes_up_settles_nothing_twice(
    server: Postgres, market: Market, step: str, refused: bool
) -> None:
    """The old leader is stopped at `step` and loses its lock; a new one settles; then the old one goes on.

    refused: the new leader finds that the contract refuses an entry, so the batch isn't what the old one remembers.
    """
    url = server.database()
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallets = [await market.subscriber(plan) for _ in range(3)]
    bad = wallet_id(plan, wallets[1])
    key = market.node_key.reveal_bytes()
    async with open_meter(market, url, min_calls=1) as meter:
        for wallet in wallets:
            await meter.call(did, wallet, 4)
        if refused:
            hold = await meter.ledger.reserve(bad, did.value, 50, key_id="k", key_budget=None, request_id="r")
            await meter.ledger.capture(hold, 50, None)
        process, connection = victims.start(victims.settle_in_steps, market.url, url, key, step)
        try:
            what, pid = await told(connection)
            assert what == "stopped"
            async with meter.ledger.leader() as leads:
                assert not leads
            assert cut_off_leader(url) == 1
            await meter.settle()
            await meter.settle()
            os.kill(pid, signal.SIGCONT)
            what, _ = await told(connection)
            assert what == "ended"
            await asyncio.to_thread(process.join, 30)
            assert process.exitcode == 0
        finally:
            victims.kill(process)
            connection.close()
        # Whatever the old one has written down or sent comes to its end.
        await meter.settle()
        await market.mine(2)
        await meter.settle()
        parked = await meter.ledger.batches(BatchState.PARKED)
        assert [entry.subscriber for one in parked for entry in one.entries] == ([bad.subscriber] if refused else [])
        assert [await market.consumed(plan, wallet) for wallet in wallets] == [4, 0 if refused else 4, 4]
        found = await reconcile(meter.ledger, meter.view)
        assert found.clean, found.differences
        assert found.waiting == (2 if refused else 0)


async def test_an_old_leader_can_not_send_a_batch_that_was_divided_meanwhile(server: Postgres, market: Market) -> None:
    """The worst moment: signed and not written. What the new leader has sent of the batch gets lost on top of it."""
    url = server.database()
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallets = [await market.subscriber(plan) for _ in range(4)]
    async with open_meter(market, url, min_calls=1) as meter:
        for wallet in wallets:
            await meter.call(did, wallet, 4)
        await market.chain.rpc("evm_setAutomine", [False])
        key = market.node_key.reveal_bytes()
        process, connection = victims.start(victims.settle_in_steps, market.url, url, key, "signed")
        try:
            _, pid = await told(connection)
            assert cut_off_leader(url) == 1
            # The chain has become narrow, so the new leader divides the batch before it sends it.
            await market.chain.rpc("evm_setBlockGasLimit", [hex(170_000)])
            await market.mine()
            await meter.settlement.step()
            (divided,) = await meter.ledger.batches(BatchState.SENT)
            assert len(divided.entries) < 4
            await market.chain.rpc("anvil_dropTransaction", ["0x" + divided.attempts[0].tx_hash.hex()])
            await market.chain.rpc("evm_setBlockGasLimit", [hex(30_000_000)])
            os.kill(pid, signal.SIGCONT)
            await told(connection)
        finally:
            victims.kill(process)
            connection.close()
        await market.mine()
        (same,) = await meter.ledger.batches(BatchState.SENT)
        assert same == divided
        await market.chain.rpc("evm_setAutomine", [True])
        await meter.settle()
        assert [await market.consumed(plan, wallet) for wallet in wallets] == [4] * 4
        found = await reconcile(meter.ledger, meter.view)
        assert found.clean, found.differences
        assert found.waiting == 0


async def test_two_leaders_at_work_settle_each_charge_once(server: Postgres, market: Market) -> None:
    """Nobody holds the lock for long: it is taken away from whoever has it, again and again."""
    url = server.database()
    plan = await market.plan(1_000_000)
    did = await market.asset((plan, 1, 5))
    wallets = [await market.subscriber(plan) for _ in range(3)]
    key = market.node_key.reveal_bytes()
    charged = 0
    async with open_meter(market, url, min_calls=1) as meter:
        running: list[tuple[ForkServerProcess, Connection]] = []
        try:
            for number in range(12):
                for wallet in wallets:
                    await meter.call(did, wallet, 1 + number % 5)
                    charged += 1 + number % 5
                running.append(victims.start(victims.settle_in_steps, market.url, url, key, "never"))
                if number % 2:
                    cut_off_leader(url)
            for process, connection in running:
                await asyncio.to_thread(process.join, 60)
                connection.close()
        finally:
            for process, _ in running:
                victims.kill(process)
        await meter.settle()
        assert sum([await market.consumed(plan, wallet) for wallet in wallets]) == charged
        found = await reconcile(meter.ledger, meter.view)
        assert found.clean, found.differences
        assert found.waiting == 0
