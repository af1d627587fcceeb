"""What the operator sees after signing in: health, settlement, and which secrets are sealed to which key."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from node_proxy.asgi import Exchange
from node_proxy.errors import AccessDenied, NodeError
from node_proxy.ledger.base import Batch, BatchState
from node_proxy.metrics import Tallies
from node_proxy.status import StatusPages
from node_proxy.web.signed_in import session_of
from nvm_chain.cid import Cid
from nvm_chain.did import Did
from nvm_chain.errors import NvmError
from nvm_chain.metadata import Metadata

if TYPE_CHECKING:
    from node_proxy.services import Services

_BATCHES, _ASSETS = 50, 500
_OPEN = (BatchState.PREPARED, BatchState.SENT, BatchState.MINED, BatchState.PARKED)


class OperatorOnly(AccessDenied):
    """The wallet that is signed in doesn't operate this node (HTTP 403)."""

    code = "operator_only"


class OperatorPages:
    """GET /operator, for the node's own account and those that the setting `operators` names."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._status = StatusPages(services)

    async def show(self, exchange: Exchange) -> None:
        """Everything at once: it is looked at by few, and seldom."""
        services = self._services
        session = await session_of(services, exchange)
        if session.subscriber not in {services.identity.address, *services.settings.operators}:
            raise OperatorOnly(
                "This page is for the node's operator: sign in with the node's account, or set NVM_NODE_OPERATORS."
            )
        try:
            await services.look()
            node = await services.records.node()
        except NvmError:
            node = None
        status = services.settling
        answer = {
            "object": "operator",
            **self._status._facts(),
            "key_version": None if node is None else node.version,
            "registered": node is not None and node.active,
            "max_chain_age": services.settings.max_chain_age,
            "signer": services.identity.address,
            "runway": None if status is None else status.runway,
            "outcomes": _counted(services.metrics.outcomes, "outcome"),
            "provider_errors": _counted(services.metrics.failures, "kind"),
            "batches": [_batch(batch) for batch in await self._batches()],
            "assets": await self._assets(0 if node is None else node.version),
        }
        await exchange.respond_json(200, answer, headers=[(b"cache-control", b"no-store")])

    async def _batches(self) -> list[Batch]:
        """The newest ones, newest first; those that wait for the operator among them however old they are."""
        ledger = self._services.ledger
        found = {batch.id: batch for batch in await ledger.batches(*_OPEN)}
        newest = await ledger.charges(settled=True, newest_first=True, limit=1)
        last = max([*found, *(charge.batch for charge in newest if charge.batch is not None)], default=0)
        for number in range(last, max(0, last - _BATCHES), -1):
            if number not in found:
                with suppress(KeyError):
                    found[number] = await ledger.batch(number)
        return [found[number] for number in sorted(found, reverse=True)]

    async def _assets(self, version: int) -> list[dict[str, Any]]:
        """Which key each assistant's secret is sealed to, and whether it opens."""
        services, rows = self._services, []
        for did in (await services.assets.served())[:_ASSETS]:
            row: dict[str, Any] = {"did": str(did), "title": "", "key_versions": [], "state": "unreadable"}
            rows.append(row)
            try:
                record = await services.assets.record(did)
                row["owner"], cid = record.owner, record.metadata
                metadata = await self._metadata(cid, did)
                row["title"] = metadata.title
                mine = sorted(s.key_version for s in metadata.sealed if s.node == services.identity.address)
                row["key_versions"] = mine
                row["state"] = "missing" if not mine else "current" if version in mine else "old"
                await services.assets.open(did)
            except NodeError as error:
                row["problem"] = error.message
            except NvmError as error:
                row["problem"] = str(error)
        return rows

    async def _metadata(self, cid: Cid, did: Did) -> Metadata:
        block = cid.verify(await self._services.store.get(cid), "the block store")
        return await asyncio.to_thread(Metadata.from_block, block, did=did)


def _counted(tallies: Tallies, label: str) -> dict[str, int]:
    """How many there were since the process started, by the label's value."""
    samples = (sample for metric in tallies.collect() for sample in metric.samples)
    return {sample.labels[label]: int(sample.value) for sample in samples if label in sample.labels}


def _batch(batch: Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "did": str(Did(batch.did)),
        "plan_id": "0x" + batch.plan.hex(),
        "number": batch.number,
        "state": batch.state.value,
        "created": batch.created,
        "calls": batch.calls,
        "credits": batch.credits,
        "subscribers": len(batch.entries),
        "block": batch.block,
        "tx_hash": None if batch.tx_hash is None else "0x" + batch.tx_hash.hex(),
        "reason": batch.reason,
    }
