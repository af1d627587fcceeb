"""The storage in PostgreSQL, shared by any number of node processes on one or many machines.

Each process holds the advisory lock of its number for as long as its connection lives, so that anybody can tell a dead
one without a clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors as pg

from node_proxy.postgres import Connection, connect, url_fault
from node_proxy.schema import current, migrate
from node_proxy.storage.base import MIGRATIONS, Db, Rows, StorageFailed
from node_proxy.storage.engine import Engine, EngineDatabase

GUARD_SECONDS = 2.0
"""How often the connection that holds the process's lock is looked after."""

# First halves of advisory locks ("nvm" and a digit). Migrations take the ledger's lock: both write yoyo's tables.
_MIGRATE, _PROCESS = 0x6E766D31, 0x6E766D38


class _Session:
    """psycopg under the name of `Db`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, params: Sequence[Any] = (), /) -> Rows:
        return self._connection.execute(sql.replace("%", "%%").replace("?", "%s").encode(), params)


class PostgresDatabase(EngineDatabase):
    """Use `open_postgres`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._guard: Connection = self._take_guard()
        self._keeper: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Starts to look after the guard."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep_for_ever())

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        await super().close()
        self._guard.close()

    async def gone(self, owners: Collection[int]) -> set[int]:
        others = sorted(set(owners) - {self.owner})

        def look(db: Db) -> set[int]:
            query = "SELECT pg_try_advisory_xact_lock_shared(?, ?)"
            return {one for one in others if db.execute(query, (_PROCESS, one)).fetchone()[0]}

        return await self.read(look) if others else set()

    def _take_guard(self) -> Connection:
        guard: Connection = self._engine.connect()
        guard.execute("SELECT pg_advisory_lock(%s, %s)", (_PROCESS, self.owner))
        return guard

    async def _keep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(GUARD_SECONDS)
            with suppress(psycopg.Error):
                await asyncio.to_thread(self._look_after_guard)

    def _look_after_guard(self) -> None:
        """Takes the lock again where the connection that held it is gone (the server was restarted)."""
        try:
            self._guard.execute("SELECT 1")
        except psycopg.Error:
            self._guard.close()
            self._guard = self._take_guard()


@asynccontextmanager
async def open_postgres(url: str) -> AsyncIterator[PostgresDatabase]:
    """The database at `url` (postgresql://…), with its schema brought up to date. Raises StorageFailed."""
    if fault := url_fault(url):
        raise StorageFailed(fault)
    engine = Engine(
        dialect="postgresql",
        name="the PostgreSQL database",
        # Transactions are begun by hand: one connection serves reads and writes.
        connect=lambda: connect(url, autocommit=True),
        session=_Session,
        error=psycopg.Error,
        broken=lambda connection: bool(connection.closed or connection.broken),
        conflict=lambda error: isinstance(error, pg.DeadlockDetected | pg.SerializationFailure),
        begin_read="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        begin_write="BEGIN ISOLATION LEVEL READ COMMITTED",
    )
    try:
        await asyncio.to_thread(_prepare, url)
        database = await asyncio.to_thread(PostgresDatabase, engine)
    except psycopg.Error as error:
        raise StorageFailed(f"the PostgreSQL database can't be used: {error}") from error
    database.keep()
    try:
        yield database
    finally:
        await database.close()


async def check_postgres(url: str) -> None:
    """Raises StorageFailed where the server doesn't answer."""

    def look() -> None:
        with connect(url, autocommit=True) as connection:
            connection.execute("SELECT 1")

    if fault := url_fault(url):
        raise StorageFailed(fault)
    try:
        await asyncio.to_thread(look)
    except psycopg.Error as error:
        raise StorageFailed(f"the PostgreSQL database can't be used: {error}") from error


def _prepare(url: str) -> None:
    with connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s, 0)", (_MIGRATE,))
        if not current(MIGRATIONS, _migrations(connection), "postgresql"):
            migrate(MIGRATIONS, "postgresql+psycopg" + url[url.index("://") :], "postgresql")


def _migrations(connection: Connection) -> set[str]:
    if connection.execute("SELECT to_regclass('_yoyo_migration')").fetchone() == (None,):
        return set()
    return {name for (name,) in connection.execute("SELECT migration_id FROM _yoyo_migration")}
