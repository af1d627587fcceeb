"""Buying a plan: native currency, ERC-20 with approval or permit, or an authorisation that somebody else submits."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from nvm_chain.abi import Call
from nvm_chain.chain import Chain, Receipt
from nvm_chain.errors import InvalidInput, TransactionFailed
from nvm_chain.plans import Plan, PlanId, PlanRegistry
from nvm_chain.tokens import Token
from nvm_chain.wallet import Wallet

PERMIT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Authorisation:
    """A payer's signed EIP-3009 payment for one purchase; it can pay for nothing else. Submit it with `call`."""

    plan_id: PlanId
    subscriber: str
    units: int
    payer: str
    salt: bytes
    valid_after: int
    valid_before: int
    signature: bytes

    def call(self, plans: PlanRegistry) -> Call[None]:
        """The purchase, for anybody to send."""
        return plans.purchase_with_authorisation(
            self.plan_id, self.subscriber, self.units, self.payer,
            self.salt, self.valid_after, self.valid_before, self.signature,
        )  # fmt: skip


async def purchase_call(
    chain: Chain,
    plans: PlanRegistry,
    plan_id: PlanId,
    subscriber: str,
    *,
    units: int = 1,
    max_price: int | None = None,
) -> tuple[Plan, Call[None]]:
    """The plan, and the call that buys `units` at today's price. max_price: base units; None accepts that price."""
    plan = await chain.call(plans.plan(plan_id))
    due = plan.terms.due(units)
    bound = due if max_price is None else max_price
    value = due if plan.terms.is_native else 0
    return plan, plans.purchase(plan_id, subscriber, units, bound, value)


async def buy(
    chain: Chain,
    plans: PlanRegistry,
    wallet: Wallet,
    plan_id: PlanId,
    *,
    units: int = 1,
    subscriber: str | None = None,
    max_price: int | None = None,
) -> Receipt:
    """Buys units with the wallet's money, for itself or as a gift; approves a token for exactly the price if needed.

    Raises ContractRefused, InsufficientFunds, or TransactionFailed when the wallet has too little of the token.
    """
    for_whom = subscriber or wallet.address
    plan, call = await purchase_call(chain, plans, plan_id, for_whom, units=units, max_price=max_price)
    if not plan.terms.is_native and plan.on_sale:
        await approve(chain, Token(plan.terms.token), wallet, plans.address, plan.terms.due(units))
    return await chain.send(call, wallet)


async def approve(chain: Chain, token: Token, wallet: Wallet, spender: str, amount: int) -> Receipt | None:
    """Makes the allowance cover `amount` base units; None when it does already. Raises TransactionFailed."""
    balance = await chain.call(token.balance_of(wallet.address))
    if balance < amount:
        raise TransactionFailed(
            f"{wallet.address} has {balance} base units of token {token.address}, the price is {amount}: get more of it"
        )
    allowance = await chain.call(token.allowance(wallet.address, spender))
    if allowance >= amount:
        return None
    if allowance:
        # Tokens like USDT refuse to change an allowance that is not zero.
        await chain.send(token.approve(spender, 0), wallet)
    return await chain.send(token.approve(spender, amount), wallet)


async def buy_with_permit(
    chain: Chain, plans: PlanRegistry, wallet: Wallet, plan_id: PlanId, *, units: int = 1, subscriber: str | None = None
) -> Receipt:
    """Buys on an ERC-2612 token in one transaction: the permit is signed, not sent."""
    plan = await chain.call(plans.plan(plan_id))
    due = plan.terms.due(units)
    deadline = (await chain.header()).timestamp + PERMIT_SECONDS
    signature = await _token(plan).sign_permit(chain, wallet, plans.address, due, deadline)
    call = plans.purchase_with_permit(plan_id, subscriber or wallet.address, units, due, deadline, signature)
    return await chain.send(call, wallet)


async def authorise(
    chain: Chain,
    plans: PlanRegistry,
    wallet: Wallet,
    plan_id: PlanId,
    *,
    units: int = 1,
    subscriber: str | None = None,
    valid_seconds: int = PERMIT_SECONDS,
) -> Authorisation:
    """Signs the payment for a purchase that somebody else submits and pays the gas for (EIP-3009, as USDC has)."""
    plan = await chain.call(plans.plan(plan_id))
    for_whom, salt = subscriber or wallet.address, secrets.token_bytes(32)
    nonce = await chain.call(plans.authorisation_nonce(plan_id, for_whom, units, salt))
    before = (await chain.header()).timestamp + valid_seconds
    signature = await _token(plan).sign_receive_authorisation(
        chain, wallet, plans.address, plan.terms.due(units), 0, before, nonce
    )
    return Authorisation(plan_id, for_whom, units, wallet.address, salt, 0, before, signature)


def _token(plan: Plan) -> Token:
    if plan.terms.is_native:
        raise InvalidInput(f"plan {plan.plan_id} is paid in the native currency: buy it with `buy`")
    return Token(plan.terms.token)
