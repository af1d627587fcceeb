"""nvm-chain plan: what a builder sells, and buying it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvm_chain.abi import ZERO_ADDRESS, Call, Event
from nvm_chain.amounts import format_duration, format_units
from nvm_chain.chain import Chain, event_topics, topic
from nvm_chain.cid import Cid
from nvm_chain.cli import buying
from nvm_chain.cli.output import Money
from nvm_chain.cli.session import Session, action, command, from_block_option
from nvm_chain.cli.stores import open_blocks, store_option
from nvm_chain.cli.transactions import submit, transaction
from nvm_chain.cli.types import ADDRESS, DURATION, PAYEE, PLAN
from nvm_chain.cli.voucher import voucher
from nvm_chain.errors import DigestMismatch, MetadataInvalid, NotFound, StoreUnavailable
from nvm_chain.ipfs import BlockStore
from nvm_chain.plan_creation import PlanDraft, prepare_plan
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.plans import Payee, Plan, PlanId, Terms
from nvm_chain.registration import named_salt, pin


@click.group()
def plan() -> None:
    """Create, look at, buy and run plans."""


for _bought in (buying.buy, buying.renew, buying.gift, buying.refund):
    plan.add_command(_bought)
plan.add_command(voucher)


@plan.command()
@click.option("--title", required=True, help="What buyers see.")
@click.option("--description", default="", help="What the plan gives, in a few sentences.")
@click.option("--price", default="0", show_default=True, metavar="AMOUNT", help='Per unit: "0.1 ETH", "5 USDC" or 0.')
@click.option(
    "--token", type=ADDRESS, default=ZERO_ADDRESS, help="ERC-20 to be paid in; by default the native currency."
)
@click.option(
    "--credits", "credits_per_unit", type=click.IntRange(0), default=0, help="Credits per unit; 0: a time plan."
)
@click.option(
    "--duration", type=DURATION, default=0, metavar="TIME", help="How long a unit lasts: 30d, 12h; 0: for ever."
)
@click.option(
    "--limit", type=click.IntRange(0), default=0, help="Units per account, ever; a free plan with 1 is a trial."
)
@click.option("--supply", type=click.IntRange(0), default=0, help="Units in all; 0: no limit.")
@click.option("--refundable", type=DURATION, default=0, metavar="TIME", help="Refund cooldown; 0: not refundable.")
@click.option("--vouchers", is_flag=True, help="Settlement needs the subscriber's signed ceiling.")
@click.option("--payee", "payees", type=PAYEE, multiple=True, help="A share of the revenue: 0x…=30%. Repeat it.")
@click.option("--name", help="What the plan's id follows from; by default the title. The same name is the same plan.")
@store_option
@action
async def create(
    session: Session,
    title: str,
    description: str,
    price: str,
    token: str,
    credits_per_unit: int,
    duration: int,
    limit: int,
    supply: int,
    refundable: int,
    vouchers: bool,
    payees: tuple[Payee, ...],
    name: str | None,
    store_url: str | None,
    gateways: tuple[str, ...],
) -> None:
    """Create a plan. Repeating the command with the same name finds the plan that is there."""
    metadata, salt = PlanMetadata(title, description), named_salt(name or title)
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        wallet = session.wallet(chain)
        currency = await session.currency(chain, token)
        terms = Terms(
            token=token,
            price=currency.parse(price),
            credits_per_unit=credits_per_unit,
            duration=duration,
            purchase_limit=limit,
            supply=supply,
            refund_cooldown=refundable,
            voucher_required=vouchers,
        )
        draft = PlanDraft(salt=salt, metadata=metadata, terms=terms, payees=payees)
        prepared = await prepare_plan(chain, session.deployment, wallet.address, draft)
        shown = {"plan": str(prepared.plan_id), "cid": str(prepared.cid)}
        if prepared.call is None:
            session.output.note("this plan exists already")
            session.output.record(shown)
            return
        if not session.dry_run:
            await pin(store, prepared.block)
        what = f"Create plan {title!r} at {currency.format(terms.price)}"
        receipt = await submit(session, chain, wallet, prepared.call, what)
        if receipt is not None:
            session.output.record({**shown, **transaction(session, receipt)})


@plan.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@store_option
@command
async def show(session: Session, plan_id: PlanId, store_url: str | None, gateways: tuple[str, ...]) -> None:
    """Show a plan's terms and what it has sold."""
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        found = await chain.call(session.deployment.plans.plan(plan_id))
        payees = await chain.call(session.deployment.plans.payees(plan_id))
        session.output.record(await _record(session, chain, store, found, payees))


