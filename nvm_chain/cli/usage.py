"""nvm-chain usage: what the access node has counted for a wallet."""

from __future__ import annotations

import click

from nvm_chain.access_node import open_node
from nvm_chain.cli.nodes import api_key, node_option
from nvm_chain.cli.output import Moment
from nvm_chain.cli.session import Session, command


@click.command()
@node_option
@command
async def usage(session: Session, node_url: str) -> None:
    """Show, per plan, what the wallet of NVM_API_KEY has left, has used and holds for calls in flight."""
    async with open_node(node_url) as node:
        account = await node.account(api_key())
        session.output.table(
            [
                {
                    "plan": row["plan_id"],
                    "credits_left": row["credits_left"],
                    "on_chain": row["balance"],
                    "not_settled": row["charged_not_settled"],
                    "in_flight": row["reserved"],
                    "expires_at": Moment.of(row["expires_at"]),
                    "assistants": row["assistants"],
                }
                for row in account["plans"]
            ],
            "No plan of this wallet opens an assistant of this node: `nvm-chain assistant search` finds some.",
        )
