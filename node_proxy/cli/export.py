"""`nvm-node export`: every charge with the batch that settled it, for bookkeeping."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, TextIO

from node_proxy.config import Settings
from node_proxy.ledger import Ledger, open_ledger
from node_proxy.ledger.base import Batch, ChargeRecord
from nvm_chain.did import Did

_PAGE = 1_000
COLUMNS = (
    *("time", "charge", "request", "key", "subscriber", "did", "plan", "credits", "flags"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "tool_calls"),
    *("batch", "state", "transaction", "block"),
)


async def export(settings: Settings, out: TextIO, form: str, since: int | None, until: int | None) -> int:
    """Writes charges made from `since` until before `until` (unix seconds), oldest first; answers how many.

    form: csv, or jsonl (one object per line). Reads in pages: a running node needn't wait. Raises LedgerFailed.
    """
    table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    if form == "csv":
        table.writeheader()
    written = 0
    async with open_ledger(settings.ledger, serving=False) as ledger:
        async for row in _rows(ledger, since, until):
            if form == "csv":
                table.writerow({name: _harmless(value) for name, value in row.items()})
            else:
                out.write(json.dumps(row) + "\n")
            written += 1
    return written


async def _rows(ledger: Ledger, since: int | None, until: int | None) -> AsyncIterator[dict[str, Any]]:
    batches: dict[int, Batch] = {}
    after = ""
    while page := await ledger.charges(after=after, limit=_PAGE):
        for charge in page:
            if (since is None or charge.created >= since) and (until is None or charge.created < until):
                if charge.batch is not None and charge.batch not in batches:
                    batches[charge.batch] = await ledger.batch(charge.batch)
                yield _row(charge, None if charge.batch is None else batches[charge.batch])
        after = page[-1].id
        while len(batches) > _PAGE:
            batches.pop(next(iter(batches)))


def _row(charge: ChargeRecord, batch: Batch | None) -> dict[str, Any]:
    usage, counts = charge.usage, ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    counted = {name: None if usage is None else usage.get(name, 0) for name in counts}
    tools = None if usage is None else sum(calls for name, calls in usage.items() if name.startswith("tool_calls."))
    return {
        "time": f"{datetime.fromtimestamp(charge.created, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "charge": charge.id,
        "request": charge.request_id,
        "key": charge.key_id,
        "subscriber": "0x" + charge.account.subscriber.hex(),
        "did": str(Did(charge.did)),
        "plan": "0x" + charge.account.plan.hex(),
        "credits": charge.credits,
        "flags": " ".join(sorted(charge.flags)),
        **counted,
        "tool_calls": tools,
        "batch": None if batch is None else batch.number,
        "state": "waiting" if batch is None else str(batch.state),
        "transaction": None if batch is None or batch.tx_hash is None else "0x" + batch.tx_hash.hex(),
        "block": None if batch is None else batch.block,
    }


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet won't take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
