"""nvm-chain assistant offer, close-offer, add-node, remove-node, activate, hand-over, accept."""

from __future__ import annotations

from typing import Any

import click

from nvm_chain.abi import Call
from nvm_chain.assets import OfferInput
from nvm_chain.cli.output import Moment
from nvm_chain.cli.session import Session, action
from nvm_chain.cli.transactions import submit, transaction
from nvm_chain.cli.types import ADDRESS, DID, OFFER, PLAN
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.plans import PlanId

_SETTLEMENT_WINDOW = 24 * 3600


@click.command()
@click.argument("did", type=DID)
@click.argument("offered", type=OFFER, metavar="PLAN[=MIN[-MAX]]")
@action
async def offer(session: Session, did: Did, offered: OfferInput) -> None:
    """Let a plan of yours open the assistant, or change its credits per access.

    A new offer holds at once, a change after a day's notice.
    """
    async with session.chain() as chain:
        assets, wallet = session.deployment.assets, session.wallet(chain)
        known = {one.plan_id for one in await chain.call(assets.offers(did))}
        changes = offered.plan_id in known
        call = assets.change_offer(did, offered) if changes else assets.add_offer(did, offered)
        price = f"{offered.min_credits} to {offered.max_credits} credits per access"
        verb, when = ("Change the price under", " after a day's notice") if changes else ("Add", "")
        receipt = await submit(session, chain, wallet, call, f"{verb} plan {offered.plan_id}: {price}{when}")
        if receipt is None:
            return
        now = await chain.call(assets.offer(did, offered.plan_id), receipt.block)
        session.output.record(
            {
                "did": str(did),
                "plan": str(offered.plan_id),
                "credits_per_access": f"{now.min_credits}-{now.max_credits}",
                "from_then_on": f"{now.next_min}-{now.next_max}" if now.effective_at else None,
                "effective_at": Moment.of(now.effective_at),
                **transaction(session, receipt),
            }
        )


@click.command(name="close-offer")
@click.argument("did", type=DID)
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@action
async def close_offer(session: Session, did: Did, plan_id: PlanId) -> None:
    """End an offer, after a day's notice. The plan's owner may as well."""
    await _send(session, session.deployment.assets.close_offer(did, plan_id), f"Close the offer of plan {plan_id}")


@click.command(name="add-node")
@click.argument("did", type=DID)
@click.argument("node", type=ADDRESS)
@action
async def add_node(session: Session, did: Did, node: str) -> None:
    """Let one more access node serve and settle the assistant. Then seal the secret to it: `assistant reseal`."""
    await _send(session, session.deployment.assets.add_node(did, node), f"Let node {node} serve {did}")
    if not session.dry_run:
        session.output.note(f"now seal the secret to the node: nvm-chain assistant reseal {did}")


@click.command(name="remove-node")
@click.argument("did", type=DID)
@click.argument("node", type=ADDRESS)
@click.option("--at-once", is_flag=True, help="It may not even settle what it served: for a node that cheats.")
@action
async def remove_node(session: Session, did: Did, node: str, at_once: bool) -> None:
    """End a node's service. For a day it may still settle calls that it served before."""
    async with session.chain() as chain:
        until = 0 if at_once else (await chain.header()).timestamp + _SETTLEMENT_WINDOW
        call = session.deployment.assets.remove_node(did, node, until)
        receipt = await submit(session, chain, session.wallet(chain), call, f"End the service of node {node} for {did}")
        if receipt is not None:
            session.output.record({"may_settle_until": until or None, **transaction(session, receipt)})


@click.command(name="activate")
@click.argument("did", type=DID)
@click.option("--off", is_flag=True, help="Deactivate it instead: calls end, what was served still settles.")
@action
async def switch(session: Session, did: Did, off: bool) -> None:
    """Activate an assistant again, or deactivate it."""
    await _send(session, session.deployment.assets.set_active(did, not off), f"{'Dea' if off else 'A'}ctivate {did}")


@click.command(name="hand-over")
@click.argument("did", type=DID)
@click.argument("to", type=ADDRESS, required=False)
@click.option("--withdraw-offer", is_flag=True, help="Take the offer back instead.")
@action
async def hand_over(session: Session, did: Did, to: str | None, withdraw_offer: bool) -> None:
    """Offer your assistant to another account, which has to accept it."""
    if withdraw_offer == (to is not None):
        raise InvalidInput("give the account that is to have the assistant, or --withdraw-offer")
    call = session.deployment.assets.offer_asset(did, to)
    await _send(session, call, f"Offer {did} to {to}" if to else f"Keep {did}")


@click.command()
@click.argument("did", type=DID)
@action
async def accept(session: Session, did: Did) -> None:
    """Take over an assistant that was offered to your wallet. Then seal its secret anew: `assistant update`."""
    await _send(session, session.deployment.assets.accept_asset(did), f"Take over {did}")


async def _send(session: Session, call: Call[Any], what: str) -> None:
    async with session.chain() as chain:
        receipt = await submit(session, chain, session.wallet(chain), call, what)
        if receipt is not None:
            session.output.record(transaction(session, receipt))
