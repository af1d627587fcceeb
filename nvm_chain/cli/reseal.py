"""nvm-chain assistant seals, reseal: what the nodes can open, and sealing it anew."""

from __future__ import annotations

from typing import Any

import click

from nvm_chain.cli.definition import definition_options, read_definition
from nvm_chain.cli.session import Session, action, command
from nvm_chain.cli.stores import open_blocks, store_option
from nvm_chain.cli.transactions import submit, transaction
from nvm_chain.cli.types import DID, DURATION
from nvm_chain.did import Did
from nvm_chain.registration import pin
from nvm_chain.resealing import prepare_reseal
from nvm_chain.resealing import seals as read_seals
from nvm_chain.resolver import utc


@click.command(name="seals")
@click.argument("did", type=DID)
@store_option
@command
async def seals(session: Session, did: Did, store_url: str | None, gateways: tuple[str, ...]) -> None:
    """Show which key of each node the assistant's secret is sealed to."""
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        rows = [
            {
                "node": seal.node,
                "endpoint": seal.endpoint,
                "key": seal.current_version,
                "sealed_to": list(seal.sealed_versions),
                "state": f"{seal.state}, opens until {utc(seal.good_until)}" if seal.good_until else seal.state,
            }
            for seal in await read_seals(chain, session.deployment, store, did)
        ]
        session.output.table(rows, "No node serves it.")


@click.command(name="reseal")
@click.argument("did", type=DID)
@click.option("--expires", type=DURATION, metavar="TIME", help="How long nodes take the new secret; by default no end.")
@definition_options
@store_option
@action
async def reseal(
    session: Session,
    /,
    did: Did,
    expires: int | None,
    store_url: str | None,
    gateways: tuple[str, ...],
    **definition: Any,
) -> None:
    """Seal the definition to the nodes' current keys, after a node has rotated its key. Does nothing if it is.

    Only nodes can open what is sealed: give the definition again, as it was given to register.
    """
    what = read_definition(**definition)
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        wallet, deployment = session.wallet(chain), session.deployment
        end = (await chain.header()).timestamp + expires if expires else 0
        prepared = await prepare_reseal(
            chain, deployment, store, wallet.address, did, what, expires=end, on_step=session.output.note
        )
        if prepared is None:
            session.output.note("every node has the secret for its current key: nothing to do")
            session.output.record({"did": str(did), "resealed": False})
            return
        if not session.dry_run:
            await pin(store, prepared.block)
        receipt = await submit(session, chain, wallet, prepared.call, f"Re-seal {did}")
        if receipt is not None:
            record = {"did": str(did), "resealed": True, "cid": str(prepared.cid), **transaction(session, receipt)}
            session.output.record(record)
