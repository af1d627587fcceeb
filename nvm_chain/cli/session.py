"""What every command has in common: its options, where the chain is, and who signs. How it ends is in `program`."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click

from nvm_chain.amounts import Currency
from nvm_chain.chain import Chain, open_chain
from nvm_chain.cli.output import Output
from nvm_chain.cli.profiles import default, is_default
from nvm_chain.cli.program import confirm
from nvm_chain.deployments import NETWORKS, Deployment, Network, first_block
from nvm_chain.errors import InvalidInput
from nvm_chain.secret import Secret
from nvm_chain.tokens import Token
from nvm_chain.wallet import LocalWallet, UnlockedWallet, Wallet

P = ParamSpec("P")
Command = Callable[Concatenate["Session", P], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Session:
    """The options that every command takes, resolved."""

    output: Output
    network: Network
    rpc_url: str | None
    deployment_file: Path | None
    keystore: Path | None
    password_file: Path | None
    account: str | None
    yes: bool
    dry_run: bool

    @property
    def deployment(self) -> Deployment:
        """The contracts' addresses: from the file, or the standard ones."""
        return Deployment.load(self.deployment_file) if self.deployment_file else Deployment.standard()

    @asynccontextmanager
    async def chain(self) -> AsyncIterator[Chain]:
        """The network's chain, with its id checked."""
        url = self.rpc_url or self.network.rpc_url
        if url is None:
            raise InvalidInput(f"{self.network.title} has no default endpoint: give one with --rpc-url or NVM_RPC_URL")
        async with open_chain(url, self.network.chain_id) as chain:
            yield chain

    def wallet(self, chain: Chain) -> Wallet:
        """--account (unlocked), else --keystore, else NVM_PRIVATE_KEY. Raises InvalidInput if there is none."""
        if self.account:
            return UnlockedWallet(chain.rpc, self.account)
        return self.local_wallet()

    def local_wallet(self) -> LocalWallet:
        """--keystore, else NVM_PRIVATE_KEY."""
        if self.keystore:
            return LocalWallet.from_keystore(self.keystore, self.password())
        if os.environ.get("NVM_PRIVATE_KEY"):
            return LocalWallet.from_env()
        raise InvalidInput(
            "no wallet: give --keystore FILE, set NVM_PRIVATE_KEY, or give --account 0x… for an unlocked "
            "development account (make a wallet with `nvm-chain wallet new`)"
        )

    def password(self, confirm: bool = False) -> Secret:
        """See `password`."""
        return password(self.password_file, confirm)

    async def first_block(self, chain: Chain, head: int, wanted: int | None) -> int:
        """Where a search through the registries' logs begins: --from-block, else where they were deployed."""
        return await first_block(chain, self.deployment, head) if wanted is None else wanted

    async def currency(self, chain: Chain, token: str) -> Currency:
        """The native currency, or the token's symbol and decimals."""
        native = Currency(self.network.currency, 18)
        return native if token == native.token else await Token(token).currency(chain)

    def confirm(self, question: str) -> None:
        """Asks unless --yes. Raises Declined."""
        confirm(question, yes=self.yes)


def password(file: Path | None, confirm: bool = False) -> Secret:
    """From the file, NVM_KEYSTORE_PASSWORD, or asked for on the terminal. Raises InvalidInput."""
    if file:
        try:
            return Secret(file.read_text(encoding="utf-8").rstrip("\r\n"))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"password file {file} can't be read: {error}") from error
    if (value := os.environ.get("NVM_KEYSTORE_PASSWORD")) is not None:
        return Secret(value)
    if not sys.stdin.isatty():
        raise InvalidInput("no password: give --password-file FILE or set NVM_KEYSTORE_PASSWORD")
    return Secret(click.prompt("Password of the keystore", hide_input=True, confirmation_prompt=confirm, err=True))


_FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS = (
    click.option(
        "--network",
        "network_name",
        default=default("network", "local"),
        show_default="local",
        envvar="NVM_NETWORK",
        type=click.Choice(list(NETWORKS)),
        help="The chain to use.",
    ),
    click.option(
        "--rpc-url",
        default=default("rpc_url"),
        envvar="NVM_RPC_URL",
        metavar="URL",
        help="JSON-RPC endpoint of that chain.",
    ),
    click.option(
        "--deployment",
        "deployment_file",
        default=default("deployment"),
        envvar="NVM_DEPLOYMENT",
        type=_FILE,
        help="JSON file with the contracts' addresses, if they are not the standard ones, and their first block.",
    ),
    click.option(
        "--keystore",
        default=default("keystore"),
        envvar="NVM_KEYSTORE",
        type=_FILE,
        help="Keystore of the wallet that signs. Or set NVM_PRIVATE_KEY.",
    ),
    click.option(
        "--password-file",
        default=default("password_file"),
        envvar="NVM_PASSWORD_FILE",
        type=_FILE,
        help="File with the keystore's password. Or set NVM_KEYSTORE_PASSWORD; else it is asked for.",
    ),
    click.option(
        "--account",
        default=default("account"),
        envvar="NVM_ACCOUNT",
        metavar="0x…",
        help="An account that a development node unlocks.",
    ),
    click.option("--yes", "-y", is_flag=True, help="Do not ask before something is sent or signed."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
)
from_block_option = click.option(
    "--from-block",
    type=click.IntRange(0),
    show_default="where the contracts were deployed",
    help="Where to start looking.",
)
_DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Show what would be done and what it would cost; change nothing."
)


def command(run: Command[P]) -> Callable[..., None]:
    """Makes an async function of (session, …) a click callback with the common options."""
    return _callback(run, _OPTIONS)


def action(run: Command[P]) -> Callable[..., None]:
    """`command` with --dry-run: `run` must look at `session.dry_run` before it changes anything (`submit` does)."""
    return _callback(run, (*_OPTIONS, _DRY_RUN))


def _callback(run: Command[P], options: tuple[Callable[..., Any], ...]) -> Callable[..., None]:
    @functools.wraps(run)
    def callback(
        *args: Any,
        network_name: str,
        rpc_url: str | None,
        deployment_file: Path | None,
        keystore: Path | None,
        password_file: Path | None,
        account: str | None,
        yes: bool,
        as_json: bool,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        # Who signs: what was said for this run goes before what a profile says.
        if is_default("keystore") and (os.environ.get("NVM_PRIVATE_KEY") or not is_default("account")):
            keystore = None
        if is_default("account") and (os.environ.get("NVM_PRIVATE_KEY") or not is_default("keystore")):
            account = None
        session = Session(
            output=Output(as_json),
            network=NETWORKS[network_name],
            rpc_url=rpc_url,
            deployment_file=deployment_file,
            keystore=keystore,
            password_file=password_file,
            account=account,
            yes=yes,
            dry_run=dry_run,
        )
        asyncio.run(run(session, *args, **kwargs))

    for option in reversed(options):
        callback = option(callback)
    return callback
