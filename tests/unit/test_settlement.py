from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from node_proxy.errors import CreditsExhausted, PlanRequired
from node_proxy.reconcile import reconcile
from nvm_chain.abi import Call
from nvm_chain.chain import RpcError
from nvm_chain.entries import Entry
from nvm_chain.errors import ContractRefused
from nvm_chain.keys import generate_private_key, public_key_of
from tests.metering import Market, Meter, open_market, open_meter, wallet_id
from tests.world import until


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market() -> AsyncIterator[Market]:
    async with open_market() as market:
        yield market


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def meter(market: Market, tmp_path: Path) -> AsyncIterator[Meter]:
    async with open_meter(market, tmp_path / "ledger.db") as meter:
        yield meter


async def check(meter: Meter) -> None:
    found = await reconcile(meter.ledger, meter.view)
    assert found.clean, found.differences


async def test_charges_reach_the_chain_once(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 2, 5))
    first, second = await market.subscriber(plan), await market.subscriber(plan, units=2)
    for credits in (2, 5, 3):
        await meter.call(did, first, credits)
    assert await meter.call(did, second, 4) == 196
    (batch,) = await meter.settle()
    assert (batch.applied, batch.calls, batch.credits) == (True, 4, 14)
    assert await market.balance(plan, first) == 90
    assert await market.balance(plan, second) == 196
    assert await meter.settle() == []
    assert await market.consumed(plan, first) == 10
    await check(meter)


async def test_credits_left_are_the_same_before_and_after_settlement(market: Market, meter: Meter) -> None:
    plan = await market.plan(10)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    assert await meter.call(did, wallet) == 9
    await meter.settle()
    standing = await meter.ledger.standing(wallet_id(plan, wallet))
    assert (standing.spendable, standing.captured) == (9, 0)
    assert await meter.call(did, wallet) == 8


async def test_what_the_balance_does_not_cover_is_recorded_as_missing(market: Market, meter: Meter) -> None:
    plan = await market.plan(10)
    did = await market.asset((plan, 1, 8))
    wallet = await market.subscriber(plan)
    await meter.call(did, wallet, 8)
    # Another node of the same assistant has served the subscriber too, and settles first.
    other = await market.wallet()
    key = public_key_of(generate_private_key())
    await market.send(market.deployment.nodes.register(key, "http://127.0.0.1:2"), other)
    await market.send(market.deployment.assets.add_node(did, other.address), market.builder)
    await market.send(market.deployment.plans.settle(did, plan, 1, [Entry(wallet.address, 1, 7)]), other)
    (batch,) = await meter.settle()
    assert [(entry.credits, entry.missing) for entry in batch.entries] == [(8, 5)]
    audit = await meter.ledger.audit()
    assert (audit.totals["settled"], audit.totals["missing"]) == (3, 5)
    standing = await meter.ledger.standing(wallet_id(plan, wallet))
    assert (standing.spendable, standing.captured) == (0, 0)
    await check(meter)


