"""PlanRegistry, the owner's side: creating, pausing, retiring, handing over and granting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from nvm_chain.abi import ZERO_ADDRESS
from tests.contracts.spec.conftest import DAY, METADATA, PRICE, Refused, World

UNKNOWN = b"\x01" * 32


def test_a_plans_id_follows_from_chain_contract_owner_and_salt(world: World) -> None:
    salt = world.salt()
    types = ["uint256", "address", "address", "bytes32"]
    expected = keccak(encode(types, [31337, world.plans.address, world.builder.address, salt]))
    assert world.plans.planIdOf(world.builder, salt) == expected
    receipt = world.plans.createPlan(salt, world.terms(), [], METADATA, sender=world.builder)
    [event] = receipt.decode_logs(world.plans.PlanCreated)
    assert (event.planId, event.owner, event.metadata) == (expected, world.builder, METADATA)


def test_a_new_plan_is_on_sale_with_the_terms_that_were_given(world: World) -> None:
    plan = world.plans.plan(world.plan(duration=DAY, purchaseLimit=2, supply=9))
    assert (plan.owner, plan.pendingOwner) == (world.builder, ZERO_ADDRESS)
    assert (plan.paused, plan.retired, plan.sold, plan.revenue) == (False, False, 0, 0)
    assert plan.metadata == METADATA
    assert tuple(plan.terms) == world.terms(duration=DAY, purchaseLimit=2, supply=9)


def test_a_salt_makes_one_plan(world: World, refused: Refused) -> None:
    salt = world.salt()
    world.plans.createPlan(salt, world.terms(), [], METADATA, sender=world.builder)
    with refused("PlanExists", planId=world.plans.planIdOf(world.builder, salt)):
        world.plans.createPlan(salt, world.terms(price=1), [], METADATA, sender=world.builder)
    world.plans.createPlan(salt, world.terms(), [], METADATA, sender=world.stranger)


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"creditsPerUnit": 0}, "a time plan needs a duration"),
        ({"creditsPerUnit": 0, "duration": DAY, "voucherRequired": True}, "a time plan has no credits to vouch for"),
        ({"price": 0, "token": "DevToken"}, "a free plan has no token"),
        ({"price": 0, "refundCooldown": DAY}, "a free plan has nothing to refund"),
        ({"token": "0x" + "77" * 20}, "the token has no code"),
        ({"refundCooldown": 3_599}, "the refund cooldown is shorter than MIN_REFUND_COOLDOWN"),
    ],
)
def test_terms_that_make_no_sense_are_refused(
    world: World, refused: Refused, terms: dict[str, Any], reason: str
) -> None:
    if terms.get("token") == "DevToken":
        terms = {**terms, "token": world.token.address}
    with refused("InvalidTerms", reason=reason):
        world.plan(**terms)


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ([("builder", 9_999)], "the shares are not 10,000 in all"),
        ([("builder", 10_000), ("stranger", 1)], "the shares are not 10,000 in all"),
        ([("builder", 10_000), ("stranger", 0)], "a payee has no share"),
        ([("builder", 5_000), ("builder", 5_000)], "a payee is named twice"),
        ([("nobody", 10_000)], "a payee is the zero address"),
        ([(f"0x{i:040x}", 1_111) for i in range(1, 10)], "more than 8 payees"),
    ],
)
def test_a_split_names_up_to_8_payees_who_share_everything(
    world: World, refused: Refused, shares: list[tuple[str, int]], reason: str
) -> None:
    people = {"builder": world.builder, "stranger": world.stranger, "nobody": ZERO_ADDRESS}
    with refused("InvalidSplit", reason=reason):
        world.plan(payees=[(people.get(name, name), share) for name, share in shares])


def test_payees_can_be_read_back(world: World) -> None:
    plan = world.plan(payees=[(world.builder, 7_500), (world.stranger, 2_500)])
    assert [tuple(payee) for payee in world.plans.payees(plan)] == [(world.builder, 7_500), (world.stranger, 2_500)]


# ------------------------------------------------------------------------------------------------- pause and retire


def test_sales_pause_and_resume(world: World, refused: Refused) -> None:
    plan = world.plan()
    world.plans.setPaused(plan, True, sender=world.builder)
    assert tuple(world.plans.planStatus(plan)) == (world.builder, False, False, False)
    with refused("PlanNotOnSale", planId=plan, retired=False):
        world.buy(plan)
    world.plans.setPaused(plan, False, sender=world.builder)
    world.buy(plan)


def test_a_retired_plan_sells_nothing_more_and_its_credits_stay_valid(world: World, refused: Refused) -> None:
    plan = world.plan()
    world.buy(plan)
    world.plans.retire(plan, sender=world.builder)
    calls: list[Callable[[], Any]] = [
        lambda: world.buy(plan),
        lambda: world.plans.setPaused(plan, False, sender=world.builder),
        lambda: world.plans.grant(plan, world.subscriber, 1, sender=world.builder),
    ]
    for call in calls:
        with refused("PlanNotOnSale", planId=plan, retired=True):
            call()
    assert world.plans.account(plan, world.subscriber).balance == 100


@pytest.mark.parametrize("change", ["setPaused", "retire", "offerPlan", "grant"])
def test_only_the_owner_changes_a_plan(world: World, refused: Refused, change: str) -> None:
    plan = world.plan()
    more: list[Any] = {"setPaused": [True], "retire": [], "offerPlan": [world.stranger], "grant": [world.stranger, 1]}[
        change
    ]
    with refused("NotPlanOwner", planId=plan, caller=world.stranger):
        getattr(world.plans, change)(plan, *more, sender=world.stranger)
    with refused("PlanUnknown", planId=UNKNOWN):
        getattr(world.plans, change)(UNKNOWN, *more, sender=world.stranger)


# ---------------------------------------------------------------------------------------------------------- hand-over


def test_a_plan_is_handed_over_in_two_steps(world: World, refused: Refused) -> None:
    plan = world.plan()
    world.plans.offerPlan(plan, world.stranger, sender=world.builder)
    assert world.plans.plan(plan).owner == world.builder
    with refused("NotPendingOwner", planId=plan, caller=world.subscriber):
        world.plans.acceptPlan(plan, sender=world.subscriber)
    world.plans.acceptPlan(plan, sender=world.stranger)
    assert (world.plans.plan(plan).owner, world.plans.plan(plan).pendingOwner) == (world.stranger, ZERO_ADDRESS)
    with refused("NotPlanOwner", planId=plan, caller=world.builder):
        world.plans.retire(plan, sender=world.builder)


def test_an_offer_of_a_plan_can_be_withdrawn(world: World, refused: Refused) -> None:
    plan = world.plan()
    world.plans.offerPlan(plan, world.stranger, sender=world.builder)
    world.plans.offerPlan(plan, ZERO_ADDRESS, sender=world.builder)
    with refused("NotPendingOwner", planId=plan, caller=world.stranger):
        world.plans.acceptPlan(plan, sender=world.stranger)


def test_what_a_plan_earned_before_the_hand_over_stays_with_who_earned_it(world: World) -> None:
    plan = world.plan()
    world.buy(plan)
    world.plans.offerPlan(plan, world.stranger, sender=world.builder)
    world.plans.acceptPlan(plan, sender=world.stranger)
    world.buy(plan, units=2)
    assert world.plans.earnings(plan, world.builder) == PRICE
    assert world.plans.earnings(plan, world.stranger) == 2 * PRICE


# ------------------------------------------------------------------------------------------------------------- grants


def test_a_grant_costs_nothing_and_counts_against_no_limit(world: World) -> None:
    plan = world.plan(purchaseLimit=1, supply=1)
    world.plans.setPaused(plan, True, sender=world.builder)
    receipt = world.plans.grant(plan, world.subscriber, 5, sender=world.builder)
    [event] = receipt.decode_logs(world.plans.Granted)
    assert (event.subscriber, event.units) == (world.subscriber, 5)
    account = world.plans.account(plan, world.subscriber)
    assert (account.balance, account.unitsBought) == (500, 0)
    assert world.plans.plan(plan).sold == 0


def test_a_grant_of_nothing_or_to_nobody_is_refused(world: World, refused: Refused) -> None:
    plan = world.plan()
    with refused("NoUnits"):
        world.plans.grant(plan, world.subscriber, 0, sender=world.builder)
    with refused("NoSubscriber"):
        world.plans.grant(plan, ZERO_ADDRESS, 1, sender=world.builder)


def test_an_account_never_holds_more_than_88_bits_of_credits(world: World, refused: Refused) -> None:
    plan = world.plan(creditsPerUnit=2**64 - 1)
    world.plans.grant(plan, world.subscriber, 2**24, sender=world.builder)
    with refused("LimitOverflow"):
        world.plans.grant(plan, world.subscriber, 2**20, sender=world.builder)


def test_a_fee_needs_a_recipient(world: World, refused: Refused) -> None:
    from ape.contracts import ContractContainer

    registry: ContractContainer = ContractContainer(world.plans.contract_type)
    for recipient, points in ((ZERO_ADDRESS, 1), (world.stranger, 10_001)):
        with refused("InvalidFee", basisPoints=points):
            world.builder.deploy(registry, recipient, points, world.nodes, world.plans.signatureValidator())
