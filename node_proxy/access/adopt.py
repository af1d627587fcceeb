"""Keys in a file of a node that has moved to a PostgreSQL ledger: they go on working."""

from __future__ import annotations

import asyncio
from pathlib import Path

from node_proxy import logs
from node_proxy.access.store import AccessStore, open_access_store

log = logs.get("access")


async def adopt(store: AccessStore, file: Path) -> int:
    """Copies the keys of the file that `store` doesn't know; answers how many the file has. The file stays as it is.

    Sessions and nonces last hours and minutes: people sign in again.
    """
    if not await asyncio.to_thread(file.is_file):
        return 0
    async with open_access_store(file) as old:
        keys = await old.all_keys()
    await store.add_keys(keys)
    log.info("access.adopted", file=str(file), keys=len(keys))
    return len(keys)
