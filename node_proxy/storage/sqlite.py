"""The storage in one SQLite file: WAL, synchronous=FULL, so that what was committed survives a power cut."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from node_proxy.schema import prepare_sqlite
from node_proxy.storage.base import MIGRATIONS, StorageFailed
from node_proxy.storage.engine import Engine, EngineDatabase

BUSY_SECONDS = 10
"""How long to wait for another process that writes."""


class SqliteDatabase(EngineDatabase):
    """Use `open_sqlite`."""

    async def gone(self, owners: Collection[int]) -> set[int]:
        return set(owners) - {self.owner}


@asynccontextmanager
async def open_sqlite(path: Path) -> AsyncIterator[SqliteDatabase]:
    """The database in `path`, which is created where it is missing. Raises StorageFailed."""
    try:
        await asyncio.to_thread(_prepare, path)
    except (OSError, sqlite3.Error) as error:
        raise StorageFailed(f"{path} can't be used: {error}") from error
    database = SqliteDatabase(
        Engine(
            dialect="sqlite",
            name=str(path),
            connect=lambda: _connect(path),
            session=lambda connection: connection,
            error=sqlite3.Error,
            broken=lambda connection: False,
            conflict=lambda error: False,
            begin_read="BEGIN",
            begin_write="BEGIN IMMEDIATE",
        )
    )
    try:
        yield database
    finally:
        await database.close()


def _prepare(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    prepare_sqlite(MIGRATIONS, path, _connect)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")
    return db
