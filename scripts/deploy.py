"""Deploys the contracts that are missing on a network: ape run deploy --network http://127.0.0.1:8545"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvm_chain.chain import Chain
from nvm_chain.deployments import Deployed, Deployment, deploy, install_proxy
from nvm_chain.wallet import Wallet
from scripts._ape import run, script


@script("deploy")
@click.option(
    "--install-proxy", "with_proxy", is_flag=True, help="First put the deployment proxy on a chain without it."
)
def cli(provider: Any, account: str | None, with_proxy: bool) -> None:
    """Deploy the contracts; the addresses are the same on every chain, and what is there stays."""

    async def job(chain: Chain, _: Deployment, wallet: Wallet) -> Mapping[str, Any]:
        gas: dict[str, int] = {}

        def report(step: Deployed) -> None:
            gas[step.contract] = 0 if step.receipt is None else step.receipt.gas_used
            state = "was there already" if step.receipt is None else f"deployed with {step.receipt.gas_used:,} gas"
            click.echo(f"{step.contract} at {step.address} {state}", err=True)

        if with_proxy:
            await install_proxy(chain, wallet)
        deployment = await deploy(chain, wallet, on_step=report)
        return {"chain_id": chain.chain_id, **deployment.to_dict(), "block": deployment.block, "gas": sum(gas.values())}

    run(provider, account, job)
