"""PlanRegistry, settling: a node takes what it served, once, within the rule, and never more than there is."""

from __future__ import annotations

import pytest
from eth_account.messages import encode_typed_data

from nvm_chain.plans import PlanId
from nvm_chain.vouchers import voucher_typed_data
from tests.contracts.spec.conftest import DAY, Refused, World

STOP = "0x00"


def sign(world: World, plan: bytes, ceiling: int) -> tuple[int, bytes]:
    typed = voucher_typed_data(31337, world.plans.address, PlanId(plan), world.subscriber.address, ceiling)
    signature = world.subscriber.sign_message(encode_typed_data(full_message=typed))
    return ceiling, bytes(signature.encode_rsv())


def test_a_batch_takes_the_credits_of_each_subscriber_and_says_so(world: World) -> None:
    plan = world.plan()
    did = world.asset(plan)
    world.buy(plan)
    world.buy(plan, who=world.stranger)
    receipt = world.settle(did, plan, 1, world.entry(3, 7), world.entry(1, 5, world.stranger))
    [event] = receipt.decode_logs(world.plans.Settled)
    assert (event.did, event.planId, event.node, event.batch) == (did, plan, world.node, 1)
    assert (event.calls, event.credits, event.taken) == (4, 12, 12)
    first, second = (world.plans.account(plan, who) for who in (world.subscriber, world.stranger))
    assert (first.balance, first.consumed) == (93, 7)
    assert (second.balance, second.consumed) == (95, 5)


def test_batches_are_numbered_and_each_is_applied_once(world: World, refused: Refused) -> None:
    plan = world.plan()
    did = world.asset(plan)
    world.buy(plan)
    assert world.plans.nextBatch(did, plan, world.node) == 1
    world.settle(did, plan, 1, world.entry(1, 1))
    for wrong in (0, 1, 3):
        with refused("WrongBatch", batch=wrong, expected=2):
            world.settle(did, plan, wrong, world.entry(1, 1))
    world.settle(did, plan, 2, world.entry(1, 1))
    assert world.plans.nextBatch(did, plan, world.node) == 3


def test_an_empty_batch_is_refused(world: World, refused: Refused) -> None:
    plan = world.plan()
    did = world.asset(plan)
    with refused("EmptyBatch"):
        world.settle(did, plan, 1)


def test_only_a_node_of_the_asset_settles_and_only_under_a_plan_that_opens_it(world: World, refused: Refused) -> None:
    plan, other = world.plan(), world.plan()
    did = world.asset(plan)
    world.buy(plan)
    with refused("NodeNotAuthorised", did=did, planId=plan, node=world.stranger):
        world.plans.settle(did, plan, 1, bytes(32), [world.entry(1, 1)], sender=world.stranger)
    with refused("NodeNotAuthorised", did=did, planId=other, node=world.node):
        world.settle(did, other, 1, world.entry(1, 1))


@pytest.mark.parametrize(("calls", "credits"), [(1, 0), (1, 6), (3, 2), (3, 16), (0, 1)])
def test_credits_are_within_the_rule_of_the_calls(world: World, refused: Refused, calls: int, credits: int) -> None:
    plan = world.plan()
    did = world.asset(plan, low=1, high=5)
    world.buy(plan)
    with refused("OutsideRule", index=1, calls=calls, credits=credits, min=calls, max=5 * calls):
        world.settle(did, plan, 1, world.entry(1, 1), world.entry(calls, credits))


def test_what_the_balance_does_not_cover_is_reported_and_not_taken(world: World) -> None:
    plan = world.plan(creditsPerUnit=4)
    did = world.asset(plan)
    world.buy(plan)
    receipt = world.settle(did, plan, 1, world.entry(2, 10), world.entry(1, 1, world.stranger))
    shortfalls = [(e.subscriber, e.missing) for e in receipt.decode_logs(world.plans.Shortfall)]
    assert shortfalls == [(world.subscriber, 6), (world.stranger, 1)]
    [event] = receipt.decode_logs(world.plans.Settled)
    assert (event.credits, event.taken) == (11, 4)
    assert world.plans.account(plan, world.subscriber).balance == 0


