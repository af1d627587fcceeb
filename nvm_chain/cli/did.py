"""nvm-chain did: resolve DIDs and DID URLs, show their history."""

from __future__ import annotations

import sys

import click

from nvm_chain.cli.output import to_json
from nvm_chain.cli.session import Session, command
from nvm_chain.cli.stores import BlockStore, open_blocks, store_option
from nvm_chain.cli.types import DID
from nvm_chain.did import Did
from nvm_chain.history import read_history
from nvm_chain.resolver import Place, ResolutionFailed, Resolver, utc

_WRONG_FORM = (400, 501)


@click.group()
def did() -> None:
    """Resolve DIDs."""


@did.command(name="resolve")
@click.argument("did_url", metavar="DID")
@store_option
@command
async def resolve_did(session: Session, did_url: str, store_url: str | None, gateways: tuple[str, ...]) -> None:
    """Print the DID resolution result: the W3C DID document, its metadata, and nothing that was not checked.

    DID may be a DID URL: did:nv:…?versionId=2, ?versionTime=2026-11-23T10:00:00Z, #owner, ?service=access-0x….
    """
    try:
        async with open_blocks(store_url, gateways) as store:
            await _check_form(did_url, store)
            async with session.chain() as chain:
                found = await Resolver([Place(chain, session.deployment)], store).dereference(did_url)
    except ResolutionFailed as error:
        _print(session, error.to_json())
        session.output.note(f"error: {error}")
        sys.exit(4 if error.status == 503 else 2 if error.status in _WRONG_FORM else 3)
    _print(session, found.to_json())


@did.command()
@click.argument("did", type=DID)
@command
async def history(session: Session, did: Did) -> None:
    """List the versions of a DID's document, oldest first."""
    async with session.chain() as chain:
        found = await read_history(chain, session.deployment, did)
        rows = [
            {"version": v.id, "since": utc(v.since), "owner": v.owner, "metadata": str(v.metadata), "block": v.block}
            for v in found.versions
        ]
        session.output.table(rows, "No versions.")


async def _check_form(did_url: str, store: BlockStore) -> None:
    """With nowhere to look a resolver finds nothing but mistakes of form. Raises ResolutionFailed for those."""
    try:
        await Resolver([], store).dereference(did_url)
    except ResolutionFailed as error:
        if error.status in _WRONG_FORM:
            raise


def _print(session: Session, result: dict[str, object]) -> None:
    click.echo(to_json(result, indent=None if session.output.as_json else 2))
