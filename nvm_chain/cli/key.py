"""nvm-chain key: API keys of an access node."""

from __future__ import annotations

import click

from nvm_chain.access_node import ApiKey, open_node
from nvm_chain.cli.nodes import api_key, node_option
from nvm_chain.cli.output import Moment
from nvm_chain.cli.session import Session, action, command
from nvm_chain.cli.types import DID, DURATION
from nvm_chain.did import Did
from nvm_chain.errors import NotFound, NvmError
from nvm_chain.text import show


@click.group()
def key() -> None:
    """Get, list and revoke API keys of an access node."""


@key.command()
@node_option
@click.option("--name", default="nvm-chain", show_default=True, help="To tell it from your other keys.")
@click.option("--budget", type=click.IntRange(1), help="Most credits that the key may spend.")
@click.option("--expires", type=DURATION, metavar="TIME", help="How long it is good: 30d, 12h.")
@click.option("--assistant", "assistants", type=DID, multiple=True, help="Only for this assistant. Repeat it.")
@command
async def create(
    session: Session,
    node_url: str,
    name: str,
    budget: int | None,
    expires: int | None,
    assistants: tuple[Did, ...],
) -> None:
    """Sign in with the wallet and make a key. It is shown once."""
    async with session.chain() as chain, open_node(node_url) as node:
        wallet = session.wallet(chain)
        made = await node.login(
            wallet,
            chain.chain_id,
            name=name,
            budget=budget,
            expires_in=expires or None,
            assistants=assistants or None,
        )
        if made.secret is None:
            raise NvmError(f"{node.url} made key {made.id} but did not show it: revoke it and try again")
        session.output.record(
            {"key": made.secret.reveal(), "id": made.id, "name": made.name, "base_url": f"{node.url}/v1"}
        )
        session.output.note("Keep the key: it is not shown again. Use it as OPENAI_API_KEY with the base URL above.")


@key.command(name="list")
@node_option
@command
async def list_keys(session: Session, node_url: str) -> None:
    """List the keys of the wallet that the key in NVM_API_KEY is of."""
    async with open_node(node_url) as node:
        rows = [_row(one) for one in await node.keys(api_key())]
        session.output.table(rows, "No keys.")


@key.command()
@node_option
@click.argument("key_id")
@action
async def revoke(session: Session, node_url: str, key_id: str) -> None:
    """Revoke a key by its id, with the key in NVM_API_KEY."""
    async with open_node(node_url) as node:
        if session.dry_run:
            found = next((one for one in await node.keys(api_key()) if one.id == key_id), None)
            if found is None:
                raise NotFound(f"this wallet has no key {show(key_id)} at {node.url}: see `nvm-chain key list`")
            session.output.record(_row(found), title="Dry run: this key would be revoked; nothing was.")
            return
        session.confirm(f"Revoke key {key_id}? Programs that use it stop working.")
        await node.revoke(api_key(), key_id)
        session.output.record({"revoked": key_id})


def _row(one: ApiKey) -> dict[str, object]:
    return {
        "id": one.id,
        "name": one.name,
        "spent": one.spent,
        "budget": one.budget,
        "expires_at": Moment.of(one.expires_at),
        "revoked_at": Moment.of(one.revoked_at),
        "assistants": one.assistants,
    }
