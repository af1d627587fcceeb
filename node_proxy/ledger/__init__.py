"""What the node writes down about credits: reservations, charges, batches. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from node_proxy.ledger.base import Ledger, LedgerFailed
from node_proxy.ledger.sqlite import open_sqlite

__all__ = ["Ledger", "open_ledger"]


@asynccontextmanager
async def open_ledger(url: str, *, serving: bool) -> AsyncIterator[Ledger]:
    """The ledger at `url`: the path of a SQLite file (also `sqlite:///…`), or `postgresql://…`.

    serving: whether this process will admit calls. Raises LedgerInUse, LedgerFailed.
    """
    if url.startswith(("postgresql://", "postgres://")):
        try:
            from node_proxy.ledger.postgres import open_postgres
        except ImportError as error:
            raise LedgerFailed(
                f"a PostgreSQL ledger needs a driver ({error}): install nvm-chain[postgresql]"
            ) from error
        async with open_postgres(url, serving=serving) as shared:
            yield shared
        return
    async with open_sqlite(_path(url), serving=serving) as ledger:
        yield ledger


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///")).expanduser()
