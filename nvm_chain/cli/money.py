"""nvm-chain balance, earnings, withdraw: what is left of a plan, and what it brought in."""

from __future__ import annotations

import click

from nvm_chain.cli.output import Moment, Money
from nvm_chain.cli.session import Session, action, command
from nvm_chain.cli.transactions import submit, transaction
from nvm_chain.cli.types import ADDRESS, PLAN
from nvm_chain.errors import TransactionFailed
from nvm_chain.plans import PlanId


@click.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@click.option("--of", "subscriber", type=ADDRESS, help="Whose; by default the wallet's.")
@command
async def balance(session: Session, plan_id: PlanId, subscriber: str | None) -> None:
    """Show the credits or the time that an account has under a plan."""
    async with session.chain() as chain:
        who = subscriber or session.wallet(chain).address
        standing = await chain.call(session.deployment.views.account(plan_id, who))
        session.output.record(
            {
                "plan": str(plan_id),
                "subscriber": who,
                "spendable": standing.spendable,
                "consumed": standing.account.consumed,
                "expiry": Moment.of(standing.account.expiry),
                "refund_available_at": Moment.of(standing.refund.available_at),
                "block": standing.block,
            }
        )


@click.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@click.option("--of", "payee", type=ADDRESS, help="Whose; by default the wallet's.")
@command
async def earnings(session: Session, plan_id: PlanId, payee: str | None) -> None:
    """Show what an account can withdraw from a plan, and what the plan has earned in all."""
    async with session.chain() as chain:
        who = payee or session.wallet(chain).address
        plans = session.deployment.plans
        found = await chain.call(plans.plan(plan_id))
        currency = await session.currency(chain, found.terms.token)
        amount = await chain.call(plans.earnings(plan_id, who))
        session.output.record(
            {
                "plan": str(plan_id),
                "account": who,
                "withdrawable": Money(amount, currency.format(amount)),
                "revenue": Money(found.revenue, currency.format(found.revenue)),
                "sold": found.sold,
            }
        )


@click.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@click.option("--of", "payee", type=ADDRESS, help="Send this account its earnings instead; anybody may.")
@click.option("--to", type=ADDRESS, help="Send the wallet's earnings to this account.")
@action
async def withdraw(session: Session, plan_id: PlanId, payee: str | None, to: str | None) -> None:
    """Withdraw earnings from a plan."""
    if payee and to:
        raise click.UsageError("give --of or --to, not both: earnings of another account go to that account")
    async with session.chain() as chain:
        wallet, plans = session.wallet(chain), session.deployment.plans
        who = payee or wallet.address
        found = await chain.call(plans.plan(plan_id))
        currency = await session.currency(chain, found.terms.token)
        amount = await chain.call(plans.earnings(plan_id, who))
        call = plans.withdraw_to(plan_id, to) if to else plans.withdraw(plan_id, who)
        receipt = await submit(session, chain, wallet, call, f"Withdraw {currency.format(amount)} to {to or who}")
        if receipt is None:
            return
        paid = receipt.event("Withdrawn", plans.address).args["amount"]
        if not paid:
            raise TransactionFailed(f"transaction {receipt.tx_hash} withdrew nothing")
        session.output.record(
            {
                "plan": str(plan_id),
                "to": to or who,
                "amount": Money(paid, currency.format(paid)),
                **transaction(session, receipt),
            }
        )
