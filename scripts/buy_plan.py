"""Buys a plan: ape run buy_plan 0x… --account TEST::1"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvm_chain.chain import Chain
from nvm_chain.cli.types import ADDRESS, PLAN
from nvm_chain.deployments import Deployment
from nvm_chain.plans import PlanId
from nvm_chain.purchases import buy
from nvm_chain.wallet import Wallet
from scripts._ape import run, script


@script("buy_plan")
@click.argument("plan", type=PLAN)
@click.option("--units", type=click.IntRange(1), default=1, show_default=True)
@click.option("--for", "subscriber", type=ADDRESS, help="Who gets the credits; by default the account itself.")
@click.option("--max-price", type=click.IntRange(0), help="Most base units to pay in all; by default today's price.")
def cli(
    provider: Any, account: str | None, plan: PlanId, units: int, subscriber: str | None, max_price: int | None
) -> None:
    """Buy units of a plan, for the account itself or as a gift."""

    async def job(chain: Chain, deployment: Deployment, wallet: Wallet) -> Mapping[str, Any]:
        receipt = await buy(
            chain, deployment.plans, wallet, plan, units=units, subscriber=subscriber, max_price=max_price
        )
        bought = receipt.event("Purchased", deployment.plan_registry).args
        standing = await chain.call(deployment.views.account(plan, bought["subscriber"]), receipt.block)
        return {
            "plan": str(plan),
            "subscriber": bought["subscriber"],
            "paid": str(bought["paid"]),
            "spendable": standing.spendable,
            "expiry": standing.account.expiry,
            "transaction": receipt.tx_hash,
            "gas": receipt.gas_used,
        }

    run(provider, account, job)
