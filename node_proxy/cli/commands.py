"""The commands of `nvm-node`. Exit codes are those of `nvm-chain`, see `nvm_chain.cli.program`."""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
import sys
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click
import uvloop
from click.shell_completion import get_completion_class

from node_proxy import identity as identities
from node_proxy import logs
from node_proxy.cli.acting import NodeProgram, Operator
from node_proxy.config import Settings, describe, load
from nvm_chain import __version__
from nvm_chain.cli.output import Output, plain, to_json, visible
from nvm_chain.cli.types import DURATION, read_text
from nvm_chain.secret import Secret

T = TypeVar("T")

_json = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")


def _acting(run: Callable[..., None]) -> Callable[..., None]:
    """--yes, --dry-run and --json as `operator: Operator`."""

    @functools.wraps(run)
    def callback(*args: Any, yes: bool, dry_run: bool, as_json: bool, **kwargs: Any) -> None:
        run(*args, operator=Operator(Output(as_json), yes, dry_run), **kwargs)

    return _yes(_dry_run(_json(callback)))


@click.group(cls=NodeProgram, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nvm-node")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="NVM_NODE_CONFIG",
    help="TOML file with settings; NVM_NODE_* variables go before it.",
)
@click.pass_context
def main(context: click.Context, config: Path | None) -> None:
    """The access node: serves assistants to whoever holds a plan that opens them, and settles on the chain.

    Which chain it is on is in its configuration, with its keys and its ledger: they belong together, so there is no
    option for it.
    """
    context.obj = config


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="nvm-node")
@click.option("--rpc-url", metavar="URL", help="JSON-RPC endpoint of the chain.")
@click.option("--chain-id", type=click.IntRange(1), help="Refuse any other chain.")
@click.option("--public-url", metavar="URL", help="Base URL for clients, without /v1; wallets sign its host.")
@click.option("--bind", metavar="HOST:PORT", help="Address to listen on.")
@click.option("--store", metavar="URL", help="Where metadata is read: kubo:…, file:///folder or a gateway.")
@click.option("--allow-host", "allowed_hosts", multiple=True, help="A provider's host. Repeat it.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the keystore's password; without it one is made up and kept in FOLDER.",
)
@_json
def init(
    folder: Path,
    rpc_url: str | None,
    chain_id: int | None,
    public_url: str | None,
    bind: str | None,
    store: str | None,
    allowed_hosts: tuple[str, ...],
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Makes FOLDER (by default nvm-node) with the node's keys and a commented node.toml."""
    from node_proxy.cli.setup import Wishes, make

    if rpc_url is None:
        if not sys.stdin.isatty():
            raise click.MissingParameter(param_type="option", param_hint="'--rpc-url'")
        rpc_url = click.prompt("JSON-RPC endpoint of the chain", err=True)
    password = secrets.token_urlsafe(32) if password_file is None else read_text(password_file).strip()
    wishes = Wishes(rpc_url, chain_id, public_url, bind, store, allowed_hosts, password_file)
    address, config = make(folder, wishes, Secret(password))
    if as_json:
        Output(True).record({"node": address, "config": str(config)})
        return
    click.echo(f"node address   {address}")
    click.echo(f"configuration  {config}")
    click.echo("Next: send the address some native currency for gas, look the configuration over, then")
    for step in ("register", "check", "serve"):
        click.echo(f"  nvm-node --config {config} {step}")


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Prints what makes SHELL complete commands: add eval "$(nvm-node completion bash)" to its start-up file."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"{shell} isn't known")
    click.echo(found(main, {}, "nvm-node", "_NVM_NODE_COMPLETE").source())


@main.command()
@_json
@click.pass_obj
def serve(config: Path | None, as_json: bool) -> None:
    """Answers calls until Ctrl-C, and settles in the background."""
    from node_proxy.server import serve as run_server

    settings = _settings(config)
    logs.configure(settings.log_level, settings.log_format)

    def announce(url: str) -> None:
        if as_json:
            Output(True).record({"listening": url})
        else:
            print(f"listening on {url}", flush=True)

    with logs.beside():
        _run(run_server(settings, announce=announce))


@main.command()
@_json
@click.pass_obj
def check(config: Path | None, as_json: bool) -> None:
    """Tries everything that `serve` needs and says what is wrong, without serving. Exit code 1 if something is."""
    from node_proxy.cli.checks import run_checks

    found: list[dict[str, Any]] = []

    def tell(name: str, passed: bool, says: str) -> None:
        found.append({"check": name, "ok": passed, "says": says})
        if not as_json:
            _say(f"{'ok    ' if passed else 'FAIL  '}{name:10} {says}")

    failed = _run(run_checks(_settings(config), tell))
    if as_json:
        Output(True).record({"ok": not failed, "checks": found})
    elif failed:
        Output(False).failure("CheckFailed", f"{failed} {'check' if failed == 1 else 'checks'} failed", {})
    if failed:
        sys.exit(1)


@main.command()
@click.option("--timeout", default=120, show_default=True, type=click.IntRange(1, 86_400), help="Seconds to wait.")
@click.option("--parked", is_flag=True, help="Try again what the contract refused before, too.")
@_acting
@click.pass_obj
def settle(config: Path | None, timeout: int, parked: bool, operator: Operator) -> None:
    """Settles everything that waits, now, and waits until it is on the chain. Works beside a running node."""
    from node_proxy.cli.settling import settle_now

    settings = _settings(config)
    logs.configure("warning", settings.log_format)
    batches = _run(settle_now(settings, timeout, operator, parked=parked))
    if batches is None:
        return
    if operator.output.as_json:
        operator.output.record({"batches": batches})
        return
    for batch in batches:
        what = f"batch {batch['number']} of {batch['did']}: {batch['calls']} calls, {batch['credits']} credits"
        _say(f"{what}, {batch['state']} in {batch['tx'] or 'no transaction'}")
    if not batches:
        click.echo("nothing waits to be settled")


@main.command()
@_json
@click.pass_obj
def audit(config: Path | None, as_json: bool) -> None:
    """Adds the journal up again and compares every book with it. Exit code 1 where something doesn't add up to zero."""
    from node_proxy.cli.settling import audit as look

    found = _run(look(_settings(config)))
    if as_json:
        click.echo(to_json(found))
    else:
        for book, credits in found["books"].items():
            _say(f"{book:12} {credits:20,}")
        _say(f"{'sum':12} {found['sum']:20,}   {found['charges']:,} charges")
        for wrong in found["imbalances"]:
            _say(f"wrong: {wrong['what']}: {wrong['found']} in the books, {wrong['expected']} in the journal")
        click.echo("the books are in order" if not found["imbalances"] else "look at what is wrong above")
    if found["imbalances"]:
        sys.exit(1)


@main.command()
@_json
@click.pass_obj
def reconcile(config: Path | None, as_json: bool) -> None:
    """Compares the ledger with the chain, call by call. Changes nothing; exit code 1 where something differs."""
    from node_proxy.cli.settling import compare

    settings = _settings(config)
    logs.configure("warning", settings.log_format)
    found = _run(compare(settings))
    if as_json:
        click.echo(to_json(found))
    else:
        click.echo(
            f"block {found['block']}: {found['calls']} calls in {found['batches']} batches, "
            f"{found['accounts']} accounts, {found['waiting']} calls wait to be settled"
        )
        for difference in found["differences"]:
            _say(f"differs: {difference}")
        click.echo("the ledger and the chain agree" if not found["differences"] else "look at what differs above")
    if found["differences"]:
        sys.exit(1)


@main.command()
@click.option("--format", "form", default="csv", show_default=True, type=click.Choice(["csv", "jsonl"]))
@click.option("--since", type=click.DateTime(), help="From this time on (UTC).")
@click.option("--until", type=click.DateTime(), help="Until before this time (UTC).")
@click.option("--out", type=click.File("w", encoding="utf-8", atomic=True), help="Where to write.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: the charges, or how many went to --out.")
@click.pass_obj
def export(
    config: Path | None,
    form: str,
    since: datetime | None,
    until: datetime | None,
    out: TextIO | None,
    as_json: bool,
) -> None:
    """Writes every charge, with the batch that settled it, as CSV or JSON lines."""
    from node_proxy.cli.export import export as write

    bounds = [None if time is None else int(time.replace(tzinfo=UTC).timestamp()) for time in (since, until)]
    if as_json and out is None:
        lines = StringIO()
        _run(write(_settings(config), lines, "jsonl", *bounds))
        Output(True).record({"charges": [json.loads(line) for line in lines.getvalue().splitlines()]})
        return
    written = _run(write(_settings(config), out or sys.stdout, form, *bounds))
    if as_json and out is not None:
        Output(True).record({"written": written, "format": form, "out": out.name})
    else:
        click.echo(f"{written} charges", err=True)


@main.command()
@_yes
@_json
@click.pass_obj
def recover(config: Path | None, yes: bool, as_json: bool) -> None:
    """After a ledger was restored from an old copy: takes in the settlements that it has forgotten. Stop the node."""
    from node_proxy.cli.settling import take_in

    settings = _settings(config)
    logs.configure("warning", settings.log_format)
    question = "Take calls that wait for settled, as far as the chain's settlements explain them?"
    Operator(Output(as_json), yes).confirm(question, look=False)
    batches = _run(take_in(settings))
    if as_json:
        click.echo(to_json({"batches": batches}))
        return
    for batch in batches:
        _say(f"batch {batch['number']} of {batch['did']}: {batch['calls']} calls, {batch['credits']} credits")
    _say(f"{len(batches)} settlements taken in" if batches else "the ledger knows every settlement")


@main.command("settings")
@_json
def show_settings(as_json: bool) -> None:
    """Lists all settings with their defaults."""
    rows = [{"variable": variable, "default": default, "meaning": meaning} for variable, default, meaning in describe()]
    if as_json:
        Output(True).table(rows, "")
        return
    for row in rows:
        click.echo(f"{row['variable']:38} {row['default']:24} {row['meaning']}")


@main.command()
@_json
@click.pass_obj
def status(config: Path | None, as_json: bool) -> None:
    """What a running node says about itself, and what waits to be settled."""
    from node_proxy.cli.checks import node_status

    facts = _run(node_status(_settings(config)))
    if as_json:
        click.echo(to_json(facts))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            for part, inner in value.items():
                _say(f"{f'{name} {part}'.replace('_', ' '):32} {plain(inner)}")
        else:
            _say(f"{name.replace('_', ' '):32} {plain(value)}")


@main.command()
@_acting
@click.pass_obj
def register(config: Path | None, operator: Operator) -> None:
    """Publishes the node's encryption key and base URL in NodeRegistry; does nothing where they are there already."""
    from node_proxy.cli.registration import register_node

    _tell(operator, _run(register_node(_settings(config), operator)))


@main.group()
def key() -> None:
    """The node's own keys."""


@key.command("new")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the password; asked for if it isn't given.",
)
@_json
def key_new(folder: Path, password_file: Path | None, as_json: bool) -> None:
    """Makes an encrypted keystore in FOLDER: a settlement key and an encryption key."""
    if password_file is not None:
        password = Secret(read_text(password_file).strip())
    elif sys.stdin.isatty():
        password = Secret(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    else:
        raise click.MissingParameter(param_type="option", param_hint="'--password-file'")
    address, public_key = identities.create(folder, password)
    if as_json:
        encryption_key = "0x" + public_key.to_bytes().hex()
        Output(True).record({"node": address, "encryption_key": encryption_key, "keystore": str(folder)})
        return
    click.echo(f"node address    {address}   (send it some native currency for settlement's gas)")
    click.echo(f"encryption key  0x{public_key.to_bytes().hex()}")
    click.echo(f"Set NVM_NODE_KEYSTORE={folder} and NVM_NODE_KEYSTORE_PASSWORD_FILE, then run `nvm-node register`.")


@key.command("show")
@_json
@click.pass_obj
def key_show(config: Path | None, as_json: bool) -> None:
    """Lists the keystore's encryption keys and what they are in NodeRegistry."""
    from node_proxy.cli.keys import show

    keys = [one.shown() for one in _run(show(_settings(config)))]
    if as_json:
        click.echo(to_json({"keys": keys}))
        return
    for one in keys:
        _say(f"{one['key']:14} version {one['version'] or '–'!s:3} {one['state']:40} {one['public_key'][:20]}…")


@key.command("rotate")
@click.option(
    "--overlap",
    default="7d",
    show_default=True,
    type=DURATION,
    metavar="TIME",
    help="How long the old key still opens.",
)
@_acting
@click.pass_obj
def key_rotate(config: Path | None, overlap: int, operator: Operator) -> None:
    """Makes and publishes a new encryption key. A running node picks it up by itself."""
    from node_proxy.cli.keys import rotate

    _tell(operator, _run(rotate(_settings(config), overlap, operator)))


@key.command("retire")
@click.argument("number", type=click.IntRange(1))
@_acting
@click.pass_obj
def key_retire(config: Path | None, number: int, operator: Operator) -> None:
    """Removes encryption key NUMBER, after its overlap, for good."""
    from node_proxy.cli.keys import retire

    _tell(operator, _run(retire(_settings(config), number, operator)))


@main.command()
@_acting
@click.pass_obj
def retire(config: Path | None, operator: Operator) -> None:
    """Takes the node out of service: no assistant may name it any more; what it served still settles."""
    from node_proxy.cli.registration import retire_node

    _tell(operator, _run(retire_node(_settings(config), operator)))


@main.command()
@_json
@click.pass_obj
def assets(config: Path | None, as_json: bool) -> None:
    """Lists the assistants of this node and the key versions that their secrets are sealed to."""
    from node_proxy.cli.assets import list_assets

    rows = _run(list_assets(_settings(config)))
    if as_json:
        click.echo(to_json({"assets": [row.shown() for row in rows]}))
        return
    for row in rows:
        sealed = ", ".join(map(str, row.sealed_to)) or "–"
        _say(f"{row.did}  key {sealed:6} {row.state}  {row.title}")
    if not rows:
        click.echo("no assistant names this node")


def _settings(config: Path | None) -> Settings:
    return load(path=config)


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _tell(operator: Operator, done: tuple[str, Mapping[str, Any]] | None) -> None:
    """done: a sentence and its values; None after a dry run, which has told already."""
    if done is not None:
        operator.output.record(done[1], title=done[0])


def _say(line: str) -> None:
    click.echo(visible(line, "\n"))
