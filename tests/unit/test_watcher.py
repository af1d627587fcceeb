from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node_proxy import watcher
from node_proxy.errors import CreditsExhausted, NotServed
from node_proxy.ledger.base import BatchState
from node_proxy.reconcile import reconcile
from nvm_chain.errors import ChainUnavailable
from tests.metering import Market, open_market, open_meter, wallet_id


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    async with open_market() as market:
        yield market


async def test_a_restart_takes_up_where_the_last_look_ended(market: Market, tmp_path: Path) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    async with open_meter(market, tmp_path / "l.db") as meter:
        await meter.call(did, wallet)
        seen = meter.view.block
    await market.buy(plan, wallet)
    async with open_meter(market, tmp_path / "l.db") as meter:
        assert meter.view.block == (seen or 0) + 1
        # Known again without a read of its own: the log named it.
        standing = await meter.ledger.standing(wallet_id(plan, wallet))
        assert standing.spendable == 199


async def test_a_long_pause_skips_the_logs_but_misses_no_settlement(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallet = await market.subscriber(plan)
    await market.mine()
    async with open_meter(market, tmp_path / "l.db", min_calls=1) as meter:
        await meter.call(did, wallet, 5)
        await market.chain.rpc("evm_setAutomine", [False])
        await meter.settlement.step()
        assert [one.state for one in await meter.ledger.batches(*BatchState)] == [BatchState.SENT]
    await market.mine(30)
    await market.chain.rpc("evm_setAutomine", [True])
    await market.buy(plan, wallet)
    monkeypatch.setattr(watcher, "MAX_GAP", 10)
    async with open_meter(market, tmp_path / "l.db") as meter:
        assert [one.state for one in await meter.ledger.batches(*BatchState)] == [BatchState.MINED]
        assert (await meter.ledger.standing(wallet_id(plan, wallet))).snapshot is None
        assert await meter.call(did, wallet, 1) == 194
        await meter.settle()
        found = await reconcile(meter.ledger, meter.view)
        assert found.clean, found.differences


async def test_an_endpoint_that_falls_behind_is_not_taken_for_a_reorganisation(market: Market, tmp_path: Path) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    async with open_meter(market, tmp_path / "l.db") as meter:
        await meter.call(did, wallet)
        before = await market.chain.rpc("evm_snapshot")
        await market.mine(3)
        await meter.view.refresh()
        await market.chain.rpc("evm_revert", [before])
        with pytest.raises(ChainUnavailable, match="lags behind itself"):
            await meter.view.refresh()
        assert (await meter.ledger.standing(wallet_id(plan, wallet))).spendable == 99
        await market.mine(4)
        await meter.view.refresh()
        assert await meter.call(did, wallet) == 98


async def test_another_chain_behind_the_same_endpoint_is_noticed(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    wallet = await market.wallet()
    before = await market.chain.rpc("evm_snapshot")
    async with open_meter(market, tmp_path / "l.db") as meter:
        await market.buy(plan, wallet)
        assert await meter.call(did, wallet) == 99
        await market.chain.rpc("evm_revert", [before])
        monkeypatch.setattr(watcher, "LAG_SECONDS", 0.0)
        await asyncio.sleep(0.01)
        with pytest.raises(ChainUnavailable):
            await meter.view.refresh()
        await asyncio.sleep(0.01)
        await meter.view.refresh()
        assert (await meter.ledger.standing(wallet_id(plan, wallet))).snapshot is None


async def test_looks_that_are_asked_for_at_once_are_one(market: Market, tmp_path: Path) -> None:
    plan = await market.plan(1)
    did = await market.asset((plan, 1, 1))
    async with open_meter(market, tmp_path / "l.db") as meter:
        wallets = [await market.subscriber(plan) for _ in range(20)]
        asked: list[str] = []
        original = market.chain.rpc

        async def counted(method: str, params: tuple[object, ...] = ()) -> object:
            asked.append(method)
            return await original(method, params)

        market.chain.rpc = counted  # type: ignore[method-assign,assignment]
        await asyncio.gather(*(meter.call(did, wallet) for wallet in wallets))
        # One description of the asset, one read of twenty accounts (or two, when the first began with one).
        assert asked.count("eth_call") <= 3
        asked.clear()
        refused = await asyncio.gather(*(meter.call(did, wallet) for wallet in wallets), return_exceptions=True)
        assert {type(one) for one in refused} == {CreditsExhausted}
        assert asked.count("eth_getBlockByNumber") <= 4


async def test_an_asset_is_described_however_fast_blocks_come(market: Market, tmp_path: Path) -> None:
    plan = await market.plan(1)
    did = await market.asset((plan, 1, 1))
    async with open_meter(market, tmp_path / "l.db") as meter:
        original = market.chain.rpc

        async def slow(method: str, params: tuple[object, ...] = ()) -> object:
            if method == "eth_call":  # a new block is worked in while the endpoint thinks about the asset
                block = meter.view.block
                await market.mine()
                await meter.view.refresh()
                assert meter.view.block != block
            return await original(method, params)

        market.chain.rpc = slow  # type: ignore[method-assign,assignment]
        async with asyncio.timeout(10):
            (way,) = await meter.view.ways(did)
        assert way.plan == plan.value


async def test_a_change_while_an_asset_is_described_is_not_missed(market: Market, tmp_path: Path) -> None:
    plan = await market.plan(1)
    did = await market.asset((plan, 1, 1))
    async with open_meter(market, tmp_path / "l.db") as meter:
        asked: list[str] = []
        original = market.chain.rpc

        async def overtaken(method: str, params: tuple[object, ...] = ()) -> object:
            answer = await original(method, params)
            if method == "eth_call" and not asked:
                asked.append(method)
                await market.send(market.deployment.assets.set_active(did, False), market.builder)
                await meter.view.refresh()
            return answer

        market.chain.rpc = overtaken  # type: ignore[method-assign,assignment]
        with pytest.raises(NotServed, match="deactivated"):
            await meter.view.ways(did)


async def test_what_was_seen_of_an_asset_is_known_at_once_until_a_block_or_the_time_changes_it(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await market.plan(1)
    did, closing = await market.asset((plan, 1, 1)), await market.asset((plan, 1, 1))
    await market.send(market.deployment.assets.close_offer(closing, plan), market.builder)
    async with open_meter(market, tmp_path / "l.db") as meter:
        view = meter.view
        assert (view.asset_seen(did), view.ways_seen(did)) == (None, ())
        for one in (did, closing):
            ways, record = await view.ways(one), (await view.describe(one)).asset
            assert (view.asset_seen(one), view.ways_seen(one)) == (record, ways)
        await market.send(market.deployment.assets.set_active(did, False), market.builder)
        await view.refresh()
        assert (view.asset_seen(did), view.ways_seen(did)) == (None, ())
        monkeypatch.setattr(view, "_clock", lambda: time.time() + 10 * 365 * 86_400)
        assert view.ways_seen(closing) == ()
        for one in (did, closing):
            with pytest.raises(NotServed):
                await view.ways(one)
            assert view.ways_seen(one) == ()


async def test_a_view_behind_the_head_sees_a_purchase_only_at_its_depth(market: Market, tmp_path: Path) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    await market.mine(3)
    async with open_meter(market, tmp_path / "l.db", depth=2) as meter:
        wallet = await market.subscriber(plan)
        for _ in range(2):
            with pytest.raises(Exception, match="holds none of the plans"):
                await meter.call(did, wallet)
            await market.mine()
        assert await meter.call(did, wallet) == 99


async def test_an_endpoint_that_has_stopped_vouches_for_nothing(market: Market, tmp_path: Path) -> None:
    await market.mine()
    async with open_meter(market, tmp_path / "l.db") as meter:
        late = (await market.chain.header()).timestamp + 61.0
        stopped = watcher.ChainView(
            market.chain, market.deployment, meter.ledger, market.node.address, max_head_age=60, clock=lambda: late
        )
        with pytest.raises(ChainUnavailable, match="no new block for 61 s"):
            await stopped.refresh()
        assert stopped.age == float("inf")  # so that nothing is admitted on it
        await market.mine()
        await market.chain.rpc("evm_increaseTime", [120])
        await market.mine()
        await stopped.refresh()
        assert stopped.age < 60
