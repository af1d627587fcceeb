"""The storage in one SQLite file: WAL, synchronous=FULL, so that what was committed survives a power cut."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

from node_proxy.storage.base import StorageFailed
from node_proxy.storage.engine import Engine, EngineDatabase
from node_proxy.storage.migrate import current, migrate

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
    with _lock(path.with_name(path.name + ".migrating")):
        db = _connect(path)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            done = _migrations(db)
        finally:
            db.close()
        if not current(done, "sqlite"):
            migrate(f"sqlite:///{quote(str(path.resolve()))}", "sqlite")


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")
    return db


def _migrations(db: sqlite3.Connection) -> set[str]:
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = '_yoyo_migration'").fetchone() is None:
        return set()
    return {name for (name,) in db.execute("SELECT migration_id FROM _yoyo_migration")}


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
