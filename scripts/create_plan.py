"""Creates a plan: ape run create_plan --title "Math tutor" --price "0.001 ETH" --credits 100"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvm_chain.abi import ZERO_ADDRESS
from nvm_chain.amounts import Currency, parse_duration
from nvm_chain.chain import Chain
from nvm_chain.cli.stores import open_blocks
from nvm_chain.deployments import Deployment, network_of
from nvm_chain.plan_creation import PlanDraft, create_plan
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.plans import Terms
from nvm_chain.registration import named_salt
from nvm_chain.tokens import Token
from nvm_chain.wallet import Wallet
from scripts._ape import run, script


@script("create_plan")
@click.option("--title", required=True)
@click.option("--description", default="")
@click.option("--price", default="0", show_default=True, help='Per unit: "0.001 ETH", "5 USDC" or 0.')
@click.option("--token", default=ZERO_ADDRESS, help="ERC-20 to be paid in; by default the native currency.")
@click.option("--credits", "credits_per_unit", type=click.IntRange(0), default=0, help="Per unit; 0: a time plan.")
@click.option("--duration", default="0", help="How long a unit lasts: 30d, 12h; 0: for ever.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Units per account, ever; 0: no limit.")
@click.option("--supply", type=click.IntRange(0), default=0, help="Units in all; 0: no limit.")
@click.option("--name", help="What the id follows from; by default the title.")
@click.option("--store", envvar="NVM_STORE", help="Where IPFS blocks are kept: file:///folder or kubo:/ip4/….")
def cli(
    provider: Any,
    account: str | None,
    title: str,
    description: str,
    price: str,
    token: str,
    credits_per_unit: int,
    duration: str,
    limit: int,
    supply: int,
    name: str | None,
    store: str | None,
) -> None:
    """Create a plan; again with the same name finds the plan that is there."""

    async def job(chain: Chain, deployment: Deployment, wallet: Wallet) -> Mapping[str, Any]:
        native = Currency(network_of(chain.chain_id).currency, 18)
        currency = native if token == ZERO_ADDRESS else await Token(token).currency(chain)
        terms = Terms(
            token=token,
            price=currency.parse(price),
            credits_per_unit=credits_per_unit,
            duration=parse_duration(duration),
            purchase_limit=limit,
            supply=supply,
        )
        draft = PlanDraft(salt=named_salt(name or title), metadata=PlanMetadata(title, description), terms=terms)
        async with open_blocks(store) as blocks:
            made = await create_plan(chain, deployment, blocks, wallet, draft)
        receipt = made.receipt
        return {
            "plan": str(made.plan_id),
            "cid": str(made.cid),
            "transaction": receipt and receipt.tx_hash,
            "gas": receipt and receipt.gas_used,
        }

    run(provider, account, job)