async def test_an_entry_that_the_contract_refuses_is_parked_and_the_rest_settles(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallets = [await market.subscriber(plan) for _ in range(4)]
    for wallet in wallets:
        await meter.call(did, wallet, 5)
    # A charge above the rule, as a node with a wrong rule in memory would make it.
    bad = wallet_id(plan, wallets[2])
    hold = await meter.ledger.reserve(bad, did.value, 50, key_id="k", key_budget=None, request_id="r")
    await meter.ledger.capture(hold, 50, None)
    await meter.settle()
    (parked,) = (await meter.settlement.status()).parked
    assert [entry.subscriber for entry in parked.entries] == [bad.subscriber]
    assert "55" in (parked.reason or "")
    assert [await market.balance(plan, wallet) for wallet in wallets] == [95, 95, 100, 95]
    # What is parked stays counted against the account, and can be taken up again.
    assert (await meter.ledger.standing(bad)).captured == 55
    assert (await meter.ledger.audit()).totals["parked"] == 55
    await meter.ledger.unpark(parked.id)
    assert (await meter.ledger.audit()).totals["parked"] == 0
    await check(meter)


async def test_a_batch_of_a_node_that_was_removed_is_parked_whole(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    for _ in range(3):
        await meter.call(did, await market.subscriber(plan))
    await market.send(market.deployment.assets.remove_node(did, market.node.address, 0), market.builder)
    await meter.settle()
    (parked,) = [batch for batch in (await meter.settlement.status()).parked if batch.did == did.value]
    assert len(parked.entries) == 3
    assert await meter.ledger.backlog(expiring_before=0) == []


async def test_more_subscribers_than_fit_into_one_batch_settle_in_several(market: Market, tmp_path: Path) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    wallets = [await market.subscriber(plan) for _ in range(5)]
    async with open_meter(market, tmp_path / "l.db", max_entries=2) as meter:
        for wallet in wallets:
            await meter.call(did, wallet)
        batches = await meter.settle()
        assert [(batch.number, len(batch.entries)) for batch in batches] == [(1, 2), (2, 2), (3, 1)]
        assert [await market.balance(plan, wallet) for wallet in wallets] == [99] * 5
        await check(meter)


async def test_a_step_settles_only_what_is_due(market: Market, tmp_path: Path) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    async with open_meter(market, tmp_path / "l.db", min_calls=3, max_age=3_600) as meter:
        for expected in (100, 100, 97):
            await meter.call(did, wallet)
            await meter.settlement.step()  # sends; the block may take a moment

            async def settled(expected: int = expected) -> bool:
                return await market.balance(plan, wallet) == expected

            await until(settled, f"a balance of {expected}", 5)


async def test_an_announced_refund_makes_settlement_due_and_the_account_unusable(market: Market, meter: Meter) -> None:
    plan = await market.plan(100, price=10**15, refund_cooldown=3_600)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    await meter.call(did, wallet)
    await market.send(market.deployment.plans.announce_refund(plan), wallet)
    await meter.settlement.step()  # sends; the block may take a moment

    async def settled() -> bool:
        return await market.consumed(plan, wallet) == 1

    await until(settled, "the call to be settled")
    with pytest.raises(CreditsExhausted, match="refund was announced"):
        await meter.call(did, wallet)
    await market.send(market.deployment.plans.cancel_refund(plan), wallet)
    assert await meter.call(did, wallet) == 98


async def test_an_empty_signer_is_reported_and_settles_once_it_has_money(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    await meter.call(did, wallet)
    await market.fund(market.node.address, 10**9)
    await meter.settle()
    status = await meter.settlement.status()
    assert status.low
    assert any(market.node.address in problem for problem in status.problems)
    await market.fund(market.node.address)
    await meter.settle()
    assert await market.balance(plan, wallet) == 99
    assert (await meter.settlement.status()).problems == ()


async def test_an_unpaid_wallet_gets_nothing(market: Market, meter: Meter) -> None:
    plan = await market.plan(100, price=5)
    did = await market.asset((plan, 1, 3))
    wallet = await market.wallet()
    with pytest.raises(PlanRequired) as refusal:
        await meter.call(did, wallet)
    (offer,) = refusal.value.envelope()["error"]["plans"]
    assert (offer["plan_id"], offer["price"], offer["min_credits"], offer["max_credits"]) == (str(plan), "5", 1, 3)
    buy = offer["purchase"]
    # The call in the answer is the one that buys.
    await market.chain.rpc("anvil_impersonateAccount", [wallet.address])
    request = {"from": wallet.address, "to": buy["to"], "data": buy["data"], "value": hex(int(buy["value"]))}
    await market.chain.wait(await market.chain.rpc("eth_sendTransaction", [request]))
    assert await meter.call(did, wallet) == 99


async def test_a_claim_that_the_endpoint_refuses_does_not_hold_up_the_others(
    market: Market, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await market.plan(100)
    bad, good = await market.asset((plan, 1, 1)), await market.asset((plan, 1, 1))
    wallet = await market.subscriber(plan)
    for did in (bad, good):
        await meter.call(did, wallet)
    estimate = market.chain.estimate

    async def refuse(call: Call[Any], sender: str, *rest: Any) -> int:
        if bad.value in call.data:
            raise RpcError("the endpoint", "eth_estimateGas", -32000, "no estimate today", None)
        return await estimate(call, sender, *rest)

    monkeypatch.setattr(market.chain, "estimate", refuse)
    await meter.settle()
    assert await market.consumed(plan, wallet) == 1
    assert "no estimate today" in " ".join((await meter.settlement.status()).problems)
    monkeypatch.undo()
    await meter.settle()
    assert await market.consumed(plan, wallet) == 2
    await check(meter)


async def test_a_batch_that_reverts_for_no_stated_reason_is_halved_until_the_entry_is_found(
    market: Market, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract names the entry that it refuses; an endpoint that runs out of gas or time says "reverted" only."""
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallets = [await market.subscriber(plan) for _ in range(7)]
    for wallet in wallets:
        await meter.call(did, wallet, 2)
    bad = wallet_id(plan, wallets[4])
    simulate, sizes = market.chain.call, []

    async def revert(call: Call[Any], *rest: Any, **more: Any) -> Any:
        if call.function == "settle":
            sizes.append(len(call.args["entries"]))
            if bad.subscriber in call.data:
                raise ContractRefused("revert", {}, "PlanRegistry.settle reverted without a reason")
        return await simulate(call, *rest, **more)

    monkeypatch.setattr(market.chain, "call", revert)
    await meter.settle()
    (parked,) = (await meter.settlement.status()).parked
    assert [entry.subscriber for entry in parked.entries] == [bad.subscriber]
    assert parked.reason == "PlanRegistry.settle reverted without a reason"
    assert sizes[:2] == [7, 3]
    assert len(sizes) <= 2 * 7
    assert [await market.consumed(plan, wallet) for wallet in wallets] == [2, 2, 2, 2, 0, 2, 2]
    await check(meter)
