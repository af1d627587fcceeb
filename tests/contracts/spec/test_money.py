"""PlanRegistry, the money: refunds for the subscriber, earnings for the payees, and nothing that gets lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eth_utils.crypto import keccak

from nvm_chain.abi import ZERO_ADDRESS
from tests.contracts.spec.conftest import DAY, PRICE, Refused, World
from tests.solidity import compile_token

HOUR = 3_600
UNKNOWN = b"\x01" * 32


# ------------------------------------------------------------------------------------------------------------ refunds


def test_unused_credits_come_back_after_the_cooldown(world: World, refused: Refused) -> None:
    plan = world.plan(refundCooldown=HOUR)
    did = world.asset(plan)
    world.buy(plan)
    world.settle(did, plan, 1, world.entry(5, 25))
    who = world.subscriber
    receipt = world.plans.announceRefund(plan, sender=who)
    available = world.now() + HOUR
    assert [e.availableAt for e in receipt.decode_logs(world.plans.RefundAnnounced)] == [available]
    assert world.plans.refundAvailableAt(plan, who) == available
    with refused("RefundNotAvailable", availableAt=available):
        world.plans.takeRefund(plan, who, sender=who)
    world.later(HOUR)
    assert tuple(world.plans.refundOf(plan, who)) == (75, 75 * PRICE // 100, available)
    before = world.stranger.balance
    world.plans.takeRefund(plan, world.stranger, sender=who)
    assert world.stranger.balance - before == 75 * PRICE // 100
    assert world.plans.account(plan, who).balance == 0
    assert world.plans.earnings(plan, world.builder) == 25 * PRICE // 100


def test_settlement_goes_on_during_the_cooldown(world: World) -> None:
    plan = world.plan(refundCooldown=HOUR)
    did = world.asset(plan)
    world.buy(plan)
    world.plans.announceRefund(plan, sender=world.subscriber)
    world.settle(did, plan, 1, world.entry(8, 40))
    world.later(HOUR)
    assert tuple(world.plans.refundOf(plan, world.subscriber))[:2] == (60, 60 * PRICE // 100)


def test_time_that_did_not_elapse_comes_back(world: World) -> None:
    plan = world.plan(creditsPerUnit=0, duration=10 * DAY, price=10 * DAY, refundCooldown=HOUR)
    world.buy(plan)
    bought = world.now()
    world.plans.announceRefund(plan, sender=world.subscriber)
    world.later(DAY)
    world.plans.takeRefund(plan, world.subscriber, sender=world.subscriber)
    elapsed = world.now() - bought
    assert world.plans.earnings(plan, world.builder) == elapsed
    assert world.plans.balanceOf(world.subscriber, int.from_bytes(plan, "big")) == 0


def test_a_refund_can_be_called_off(world: World, refused: Refused) -> None:
    plan = world.plan(refundCooldown=HOUR)
    world.buy(plan)
    with refused("RefundNotAvailable", availableAt=0):
        world.plans.cancelRefund(plan, sender=world.subscriber)
    world.plans.announceRefund(plan, sender=world.subscriber)
    world.plans.cancelRefund(plan, sender=world.subscriber)
    world.later(HOUR)
    with refused("RefundNotAvailable", availableAt=0):
        world.plans.takeRefund(plan, world.subscriber, sender=world.subscriber)


def test_a_plan_without_refunds_refuses_each_step(world: World, refused: Refused) -> None:
    plan, who = world.plan(), world.subscriber
    world.buy(plan)
    steps: list[Callable[[], Any]] = [
        lambda: world.plans.announceRefund(plan, sender=who),
        lambda: world.plans.cancelRefund(plan, sender=who),
        lambda: world.plans.takeRefund(plan, who, sender=who),
        lambda: world.plans.accrue(plan, who, sender=who),
    ]
    for step in steps:
        with refused("NotRefundable", planId=plan):
            step()


def test_who_bought_nothing_has_nothing_to_refund(world: World, refused: Refused) -> None:
    plan = world.plan(refundCooldown=HOUR)
    world.plans.grant(plan, world.subscriber, 1, sender=world.builder)
    with refused("NothingToRefund", planId=plan, subscriber=world.subscriber):
        world.plans.announceRefund(plan, sender=world.subscriber)


def test_what_expired_is_earned_and_not_refunded(world: World) -> None:
    plan = world.plan(duration=DAY, refundCooldown=HOUR)
    world.buy(plan)
    assert world.plans.earnings(plan, world.builder) == 0
    world.later(DAY + 60)
    world.plans.accrue(plan, world.subscriber, sender=world.stranger)
    assert world.plans.earnings(plan, world.builder) == PRICE
    assert tuple(world.plans.refundOf(plan, world.subscriber))[:2] == (0, 0)


# ----------------------------------------------------------------------------------------------------------- earnings


def test_payees_get_their_shares_and_the_remainder_is_not_lost(world: World) -> None:
    plan = world.plan(price=101, payees=[(world.builder, 3_333), (world.stranger, 6_667)])
    world.buy(plan)
    first, second = (world.plans.earnings(plan, who) for who in (world.builder, world.stranger))
    assert (first, second) == (34, 67)
    before = world.stranger.balance
    receipt = world.plans.withdraw(plan, world.stranger, sender=world.node)
    assert world.stranger.balance - before == 67
    [event] = receipt.decode_logs(world.plans.Withdrawn)
    assert (event.payee, event.to, event.token, event.amount) == (world.stranger, world.stranger, ZERO_ADDRESS, 67)


def test_nobody_withdraws_twice_or_what_is_not_theirs(world: World, refused: Refused) -> None:
    plan = world.plan()
    world.buy(plan)
    world.plans.withdraw(plan, world.builder, sender=world.builder)
    for who in (world.builder, world.stranger):
        with refused("NothingToWithdraw", planId=plan, account=who):
            world.plans.withdraw(plan, who, sender=who)
        with refused("NothingToWithdraw", planId=plan, account=who):
            world.plans.withdrawTo(plan, world.node, sender=who)


def test_a_payee_that_cannot_receive_sends_its_share_elsewhere(world: World, refused: Refused) -> None:
    plan = world.plan(payees=[(world.lens, 10_000)])
    world.buy(plan)
    with refused("TransferFailed", token=ZERO_ADDRESS, to=world.lens.address, amount=PRICE):
        world.plans.withdraw(plan, world.lens, sender=world.stranger)
    assert world.plans.earnings(plan, world.lens) == PRICE


def test_a_protocol_fee_comes_off_what_payees_withdraw(world: World) -> None:
    from ape.contracts import ContractContainer

    registry: ContractContainer = ContractContainer(world.plans.contract_type)
    plans = world.builder.deploy(registry, world.stranger, 250, world.nodes, world.plans.signatureValidator())
    salt = world.salt()
    plans.createPlan(salt, world.terms(), [], bytes(32), sender=world.builder)
    plan = plans.planIdOf(world.builder, salt)
    plans.purchase(plan, world.subscriber, 1, PRICE, value=PRICE, sender=world.subscriber)
    assert plans.earnings(plan, world.stranger) == PRICE * 250 // 10_000
    assert plans.earnings(plan, world.builder) == PRICE - PRICE * 250 // 10_000


def test_a_function_that_moves_value_is_not_entered_again(world: World) -> None:
    from ape.contracts import ContractContainer
    from ethpm_types import ContractType

    abi, code = compile_token("ReentrantToken", "Hostile")
    kind = {"contractName": abi.name, "abi": list(abi.entries), "deploymentBytecode": {"bytecode": "0x" + code.hex()}}
    token = world.builder.deploy(ContractContainer(ContractType.model_validate(kind)))
    plan, who = world.plan(token=token.address), world.subscriber
    token.mint(who, 2 * PRICE, sender=who)
    token.approve(world.plans, 2 * PRICE, sender=who)
    token.arm(world.plans, world.plans.purchase.encode_input(plan, who, 1, PRICE), True, sender=who)
    world.plans.purchase(plan, who, 1, PRICE, sender=who)
    assert (token.attempts(), token.succeeded()) == (1, False)
    assert bytes(token.result()) == keccak(text="Reentered()")[:4]
    assert world.plans.account(plan, who).balance == 100
