"""Withdraws earnings from a plan: ape run withdraw 0x…"""

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


@script("withdraw")
@click.argument("plan", type=PLAN)
@click.option("--to", type=ADDRESS, help="Who gets the money; by default the account itself.")
def cli(provider: Any, account: str | None, plan: PlanId, to: str | None) -> None:
    """Withdraw the account's earnings from a plan."""

    async def job(chain: Chain, deployment: Deployment, wallet: Wallet) -> Mapping[str, Any]:
        plans = deployment.plans
        call = plans.withdraw(plan, wallet.address) if to is None else plans.withdraw_to(plan, to)
        receipt = await chain.send(call, wallet)
        paid = receipt.event("Withdrawn", plans.address).args
        return {
            "plan": str(plan),
            "to": paid["to"],
            "amount": str(paid["amount"]),
            "transaction": receipt.tx_hash,
            "gas": receipt.gas_used,
        }

    run(provider, account, job)