@plan.command(name="list")
@click.option("--owner", type=ADDRESS, help="Only plans that this account created.")
@from_block_option
@store_option
@command
async def list_plans(
    session: Session, owner: str | None, from_block: int | None, store_url: str | None, gateways: tuple[str, ...]
) -> None:
    """List the plans that were created on this chain."""
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        plans = session.deployment.plans
        topics: list[Any] = [event_topics("PlanCreated"), None, None if owner is None else topic(owner)]
        rows: list[Mapping[str, Any]] = []
        events: list[Event] = []
        async with session.output.waiting(lambda: f"{len(rows)} of {len(events)} plans read"):
            head = await chain.block_number()
            events += await chain.logs(
                [plans.address], await session.first_block(chain, head, from_block), head, topics
            )
            for event in events:
                found = await chain.call(plans.plan(PlanId(event.args["planId"])))
                currency = await session.currency(chain, found.terms.token)
                rows.append(
                    {
                        "plan": str(found.plan_id),
                        "title": await _title(store, found),
                        "price": Money(found.terms.price, currency.format(found.terms.price)),
                        "gives": _gives(found.terms),
                        "sold": found.sold,
                        "on_sale": found.on_sale,
                    }
                )
        session.output.table(rows, "No plans yet: create one with `nvm-chain plan create`.")


@plan.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@click.argument("subscriber", type=ADDRESS)
@click.option("--units", type=click.IntRange(1), default=1, show_default=True)
@action
async def grant(session: Session, plan_id: PlanId, subscriber: str, units: int) -> None:
    """Give units of your plan without payment on the chain."""
    call = session.deployment.plans.grant(plan_id, subscriber, units)
    await _send(session, call, f"Grant {units} unit{'s' if units > 1 else ''} of plan {plan_id} to {subscriber}")


@plan.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@click.option("--resume", is_flag=True, help="Resume sales instead.")
@action
async def pause(session: Session, plan_id: PlanId, resume: bool) -> None:
    """Pause the sales of your plan, or resume them."""
    call = session.deployment.plans.set_paused(plan_id, not resume)
    await _send(session, call, f"{'Resume' if resume else 'Pause'} sales of plan {plan_id}")


@plan.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@action
async def retire(session: Session, plan_id: PlanId) -> None:
    """End the sales of your plan for good; credits already sold stay valid."""
    await _send(session, session.deployment.plans.retire(plan_id), f"End the sales of plan {plan_id} for good")


@plan.command(name="hand-over")
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@click.argument("to", type=ADDRESS, required=False)
@click.option("--withdraw-offer", is_flag=True, help="Take the offer back instead.")
@action
async def hand_over(session: Session, plan_id: PlanId, to: str | None, withdraw_offer: bool) -> None:
    """Offer your plan to another account, which has to accept it. Payees stay as they are."""
    if withdraw_offer == (to is not None):
        raise click.UsageError("give the account that is to have the plan, or --withdraw-offer")
    call = session.deployment.plans.offer_plan(plan_id, to)
    await _send(session, call, f"Offer plan {plan_id} to {to}" if to else f"Keep plan {plan_id}")


@plan.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@action
async def accept(session: Session, plan_id: PlanId) -> None:
    """Take over a plan that was offered to your wallet."""
    await _send(session, session.deployment.plans.accept_plan(plan_id), f"Take over plan {plan_id}")


async def _send(session: Session, call: Call[Any], what: str) -> None:
    async with session.chain() as chain:
        receipt = await submit(session, chain, session.wallet(chain), call, what)
        if receipt is not None:
            session.output.record(transaction(session, receipt))


async def _record(
    session: Session, chain: Chain, store: BlockStore, found: Plan, payees: tuple[Payee, ...]
) -> Mapping[str, Any]:
    terms, currency = found.terms, await session.currency(chain, found.terms.token)
    return {
        "plan": str(found.plan_id),
        "title": await _title(store, found),
        "owner": found.owner,
        "on_sale": found.on_sale,
        "paused": found.paused,
        "retired": found.retired,
        "price": Money(terms.price, currency.format(terms.price)),
        "token": None if terms.is_native else terms.token,
        "gives": _gives(terms),
        "credits_per_unit": terms.credits_per_unit,
        "duration": terms.duration,
        "purchase_limit": terms.purchase_limit or None,
        "supply": terms.supply or None,
        "refund_cooldown": terms.refund_cooldown or None,
        "voucher_required": terms.voucher_required,
        "sold": found.sold,
        "revenue": Money(found.revenue, currency.format(found.revenue)),
        "payees": [
            {"account": p.account, "share": f"{format_units(p.basis_points, 2)}%"} for p in payees
        ] or None,
    }  # fmt: skip


def _gives(terms: Terms) -> str:
    what = "access" if terms.is_time_plan else f"{terms.credits_per_unit} credits"
    return f"{what} for {format_duration(terms.duration)}" if terms.duration else what


async def _title(store: BlockStore, found: Plan) -> str | None:
    if found.metadata is None:
        return None
    try:
        return PlanMetadata.from_block(await store.get(Cid.from_digest(found.metadata))).title
    except (NotFound, StoreUnavailable, DigestMismatch, MetadataInvalid):
        return None
