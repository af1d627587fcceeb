from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from node_proxy.admission import Admission
from node_proxy.errors import (
    AssetNotFound,
    BudgetExhausted,
    ChainTooStale,
    CreditsExhausted,
    LedgerUnavailable,
    NotServed,
    NotYours,
    PlanExpired,
    PlanRequired,
)
from node_proxy.ledger.base import Hold, LedgerFailed
from node_proxy.pricing import Usage
from node_proxy.watcher import ChainView
from nvm_chain.assets import OfferInput
from nvm_chain.chain import open_chain
from nvm_chain.did import Did
from nvm_chain.wallet import LocalWallet
from tests.anvil import CHAIN_ID
from tests.metering import KEY, Market, Meter, open_market, open_meter, wallet_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market() -> AsyncIterator[Market]:
    async with open_market() as market:
        yield market


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def meter(market: Market, tmp_path: Path) -> AsyncIterator[Meter]:
    async with open_meter(market, tmp_path / "ledger.db") as meter:
        yield meter


# -------------------------------------------------------------------------------------------------------- who gets in


async def test_500_calls_at_once_on_100_credits_let_100_in(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)

    async def call() -> bool:
        try:
            async with await meter.reserve(did, wallet) as reservation:
                await asyncio.sleep(0.01)
                await reservation.capture(1, Usage(5, 0, 5))
                return True
        except CreditsExhausted:
            return False

    served = await asyncio.gather(*(call() for _ in range(500)))
    assert sum(served) == 100
    await meter.settle()
    assert await market.balance(plan, wallet) == 0


async def test_a_purchase_made_after_the_last_look_opens_the_assistant_at_once(market: Market, meter: Meter) -> None:
    plan = await market.plan(2)
    did = await market.asset((plan, 1, 2))
    wallet = await market.subscriber(plan)
    await meter.call(did, wallet, 2)
    with pytest.raises(CreditsExhausted, match=r"0 credits are left; a call of did:nv:.* may cost 2"):
        await meter.call(did, wallet)
    await market.buy(plan, wallet)
    assert await meter.call(did, wallet) == 1


async def test_the_cheapest_plan_that_suffices_pays(market: Market, meter: Meter) -> None:
    small, large, flat = await market.plan(5), await market.plan(100), await market.plan(0, duration=3_600)
    did = await market.asset((large, 3, 9), (small, 4, 4), (flat, 0, 0))
    wallet = await market.subscriber(large)
    await market.buy(small, wallet)
    paid = []
    for _ in range(3):
        async with await meter.reserve(did, wallet) as reservation:
            paid.append((reservation.plan_id, reservation.way.min_credits, reservation.way.max_credits))
            await reservation.capture(reservation.way.max_credits, None)
    assert paid == [(small.value, 4, 4), (large.value, 3, 9), (large.value, 3, 9)]
    await market.buy(flat, wallet)
    await meter.view.refresh()
    async with await meter.reserve(did, wallet) as reservation:
        assert (reservation.plan_id, reservation.way.max_credits) == (flat.value, 0)


async def test_a_time_plan_opens_until_it_expires_and_its_calls_are_counted(market: Market, meter: Meter) -> None:
    plan = await market.plan(0, duration=1_000)
    did = await market.asset((plan, 0, 0))
    wallet = await market.subscriber(plan)
    assert await meter.call(did, wallet) == 0
    assert await meter.call(did, wallet) == 0
    (waiting,) = await meter.ledger.backlog(expiring_before=0)
    assert (waiting.calls, waiting.credits) == (2, 0)
    await market.chain.rpc("evm_increaseTime", [2_000])
    await market.mine()
    await meter.view.refresh()
    with pytest.raises(PlanExpired, match="has expired"):
        await meter.call(did, wallet)
    (batch,) = await meter.settle()
    assert (batch.calls, batch.credits, batch.applied) == (2, 0, True)


