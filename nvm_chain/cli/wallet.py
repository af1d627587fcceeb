"""nvm-chain wallet: make a wallet, look at it."""

from __future__ import annotations

from pathlib import Path

import click

from nvm_chain.amounts import format_units
from nvm_chain.cli.output import Money
from nvm_chain.cli.session import Session, command
from nvm_chain.wallet import LocalWallet


@click.group()
def wallet() -> None:
    """Make a wallet, look at it."""


@wallet.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@command
async def new(session: Session, file: Path) -> None:
    """Make a new key and keep it in FILE, encrypted with a password."""
    made = LocalWallet.create()
    made.to_keystore(file, session.password(confirm=True))
    session.output.record({"address": made.address, "keystore": str(file)})
    session.output.note("Back up the file and the password: nobody can restore the key without both.")


@wallet.command()
@command
async def show(session: Session) -> None:
    """Show the wallet's address and its native balance."""
    async with session.chain() as chain:
        account = session.wallet(chain).address
        balance = await chain.balance(account)
        text = f"{format_units(balance, 18)} {session.network.currency}"
        session.output.record({"address": account, "chain_id": chain.chain_id, "balance": Money(balance, text)})