def test_credits_that_expired_after_the_call_can_still_be_settled(world: World) -> None:
    plan = world.plan(duration=DAY)
    did = world.asset(plan)
    world.buy(plan)
    world.later(DAY + 60)
    world.settle(did, plan, 1, world.entry(1, 5))
    assert world.plans.account(plan, world.subscriber).consumed == 5


# ----------------------------------------------------------------------------------------------------------- vouchers


def test_a_voucher_caps_what_is_consumed_in_all(world: World) -> None:
    plan = world.plan(voucherRequired=True)
    did = world.asset(plan)
    world.buy(plan)
    for batch, (ceiling, taken, missing) in enumerate([(4, 4, 1), (6, 2, 3), (20, 5, 0)], start=1):
        receipt = world.plans.settleWithVouchers(
            did, plan, batch, bytes(32), [world.entry(1, 5)], [sign(world, plan, ceiling)], sender=world.node
        )
        assert [e.taken for e in receipt.decode_logs(world.plans.Settled)] == [taken]
        assert sum(e.missing for e in receipt.decode_logs(world.plans.Shortfall)) == missing
    assert world.plans.account(plan, world.subscriber).consumed == 11


def test_a_voucher_plan_settles_with_one_voucher_per_entry(world: World, refused: Refused) -> None:
    plan = world.plan(voucherRequired=True)
    did = world.asset(plan)
    world.buy(plan)
    with refused("VouchersRequired", planId=plan, vouchers=0, entries=1):
        world.settle(did, plan, 1, world.entry(1, 1))
    with refused("VouchersRequired", planId=plan, vouchers=1, entries=2):
        entries = [world.entry(1, 1), world.entry(1, 1, world.stranger)]
        vouchers = [sign(world, plan, 9)]
        world.plans.settleWithVouchers(did, plan, 1, bytes(32), entries, vouchers, sender=world.node)


def test_a_voucher_is_good_for_its_plan_and_its_ceiling_alone(world: World, refused: Refused) -> None:
    plan, other = world.plan(voucherRequired=True), world.plan(voucherRequired=True)
    did = world.asset(plan)
    world.buy(plan)
    _, signature = sign(world, plan, 5)
    for voucher in ((50, signature), sign(world, other, 50), (50, b""), (50, b"\x00" * 65)):
        with refused("InvalidVoucher", index=0, subscriber=world.subscriber, ceiling=50):
            world.plans.settleWithVouchers(did, plan, 1, bytes(32), [world.entry(1, 5)], [voucher], sender=world.node)


def test_a_wallet_that_does_not_accept_its_voucher_fails_its_own_entry_only(world: World, refused: Refused) -> None:
    plan = world.plan(voucherRequired=True)
    did = world.asset(plan)
    world.buy(plan)
    world.buy(plan, who=world.stranger)
    world.chain.provider.set_code(world.stranger.address, STOP)  # a contract wallet that answers nothing
    entries = [world.entry(1, 5, world.stranger), world.entry(1, 4)]
    batch = did, plan, 1, bytes(32), entries, [(50, b""), sign(world, plan, 50)]
    with refused("GasTooLow", index=0, needed=world.plans.VOUCHER_GAS() * 64 // 63 + 5_000):
        world.plans.settleWithVouchers(*batch, sender=world.node, gas=900_000)
    receipt = world.plans.settleWithVouchers(*batch, sender=world.node)
    assert [(e.subscriber, e.missing) for e in receipt.decode_logs(world.plans.Shortfall)] == [(world.stranger, 5)]
    assert [e.taken for e in receipt.decode_logs(world.plans.Settled)] == [4]
