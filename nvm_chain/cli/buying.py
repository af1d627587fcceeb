"""nvm-chain plan buy, renew, gift, refund: what a subscriber does with a plan."""

from __future__ import annotations

from typing import Any

import click

from nvm_chain.amounts import format_duration
from nvm_chain.cli.output import Moment, Money
from nvm_chain.cli.session import Session, action
from nvm_chain.cli.transactions import submit, transaction
from nvm_chain.cli.types import ADDRESS, PLAN
from nvm_chain.errors import InvalidInput, TransactionFailed
from nvm_chain.plans import PlanId
from nvm_chain.purchases import approve, purchase_call
from nvm_chain.tokens import Token

_units = click.option("--units", type=click.IntRange(1), default=1, show_default=True)
_max_price = click.option("--max-price", metavar="AMOUNT", help="Refuse to pay more than this in all.")


@click.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@_units
@click.option("--for", "subscriber", type=ADDRESS, help="Who gets the credits; by default the wallet itself.")
@_max_price
@action
async def buy(session: Session, plan_id: PlanId, units: int, subscriber: str | None, max_price: str | None) -> None:
    """Buy units of a plan, for yourself or as a gift."""
    await _buy(session, plan_id, units, subscriber, max_price, "Buy")


@click.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@_units
@_max_price
@action
async def renew(session: Session, plan_id: PlanId, units: int, max_price: str | None) -> None:
    """Buy more of a plan that your wallet holds: credits are added, time goes on from where it would end."""
    async with session.chain() as chain:
        who = session.wallet(chain).address
        held = (await chain.call(session.deployment.views.account(plan_id, who))).account
    if not (held.balance or held.consumed or held.expiry or held.units_bought):
        raise InvalidInput(f"{who} never held plan {plan_id}: buy it with `nvm-chain plan buy {plan_id}`")
    await _buy(session, plan_id, units, None, max_price, "Renew")


@click.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@click.argument("subscriber", type=ADDRESS, metavar="ACCOUNT")
@_units
@_max_price
@action
async def gift(session: Session, plan_id: PlanId, subscriber: str, units: int, max_price: str | None) -> None:
    """Buy units of a plan for ACCOUNT; you pay, it can use them."""
    await _buy(session, plan_id, units, subscriber, max_price, "Give")


@click.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@click.option("--cancel", is_flag=True, help="Take the announcement back and go on using the plan.")
@click.option("--to", type=ADDRESS, help="Where the money goes; by default to the wallet.")
@action
async def refund(session: Session, plan_id: PlanId, cancel: bool, to: str | None) -> None:
    """Give back what is left of a refundable plan: announces it, and takes the money once the cooldown is over.

    From the announcement on, the plan opens nothing until it is taken back with --cancel.
    """
    async with session.chain() as chain:
        wallet, plans = session.wallet(chain), session.deployment.plans
        found = await chain.call(plans.plan(plan_id))
        standing = await chain.call(session.deployment.views.account(plan_id, wallet.address))
        due, now, cooldown = standing.refund, standing.timestamp, found.terms.refund_cooldown
        currency = await session.currency(chain, found.terms.token)
        if not cooldown:
            raise InvalidInput(f"plan {plan_id} isn't refundable: its terms say so for good")
        worth = Money(due.amount, currency.format(due.amount))
        if cancel:
            if not due.available_at:
                raise InvalidInput(f"{wallet.address} has announced no refund of plan {plan_id}")
            receipt = await submit(session, chain, wallet, plans.cancel_refund(plan_id), f"Keep plan {plan_id}")
            done: dict[str, Any] = {"state": "cancelled"}
        elif not due.available_at:
            what = f"Announce a refund of plan {plan_id}, worth {worth.text} now, due in {format_duration(cooldown)}"
            receipt = await submit(session, chain, wallet, plans.announce_refund(plan_id), what)
            done = {"state": "announced", "amount_now": worth, "take_it_in": format_duration(cooldown)}
        elif now < due.available_at:
            then = Moment(due.available_at)
            session.output.note(f"the refund was announced; run this again after {then}")
            session.output.record(
                {"plan": str(plan_id), "state": "cooling down", "amount_now": worth, "available_at": then}
            )
            return
        else:
            call = plans.take_refund(plan_id, to or wallet.address)
            receipt = await submit(session, chain, wallet, call, f"Give plan {plan_id} back for {worth.text}")
            done = {"state": "paid", "to": to or wallet.address}
            if receipt is not None:
                paid = receipt.event("Refunded", plans.address).args["amount"]
                if not paid and due.amount:
                    raise TransactionFailed(f"transaction {receipt.tx_hash} refunded nothing")
                done["amount"] = Money(paid, currency.format(paid))
        if receipt is not None:
            session.output.record({"plan": str(plan_id), **done, **transaction(session, receipt)})


async def _buy(
    session: Session, plan_id: PlanId, units: int, subscriber: str | None, max_price: str | None, verb: str
) -> None:
    async with session.chain() as chain:
        wallet, plans = session.wallet(chain), session.deployment.plans
        found = await chain.call(plans.plan(plan_id))
        currency = await session.currency(chain, found.terms.token)
        for_whom = subscriber or wallet.address
        bound = None if max_price is None else currency.parse(max_price)
        found, call = await purchase_call(chain, plans, plan_id, for_whom, units=units, max_price=bound)
        due = found.terms.due(units)
        what = f"{verb} {units} unit{'s' if units > 1 else ''} of plan {plan_id} for {currency.format(due)}"
        if subscriber is not None and subscriber != wallet.address:
            what += f", to {subscriber}"
        if not currency.is_native and found.on_sale:
            token = Token(found.terms.token)
            allowed = await chain.call(token.allowance(wallet.address, plans.address))
            if allowed < due and session.dry_run:
                await submit(
                    session, chain, wallet, token.approve(plans.address, due), f"Approve {currency.format(due)}"
                )
                return
            if allowed < due:
                session.confirm(f"Let the plan registry take {currency.format(due)} from {wallet.address}?")
                async with session.output.waiting(lambda: "the approval waits for its block"):
                    await approve(chain, token, wallet, plans.address, due)
        receipt = await submit(session, chain, wallet, call, what)
        if receipt is None:
            return
        standing = await chain.call(session.deployment.views.account(plan_id, for_whom), receipt.block)
        session.output.record(
            {
                "plan": str(plan_id),
                "subscriber": for_whom,
                "paid": Money(due, currency.format(due)),
                "spendable": standing.spendable,
                "expiry": Moment.of(standing.account.expiry),
                **transaction(session, receipt),
            }
        )
