"""Settles calls by hand, as a node: ape run settle did:nv:… 0x… --entry 0x…=3:7 --account TEST::2

An access node settles by itself; this is for whoever runs one without our software, and for tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvm_chain.amounts import parse_whole
from nvm_chain.chain import Chain
from nvm_chain.cli.types import DID, PLAN, Parsed
from nvm_chain.deployments import Deployment
from nvm_chain.did import Did
from nvm_chain.entries import Entry
from nvm_chain.errors import InvalidInput
from nvm_chain.plans import PlanId
from nvm_chain.text import show
from nvm_chain.wallet import Wallet
from scripts._ape import run, script


def _entry(text: str) -> Entry:
    subscriber, _, used = text.partition("=")
    calls, _, credits = used.partition(":")
    if not (used.isascii() and calls.isdecimal() and credits.isdecimal()):
        raise InvalidInput(f"{show(text)} is not an entry: write SUBSCRIBER=CALLS:CREDITS, like 0x…=3:7")
    return Entry(subscriber, parse_whole(calls), parse_whole(credits))


@script("settle")
@click.argument("did", type=DID)
@click.argument("plan", type=PLAN)
@click.option("--entry", "entries", type=Parsed("entry", _entry, Entry), multiple=True, required=True,
              help="SUBSCRIBER=CALLS:CREDITS. Repeat it.")  # fmt: skip
def cli(provider: Any, account: str | None, did: Did, plan: PlanId, entries: tuple[Entry, ...]) -> None:
    """Settle one batch of calls that the account, a node, has served."""

    async def job(chain: Chain, deployment: Deployment, wallet: Wallet) -> Mapping[str, Any]:
        plans = deployment.plans
        batch = await chain.call(plans.next_batch(did, plan, wallet.address))
        receipt = await chain.send(plans.settle(did, plan, batch, entries), wallet)
        settled = receipt.event("Settled", plans.address).args
        return {
            "batch": batch,
            "calls": settled["calls"],
            "credits": settled["credits"],
            "taken": settled["taken"],
            "transaction": receipt.tx_hash,
            "gas": receipt.gas_used,
        }

    run(provider, account, job)
