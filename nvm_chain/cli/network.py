"""nvm-chain network, deploy: where the contracts are, and putting them there."""

from __future__ import annotations

from typing import Any

import click

from nvm_chain.abi import ZERO_ADDRESS, Call
from nvm_chain.amounts import format_units
from nvm_chain.chain import Chain
from nvm_chain.cli.output import Money
from nvm_chain.cli.session import Session, action, command
from nvm_chain.cli.types import ADDRESS
from nvm_chain.deployments import NETWORKS, PROXY, Deployed, Deployment, deploy, install_proxy, missing
from nvm_chain.errors import ContractRefused
from nvm_chain.wallet import Wallet


@click.command()
@command
async def networks(session: Session) -> None:
    """List the networks that can be named with --network."""
    rows = [
        {"name": n.name, "chain_id": n.chain_id, "title": n.title, "currency": n.currency, "endpoint": n.rpc_url}
        for n in NETWORKS.values()
    ]
    session.output.table(rows, "")


@click.command()
@command
async def network(session: Session) -> None:
    """Show the network's contracts, and whether they are there."""
    deployment = session.deployment
    async with session.chain() as chain:
        header = await chain.header()
        rows = {
            name: {"address": account, "deployed": bool(await chain.code(account))}
            for name, account in deployment.to_dict().items()
        }
        there = rows["plan_registry"]["deployed"]
        block = await session.first_block(chain, header.number, None) if there else None
    shown = {
        "network": session.network.name,
        "chain_id": chain.chain_id,
        "endpoint": chain.where,
        "block": header.number,
        "deployed_at_block": block or None,
    }
    if session.output.as_json:
        session.output.record({**shown, "contracts": rows})
        return
    lines = {name: f"{row['address']}{'' if row['deployed'] else '  (not deployed)'}" for name, row in rows.items()}
    session.output.record({**shown, **lines})


@click.command(name="deploy")
@click.option(
    "--fee-recipient", type=ADDRESS, help="Who gets the protocol fee. Gives other addresses than the standard."
)
@click.option("--fee-basis-points", type=click.IntRange(0, 10_000), default=0, show_default=True)
@click.option(
    "--install-proxy", "with_proxy", is_flag=True, help="First put the deployment proxy on a chain without it."
)
@action
async def deploy_contracts(
    session: Session, fee_recipient: str | None, fee_basis_points: int, with_proxy: bool
) -> None:
    """Deploy the contracts that are missing; the addresses are the same on every chain."""
    async with session.chain() as chain:
        wallet = session.wallet(chain)
        if session.dry_run:
            await _would_deploy(session, chain, wallet, fee_recipient or ZERO_ADDRESS, fee_basis_points, with_proxy)
            return
        session.confirm(f"Deploy the contracts to {session.network.title} with {wallet.address}?")
        spent = gas = 0

        def report(step: Deployed) -> None:
            nonlocal spent, gas
            if step.receipt is None:
                session.output.note(f"{step.contract} is at {step.address} already")
                return
            spent, gas = spent + step.receipt.fee, gas + step.receipt.gas_used
            session.output.note(f"{step.contract} is now at {step.address} ({step.receipt.gas_used:,} gas)")

        async with session.output.waiting(lambda: "transactions wait for their blocks"):
            if with_proxy:
                await install_proxy(chain, wallet)
            deployment = await deploy(
                chain,
                wallet,
                fee_recipient=fee_recipient or ZERO_ADDRESS,
                fee_basis_points=fee_basis_points,
                on_step=report,
            )
        fee = Money(spent, f"{format_units(spent, 18)} {session.network.currency}")
        session.output.record(
            {"chain_id": chain.chain_id, **deployment.to_dict(), "block": deployment.block, "gas": gas, "fee": fee}
        )


async def _would_deploy(
    session: Session, chain: Chain, wallet: Wallet, fee_recipient: str, fee_basis_points: int, with_proxy: bool
) -> None:
    calls = await missing(chain, fee_recipient=fee_recipient, fee_basis_points=fee_basis_points, with_proxy=with_proxy)
    currency, rows = session.network.currency, []
    for account, call in calls:
        row = {
            "contract": call.args.get("contract", call.contract),
            "at": account,
            "to": call.to,
            "value": Money(call.value, f"{format_units(call.value, 18)} {currency}"),
            "gas": await _gas(chain, wallet, call),
        }
        rows.append({**row, "data": "0x" + call.data.hex()} if session.output.as_json else row)
    session.output.record(
        {
            "chain_id": chain.chain_id,
            "from": wallet.address,
            **Deployment.standard(fee_recipient, fee_basis_points).to_dict(),
            "transactions": rows,
        },
        title="Dry run: these transactions would be sent; nothing was." if rows else "Dry run: everything is there.",
    )


async def _gas(chain: Chain, wallet: Wallet, call: Call[Any]) -> int | None:
    """None where it can't be told before the transactions in front of it are in a block."""
    if call.to == PROXY and not await chain.code(PROXY):
        return None
    try:
        return await chain.estimate(call, wallet.address)
    except ContractRefused:
        return None
