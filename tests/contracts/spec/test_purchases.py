"""PlanRegistry, buying: what a unit costs and gives, and every way in which a purchase is refused."""

from __future__ import annotations

import pytest

from nvm_chain.abi import ZERO_ADDRESS
from tests.contracts.spec.conftest import DAY, ETHER, PRICE, Refused, World

UNKNOWN = b"\x01" * 32


def token_id(plan: bytes) -> int:
    return int.from_bytes(plan, "big")


def test_a_purchase_takes_exactly_the_price_and_gives_exactly_the_credits(world: World) -> None:
    plan = world.plan()
    before = world.plans.balance
    receipt = world.buy(plan, units=3)
    assert world.plans.balance - before == 3 * PRICE
    assert world.plans.balanceOf(world.subscriber, token_id(plan)) == 300
    [event] = receipt.decode_logs(world.plans.Purchased)
    who = (event.subscriber, event.payer)
    assert who == (world.subscriber, world.subscriber)
    assert (event.units, event.paid, event.expiry) == (3, 3 * PRICE, 0)
    assert world.plans.plan(plan).sold == 3


def test_anybody_may_pay_for_anybody(world: World) -> None:
    plan = world.plan()
    world.plans.purchase(plan, world.subscriber, 1, PRICE, value=PRICE, sender=world.stranger)
    assert world.plans.account(plan, world.subscriber).unitsBought == 1
    assert world.plans.account(plan, world.stranger).balance == 0


def test_buying_again_adds_credits(world: World) -> None:
    plan = world.plan()
    world.buy(plan)
    world.buy(plan)
    assert world.plans.account(plan, world.subscriber).balance == 200


@pytest.mark.parametrize("paid", [0, PRICE - 1, PRICE + 1])
def test_another_amount_is_refused(world: World, refused: Refused, paid: int) -> None:
    plan = world.plan()
    with refused("WrongPayment", paid=paid, due=PRICE):
        world.plans.purchase(plan, world.subscriber, 1, ETHER, value=paid, sender=world.subscriber)


def test_a_price_above_the_payers_bound_is_refused(world: World, refused: Refused) -> None:
    plan = world.plan()
    with refused("PriceAboveMaximum", due=2 * PRICE, maxPrice=2 * PRICE - 1):
        world.plans.purchase(plan, world.subscriber, 2, 2 * PRICE - 1, value=2 * PRICE, sender=world.subscriber)


def test_a_plan_that_does_not_exist_is_not_sold(world: World, refused: Refused) -> None:
    with refused("PlanUnknown", planId=UNKNOWN):
        world.plans.purchase(UNKNOWN, world.subscriber, 1, 0, sender=world.subscriber)


def test_nothing_is_not_sold_and_nobody_is_no_buyer(world: World, refused: Refused) -> None:
    plan = world.plan()
    with refused("NoUnits"):
        world.plans.purchase(plan, world.subscriber, 0, 0, sender=world.subscriber)
    with refused("NoSubscriber"):
        world.plans.purchase(plan, ZERO_ADDRESS, 1, PRICE, value=PRICE, sender=world.subscriber)


def test_a_contract_that_takes_no_erc1155_tokens_cannot_subscribe(world: World, refused: Refused) -> None:
    plan = world.plan()
    with refused("UnsafeRecipient", subscriber=world.lens.address):
        world.plans.purchase(plan, world.lens, 1, PRICE, value=PRICE, sender=world.subscriber)


def test_a_plan_sells_at_most_its_supply(world: World, refused: Refused) -> None:
    plan = world.plan(supply=3)
    world.buy(plan, units=2)
    with refused("SoldOut", planId=plan, asked=2, available=1):
        world.buy(plan, units=2)
    world.buy(plan, who=world.stranger)
    with refused("SoldOut", planId=plan, asked=1, available=0):
        world.buy(plan)


def test_an_account_buys_at_most_its_limit_gifts_included(world: World, refused: Refused) -> None:
    trial = world.plan(price=0, purchaseLimit=1)
    world.plans.purchase(trial, world.subscriber, 1, 0, sender=world.stranger)
    with refused("PurchaseLimitReached", subscriber=world.subscriber, asked=1, remaining=0):
        world.buy(trial)
    world.buy(trial, who=world.stranger)


