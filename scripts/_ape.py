"""What the scripts that `ape run` runs have in common: Ape's network and accounts for the library of this project.

They run against the network that `--network` names, for example a running anvil: `--network http://127.0.0.1:8545`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import click
from ape import accounts
from ape.cli import ConnectedProviderCommand
from eth_account.messages import encode_defunct, encode_typed_data

from nvm_chain.chain import Chain, open_chain
from nvm_chain.cli.program import exit_code
from nvm_chain.deployments import Deployment
from nvm_chain.errors import InvalidInput, NvmError
from nvm_chain.text import show
from nvm_chain.wallet import LocalWallet, Wallet

Job = Callable[[Chain, Deployment, Wallet], Awaitable[Mapping[str, Any]]]


class ApeWallet:
    """An account that Ape keeps."""

    def __init__(self, account: Any, provider: Any) -> None:
        self._account, self._provider = account, provider
        self.address = str(account.address)

    async def sign_transaction(self, tx: Mapping[str, Any]) -> bytes:
        made = self._provider.network.ecosystem.create_transaction(**{**tx, "from": self.address})
        signed = self._account.sign_transaction(made)
        if signed is None:
            raise InvalidInput(f"{self.address} did not sign")
        return bytes(signed.serialize_transaction())

    async def sign_message(self, message: str | bytes) -> bytes:
        return self._sign(encode_defunct(text=message) if isinstance(message, str) else encode_defunct(message))

    async def sign_typed_data(self, typed: Mapping[str, Any]) -> bytes:
        return self._sign(encode_typed_data(full_message=dict(typed)))

    def _sign(self, message: Any) -> bytes:
        signature = self._account.sign_message(message)
        if signature is None:
            raise InvalidInput(f"{self.address} did not sign")
        return bytes(signature.encode_rsv())


def script(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command with Ape's --network and our --account."""

    def decorate(run: Callable[..., Any]) -> click.Command:
        account = click.option(
            "--account",
            help="Ape account alias, or TEST::0. By default NVM_PRIVATE_KEY, else Ape's first test account.",
        )
        made: click.Command = click.command(name=name, cls=ConnectedProviderCommand)(account(run))
        return made

    return decorate


def run(provider: Any, account: str | None, job: Job) -> None:
    """Runs a job on Ape's network and prints its result as JSON; an error of ours ends it without a traceback."""

    async def connected() -> Mapping[str, Any]:
        url = getattr(provider, "http_uri", None) or provider.uri
        async with open_chain(str(url), provider.chain_id) as chain:
            return await job(chain, Deployment.standard(), _wallet(provider, account))

    try:
        click.echo(json.dumps(asyncio.run(connected()), indent=2))
    except NvmError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(exit_code(error))


def _test_account(name: str) -> Any:
    number, there_are = name.removeprefix("TEST::"), len(accounts.test_accounts)
    if not (number.isascii() and number.isdecimal() and len(number) < 9 and int(number) < there_are):
        raise InvalidInput(f"Ape has no test account {show(name)}: write TEST::0 to TEST::{there_are - 1}")
    return accounts.test_accounts[int(number)]


def _wallet(provider: Any, account: str | None) -> Wallet:
    if account is None and os.environ.get("NVM_PRIVATE_KEY"):
        return LocalWallet.from_env()
    if account is None or account.startswith("TEST::"):
        return ApeWallet(_test_account(account or "TEST::0"), provider)
    try:
        return ApeWallet(accounts.load(account), provider)
    except KeyError:
        raise InvalidInput(f"Ape has no account {account!r}: see `ape accounts list`") from None
