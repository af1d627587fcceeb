"""Registers an assistant: ape run mint_assistant --title "Math tutor" --plan 0x…=1-5 --node 0x… --model gpt-5"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvm_chain.assets import OfferInput
from nvm_chain.chain import Chain
from nvm_chain.cli.definition import definition_options, read_definition
from nvm_chain.cli.stores import open_blocks
from nvm_chain.cli.types import ADDRESS, OFFER
from nvm_chain.deployments import Deployment
from nvm_chain.registration import Draft, named_salt, register_assistant
from nvm_chain.wallet import Wallet
from scripts._ape import run, script


@script("mint_assistant")
@click.option("--title", required=True)
@click.option("--description", default="")
@click.option("--tag", "tags", multiple=True, help="Repeat it.")
@click.option("--notes", default="", help="Integration notes, Markdown.")
@click.option(
    "--plan", "offers", type=OFFER, multiple=True, required=True, help="PLAN[=MIN[-MAX]]: credits per access."
)
@click.option("--node", "nodes", type=ADDRESS, multiple=True, required=True, help="An access node that serves it.")
@click.option("--name", help="What the DID follows from; by default the title.")
@click.option("--store", envvar="NVM_STORE", help="Where IPFS blocks are kept: file:///folder or kubo:/ip4/….")
@definition_options
def cli(
    provider: Any,
    account: str | None,
    title: str,
    description: str,
    tags: tuple[str, ...],
    notes: str,
    offers: tuple[OfferInput, ...],
    nodes: tuple[str, ...],
    name: str | None,
    store: str | None,
    **definition: Any,
) -> None:
    """Seal the definition, pin the metadata, register the DID; again with the same name finds the one that is there."""

    async def job(chain: Chain, deployment: Deployment, wallet: Wallet) -> Mapping[str, Any]:
        draft = Draft(
            salt=named_salt(name or title),
            title=title,
            description=description,
            tags=tags,
            notes=notes,
            offers=offers,
            nodes=nodes,
            definition=read_definition(**definition),
        )
        async with open_blocks(store) as blocks:
            made = await register_assistant(
                chain, deployment, blocks, wallet, draft, lambda step: click.echo(step, err=True)
            )
        receipt = made.receipt
        return {
            "did": str(made.did),
            "assistant_id": made.did.assistant_id,
            "cid": str(made.cid),
            "transaction": receipt and receipt.tx_hash,
            "gas": receipt and receipt.gas_used,
        }

    run(provider, account, job)
