"""Receipts and vouchers on a real chain: what was charged is proven from the root that its settlement has put there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from node_proxy.errors import CreditsExhausted, VoucherRequired
from node_proxy.ledger.base import AccountId, BatchState, ChargeRecord, Promise
from node_proxy.receipts import NotProvable, NotSettledYet
from node_proxy.reconcile import reconcile
from nvm_chain.abi import Call
from nvm_chain.deployments import PROXY, SALT, create2_address
from nvm_chain.did import Did
from nvm_chain.entries import Entry
from nvm_chain.errors import NotFound
from nvm_chain.merkle import Tree
from nvm_chain.plans import PlanId
from nvm_chain.receipt_check import check_receipt
from nvm_chain.receipts import Proof, ReceiptInvalid
from nvm_chain.vouchers import sign_voucher
from nvm_chain.wallet import LocalWallet
from tests.metering import KEY, Market, Meter, open_market, open_meter, wallet_id
from tests.postgres import postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market() -> AsyncIterator[Market]:
    async with open_market() as market:
        yield market


@pytest_asyncio.fixture(loop_scope="module")
async def meter(market: Market, tmp_path: Path) -> AsyncIterator[Meter]:
    async with open_meter(market, tmp_path / "ledger.db") as meter:
        yield meter


async def proof_of(meter: Meter, charge: ChargeRecord) -> Proof:
    charge = await meter.ledger.charge(charge.id) or charge
    batch = None if charge.batch is None else await meter.ledger.batch(charge.batch)
    return await meter.settlement.receipts.proof(charge, batch)


async def every_charge_is_proven(market: Market, meter: Meter) -> int:
    charges = await meter.ledger.charges(limit=1_000)
    for charge in charges:
        proven = await check_receipt(market.chain, market.deployment, await proof_of(meter, charge))
        assert proven.calls >= 1
    found = await reconcile(meter.ledger, meter.view)
    assert found.clean, found.differences
    return len(charges)


# ---------------------------------------------------------------------------------------------------------- receipts


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "l.db")
        return
    with postgres() as server:
        yield server.database()


async def test_every_charge_of_every_batch_is_proven_by_the_chain(market: Market, url: str) -> None:
    plan = await market.plan(100)
    dids = [await market.asset((plan, 0, 5)) for _ in range(2)]
    wallets = [await market.subscriber(plan) for _ in range(3)]
    async with open_meter(market, url, max_entries=2) as meter:
        for n in range(11):
            await meter.call(dids[n % 2], wallets[n % 3], n % 6)
        batches = await meter.settle()
        assert len(batches) == 4
        assert len({batch.root for batch in batches}) == 4
        assert await every_charge_is_proven(market, meter) == 11


async def test_a_call_has_a_signed_receipt_at_once_and_a_proof_once_it_is_settled(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    await meter.call(did, await market.subscriber(plan), 3)
    (charge,) = await meter.ledger.charges()
    meter.settlement.receipts.of(charge).check_signature(
        bytes.fromhex((await meter.settlement.receipts.signed(charge, None))["signature"][2:])
    )
    with pytest.raises(NotSettledYet, match="waits for the next settlement"):
        await proof_of(meter, charge)
    await meter.settle()
    await every_charge_is_proven(market, meter)


async def test_the_root_is_that_of_what_is_left_after_entries_were_parked(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallets = [await market.subscriber(plan) for _ in range(4)]
    for wallet in wallets:
        await meter.call(did, wallet, 5)
    bad = wallet_id(plan, wallets[2])
    hold = await meter.ledger.reserve(bad, did.value, 50, key_id="k", key_budget=None, request_id="r")
    await meter.ledger.capture(hold, 50, None)
    await meter.settle()
    (parked,) = await meter.ledger.batches(BatchState.PARKED)
    assert parked.root == bytes(32)
    for charge in await meter.ledger.charges(limit=100):
        if charge.account == bad:
            with pytest.raises(NotSettledYet, match="set aside"):
                await proof_of(meter, charge)
        else:
            found = await check_receipt(market.chain, market.deployment, await proof_of(meter, charge))
            assert found.calls == 3


async def test_a_receipt_of_credits_that_the_chain_did_not_take_says_so(
    market: Market, meter: Meter, tmp_path: Path
) -> None:
    plan = await market.plan(10)
    did = await market.asset((plan, 1, 8))
    wallet = await market.subscriber(plan)
    await meter.call(did, wallet, 8)
    # The subscriber's credits are used up through another assistant of the same plan meanwhile, by another ledger.
    async with open_meter(market, tmp_path / "other.db") as other:
        await other.call(await market.asset((plan, 7, 7)), wallet, 7)
        await other.settle()
    await meter.settle()
    (charge,) = await meter.ledger.charges()
    found = await check_receipt(market.chain, market.deployment, await proof_of(meter, charge))
    assert found.missing == 5


async def test_charges_that_were_changed_afterwards_are_not_provable(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallet = await market.subscriber(plan)
    await meter.call(did, wallet, 3)
    await meter.call(did, wallet, 2)
    await meter.settle()
    first, second = await meter.ledger.charges()
    meter.ledger._writer.execute("UPDATE charges SET credits = 4 WHERE id = ?", (first.id,))  # type: ignore[attr-defined]
    with pytest.raises(NotProvable):
        await proof_of(meter, second)


async def test_a_proof_that_fits_another_batch_chain_registry_or_node_is_refused(
    market: Market, meter: Meter, tmp_path: Path
) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallet = await market.subscriber(plan)
    for credits in (1, 2):
        await meter.call(did, wallet, credits)
        await meter.settle()
    first, second = [await proof_of(meter, charge) for charge in await meter.ledger.charges()]
    chain, deployment = market.chain, market.deployment
    await check_receipt(chain, deployment, first)
    with pytest.raises(ReceiptInvalid, match="root"):
        await check_receipt(chain, deployment, replace(first, batch=2, block=None))
    with pytest.raises(ReceiptInvalid, match="path"):
        await check_receipt(chain, deployment, replace(first, root=second.root, batch=2))
    with pytest.raises(NotFound, match="isn't settled, or the proof is made up"):
        await check_receipt(chain, deployment, replace(first, batch=3))
    # Where it was settled is only a hint.
    await check_receipt(chain, deployment, replace(first, block=1, transaction=None))
    # Another contract may emit what it likes.
    elsewhere = replace(deployment, plan_registry=deployment.lens)
    with pytest.raises(ReceiptInvalid, match="plan registry"):
        await check_receipt(chain, elsewhere, first)
    # Somebody who isn't the node signs a receipt of the same call.
    stranger = LocalWallet.create()
    forged = replace(first.receipt, node=stranger.address)
    proof = replace(first, receipt=forged, signature=await forged.sign(stranger), root=forged.leaf, path=())
    with pytest.raises(NotFound):
        await check_receipt(chain, deployment, proof)


async def test_however_many_ask_for_receipts_calls_wait_for_one_signature_at_a_time(
    market: Market, meter: Meter
) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 5))
    wallet = await market.subscriber(plan)
    for _ in range(4):
        await meter.call(did, wallet)
    charges, turns = await meter.ledger.charges(), 0

    async def page() -> None:
        for charge in charges:
            await meter.settlement.receipts.signed(charge, None)

    pages = [asyncio.create_task(page()) for _ in range(10)]
    while not all(one.done() for one in pages):
        await asyncio.sleep(0)
        turns += 1
    await asyncio.gather(*pages)
    assert turns >= len(pages) * len(charges)


# ---------------------------------------------------------------------------------------------------------- vouchers


async def hand_in(market: Market, meter: Meter, plan: PlanId, wallet: LocalWallet, ceiling: int) -> bool:
    signed = await sign_voucher(wallet, market.chain.chain_id, market.deployment.plan_registry, plan, ceiling)
    return await meter.ledger.keep_voucher(Promise(wallet_id(plan, wallet), ceiling, signed.signature, 1))


async def voucher_plan(market: Market, credits: int = 100) -> tuple[PlanId, Did]:
    plan = await market.plan(credits, voucher_required=True)
    return plan, await market.asset((plan, 1, 5))


async def test_nothing_is_admitted_beyond_the_signed_ceiling(market: Market, meter: Meter) -> None:
    plan, did = await voucher_plan(market)
    wallet = await market.subscriber(plan)
    with pytest.raises(VoucherRequired) as refusal:
        await meter.call(did, wallet, 3)
    asked = refusal.value.extras["voucher"]
    assert (asked["ceiling"], asked["signed"], asked["consumed"]) == ("5", None, "0")
    assert asked["typed_data"]["message"]["ceiling"] == "5"
    await hand_in(market, meter, plan, wallet, 12)
    for _ in range(3):
        await meter.call(did, wallet, 3)
    with pytest.raises(VoucherRequired) as refusal:  # 9 are charged, and the next call may cost 5
        await meter.call(did, wallet, 3)
    assert refusal.value.extras["voucher"]["ceiling"] == "14"
    await meter.settle()
    assert await market.consumed(plan, wallet) == 9
    with pytest.raises(VoucherRequired) as refusal:  # settling doesn't change what was promised
        await meter.call(did, wallet, 3)
    assert refusal.value.extras["voucher"]["ceiling"] == "14"
    await hand_in(market, meter, plan, wallet, 14)
    await meter.call(did, wallet, 5)
    await meter.settle()
    assert await market.consumed(plan, wallet) == 14
    assert await every_charge_is_proven(market, meter) == 4


async def test_a_voucher_does_not_stand_in_for_credits(market: Market, meter: Meter) -> None:
    plan, did = await voucher_plan(market, credits=4)
    wallet = await market.subscriber(plan)
    await hand_in(market, meter, plan, wallet, 1_000)
    with pytest.raises(CreditsExhausted):
        await meter.call(did, wallet, 3)


async def test_calls_in_flight_count_against_the_ceiling(market: Market, meter: Meter) -> None:
    plan, did = await voucher_plan(market)
    wallet = await market.subscriber(plan)
    await hand_in(market, meter, plan, wallet, 12)
    first, second = await meter.reserve(did, wallet), await meter.reserve(did, wallet)
    with pytest.raises(VoucherRequired) as refusal:
        await meter.reserve(did, wallet)
    assert refusal.value.extras["voucher"]["reserved"] == 10
    assert refusal.value.extras["voucher"]["ceiling"] == "15"
    await first.release()
    await (await meter.reserve(did, wallet)).release()
    await second.release()


async def test_a_plan_that_asks_for_no_voucher_goes_first_if_it_is_cheaper(market: Market, meter: Meter) -> None:
    free, signed = await market.plan(100), await market.plan(100, voucher_required=True)
    did = await market.asset((signed, 1, 1), (free, 2, 2))
    wallet = await market.subscriber(free)
    await market.buy(signed, wallet)
    async with await meter.reserve(did, wallet) as held:
        assert held.plan_id == free.value
    await hand_in(market, meter, signed, wallet, 1)
    async with await meter.reserve(did, wallet) as held:
        assert held.plan_id == signed.value


async def test_an_entry_with_a_wrong_signature_is_parked_and_the_rest_settles(market: Market, meter: Meter) -> None:
    plan, did = await voucher_plan(market)
    wallets = [await market.subscriber(plan) for _ in range(5)]
    for wallet in wallets:
        await hand_in(market, meter, plan, wallet, 10)
    # As an older version of the node, or a damaged file, could have kept it.
    bad = wallets[3]
    await meter.ledger.keep_voucher(Promise(wallet_id(plan, bad), 11, b"\1" * 65, 1))
    for wallet in wallets:
        await meter.call(did, wallet, 2)
    await meter.settle()
    (parked,) = (await meter.settlement.status()).parked
    assert [entry.subscriber for entry in parked.entries] == [wallet_id(plan, bad).subscriber]
    assert "voucher" in (parked.reason or "").lower()
    assert [await market.consumed(plan, wallet) for wallet in wallets] == [2, 2, 2, 0, 2]
    # A better voucher comes, the operator takes the entry up again.
    await hand_in(market, meter, plan, bad, 12)
    await meter.ledger.unpark(parked.id)
    await meter.settle()
    assert await market.consumed(plan, bad) == 2
    assert await every_charge_is_proven(market, meter) == 5


async def test_charges_without_any_voucher_are_parked_and_not_lost(market: Market, meter: Meter) -> None:
    plan, did = await voucher_plan(market)
    wallet, other = await market.subscriber(plan), await market.subscriber(plan)
    await hand_in(market, meter, plan, other, 10)
    await meter.call(did, other, 2)
    who = wallet_id(plan, wallet)
    await meter.view.read([who])
    hold = await meter.ledger.reserve(who, did.value, 5, key_id="k", key_budget=None, request_id="r")
    await meter.ledger.capture(hold, 5, None)
    await meter.settle()
    (parked,) = (await meter.settlement.status()).parked
    assert "handed in none" in (parked.reason or "")
    assert await market.consumed(plan, other) == 2
    assert (await meter.ledger.standing(who)).captured == 5


async def test_a_wallet_that_disowns_its_voucher_uses_no_credit_twice(market: Market, meter: Meter) -> None:
    plan = await market.plan(10, voucher_required=True)
    did = await market.asset((plan, 3, 3))
    # A contract that says no by now: the node has taken its voucher at a time when it said yes.
    code = bytes.fromhex("6001600c60003960016000f300")  # one byte of code: STOP
    turncoat = create2_address(code)
    await market.send(market.deployment.plans.purchase(plan, turncoat, 1, 0), market.builder)
    await market.send(Call(PROXY, SALT + code, "proxy", "deploy", {}, bytes), market.builder)
    who = AccountId(plan.value, bytes.fromhex(turncoat[2:]))
    await meter.ledger.keep_voucher(Promise(who, 1_000, b"signed", 1))

    async def call() -> None:
        held = await meter.admission.reserve(subscriber=turncoat, did=did, key=KEY, request_id="req_test")
        async with held:
            await held.capture(3, None)

    await call()
    await call()
    await meter.settle()
    assert (await market.chain.call(market.deployment.plans.account(plan, turncoat))).consumed == 0
    await call()
    with pytest.raises(CreditsExhausted):
        await call()
    assert (await meter.ledger.audit()).clean


async def test_a_lower_voucher_never_replaces_a_higher_one(market: Market, meter: Meter) -> None:
    plan, did = await voucher_plan(market)
    wallet = await market.subscriber(plan)
    assert await hand_in(market, meter, plan, wallet, 10)
    assert not await hand_in(market, meter, plan, wallet, 10)
    assert not await hand_in(market, meter, plan, wallet, 5)
    known = await meter.ledger.voucher(wallet_id(plan, wallet))
    assert known is not None
    assert known.ceiling == 10
    await meter.call(did, wallet, 5)


async def test_wallets_that_burn_their_gas_only_in_the_block_hold_up_nobody(market: Market, meter: Meter) -> None:
    plan, did = await voucher_plan(market)
    honest, *fickle = [await market.subscriber(plan) for _ in range(4)]
    await hand_in(market, meter, plan, honest, 10)
    for wallet in fickle:
        await meter.ledger.keep_voucher(Promise(wallet_id(plan, wallet), 10, b"signed", 1))
        # Says yes where gas has no price, as in a simulation; in a transaction it runs into INVALID.
        code = "0x3a601257631626ba7e60e01b5f5260205ff35bfe"
        await market.chain.rpc("anvil_setCode", [wallet.address, code])
    for wallet in (honest, *fickle):
        await meter.call(did, wallet, 2)
    before = await market.chain.nonce(market.node.address)
    await meter.settle()
    assert await market.chain.nonce(market.node.address) == before + 1
    assert [await market.consumed(plan, wallet) for wallet in (honest, *fickle)] == [2, 0, 0, 0]
    assert [await meter.ledger.short(wallet_id(plan, wallet)) for wallet in fickle] == [2, 2, 2]
    assert await every_charge_is_proven(market, meter) == 4


async def test_a_receipt_of_somebody_or_something_that_was_not_settled_is_refused(market: Market, meter: Meter) -> None:
    plan = await market.plan(100)
    did = await market.asset((plan, 1, 9))
    wallet, stranger = await market.subscriber(plan), await market.subscriber(plan)
    receipts = meter.settlement.receipts
    for credits in (2, 3):
        await meter.call(did, wallet, credits)
    small, large = (receipts.of(charge) for charge in await meter.ledger.charges())
    # The node puts a root on the chain whose receipts aren't what its entries take.
    forged = (replace(small, credits=9), replace(large, subscriber=stranger.address))
    tree = Tree([one.leaf for one in forged])
    entries = [Entry(wallet.address, 2, 5)]
    sent = await market.send(market.deployment.plans.settle(did, plan, 1, entries, tree.root), market.node)
    for index, receipt in enumerate(forged):
        proof = Proof(
            receipt=receipt,
            signature=await receipt.sign(market.node),
            index=index,
            size=2,
            path=tree.path(index),
            root=tree.root,
            batch=1,
            block=sent.block,
        )
        with pytest.raises(ReceiptInvalid, match="took"):
            await check_receipt(market.chain, market.deployment, proof)
