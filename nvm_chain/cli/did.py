"""nvm-chain did: resolve a DID."""

from __future__ import annotations

import json

import click

from nvm_chain.cli.session import Session, command
from nvm_chain.cli.stores import open_blocks, store_option
from nvm_chain.cli.types import DID
from nvm_chain.did import Did
from nvm_chain.resolve import resolve


@click.group()
def did() -> None:
    """Resolve DIDs."""


@did.command(name="resolve")
@click.argument("did", type=DID)
@store_option
@command
async def resolve_did(session: Session, did: Did, store_url: str | None, gateways: tuple[str, ...]) -> None:
    """Print the DID resolution result: the W3C DID document, its metadata, and nothing that was not checked."""
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        found = await resolve(chain, session.deployment, store, did)
        indent = None if session.output.as_json else 2
        click.echo(json.dumps(found.to_resolution(), indent=indent, ensure_ascii=False))