async def test_calls_that_cost_nothing_are_for_those_who_hold_credits(market: Market, meter: Meter) -> None:
    plan = await market.plan(3)
    did = await market.asset((plan, 0, 0))
    stranger, subscriber = await market.wallet(), await market.subscriber(plan)
    with pytest.raises(PlanRequired):
        await meter.call(did, stranger)
    assert await meter.call(did, subscriber) == 3


async def test_the_most_that_calls_may_cost_is_held_while_they_run(market: Market, meter: Meter) -> None:
    plan = await market.plan(10)
    did = await market.asset((plan, 1, 6))
    wallet = await market.subscriber(plan)
    async with await meter.reserve(did, wallet):
        with pytest.raises(CreditsExhausted, match="4 credits are left, 6 more are held") as refusal:
            await meter.reserve(did, wallet)
        assert refusal.value.extras["credits_needed"] == 6
    assert await meter.call(did, wallet) == 9


async def test_what_fails_is_not_charged(market: Market, meter: Meter) -> None:
    plan = await market.plan(10)
    did = await market.asset((plan, 1, 6))
    wallet = await market.subscriber(plan)
    with pytest.raises(RuntimeError, match="provider"):
        async with await meter.reserve(did, wallet):
            raise RuntimeError("provider failed")
    standing = await meter.ledger.standing(wallet_id(plan, wallet))
    assert (standing.spendable, standing.captured, standing.reserved) == (10, 0, 0)


@pytest.mark.parametrize("credits", [0, 7])
async def test_a_charge_outside_of_the_offer_is_refused(market: Market, meter: Meter, credits: int) -> None:
    plan = await market.plan(10)
    did = await market.asset((plan, 1, 6))
    async with await meter.reserve(did, await market.subscriber(plan)) as reservation:
        with pytest.raises(ValueError, match=rf"{credits} credits are outside of the offer's \[1, 6\]"):
            await reservation.capture(credits, None)