def test_credits_are_soulbound(world: World, refused: Refused) -> None:
    plan = world.plan()
    world.buy(plan)
    owner, other = world.subscriber, world.stranger
    with refused("Soulbound"):
        world.plans.safeTransferFrom(owner, other, token_id(plan), 1, b"", sender=owner)
    with refused("Soulbound"):
        world.plans.safeBatchTransferFrom(owner, other, [token_id(plan)], [1], b"", sender=owner)
    with refused("Soulbound"):
        world.plans.setApprovalForAll(other, True, sender=owner)


def test_balances_of_many_need_as_many_ids(world: World, refused: Refused) -> None:
    plan = world.plan()
    world.buy(plan)
    accounts = [world.subscriber, world.stranger]
    assert world.plans.balanceOfBatch(accounts, [token_id(plan)] * 2) == [100, 0]
    with refused("LengthMismatch", left=2, right=1):
        world.plans.balanceOfBatch(accounts, [token_id(plan)])


# --------------------------------------------------------------------------------------------------------------- time


def test_a_time_plan_is_active_until_its_expiry_and_renewal_adds_time(world: World) -> None:
    plan = world.plan(creditsPerUnit=0, duration=DAY)
    world.buy(plan)
    first = world.plans.account(plan, world.subscriber).expiry
    assert first == world.now() + DAY
    assert world.plans.balanceOf(world.subscriber, token_id(plan)) == 1
    world.buy(plan)
    assert world.plans.account(plan, world.subscriber).expiry == first + DAY
    world.later(2 * DAY + 60)
    assert world.plans.balanceOf(world.subscriber, token_id(plan)) == 0


def test_a_renewal_after_the_expiry_starts_now(world: World) -> None:
    plan = world.plan(creditsPerUnit=0, duration=DAY)
    world.buy(plan)
    world.later(30 * DAY)
    world.buy(plan)
    assert world.plans.account(plan, world.subscriber).expiry == world.now() + DAY


def test_credits_that_expired_cannot_be_spent_and_are_cleared_away_by_the_next_purchase(world: World) -> None:
    plan = world.plan(duration=DAY)
    world.buy(plan)
    world.later(DAY + 60)
    assert world.plans.balanceOf(world.subscriber, token_id(plan)) == 0
    receipt = world.buy(plan)
    [event] = receipt.decode_logs(world.plans.CreditsExpired)
    assert (event.subscriber, event.credits) == (world.subscriber, 100)
    assert world.plans.balanceOf(world.subscriber, token_id(plan)) == 100


# ------------------------------------------------------------------------------------------------------------- tokens


def test_a_token_plan_is_paid_in_its_token_and_in_nothing_else(world: World, refused: Refused) -> None:
    plan, who = world.plan(token=world.token.address), world.subscriber
    world.token.mint(who, 3 * PRICE, sender=who)
    with refused("TransferFailed", token=world.token.address, to=world.plans.address, amount=PRICE):
        world.plans.purchase(plan, who, 1, PRICE, sender=who)
    world.token.approve(world.plans, 3 * PRICE, sender=who)
    with refused("WrongPayment", paid=1, due=0):
        world.plans.purchase(plan, who, 1, PRICE, value=1, sender=who)
    world.plans.purchase(plan, who, 3, 3 * PRICE, sender=who)
    assert world.token.balanceOf(world.plans) == 3 * PRICE
    assert world.plans.account(plan, who).balance == 300


def test_permits_and_authorisations_are_for_token_plans(world: World, refused: Refused) -> None:
    plan, who, zero = world.plan(), world.subscriber, bytes(32)
    with refused("TokenRequired", planId=plan):
        world.plans.purchaseWithPermit(plan, who, 1, PRICE, 2**40, 27, zero, zero, sender=who)
    with refused("TokenRequired", planId=plan):
        world.plans.purchaseWithAuthorisation(plan, who, 1, who, zero, 0, 2**40, b"\x01" * 65, sender=world.stranger)
