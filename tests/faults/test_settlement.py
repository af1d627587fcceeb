"""Settlement on chains that drop, delay, replace, revert and reorganise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from node_proxy.errors import PlanRequired
from node_proxy.ledger import open_ledger
from node_proxy.ledger.base import LOST, Batch, BatchState
from node_proxy.reconcile import reconcile
from node_proxy.recovery import recover
from node_proxy.settlement import Settlement, Thresholds
from nvm_chain.chain import Chain, Fees
from nvm_chain.deployments import Deployment, first_block
from nvm_chain.did import Did
from nvm_chain.plans import PlanId
from nvm_chain.wallet import LocalWallet
from tests.metering import Market, Meter, open_market, open_meter, wallet_id


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    async with open_market() as market:
        yield market


async def sold(market: Market, credits: int = 100) -> tuple[PlanId, Did, LocalWallet]:
    plan = await market.plan(credits)
    return plan, await market.asset((plan, 1, 5)), await market.subscriber(plan)


async def hold_blocks(market: Market) -> None:
    """From here on a block comes only by `mine`."""
    await market.chain.rpc("evm_setAutomine", [False])


async def nonce_of(market: Market, block: str = "latest") -> int:
    return int(await market.chain.rpc("eth_getTransactionCount", [market.node.address, block]), 16)


async def open_batches(meter: Meter) -> list[Batch]:
    return await meter.ledger.batches(BatchState.PREPARED, BatchState.SENT, BatchState.MINED)


async def settled_once(market: Market, meter: Meter, plan: PlanId, wallet: LocalWallet, credits: int) -> None:
    """The chain has taken exactly these credits, the ledger says so too, and nothing is left over."""
    assert await market.consumed(plan, wallet) == credits
    standing = await meter.ledger.standing(wallet_id(plan, wallet))
    assert standing.captured == 0
    found = await reconcile(meter.ledger, meter.view)
    assert found.clean, found.differences
    assert found.waiting == 0


async def test_a_transaction_that_is_stuck_is_replaced_under_the_same_nonce(market: Market, tmp_path: Path) -> None:
    plan, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1, stuck_after=0) as meter:
        await meter.call(did, wallet, 3)
        await hold_blocks(market)
        for _ in range(4):
            await meter.settlement.step()
        (batch,) = await open_batches(meter)
        assert {attempt.nonce for attempt in batch.attempts} == {await nonce_of(market)}
        fees = [attempt.max_fee for attempt in batch.attempts]
        assert fees == sorted(set(fees))
        assert len(fees) == 4
        await market.mine()
        await meter.settlement.step()
        await meter.settlement.step()
        await settled_once(market, meter, plan, wallet, 3)


async def test_calls_that_wait_behind_a_batch_on_its_way_are_no_problem(market: Market, tmp_path: Path) -> None:
    plan, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1) as meter:
        await meter.call(did, wallet, 3)
        await hold_blocks(market)
        await meter.settlement.step()
        await meter.call(did, wallet, 2)
        await meter.settlement.step()
        assert (await meter.settlement.status()).problems == ()
        await market.chain.rpc("evm_setAutomine", [True])
        await market.mine()
        await meter.settle()
        await settled_once(market, meter, plan, wallet, 5)


async def test_a_transaction_that_no_price_gets_mined_stops_to_grow_dearer(market: Market, tmp_path: Path) -> None:
    plan, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1, stuck_after=0) as meter:
        await meter.call(did, wallet, 3)
        await hold_blocks(market)
        for _ in range(30):
            await meter.settlement.step()
        (batch,) = await open_batches(meter)
        asked = (await market.chain.fees()).maximum
        assert asked < batch.attempts[-1].max_fee <= 4 * asked
        (problem,) = (await meter.settlement.status()).problems
        assert "isn't mined" in problem
        await market.mine()
        await meter.settlement.step()
        assert (await meter.settlement.status()).problems == ()
        await settled_once(market, meter, plan, wallet, 3)


async def test_a_transaction_that_was_dropped_is_sent_again(market: Market, tmp_path: Path) -> None:
    plan, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1) as meter:
        await meter.call(did, wallet, 3)
        await hold_blocks(market)
        await meter.settlement.step()
        (batch,) = await open_batches(meter)
        await market.chain.rpc("anvil_dropTransaction", ["0x" + batch.attempts[0].tx_hash.hex()])
        await market.mine()
        await meter.settlement.step()
        await market.mine()
        await meter.settlement.step()
        (same,) = await open_batches(meter) or await meter.ledger.batches(BatchState.CONFIRMED)
        assert len(same.attempts) == 1
        await meter.settlement.step()
        await settled_once(market, meter, plan, wallet, 3)


async def test_a_transaction_that_has_become_too_cheap_is_replaced_by_one_that_pays(
    market: Market, tmp_path: Path
) -> None:
    plan, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1, stuck_after=0) as meter:
        await meter.call(did, wallet, 3)
        await hold_blocks(market)
        await meter.settlement.step()
        (batch,) = await open_batches(meter)
        dear = 3 * batch.attempts[0].max_fee
        for _ in range(3):  # blocks go by, and none takes it
            await market.chain.rpc("anvil_setNextBlockBaseFeePerGas", [hex(dear)])
            await market.mine()
        assert await market.consumed(plan, wallet) == 0
        await meter.settlement.step()
        (batch,) = await open_batches(meter)
        assert len({attempt.nonce for attempt in batch.attempts}) == 1
        assert batch.attempts[-1].max_fee > dear
        await market.mine()
        await meter.settlement.step()
        await meter.settlement.step()
        await settled_once(market, meter, plan, wallet, 3)


async def test_a_transaction_that_the_endpoint_finds_too_cheap_is_replaced_before_any_block(
    market: Market, tmp_path: Path
) -> None:
    plan, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1, stuck_after=0) as meter:
        await meter.call(did, wallet, 3)
        # The next block costs more than the last one lets expect: the endpoint doesn't take the transaction.
        dear = 5 * (await market.chain.fees()).maximum
        await market.chain.rpc("anvil_setNextBlockBaseFeePerGas", [hex(dear)])
        await meter.settlement.step()
        (batch,) = await open_batches(meter)
        assert batch.attempts[0].max_fee < dear
        assert await market.consumed(plan, wallet) == 0
        await market.mine()
        for _ in range(4):
            await meter.settlement.step()
        await settled_once(market, meter, plan, wallet, 3)


async def test_a_dropped_transaction_and_a_dropped_replacement_cost_nothing_twice(
    market: Market, tmp_path: Path
) -> None:
    plan, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1, stuck_after=0) as meter:
        await meter.call(did, wallet, 3)
        await hold_blocks(market)
        for _ in range(3):
            await meter.settlement.step()
            (batch,) = await open_batches(meter)
            await market.chain.rpc("anvil_dropTransaction", ["0x" + batch.attempts[-1].tx_hash.hex()])
            await market.mine()
        # An older attempt comes back from some other pool: it is the same batch, and as good as any.
        await market.chain.broadcast(batch.attempts[0].raw)
        await market.mine()
        await meter.settlement.step()
        await meter.settlement.step()
        assert await open_batches(meter) == []
        await settled_once(market, meter, plan, wallet, 3)


async def test_a_nonce_that_somebody_else_used_costs_a_second_transaction_and_nothing_else(
    market: Market, tmp_path: Path
) -> None:
    plan, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1) as meter:
        await meter.call(did, wallet, 3)
        await hold_blocks(market)
        await meter.settlement.step()
        (batch,) = await open_batches(meter)
        # The operator sends something with the same key and nonce, at a price that wins.
        await market.chain.rpc("anvil_dropTransaction", ["0x" + batch.attempts[0].tx_hash.hex()])
        other = market.deployment.nodes.set_endpoint("http://127.0.0.1:3")
        signed = await market.chain.sign(
            other, market.node, nonce=batch.attempts[0].nonce, fees=Fees(10**12, 10**11), gas=500_000
        )
        await market.chain.broadcast(signed.raw)
        await market.mine()
        await meter.settlement.step()
        await market.mine()
        await meter.settlement.step()
        await meter.settlement.step()
        await settled_once(market, meter, plan, wallet, 3)


async def test_a_batch_whose_transaction_reverts_in_the_block_is_parked_with_the_reason(
    market: Market, tmp_path: Path
) -> None:
    _, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1) as meter:
        await meter.call(did, wallet, 3)
        await hold_blocks(market)
        await meter.settlement.step()
        # The builder removes the node in the same block, before the settlement.
        removal = market.deployment.assets.remove_node(did, market.node.address, 0)
        nonce = await market.chain.nonce(market.builder.address)
        signed = await market.chain.sign(removal, market.builder, nonce=nonce, fees=Fees(10**12, 10**11), gas=500_000)
        await market.chain.broadcast(signed.raw)
        await market.mine()
        assert await nonce_of(market) == (await open_batches(meter))[0].attempts[0].nonce + 1
        await meter.settlement.step()
        (parked,) = (await meter.settlement.status()).parked
        assert "may not settle" in (parked.reason or "")
        assert (await meter.ledger.audit()).clean


async def test_a_replacement_that_the_contract_would_refuse_gives_way_to_an_empty_transaction(
    market: Market, tmp_path: Path
) -> None:
    _, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1, stuck_after=0) as meter:
        await meter.call(did, wallet, 3)
        await hold_blocks(market)
        await meter.settlement.step()
        (batch,) = await open_batches(meter)
        await market.chain.rpc("anvil_dropTransaction", ["0x" + batch.attempts[0].tx_hash.hex()])
        await market.chain.rpc("evm_setAutomine", [True])
        await market.send(market.deployment.assets.remove_node(did, market.node.address, 0), market.builder)
        await hold_blocks(market)
        await meter.settlement.step()
        await market.mine()
        await meter.settlement.step()
        assert [len(one.entries) for one in (await meter.settlement.status()).parked] == [1]


async def test_a_settlement_survives_a_reorganisation_that_undoes_it(market: Market, tmp_path: Path) -> None:
    plan, did, wallet = await sold(market)
    await market.mine(5)
    async with open_meter(market, tmp_path / "l.db", confirmations=5) as meter:
        await meter.call(did, wallet, 3)
        await meter.settle()
        await market.mine(2)
        await meter.settlement.step()
        account = wallet_id(plan, wallet)
        assert (await meter.ledger.standing(account)).spendable == 97
        # The last three blocks are replaced by empty ones: the settlement is gone.
        await hold_blocks(market)
        await market.chain.rpc("anvil_reorg", [3, []])
        assert await market.consumed(plan, wallet) == 0
        await meter.view.refresh()
        (batch,) = await open_batches(meter)
        assert batch.state is BatchState.SENT
        await meter.view.read([account])
        standing = await meter.ledger.standing(account)
        assert (standing.spendable, standing.captured) == (97, 3)
        await meter.settlement.step()
        await market.mine(6)
        await meter.settlement.step()
        await meter.settlement.step()
        assert await open_batches(meter) == []
        await settled_once(market, meter, plan, wallet, 3)


async def test_a_purchase_that_a_reorganisation_undoes_opens_nothing_any_more(market: Market, tmp_path: Path) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallet = await market.wallet()
    await market.mine(5)
    async with open_meter(market, tmp_path / "l.db") as meter:
        await market.buy(plan, wallet)
        await market.mine(2)
        assert await meter.call(did, wallet, 3) == 97
        await hold_blocks(market)
        await market.chain.rpc("anvil_reorg", [3, []])
        assert await market.balance(plan, wallet) == 0
        await meter.view.refresh()
        with pytest.raises(PlanRequired):
            await meter.call(did, wallet)


async def test_a_ledger_from_an_old_copy_settles_nothing_twice(market: Market, tmp_path: Path) -> None:
    plan, did, wallet = await sold(market)
    path, copy = tmp_path / "l.db", tmp_path / "copy.db"
    async with open_meter(market, path) as meter:
        await meter.call(did, wallet, 1)
        await meter.settle()
        await meter.call(did, wallet, 3)
    copy.write_bytes(path.read_bytes())
    async with open_meter(market, path) as meter:
        await meter.settle()
        assert await market.consumed(plan, wallet) == 4
    async with open_meter(market, copy) as meter:
        with suppress(TimeoutError):
            await meter.settlement.settle_now(2)
        assert await market.consumed(plan, wallet) == 4
        assert "old copy" in (await meter.settlement.status()).problems[0]
        # The operator puts the right one back; whoever looks at it again sees no problem.
    async with open_meter(market, path) as meter:
        await meter.call(did, wallet, 2)
        await meter.settle()
        assert (await meter.settlement.status()).problems == ()
        await settled_once(market, meter, plan, wallet, 6)


@pytest.mark.parametrize("copied", ["before any settlement", "between two", "while one was prepared"])
async def test_a_ledger_from_an_old_copy_recovers_what_it_has_forgotten(
    market: Market, tmp_path: Path, copied: str
) -> None:
    plan, did, wallet = await sold(market)
    other = await market.subscriber(plan)
    path, copy = tmp_path / "l.db", tmp_path / "copy.db"
    async with open_meter(market, path) as meter:
        if copied == "between two":
            await meter.call(did, wallet, 1)
            await meter.settle()
        await meter.call(did, wallet, 3)
        await meter.call(did, other, 2)
        if copied == "while one was prepared":
            node = bytes.fromhex(market.node.address[2:])
            await meter.ledger.prepare(did.value, plan.value, node, 1, max_entries=9, now=1)
    copy.write_bytes(path.read_bytes())
    async with open_meter(market, path) as meter:
        await meter.settle()
        await meter.call(did, wallet, 5)  # what the copy never hears of
        await meter.call(did, wallet, 4)
        await meter.settle()
    before = [await market.consumed(plan, one) for one in (wallet, other)]
    assert before == [13 if copied == "between two" else 12, 2]
    async with open_meter(market, copy) as meter:
        with suppress(TimeoutError):
            await meter.settlement.settle_now(1)
        problem = (await meter.settlement.status()).problems[0]
        assert "recover" in problem or "doesn't know" in problem
        adopted = await recover(meter.ledger, meter.view)
        assert [batch.state for batch in adopted] == [BatchState.MINED] * 2
        assert (await meter.ledger.audit()).clean
        assert await recover(meter.ledger, meter.view) == []
    async with open_meter(market, copy) as meter:
        await meter.settle()
        assert [await market.consumed(plan, one) for one in (wallet, other)] == before, "nothing is settled twice"
        lost = [one for one in await meter.ledger.charges() if LOST in one.flags]
        assert (len(lost), sum(one.credits for one in lost)) == (2, 9)
        await meter.call(did, wallet, 2)
        await meter.settle()
        assert (await meter.settlement.status()).problems == ()
        await settled_once(market, meter, plan, wallet, before[0] + 2)


async def test_where_forgotten_batches_begin_is_looked_up_once(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops = [await sold(market) for _ in range(3)]
    path, copy = tmp_path / "l.db", tmp_path / "copy.db"
    async with open_meter(market, path) as meter:
        for _, did, wallet in shops:
            await meter.call(did, wallet, 3)
    copy.write_bytes(path.read_bytes())
    async with open_meter(market, path) as meter:
        await meter.settle()
    looked: list[int] = []

    async def counted(chain: Chain, deployment: Deployment, head: int) -> int:
        looked.append(head)
        return await first_block(chain, deployment, head)

    monkeypatch.setattr("node_proxy.recovery.first_block", counted)
    async with open_meter(market, copy) as meter:
        assert len(await recover(meter.ledger, meter.view)) == 3
        assert len(looked) == 1
        assert await recover(meter.ledger, meter.view) == []
        assert len(looked) == 1, "and not at all where nothing is forgotten"


async def test_a_settlement_that_was_taken_in_and_then_undone_is_sent_again(market: Market, tmp_path: Path) -> None:
    plan, did, wallet = await sold(market)
    path, copy = tmp_path / "l.db", tmp_path / "copy.db"
    await market.mine(5)
    async with open_meter(market, path) as meter:
        await meter.call(did, wallet, 3)
    copy.write_bytes(path.read_bytes())
    async with open_meter(market, path) as meter:
        await meter.settle()
    async with open_meter(market, copy, confirmations=5) as meter:
        assert len(await recover(meter.ledger, meter.view)) == 1
        await hold_blocks(market)
        await market.chain.rpc("anvil_reorg", [1, []])
        assert await market.consumed(plan, wallet) == 0
        await market.mine(1)
        await meter.settlement.step()
        await market.mine(6)
        await meter.settlement.step()
        await meter.settlement.step()
        await settled_once(market, meter, plan, wallet, 3)


async def test_a_problem_is_forgotten_as_soon_as_it_is_over(market: Market, tmp_path: Path) -> None:
    plan, did, wallet = await sold(market)
    async with open_meter(market, tmp_path / "l.db", min_calls=1) as meter:
        await meter.call(did, wallet, 3)
        await market.fund(market.node.address, 0)
        await meter.settlement.step()
        assert "wei" in (await meter.settlement.status()).problems[0]
        await meter.settlement.step()
        assert len((await meter.settlement.status()).problems) == 1
        await market.fund(market.node.address)
        # Another process settles what there was; this one has nothing to send any more.
        async with open_ledger(str(tmp_path / "l.db"), serving=False) as ledger:
            other = Settlement(ledger, meter.view, market.node, Thresholds(confirmations=1, min_calls=1))
            await other.settle_now(30)
        await meter.settlement.step()
        assert (await meter.settlement.status()).problems == ()
        await settled_once(market, meter, plan, wallet, 3)