async def test_a_key_with_a_budget_or_a_list_of_assistants_gets_no_further(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did, other = await market.asset((plan, 1, 3)), await market.asset((plan, 1, 3))
    wallet = await market.subscriber(plan)
    poor = dataclasses.replace(KEY, id="key_poor", budget=4)
    assert await meter.call(did, wallet, 2, key=poor) == 98
    with pytest.raises(BudgetExhausted, match="may still spend 2 of its 4 credits and this call may cost 3"):
        await meter.call(did, wallet, key=poor)
    narrow = dataclasses.replace(KEY, id="key_narrow", dids=frozenset({did}))
    await meter.call(did, wallet, key=narrow)
    with pytest.raises(NotYours):
        await meter.call(other, wallet, key=narrow)


async def test_an_assistant_that_nobody_registered_is_not_found_until_it_is(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    wallet = await market.subscriber(plan)
    with pytest.raises(AssetNotFound, match="is not registered on this node's chain"):
        await meter.call(Did(b"\x11" * 32), wallet)
    did = await market.asset((plan, 1, 1))
    assert await meter.call(did, wallet) == 99


async def test_an_assistant_that_was_deactivated_or_taken_from_the_node_is_not_served(
    market: Market, meter: Meter
) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    await meter.call(did, wallet)
    await market.send(market.deployment.assets.set_active(did, False), market.builder)
    await meter.view.refresh()
    with pytest.raises(NotServed, match="deactivated by its builder"):
        await meter.call(did, wallet)
    await market.send(market.deployment.assets.set_active(did, True), market.builder)
    assert await meter.call(did, wallet) == 98
    await market.send(market.deployment.assets.remove_node(did, market.node.address, 0), market.builder)
    await meter.view.refresh()
    with pytest.raises(NotServed, match="not served by this node"):
        await meter.call(did, wallet)


async def test_a_changed_rule_counts_from_its_notice_on(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    change = market.deployment.assets.change_offer(did, OfferInput(plan, 7, 7))
    await market.send(change, market.builder)
    await meter.view.refresh()
    assert await meter.call(did, wallet) == 99
    await market.chain.rpc("evm_increaseTime", [86_401])
    await market.mine()
    await meter.view.refresh()
    assert await meter.call(did, wallet) == 92
    # Both calls settle: the window takes the old rule and the new one.
    (batch,) = await meter.settle()
    assert (batch.credits, batch.applied) == (8, True)


# ------------------------------------------------------------------------------------------------ a chain that is gone


class Gate:
    """A TCP relay to the chain that can be shut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.open = True
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self.shut()
        self._server.close()

    def shut(self) -> None:
        self.open = False
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.close()
            return
        upstream, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(upstream, writer))
        self._writers -= {writer, back}

    @staticmethod
    async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


@asynccontextmanager
async def behind_a_gate(
    market: Market, meter: Meter, max_age: float, max_rereads: int = 1_000
) -> AsyncIterator[tuple[Admission, Gate]]:
    gate = Gate(int(market.url.rsplit(":", 1)[1]))
    url = await gate.start()
    try:
        async with open_chain(url, CHAIN_ID) as chain:
            view = ChainView(chain, market.deployment, meter.ledger, market.node.address, min_gap=0)
            await view.start()
            await view.refresh()
            try:
                yield Admission(meter.ledger, view, max_age=max_age, patience=1, max_rereads=max_rereads), gate
            finally:
                await view.stop()
    finally:
        await gate.stop()


async def _call(admission: Admission, did: Did, wallet: LocalWallet) -> None:
    async with await admission.reserve(subscriber=wallet.address, did=did, key=KEY, request_id="r") as reservation:
        await reservation.capture(1, None)


async def test_calls_that_a_fresh_enough_view_covers_go_on_while_the_chain_is_gone(
    market: Market, meter: Meter
) -> None:
    plan = await market.plan(2)
    did = await market.asset((plan, 1, 1))
    known, unknown = await market.subscriber(plan), await market.subscriber(plan)
    async with behind_a_gate(market, meter, max_age=60) as (admission, gate):
        await _call(admission, did, known)
        gate.shut()
        await _call(admission, did, known)
        for wallet in (known, unknown):  # what would need another look gets 503, not 402
            with pytest.raises(ChainTooStale, match="can't reach the chain"):
                await _call(admission, did, wallet)
        gate.open = True
        await _call(admission, did, unknown)


async def test_strangers_who_wait_for_a_slow_chain_stop_nobody_who_is_known(market: Market, meter: Meter) -> None:
    plan = await market.plan(10)
    did = await market.asset((plan, 1, 1))
    known, strangers = await market.subscriber(plan), [await market.subscriber(plan) for _ in range(5)]
    async with behind_a_gate(market, meter, max_age=60, max_rereads=2) as (admission, gate):
        await _call(admission, did, known)
        gate.shut()
        refused = await asyncio.gather(*(_call(admission, did, one) for one in strangers), return_exceptions=True)
        assert sorted(type(error).__name__ for error in refused) == ["ChainTooStale"] * 2 + ["TooManyRequests"] * 3
        await _call(admission, did, known)
        gate.open = True
        await asyncio.gather(*(_call(admission, did, one) for one in strangers[:2]))


async def test_nothing_is_admitted_on_a_view_that_is_too_old(market: Market, meter: Meter) -> None:
    plan = await market.plan(10)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    async with behind_a_gate(market, meter, max_age=0.05) as (admission, gate):
        await _call(admission, did, wallet)
        gate.shut()
        await asyncio.sleep(0.1)
        began = time.monotonic()
        with pytest.raises(ChainTooStale):
            await _call(admission, did, wallet)
        assert time.monotonic() - began < 5
        gate.open = True
        await _call(admission, did, wallet)


async def test_a_charge_that_cannot_be_written_stops_the_answer(
    market: Market, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await market.plan(10)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    original = type(meter.ledger).capture

    async def fail(self: object, hold: Hold, *_: object) -> None:
        raise LedgerFailed("disk full")

    async with await meter.reserve(did, wallet) as reservation:
        monkeypatch.setattr(type(meter.ledger), "capture", fail)
        with pytest.raises(LedgerUnavailable, match="couldn't be written down"):
            await reservation.capture(1, None)
    monkeypatch.setattr(type(meter.ledger), "capture", original)
    assert await meter.call(did, wallet) == 9
