"""nvm-chain init, profiles, completion: setting the terminal up once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from nvm_chain.chain import check_rpc_url
from nvm_chain.cli import profiles as files
from nvm_chain.cli.output import Output
from nvm_chain.cli.profiles import Profiles
from nvm_chain.cli.session import password
from nvm_chain.cli.stores import open_blocks
from nvm_chain.deployments import NETWORKS
from nvm_chain.errors import InvalidInput
from nvm_chain.urls import base_url
from nvm_chain.wallet import LocalWallet

_FILE = click.Path(path_type=Path, dir_okay=False)


def _chosen() -> str:
    """What `nvm-chain --profile NAME` or NVM_PROFILE says."""
    name: str | None = click.get_current_context().find_root().params.get("profile")
    return name or files.DEFAULT


@click.command()
@click.option("--profile", "name", default=_chosen, show_default=files.DEFAULT, help="What to call these settings.")
@click.option("--network", type=click.Choice(list(NETWORKS)), help="The chain to use.")
@click.option("--rpc-url", metavar="URL", help="JSON-RPC endpoint of that chain.")
@click.option("--deployment", type=_FILE, help="JSON file with the contracts' addresses, if not the standard ones.")
@click.option("--keystore", type=_FILE, help="The wallet's keystore; made if it is missing.")
@click.option("--password-file", type=_FILE, help="File with the keystore's password.")
@click.option("--node-url", metavar="URL", help="The access node to talk to.")
@click.option("--store", metavar="URL", help="Where IPFS blocks are kept: file:///folder or kubo:….")
@click.option("--gateway", "gateways", multiple=True, metavar="URL", help="Also read blocks from here. Repeat it.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask: take the default of what isn't given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def init(
    name: str,
    network: str | None,
    rpc_url: str | None,
    deployment: Path | None,
    keystore: Path | None,
    password_file: Path | None,
    node_url: str | None,
    store: str | None,
    gateways: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Write down which network, wallet and node to use, so that commands needn't be told each time.

    Asks for what isn't given, on a terminal. Run again to change a profile or to add another one.
    """
    output = Output(as_json)
    path = files.config_file()
    known = files.load(path)
    before = known.profiles.get(name, {})
    asked = sys.stdin.isatty() and not as_json and not yes
    network = network or _ask(asked, "Network", before.get("network", "local"), click.Choice(list(NETWORKS)))
    if rpc_url is None and NETWORKS[network].rpc_url is None:
        rpc_url = _ask(asked, f"JSON-RPC endpoint of {NETWORKS[network].title}", before.get("rpc_url", ""))
    suggested = before.get("keystore") or str(path.parent / f"{name}-wallet.json")
    if keystore is None and (asked or not os.environ.get("NVM_PRIVATE_KEY")):
        keystore = Path(_ask(asked, "Keystore of the wallet (made if missing)", suggested))
    node_url = node_url or _ask(asked, "Access node (empty: none yet)", before.get("node_url", ""))
    values: dict[str, Any] = {
        "network": network,
        "rpc_url": rpc_url or (before.get("rpc_url") if before.get("network") == network else None),
        "deployment": _absolute(deployment) or before.get("deployment"),
        "keystore": _absolute(keystore) or before.get("keystore"),
        "password_file": _absolute(password_file) or before.get("password_file"),
        "node_url": base_url(node_url, allow_http=True) if node_url else None,
        "store": store or before.get("store"),
        "gateways": list(gateways) or before.get("gateways"),
    }
    _check(values)
    made = None if keystore is None else _make(keystore, password_file)
    kept = {key: value for key, value in values.items() if value}
    current = known.current if known.current in known.profiles else name
    files.save(path, Profiles(current, {**known.profiles, name: kept}))
    output.record({"profile": name, "file": str(path), **kept, "address": made})
    if made:
        output.note("Back up the keystore and its password: nobody can restore the key without both.")
    if name != current:
        output.note(f"Use it with `nvm-chain --profile {name} …` or NVM_PROFILE={name}.")


@click.command("profiles")
@click.option("--use", "name", help="Make this one the profile that is used without --profile.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_profiles(name: str | None, as_json: bool) -> None:
    """List the profiles that `nvm-chain init` wrote, or choose one."""
    output = Output(as_json)
    path = files.config_file()
    known = files.load(path)
    if name is not None:
        known.named(name)
        known = Profiles(name, known.profiles)
        files.save(path, known)
    rows = [
        {
            "profile": one,
            "used": one == known.current,
            "network": values.get("network"),
            "keystore": values.get("keystore"),
            "node": values.get("node_url"),
        }
        for one, values in known.profiles.items()
    ]
    output.table(rows, "No profiles yet: make one with `nvm-chain init`.")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands: add eval "$(nvm-chain completion bash)" to its start-up file."""
    root = context.find_root()
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"{shell} isn't known")
    click.echo(found(root.command, {}, "nvm-chain", "_NVM_CHAIN_COMPLETE").source())


def _ask(asked: bool, question: str, default: str, kind: Any = str) -> str:
    """On a terminal an answer; elsewhere the default."""
    if not asked:
        return default
    answer: str = click.prompt(question, default=default, type=kind, err=True, show_default=bool(default))
    return answer


def _check(values: Mapping[str, Any]) -> None:
    """That addresses have a form that commands can use. Raises InvalidInput."""
    if values["rpc_url"] is not None:
        check_rpc_url(values["rpc_url"])
    open_blocks(values["store"], tuple(values["gateways"] or ()))  # connects to nothing yet


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser().absolute())


def _make(keystore: Path, password_file: Path | None) -> str | None:
    """Makes the keystore if it is missing: its address, None if it was there. Raises InvalidInput."""
    keystore = keystore.expanduser()
    if keystore.exists():
        return None
    if os.path.lexists(keystore):
        raise InvalidInput(f"{keystore} is a link that leads nowhere")
    made = LocalWallet.create()
    secret = password(password_file, confirm=True)
    keystore.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made.to_keystore(keystore, secret)
    return made.address
