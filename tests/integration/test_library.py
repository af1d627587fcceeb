"""The library against a real chain: the whole job of builder, subscriber and node, and what can go wrong on the way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from eth_account import Account
from eth_account.messages import encode_defunct

from nvm_chain.assets import OfferInput
from nvm_chain.chain import Chain, Fees, InsufficientFunds, TransactionPending, event_topics, open_chain, topic
from nvm_chain.cid import Cid
from nvm_chain.contract_errors import (
    InvalidVoucher,
    NodeNotAuthorised,
    NodeNotUsable,
    NodeUnknown,
    NotAssetOwner,
    OutsideRule,
    PlanNotOnSale,
    PlanNotUsable,
    PlanUnknown,
    RefundNotAvailable,
    SoldOut,
    WrongBatch,
    WrongPayment,
)
from nvm_chain.definition import Definition
from nvm_chain.deployments import PROXY, Deployed, Deployment, check_deployed, deploy, install_proxy
from nvm_chain.did import Did
from nvm_chain.entries import Entry
from nvm_chain.errors import ChainUnavailable, DigestMismatch, InvalidInput, SealBroken, TransactionFailed
from nvm_chain.ipfs import LocalStore
from nvm_chain.keys import generate_private_key, public_key_of
from nvm_chain.plan_creation import PlanDraft, create_plan
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.plans import PlanId, Terms
from nvm_chain.purchases import authorise, buy, buy_with_permit
from nvm_chain.registration import Draft, named_salt, prepare_update, publish, register_assistant
from nvm_chain.resolve import resolve
from nvm_chain.sealing import Binding
from nvm_chain.secret import Secret
from nvm_chain.tokens import Token
from nvm_chain.vouchers import Voucher, sign_voucher
from nvm_chain.wallet import LocalWallet, UnlockedWallet
from tests.anvil import CHAIN_ID, KEYS, Anvil, anvil
from tests.solidity import deploy_token

pytestmark = pytest.mark.asyncio(loop_scope="module")

ETHER = 10**18
DAY = 86_400
DEFINITION = Definition(
    "https://api.openai.com/v1", Secret("sk-proj-abcdefghijklmnopqrstuvwxyz012345"), "gpt-5", "Teach."
)


@dataclass(frozen=True, slots=True)
class World:
    """A chain with the contracts, and the people on it."""

    chain: Chain
    deployment: Deployment
    store: LocalStore
    builder: LocalWallet
    subscriber: LocalWallet
    node: UnlockedWallet
    node_key: Secret

    async def plan(self, name: str = "plan", **terms: Any) -> PlanId:
        draft = PlanDraft(
            salt=named_salt(name),
            metadata=PlanMetadata(name),
            terms=Terms(**({"price": 10**15, "credits_per_unit": 100} | terms)),
        )
        return (await create_plan(self.chain, self.deployment, self.store, self.builder, draft)).plan_id

    def draft(self, *plans: PlanId, **changes: Any) -> Draft:
        values: dict[str, Any] = {
            "salt": named_salt("tutor"),
            "title": "Math tutor",
            "definition": DEFINITION,
            "offers": [OfferInput(plan, 1, 5) for plan in plans],
            "nodes": [self.node.address],
        }
        return Draft(**(values | changes))

    async def assistant(self, *plans: PlanId, **changes: Any) -> Did:
        draft = self.draft(*plans, **changes)
        return (await register_assistant(self.chain, self.deployment, self.store, self.builder, draft)).did

    async def spendable(self, plan: PlanId) -> int:
        return await self.chain.call(self.deployment.plans.balance_of(plan, self.subscriber.address))

    async def later(self, seconds: int) -> None:
        await self.chain.rpc("evm_increaseTime", [hex(seconds)])
        await self.chain.rpc("evm_mine")


BUILDER, SUBSCRIBER, NODE = (LocalWallet(Secret(key)) for key in KEYS[:3])
NODE_KEY = generate_private_key()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground() -> AsyncIterator[Anvil]:
    """One anvil for all tests, with the contracts and the node; each test finds it as it is here."""
    async with anvil() as process, open_chain(process.url, CHAIN_ID) as chain:
        deployment = await deploy(chain, BUILDER)
        await chain.send(deployment.nodes.register(public_key_of(NODE_KEY), "https://node.example"), NODE)
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def world(ground: Anvil, tmp_path: Path) -> AsyncIterator[World]:
    async with open_chain(ground.url, CHAIN_ID) as chain:
        snapshot = await chain.rpc("evm_snapshot")
        node, store = UnlockedWallet(chain.rpc, NODE.address), LocalStore(tmp_path)
        yield World(chain, Deployment.standard(), store, BUILDER, SUBSCRIBER, node, NODE_KEY)
        await chain.rpc("evm_setAutomine", [True])
        assert await chain.rpc("evm_revert", [snapshot])


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# -------------------------------------------------------------------------------------------------------- deployment


async def test_deploying_again_sends_nothing_and_gives_the_addresses_that_were_computed_offline(world: World) -> None:
    steps: list[Deployed] = []
    before = await world.chain.block_number()
    assert await deploy(world.chain, world.builder, on_step=steps.append) == Deployment.standard()
    assert await world.chain.block_number() == before
    assert len(steps) == 5
    assert not any(step.receipt for step in steps)
    await check_deployed(world.chain, world.deployment)
    assert await world.chain.call(world.deployment.plans.asset_registry()) == world.deployment.asset_registry


async def test_a_protocol_fee_is_part_of_the_deployment(world: World) -> None:
    recipient = LocalWallet.create().address
    other = await deploy(world.chain, world.builder, fee_recipient=recipient, fee_basis_points=250)
    assert await world.chain.call(other.plans.protocol_fee()) == (recipient, 250)
    assert other != world.deployment


async def test_a_chain_without_the_proxy_gets_it_on_demand() -> None:
    async with anvil("--disable-default-create2-deployer") as process, open_chain(process.url) as chain:
        wallet = LocalWallet(Secret(KEYS[0]))
        with pytest.raises(ChainUnavailable, match=f"no deployment proxy at {PROXY}"):
            await deploy(chain, wallet)
        with pytest.raises(ChainUnavailable, match=r"plan_registry.*deploy them with"):
            await check_deployed(chain, Deployment.standard())
        await install_proxy(chain, wallet)
        await check_deployed(chain, await deploy(chain, wallet))


# ---------------------------------------------------------------------------------------------------- the main job


async def test_plan_assistant_purchase_settlement_and_withdrawal_add_up_to_the_wei(world: World) -> None:
    chain, plans = world.chain, world.deployment.plans
    plan = await world.plan()
    did = await world.assistant(plan)

    before = await chain.balance(world.subscriber.address)
    receipt = await buy(chain, plans, world.subscriber, plan, units=2)
    assert before - await chain.balance(world.subscriber.address) == 2 * 10**15 + receipt.fee
    assert receipt.event("Purchased", plans.address).args["units"] == 2

    batch = await chain.call(plans.next_batch(did, plan, world.node.address))
    settled = await chain.send(plans.settle(did, plan, batch, [Entry(world.subscriber.address, 3, 7)]), world.node)
    assert settled.event("Settled", plans.address).args["taken"] == 7

    view = await chain.call(world.deployment.views.account(plan, world.subscriber.address))
    assert (view.spendable, view.account.balance, view.account.consumed) == (193, 193, 7)
    assert view.block == settled.block

    assert await chain.call(plans.earnings(plan, world.builder.address)) == 2 * 10**15
    before = await chain.balance(world.builder.address)
    paid = await chain.send(plans.withdraw(plan, world.builder.address), world.builder)
    assert await chain.balance(world.builder.address) - before == 2 * 10**15 - paid.fee
    assert await chain.call(plans.earnings(plan, world.builder.address)) == 0


async def test_what_was_registered_resolves_and_opens_for_its_node_alone(world: World) -> None:
    plan = await world.plan()
    did = await world.assistant(plan, tags=("math",), description="Solves problems.", notes="# How")
    found = await resolve(world.chain, world.deployment, world.store, did)
    assert (found.metadata.title, found.metadata.tags) == ("Math tutor", ("math",))
    assert found.view.cid == found.view.asset.metadata
    assert await world.chain.call(world.deployment.assets.cid(did)) == found.view.cid
    assert [(o.plan_id, o.title) for o in found.metadata.offers] == [(plan.value, "plan")]
    assert found.metadata.did_document["id"] == str(did)

    [sealed] = found.metadata.sealed
    owner, registry, node = world.builder.address, world.deployment.asset_registry, world.node.address
    binding = Binding(did, owner, CHAIN_ID, registry, node, 1)
    assert sealed.open(world.node_key, binding).definition == DEFINITION
    with pytest.raises(SealBroken):
        sealed.open(generate_private_key(), binding)


async def test_registering_twice_makes_one_assistant(world: World) -> None:
    plan = await world.plan()
    steps: list[str] = []
    first = await register_assistant(
        world.chain, world.deployment, world.store, world.builder, world.draft(plan), steps.append
    )
    again = await register_assistant(world.chain, world.deployment, world.store, world.builder, world.draft(plan))
    assert first.receipt is not None
    assert again.receipt is None
    assert (again.did, again.cid) == (first.did, first.cid)
    assert len(steps) == 4


async def test_a_registration_that_broke_off_after_pinning_can_be_repeated(world: World) -> None:
    plan = await world.plan()
    poor = LocalWallet.create()
    await world.chain.rpc("anvil_setBalance", [poor.address, hex(ETHER)])
    own = PlanDraft(salt=named_salt("own"), metadata=PlanMetadata("own"), terms=Terms(credits_per_unit=1))
    plan = (await create_plan(world.chain, world.deployment, world.store, poor, own)).plan_id
    await world.chain.rpc("anvil_setBalance", [poor.address, "0x0"])
    with pytest.raises(InsufficientFunds):
        await register_assistant(world.chain, world.deployment, world.store, poor, world.draft(plan))
    await world.chain.rpc("anvil_setBalance", [poor.address, hex(ETHER)])
    done = await register_assistant(world.chain, world.deployment, world.store, poor, world.draft(plan))
    assert (await resolve(world.chain, world.deployment, world.store, done.did)).view.asset.owner == poor.address


async def test_a_plan_with_the_same_name_is_the_same_plan_and_never_other_terms(world: World) -> None:
    plan = await world.plan("gold")
    before = await world.chain.block_number()
    assert await world.plan("gold") == plan
    assert await world.chain.block_number() == before
    with pytest.raises(InvalidInput, match="other terms"):
        await world.plan("gold", price=2 * 10**15)


async def test_an_update_seals_anew_and_keeps_what_it_does_not_change(world: World) -> None:
    plan = await world.plan()
    did = await world.assistant(plan, description="Old text.")
    rotated = Definition(DEFINITION.base_url, Secret("sk-proj-zyxwvutsrqponmlkjihgfedcba543210"), "gpt-5-mini")
    prepared = await prepare_update(
        world.chain, world.deployment, world.store, world.builder.address, did, title="Better tutor", definition=rotated
    )
    await publish(world.chain, world.store, world.builder, prepared)
    found = await resolve(world.chain, world.deployment, world.store, did)
    assert (found.metadata.title, found.metadata.description) == ("Better tutor", "Old text.")
    assert found.view.asset.version == 2
    owner, registry, node = world.builder.address, world.deployment.asset_registry, world.node.address
    opened = found.metadata.sealed[0].open(world.node_key, Binding(did, owner, CHAIN_ID, registry, node, 1))
    assert opened.definition == rotated


async def test_a_node_with_an_invalid_endpoint_stops_no_update_and_is_left_out(world: World) -> None:
    plan = await world.plan()
    second = LocalWallet(Secret(KEYS[3]))
    nodes = world.deployment.nodes
    await world.chain.send(nodes.register(public_key_of(generate_private_key()), "https://second.example"), second)
    did = await world.assistant(plan, nodes=[world.node.address, second.address])
    await world.chain.send(nodes.set_endpoint("http://a:99999"), second)

    with pytest.raises(InvalidInput, match=f"node {second.address} has no usable endpoint") as caught:
        await world.assistant(plan, salt=named_salt("other"), nodes=[second.address])
    assert "http://a:99999" in str(caught.value)

    said: list[str] = []
    prepared = await prepare_update(
        world.chain,
        world.deployment,
        world.store,
        world.builder.address,
        did,
        title="Better",
        definition=DEFINITION,
        on_step=said.append,
    )
    await publish(world.chain, world.store, world.builder, prepared)
    metadata = (await resolve(world.chain, world.deployment, world.store, did)).metadata
    assert (metadata.title, [service.node for service in metadata.services]) == ("Better", [world.node.address])
    assert {sealed.node for sealed in metadata.sealed} == {world.node.address, second.address}
    assert any(second.address in line and "left out" in line for line in said)


async def test_only_the_owner_updates_an_assistant(world: World) -> None:
    did = await world.assistant(await world.plan())
    with pytest.raises(NotAssetOwner, match=world.subscriber.address):
        await prepare_update(world.chain, world.deployment, world.store, world.subscriber.address, did, title="Mine")


async def test_a_block_that_is_not_what_the_chain_promises_is_never_believed(world: World, tmp_path: Path) -> None:
    did = await world.assistant(await world.plan())
    cid = (await world.chain.call(world.deployment.views.describe(did))).cid
    [file] = [path for path in files(tmp_path) if Cid.of(path.read_bytes()) == cid]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes().replace(b"Math tutor", b"Math robot"))
    with pytest.raises(DigestMismatch, match=str(cid)):
        await resolve(world.chain, world.deployment, world.store, did)


# --------------------------------------------------------------------------------------------------- other payments


async def test_an_erc20_plan_is_paid_by_an_approval_of_exactly_the_price(world: World) -> None:
    address, abi = await deploy_token(world.chain, world.builder)
    token, plans = Token(address), world.deployment.plans
    plan = await world.plan(token=address, price=5_000_000)
    with pytest.raises(TransactionFailed, match="has 0 base units"):
        await buy(world.chain, plans, world.subscriber, plan)
    await world.chain.send(abi.call(address, "mint", world.subscriber.address, 12_000_000), world.builder)
    await buy(world.chain, plans, world.subscriber, plan, units=2)
    assert await world.spendable(plan) == 200
    assert await world.chain.call(token.balance_of(world.subscriber.address)) == 2_000_000
    assert await world.chain.call(token.allowance(world.subscriber.address, plans.address)) == 0
    assert (await token.currency(world.chain)).format(5_000_000) == "5 DEV"


async def test_a_permit_pays_in_one_transaction(world: World) -> None:
    address, abi = await deploy_token(world.chain, world.builder)
    plan = await world.plan(token=address, price=5_000_000)
    await world.chain.send(abi.call(address, "mint", world.subscriber.address, 5_000_000), world.builder)
    before = await world.chain.nonce(world.subscriber.address)
    await buy_with_permit(world.chain, world.deployment.plans, world.subscriber, plan)
    assert await world.chain.nonce(world.subscriber.address) == before + 1
    assert await world.spendable(plan) == 100


async def test_an_authorisation_is_submitted_by_somebody_else_for_a_payer_without_gas(world: World) -> None:
    address, abi = await deploy_token(world.chain, world.builder)
    plan, payer = await world.plan(token=address, price=5_000_000), LocalWallet.create()
    await world.chain.send(abi.call(address, "mint", payer.address, 5_000_000), world.builder)
    plans = world.deployment.plans
    signed = await authorise(world.chain, plans, payer, plan)
    assert await world.chain.balance(payer.address) == 0
    await world.chain.send(signed.call(plans), world.node)
    assert await world.chain.call(plans.balance_of(plan, payer.address)) == 100


async def test_a_native_plan_takes_no_permit(world: World) -> None:
    plan = await world.plan()
    with pytest.raises(InvalidInput, match="native currency"):
        await buy_with_permit(world.chain, world.deployment.plans, world.subscriber, plan)


async def test_an_address_that_is_no_token_is_told(world: World) -> None:
    with pytest.raises(InvalidInput, match="does not answer as an ERC-20 token"):
        await Token(world.deployment.lens).currency(world.chain)


# --------------------------------------------------------------------------------------------- vouchers and refunds


async def test_a_voucher_plan_settles_up_to_the_signed_ceiling(world: World) -> None:
    plans, subscriber = world.deployment.plans, world.subscriber
    plan = await world.plan(voucher_required=True)
    did = await world.assistant(plan)
    await buy(world.chain, plans, subscriber, plan)
    voucher = await sign_voucher(subscriber, CHAIN_ID, plans.address, plan, 4)
    forged = Voucher(90, voucher.signature)
    entries = [Entry(subscriber.address, 2, 7)]
    with pytest.raises(InvalidVoucher, match="ceiling 90"):
        await world.chain.send(plans.settle_with_vouchers(did, plan, 1, entries, [forged]), world.node)
    receipt = await world.chain.send(plans.settle_with_vouchers(did, plan, 1, entries, [voucher]), world.node)
    assert receipt.event("Settled", plans.address).args["taken"] == 4
    assert receipt.event("Shortfall", plans.address).args["missing"] == 3


async def test_a_refund_comes_after_its_cooldown_and_gives_back_what_was_not_used(world: World) -> None:
    plans, subscriber = world.deployment.plans, world.subscriber
    cooldown = await world.chain.call(plans._call("MIN_REFUND_COOLDOWN"))
    plan = await world.plan(refund_cooldown=cooldown)
    did = await world.assistant(plan)
    await buy(world.chain, plans, subscriber, plan)
    await world.chain.send(plans.settle(did, plan, 1, [Entry(subscriber.address, 5, 25)]), world.node)
    await world.chain.send(plans.announce_refund(plan), subscriber)
    with pytest.raises(RefundNotAvailable, match="take it from unix time"):
        await world.chain.send(plans.take_refund(plan, subscriber.address), subscriber)
    await world.later(cooldown + 1)
    refund = await world.chain.call(plans.refund_of(plan, subscriber.address))
    assert (refund.quantity, refund.amount) == (75, 75 * 10**13)
    assert (
        await world.chain.call(plans.take_refund(plan, subscriber.address), sender=subscriber.address) == refund.amount
    )
    receipt = await world.chain.send(plans.take_refund(plan, subscriber.address), subscriber)
    assert receipt.event("Refunded", plans.address).args["amount"] == 75 * 10**13
    assert await world.spendable(plan) == 0


# ------------------------------------------------------------------------------------------------------- bad input


async def test_what_the_contract_would_refuse_is_raised_before_anything_is_spent(world: World) -> None:
    plans, plan = world.deployment.plans, await world.plan()
    did = await world.assistant(plan)
    before = await world.chain.balance(world.subscriber.address)
    with pytest.raises(WrongPayment, match=f"5 base units were sent, the plan costs {10**15}"):
        await world.chain.send(plans.purchase(plan, world.subscriber.address, 1, 10**15, value=5), world.subscriber)
    with pytest.raises(PlanUnknown):
        await buy(world.chain, plans, world.subscriber, PlanId(b"\1" * 32))
    entry = Entry(world.subscriber.address, 1, 1)
    with pytest.raises(NodeNotAuthorised):
        await world.chain.send(plans.settle(did, plan, 1, [entry]), world.subscriber)
    assert await world.chain.balance(world.subscriber.address) == before


async def test_a_paused_plan_and_a_sold_out_plan_say_which_they_are(world: World) -> None:
    plans, paused, scarce = world.deployment.plans, await world.plan("paused"), await world.plan("scarce", supply=1)
    await world.chain.send(plans.set_paused(paused, True), world.builder)
    with pytest.raises(PlanNotOnSale, match="its owner has paused sales"):
        await buy(world.chain, plans, world.subscriber, paused)
    with pytest.raises(SoldOut, match="1 units left, 2 were asked for"):
        await buy(world.chain, plans, world.subscriber, scarce, units=2)


async def test_an_assistant_needs_a_plan_of_its_owner_and_a_node_that_is_registered(
    world: World, tmp_path: Path
) -> None:
    plan = await world.plan()
    with pytest.raises(PlanUnknown):
        await world.assistant(PlanId(b"\1" * 32))
    with pytest.raises(PlanNotUsable, match="belongs to"):
        await register_assistant(world.chain, world.deployment, world.store, world.subscriber, world.draft(plan))
    with pytest.raises(NodeUnknown, match=world.subscriber.address):
        await world.assistant(plan, nodes=[world.subscriber.address])
    with pytest.raises(InvalidInput, match="at least one access node"):
        await world.assistant(plan, nodes=[])
    await world.chain.send(world.deployment.nodes.retire(), world.node)
    with pytest.raises(NodeNotUsable):
        await world.assistant(plan)
    assert not any(b"Math tutor" in path.read_bytes() for path in files(tmp_path))


async def test_a_batch_is_applied_once_and_within_its_rule(world: World) -> None:
    plans, plan = world.deployment.plans, await world.plan()
    did = await world.assistant(plan)
    await buy(world.chain, plans, world.subscriber, plan)
    one = plans.settle(did, plan, 1, [Entry(world.subscriber.address, 1, 5)])
    await world.chain.send(one, world.node)
    with pytest.raises(WrongBatch, match="batch 1 was submitted, the next one is 2"):
        await world.chain.send(one, world.node)
    with pytest.raises(OutsideRule, match="3 calls, which cost 3 to 15 in all"):
        await world.chain.send(plans.settle(did, plan, 2, [Entry(world.subscriber.address, 3, 16)]), world.node)


async def test_a_wallet_without_money_is_told_what_it_has_and_needs(world: World) -> None:
    poor, plan = LocalWallet.create(), await world.plan()
    with pytest.raises(InsufficientFunds, match=f"{poor.address} has 0 wei"):
        await buy(world.chain, world.deployment.plans, poor, plan)
    with pytest.raises(InsufficientFunds, match="has 0 wei and needs"):
        await world.chain.send(
            world.deployment.nodes.register(public_key_of(generate_private_key()), "https://x"), poor
        )


# ---------------------------------------------------------------------------------------------- transactions, blocks


async def test_many_transactions_of_one_wallet_at_the_same_time_all_arrive(world: World) -> None:
    plan = await world.plan()
    accounts = [LocalWallet.create().address for _ in range(20)]
    grants = [world.deployment.plans.grant(plan, account) for account in accounts]
    receipts = await asyncio.gather(*(world.chain.send(grant, world.builder) for grant in grants))
    assert len({receipt.tx_hash for receipt in receipts}) == 20
    views = await world.chain.call(world.deployment.views.accounts([(plan, account) for account in accounts]))
    assert [view.spendable for view in views] == [100] * 20


async def test_reads_are_of_the_block_that_is_named(world: World) -> None:
    plan = await world.plan()
    before = await world.chain.block_number()
    await buy(world.chain, world.deployment.plans, world.subscriber, plan)
    view = world.deployment.views.account(plan, world.subscriber.address)
    assert (await world.chain.call(view, before)).spendable == 0
    assert (await world.chain.call(view, before)).block == before
    assert (await world.chain.call(view)).spendable == 100


async def test_logs_can_be_asked_for_by_name_and_subscriber(world: World) -> None:
    plan, plans = await world.plan(), world.deployment.plans
    await buy(world.chain, plans, world.subscriber, plan)
    await buy(world.chain, plans, world.builder, plan, units=3)
    head = await world.chain.block_number()
    topics = [event_topics("Purchased"), topic(plan.value), topic(world.builder.address)]
    [event] = await world.chain.logs([plans.address], 0, head, topics)
    assert (event.name, event.args["units"], event.args["paid"], event.block) == ("Purchased", 3, 3 * 10**15, head)
    everything = await world.chain.logs([plans.address], 0, head)
    assert [e.name for e in everything].count("TransferSingle") == 2


async def test_a_transaction_that_is_not_mined_is_found_again_by_its_hash(world: World) -> None:
    plan = await world.plan()
    await world.chain.rpc("evm_setAutomine", [False])
    grant = world.deployment.plans.grant(plan, world.subscriber.address)
    with pytest.raises(TransactionPending) as caught:
        await world.chain.send(grant, world.builder, patience=0.3)
    assert await world.chain.receipt(caught.value.tx_hash) is None
    await world.chain.rpc("evm_mine")
    receipt = await world.chain.wait(caught.value.tx_hash)
    assert receipt.event("Granted", world.deployment.plan_registry).args["units"] == 1


async def test_a_signed_transaction_can_be_sent_twice_and_replaced_with_higher_fees(world: World) -> None:
    plan = await world.plan()
    await world.chain.rpc("evm_setAutomine", [False])
    grant = world.deployment.plans.grant(plan, world.subscriber.address)
    nonce = await world.chain.nonce(world.builder.address)
    first = await world.chain.sign(grant, world.builder, nonce=nonce, fees=Fees(3 * 10**9, 10**9))
    assert await world.chain.broadcast(first.raw) == first.tx_hash
    assert await world.chain.broadcast(first.raw) == first.tx_hash
    second = await world.chain.sign(grant, world.builder, nonce=nonce, fees=first.fees.bumped(), gas=first.gas)
    await world.chain.broadcast(second.raw)
    await world.chain.rpc("evm_mine")
    assert await world.chain.receipt(first.tx_hash) is None
    assert (await world.chain.wait(second.tx_hash)).block
    with pytest.raises(TransactionFailed, match="nonce too low"):
        await world.chain.broadcast(first.raw)


async def test_a_race_that_is_lost_in_the_block_is_explained(world: World) -> None:
    plans, plan = world.deployment.plans, await world.plan("scarce", supply=1)
    await world.chain.rpc("evm_setAutomine", [False])
    rivals = [asyncio.create_task(buy(world.chain, plans, who, plan)) for who in (world.builder, world.subscriber)]
    while len((await world.chain.rpc("txpool_content"))["pending"]) < 2:  # noqa: ASYNC110 (another process's state)
        await asyncio.sleep(0.02)
    await world.chain.rpc("evm_mine")
    results = await asyncio.gather(*rivals, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Receipt", "SoldOut"]


async def test_an_unlocked_account_signs_what_everybody_can_verify(world: World) -> None:
    local = LocalWallet(Secret(KEYS[2]))
    assert await world.node.sign_message("hello") == await local.sign_message("hello")
    recovered = Account.recover_message(encode_defunct(text="hello"), signature=await world.node.sign_message("hello"))
    assert recovered == world.node.address
    plan = await world.plan()
    vouchers = [
        await sign_voucher(w, CHAIN_ID, world.deployment.plan_registry, plan, 2**80) for w in (world.node, local)
    ]
    assert vouchers[0] == vouchers[1]


async def test_a_chain_that_goes_away_is_unavailable_and_nothing_else() -> None:
    async with anvil() as process, open_chain(process.url) as chain:
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.sleep(0.2)
        with pytest.raises(ChainUnavailable, match="nothing answers at"):
            await chain.block_number()
        with pytest.raises(ChainUnavailable, match="nothing answers at"):
            await buy(chain, Deployment.standard().plans, SUBSCRIBER, PlanId(b"\1" * 32))
