"""nvm-chain plan voucher: signing ceilings for plans that settle only with the subscriber's signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvm_chain.access_node import open_node
from nvm_chain.chain import Chain
from nvm_chain.cli.nodes import api_key
from nvm_chain.cli.profiles import default
from nvm_chain.cli.session import Session, action
from nvm_chain.cli.types import PLAN
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.plans import PlanId
from nvm_chain.text import show
from nvm_chain.vouchers import Voucher, sign_voucher
from nvm_chain.wallet import Wallet


@click.command()
@click.argument("plan_id", type=PLAN, metavar="PLAN")
@click.option("--credits", "more", type=click.IntRange(1), help="So many beyond what the chain says is consumed.")
@click.option("--ceiling", type=click.IntRange(1), help="Up to this many in all, ever.")
@click.option(
    "--node-url",
    default=default("node_url"),
    envvar="NVM_NODE_URL",
    metavar="URL",
    help="The access node to hand it to; without one the voucher is only shown.",
)
@action
async def voucher(
    session: Session, plan_id: PlanId, more: int | None, ceiling: int | None, node_url: str | None
) -> None:
    """Sign how many credits of a plan may be settled in all, and hand it to the access node.

    Until then a node can take nothing; a later, higher voucher replaces this one, and none can be taken back.
    """
    if (more is None) == (ceiling is None):
        raise click.UsageError("give --credits N (beyond what is consumed) or --ceiling N (in all)")
    async with session.chain() as chain:
        wallet = session.wallet(chain)
        consumed = await _consumed(session, chain, wallet, plan_id)
        top = ceiling if ceiling is not None else consumed + (more or 0)
        if top <= consumed:
            raise InvalidInput(f"{consumed} credits are consumed already: a ceiling of {top} would open nothing")
        if session.dry_run:
            session.output.record(
                {
                    "plan": str(plan_id),
                    "subscriber": wallet.address,
                    "ceiling": str(top),
                    "consumed": str(consumed),
                    "signature": None,
                    "would_go_to": node_url,
                },
                title="Dry run: nothing was signed, and nothing was handed to a node.",
            )
            return
        session.confirm(f"Sign that {top - consumed} more credits of plan {plan_id} may be settled ({top} in all)?")
        signed = await _sign(session, chain, wallet, plan_id, top)
    fields = {
        "plan": str(plan_id),
        "subscriber": wallet.address,
        "ceiling": str(top),
        "consumed": str(consumed),
        "signature": "0x" + signed.signature.hex(),
    }
    if node_url is not None:
        async with open_node(node_url) as node:
            kept = await node.hand_in(api_key(), plan_id, signed)
        fields |= {"handed_to": node_url, "credits_left": kept["credits_left"]}
    session.output.record(fields)


async def answer_402(
    session: Session, did: Did, body: object, node_url: str, max_credits: int | None, signed_before: int
) -> int | None:
    """Signs what a refusal asks for and hands it in; None where it asks for something else.

    What is signed follows from the chain and `max_credits`, the most beyond what is consumed on the chain; of the
    node's words only the plan's id is used, and it has to be one that opens the assistant. Raises InvalidInput where
    the bound doesn't suffice. Answers the ceiling.
    """
    wanted = body.get("voucher") if isinstance(body, Mapping) else None
    if not isinstance(wanted, Mapping):
        return None
    plan_id, least = PlanId.parse(wanted.get("plan_id", "")), _number(wanted.get("ceiling"))
    if max_credits is None:
        raise InvalidInput(
            f"plan {plan_id} asks for a signed voucher up to {least}: allow some credits with --max-credits N, or sign "
            f"one with `nvm-chain plan voucher {plan_id} --ceiling {least}`"
        )
    async with session.chain() as chain, open_node(node_url) as node:
        asset = await chain.call(session.deployment.views.describe(did))
        plans = [offer.plan for offer in asset.offers if offer.plan.plan_id == plan_id]
        if not plans or not plans[0].terms.voucher_required:
            raise InvalidInput(f"the node asks for a voucher under plan {plan_id}, which {did} doesn't need")
        wallet = session.wallet(chain)
        ceiling = await _consumed(session, chain, wallet, plan_id) + max_credits
        ceiling = max(ceiling, signed_before)
        if least > ceiling or ceiling <= signed_before:
            raise InvalidInput(
                f"the next call needs a voucher up to {least}, and --max-credits {max_credits} allows {ceiling}: "
                f"raise it"
            )
        await node.hand_in(api_key(), plan_id, await _sign(session, chain, wallet, plan_id, ceiling))
    session.output.note(f"(signed a voucher up to {ceiling} credits of plan {plan_id})")
    return ceiling


async def _sign(session: Session, chain: Chain, wallet: Wallet, plan_id: PlanId, ceiling: int) -> Voucher:
    return await sign_voucher(wallet, chain.chain_id, session.deployment.plan_registry, plan_id, ceiling)


async def _consumed(session: Session, chain: Chain, wallet: Wallet, plan_id: PlanId) -> int:
    standing = await chain.call(session.deployment.views.account(plan_id, wallet.address))
    return standing.account.consumed


def _number(value: Any) -> int:
    if not isinstance(value, str) or not (value.isascii() and value.isdecimal()) or len(value) > 20:
        raise InvalidInput(f"the node asks for a voucher up to {show(value)}, which is no number")
    return int(value)
