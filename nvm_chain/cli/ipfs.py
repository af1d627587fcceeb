"""nvm-chain ipfs: who holds an assistant's metadata, and getting more places to hold it."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import click

from nvm_chain.cid import Cid
from nvm_chain.cli.session import Session, action, command
from nvm_chain.cli.stores import default_store, store_option
from nvm_chain.cli.types import DID, Parsed
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.history import read_history
from nvm_chain.ipfs import Stores, open_stores
from nvm_chain.ipfs.care import holdings, repin
from nvm_chain.ipfs.pinning import PinningService
from nvm_chain.secret import Secret

CID = Parsed("cid", Cid.parse, Cid)

_OPTIONS = (
    click.option("--cid", "cids", type=CID, multiple=True, help="A block by its CID. Repeat it."),
    click.option("--history", "whole", is_flag=True, help="All versions of the assistants, not only the current one."),
    click.option(
        "--pin", "pins", multiple=True, envvar="NVM_PINS", metavar="URL",
        help="Another folder or IPFS node that keeps copies. Repeat it.",
    ),
    click.option(
        "--pinning-service", "services", multiple=True, envvar="NVM_PINNING_SERVICES", metavar="URL",
        help="A service with the IPFS pinning service API; its token is in NVM_PINNING_TOKEN. Repeat it.",
    ),
    click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File with that token."),
)  # fmt: skip


@click.group()
def ipfs() -> None:
    """See who holds metadata blocks, and pin them again."""


def _options(run: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        run = option(run)
    return click.argument("dids", type=DID, nargs=-1, metavar="[DID]…")(store_option(run))


@ipfs.command()
@_options
@command
async def doctor(session: Session, /, dids: tuple[Did, ...], cids: tuple[Cid, ...], whole: bool, **places: Any) -> None:
    """Show which places hold the metadata blocks of assistants; exit 3 if a block is held by none.

    Stores and gateways are made to serve the block, and what they serve is verified.
    """
    wanted = await _blocks(session, dids, cids, whole)
    async with _places(**places) as (stores, services):
        reports = await holdings(stores, services, wanted)
    rows = [
        {
            "cid": str(report.cid),
            "of": wanted[report.cid],
            "place": holding.source,
            "holds": holding.holds,
            "problem": None if holding.error is None else str(holding.error),
        }
        for report in reports
        for holding in report.holdings
    ]
    session.output.table(rows, "No blocks.")
    for report in reports:
        if report.copies < 2:
            where = "no place" if report.copies == 0 else "one place only"
            session.output.note(f"{report.cid} is held by {where}: add places with `nvm-chain ipfs repin`")
    if any(report.copies == 0 for report in reports):
        sys.exit(3)


@ipfs.command(name="repin")
@_options
@click.option("--wait", "patience", type=click.IntRange(0), default=0, help="Seconds to wait for a pinning service.")
@action
async def repin_blocks(
    session: Session, /, dids: tuple[Did, ...], cids: tuple[Cid, ...], whole: bool, patience: int, **places: Any
) -> None:
    """Copy metadata blocks to the store and every --pin, ask pinning services to keep them; exit 3 if that fails."""
    wanted = await _blocks(session, dids, cids, whole)
    async with _places(**places) as (stores, services):
        if session.dry_run:
            await _would_repin(session, stores, services, wanted)
            return
        done = [await repin(stores, services, cid, name=wanted[cid], patience=patience) for cid in wanted]
    rows = [
        {
            "cid": str(one.cid),
            "from": one.source,
            "held": [*one.held, *(f"{name} ({pin.status})" for name, pin in one.pins)],
            "problems": [str(fault) for fault in one.faults],
        }
        for one in done
    ]
    session.output.table(rows, "No blocks.")
    if not all(one.complete and all(pin.status != "failed" for _, pin in one.pins) for one in done):
        sys.exit(3)


async def _would_repin(
    session: Session, stores: Stores, services: Sequence[PinningService], wanted: Mapping[Cid, str]
) -> None:
    keepers = {store.name for store in (stores.primary, *stores.pins)} | {service.name for service in services}
    reports = await holdings(stores, services, wanted)
    rows = [
        {
            "cid": str(report.cid),
            "from": next((holding.source for holding in report.holdings if holding.holds), None),
            "would_go_to": [one.source for one in report.holdings if one.source in keepers and not one.holds],
        }
        for report in reports
    ]
    session.output.table(rows, "No blocks.")
    session.output.note("Dry run: nothing was copied.")
    if any(report.copies == 0 for report in reports):
        sys.exit(3)


async def _blocks(session: Session, dids: Sequence[Did], cids: Sequence[Cid], whole: bool) -> dict[Cid, str]:
    """What is asked about, and what each block is of."""
    if not dids and not cids:
        raise InvalidInput("name assistants by their DIDs, or blocks with --cid")
    found = dict.fromkeys(cids, "")
    if dids:
        async with session.chain() as chain:
            for did in dids:
                if whole:
                    history = await read_history(chain, session.deployment, did)
                    found |= {version.metadata: f"{did} version {version.id}" for version in history.versions}
                else:
                    asset = await chain.call(session.deployment.assets.asset(did))
                    found[asset.metadata] = f"{did} version {asset.version}"
    return found


@asynccontextmanager
async def _places(
    store_url: str | None,
    gateways: Sequence[str],
    pins: Sequence[str],
    services: Sequence[str],
    token_file: Path | None,
) -> AsyncIterator[tuple[Stores, list[PinningService]]]:
    token = Secret("")
    if services:
        if token_file is not None:
            token = _token(token_file)
        else:
            token = Secret(os.environ.get("NVM_PINNING_TOKEN", "").strip())
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(store_url or default_store(), pins, gateways))
        opened = [await stack.enter_async_context(PinningService(url, token)) for url in services]
        yield stores, opened


def _token(file: Path) -> Secret:
    try:
        return Secret(file.read_text("utf-8").strip())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"token file {file} can't be read: {error}") from error
