"""Shows what an account can withdraw from a plan: ape run earnings 0x…"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvm_chain.chain import Chain
from nvm_chain.cli.types import ADDRESS, PLAN
from nvm_chain.deployments import Deployment
from nvm_chain.plans import PlanId
from nvm_chain.wallet import Wallet
from scripts._ape import run, script


@script("earnings")
@click.argument("plan", type=PLAN)
@click.option("--of", "payee", type=ADDRESS, help="Whose; by default the account's.")
def cli(provider: Any, account: str | None, plan: PlanId, payee: str | None) -> None:
    """Show what an account can withdraw from a plan, in base units of the plan's token."""

    async def job(chain: Chain, deployment: Deployment, wallet: Wallet) -> Mapping[str, Any]:
        who = payee or wallet.address
        found = await chain.call(deployment.plans.plan(plan))
        amount = await chain.call(deployment.plans.earnings(plan, who))
        return {"plan": str(plan), "account": who, "withdrawable": str(amount), "revenue": str(found.revenue)}

    run(provider, account, job)
