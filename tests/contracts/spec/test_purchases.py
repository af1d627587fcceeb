"""PlanRegistry, buying: what a unit costs and gives, and every way in which a purchase is refused."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from nvm_chain.abi import ZERO_ADDRESS
from nvm_chain.cid import Cid
from tests.contracts.spec.conftest import DAY, ETHER, METADATA, PRICE, Refused, World

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


def test_nobody_is_anybodys_operator(world: World) -> None:
    assert world.plans.isApprovedForAll(world.subscriber, world.stranger) is False
    assert world.plans.isApprovedForAll(world.subscriber, world.subscriber) is False


def test_the_registry_says_which_interfaces_it_has(world: World) -> None:
    erc165, erc1155, metadata = (bytes.fromhex(text) for text in ("01ffc9a7", "d9b67a26", "0e89341c"))
    assert all(world.plans.supportsInterface(name) for name in (erc165, erc1155, metadata))
    assert not any(world.plans.supportsInterface(name) for name in (b"\xff" * 4, bytes(4), bytes.fromhex("80ac58cd")))


def test_a_plans_uri_is_the_content_address_of_its_metadata(world: World, refused: Refused) -> None:
    assert world.plans.uri(token_id(world.plan())) == f"ipfs://{Cid.from_digest(METADATA)}"
    salt = world.salt()
    world.plans.createPlan(salt, world.terms(), [], bytes(32), sender=world.builder)
    assert world.plans.uri(token_id(world.plans.planIdOf(world.builder, salt))) == ""
    with refused("PlanUnknown", planId=UNKNOWN):
        world.plans.uri(token_id(UNKNOWN))


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


def typed(world: World, kind: str, fields: str, message: dict[str, Any]) -> bytes:
    """The subscriber's signature over a struct of the token's."""
    names = [field.split() for field in fields.split(",")]
    domain = {
        "name": world.token.name(),
        "version": world.token.version(),
        "chainId": 31337,
        "verifyingContract": world.token.address,
    }
    full = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            kind: [{"name": name, "type": type_} for type_, name in names],
        },
        "primaryType": kind,
        "domain": domain,
        "message": message,
    }
    return bytes(world.subscriber.sign_message(encode_typed_data(full_message=full)).encode_rsv())


def test_a_permit_pays_for_a_purchase_in_one_transaction(world: World, refused: Refused) -> None:
    plan, who = world.plan(token=world.token.address), world.subscriber
    world.token.mint(who, 2 * PRICE, sender=who)
    deadline = world.now() + DAY
    fields = "address owner,address spender,uint256 value,uint256 nonce,uint256 deadline"
    message = {
        "owner": who.address,
        "spender": world.plans.address,
        "value": 2 * PRICE,
        "nonce": 0,
        "deadline": deadline,
    }
    signed = typed(world, "Permit", fields, message)
    v, r, s = signed[64], signed[:32], signed[32:64]
    with refused("TransferFailed", amount=PRICE):  # a permit for another amount is none
        world.plans.purchaseWithPermit(plan, who, 1, PRICE, deadline, v, r, s, sender=who)
    receipt = world.plans.purchaseWithPermit(plan, world.stranger, 2, 2 * PRICE, deadline, v, r, s, sender=who)
    [event] = receipt.decode_logs(world.plans.Purchased)
    assert (event.subscriber, event.payer, event.units, event.paid) == (world.stranger, who, 2, 2 * PRICE)
    assert world.plans.balanceOf(world.stranger, token_id(plan)) == 200
    assert (world.token.balanceOf(who), world.token.balanceOf(world.plans)) == (0, 2 * PRICE)


def test_an_authorisation_pays_for_what_was_signed_whoever_submits_it(world: World, refused: Refused) -> None:
    plan, who, relayer = world.plan(token=world.token.address), world.subscriber, world.stranger
    world.token.mint(who, PRICE, sender=who)
    salt, before = b"\x05" * 32, world.now() + DAY
    nonce = world.plans.authorisationNonce(plan, who, 1, salt)
    kinds = ["uint256", "address", "bytes32", "address", "uint48", "bytes32"]
    assert nonce == keccak(encode(kinds, [31337, world.plans.address, plan, who.address, 1, salt]))
    fields = "address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce"
    message = {
        "from": who.address,
        "to": world.plans.address,
        "value": PRICE,
        "validAfter": 0,
        "validBefore": before,
        "nonce": nonce,
    }
    signed = typed(world, "ReceiveWithAuthorization", fields, message)
    with refused("TransferFailed", amount=PRICE):  # the relayer helps itself
        world.plans.purchaseWithAuthorisation(plan, relayer, 1, who, salt, 0, before, signed, sender=relayer)
    receipt = world.plans.purchaseWithAuthorisation(plan, who, 1, who, salt, 0, before, signed, sender=relayer)
    [event] = receipt.decode_logs(world.plans.Purchased)
    assert (event.subscriber, event.payer, event.units, event.paid) == (who, who, 1, PRICE)
    assert world.plans.balanceOf(who, token_id(plan)) == 100
    with refused("TransferFailed", amount=PRICE):  # once
        world.plans.purchaseWithAuthorisation(plan, who, 1, who, salt, 0, before, signed, sender=relayer)


def test_permits_and_authorisations_are_for_token_plans(world: World, refused: Refused) -> None:
    plan, who, zero = world.plan(), world.subscriber, bytes(32)
    with refused("TokenRequired", planId=plan):
        world.plans.purchaseWithPermit(plan, who, 1, PRICE, 2**40, 27, zero, zero, sender=who)
    with refused("TokenRequired", planId=plan):
        world.plans.purchaseWithAuthorisation(plan, who, 1, who, zero, 0, 2**40, b"\x01" * 65, sender=world.stranger)
