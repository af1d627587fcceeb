"""`nvm-node settle`, `reconcile` and `audit`: beside a running node, or without one. `recover`: without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from node_proxy import identity as identities
from node_proxy.cli.acting import Operator
from node_proxy.config import Settings
from node_proxy.identity import Identity
from node_proxy.ledger import Ledger, open_ledger
from node_proxy.ledger.base import Backlog, Batch, BatchState
from node_proxy.reconcile import reconcile
from node_proxy.recovery import recover
from node_proxy.services import load_deployment, thresholds
from node_proxy.settlement import Settlement
from node_proxy.watcher import ChainView
from nvm_chain.chain import open_chain
from nvm_chain.deployments import check_deployed
from nvm_chain.did import Did
from nvm_chain.errors import ChainUnavailable

_ON_THE_WAY = (BatchState.PREPARED, BatchState.SENT)


class NotSettled(ChainUnavailable):
    """Something still waits after the time that was given."""


@asynccontextmanager
async def _beside(settings: Settings, *, alone: bool = False) -> AsyncIterator[tuple[Identity, Ledger, ChainView]]:
    """The ledger and the chain, for a process that doesn't serve calls. alone: while no other does (SQLite)."""
    identity = identities.load(settings)
    async with (
        open_ledger(settings.ledger, serving=alone) as ledger,
        open_chain(settings.rpc_url, settings.chain_id) as chain,
    ):
        deployment = load_deployment(settings)
        await check_deployed(chain, deployment)
        view = ChainView(chain, deployment, ledger, identity.address)
        await view.start()
        try:
            yield identity, ledger, view
        finally:
            await view.stop()


async def compare(settings: Settings) -> dict[str, Any]:
    """What `reconcile` finds, as JSON values. Raises ChainUnavailable, LedgerFailed."""
    async with _beside(settings) as (_, ledger, view):
        found = await reconcile(ledger, view)
    return {
        "block": found.block,
        "batches": found.batches,
        "calls": found.calls,
        "accounts": found.accounts,
        "waiting": found.waiting,
        "differences": list(found.differences),
    }


async def audit(settings: Settings) -> dict[str, Any]:
    """The books checked against the journal and each other, as JSON values; asks no chain. Raises LedgerFailed."""
    async with open_ledger(settings.ledger, serving=False) as ledger:
        found = await ledger.audit()
    return {
        "books": dict(found.totals),
        "sum": sum(found.totals.values()),
        "charges": found.charges,
        "imbalances": [
            {"what": wrong.what, "expected": wrong.expected, "found": wrong.found} for wrong in found.imbalances
        ],
    }


async def settle_now(
    settings: Settings, seconds: float, operator: Operator, *, parked: bool = False
) -> list[dict[str, Any]] | None:
    """Settles all charges that wait, after a yes; None on a dry run. parked: also those that were set aside before.

    Raises NotSettled, ChainUnavailable, LedgerFailed.
    """
    async with _beside(settings) as (identity, ledger, view):
        aside = await ledger.batches(BatchState.PARKED) if parked else []
        waiting, sent = await ledger.backlog(expiring_before=0), await ledger.batches(*_ON_THE_WAY)
        if operator.dry_run:
            operator.output.record(
                {
                    "node": identity.address,
                    "waiting": [_waiting(one) for one in waiting],
                    "on_the_way": [_shown(batch) for batch in sent],
                    "parked": [_shown(batch) for batch in aside],
                },
                title="Dry run: this would be settled; nothing was sent.",
            )
            return None
        calls = sum(one.calls for one in waiting) + sum(batch.calls for batch in (*sent, *aside))
        if calls:
            credits = sum(one.credits for one in waiting) + sum(batch.credits for batch in (*sent, *aside))
            operator.confirm(f"Settle {calls} calls for {credits} credits? {identity.address} pays the gas.")
        for batch in aside:
            await ledger.unpark(batch.id)
        settlement = Settlement(ledger, view, identity.wallet, thresholds(settings))
        try:
            async with operator.output.waiting(lambda: "settlements wait for their blocks"):
                batches = await settlement.settle_now(patience=seconds)
        except TimeoutError:
            status = await settlement.status()
            why = "; ".join(status.problems) or "transactions aren't in a block yet"
            raise NotSettled(
                f"not everything was settled within {seconds:g} s: {why}. Nothing is lost; run it again"
            ) from None
        return [_shown(batch) for batch in batches]


async def take_in(settings: Settings) -> list[dict[str, Any]]:
    """Adopts the settlements that the ledger has forgotten. Raises LedgerInUse, BatchConflict, NvmError."""
    async with _beside(settings, alone=True) as (_, ledger, view):
        return [_shown(batch) for batch in await recover(ledger, view, from_block=settings.from_block)]


def _waiting(backlog: Backlog) -> dict[str, Any]:
    return {
        "did": str(Did(backlog.did)),
        "plan": "0x" + backlog.plan.hex(),
        "calls": backlog.calls,
        "credits": backlog.credits,
        "subscribers": backlog.subscribers,
    }


def _shown(batch: Batch) -> dict[str, Any]:
    return {
        "number": batch.number,
        "did": str(Did(batch.did)),
        "plan": "0x" + batch.plan.hex(),
        "calls": batch.calls,
        "credits": batch.credits,
        "state": str(batch.state),
        "tx": None if batch.tx_hash is None else "0x" + batch.tx_hash.hex(),
        "block": batch.block,
        "reason": batch.reason,
    }
