"""Keys, used login nonces and the list of own assistants: one SQLite file for all of the node's processes.

Reads are point look-ups on a connection of the event loop (microseconds, never blocked by writers in WAL mode); writes
are rare and run in a thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import orjson

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS api_keys (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    subscriber TEXT NOT NULL,
    name TEXT NOT NULL,
    budget INTEGER,
    expires_at INTEGER,
    dids TEXT,
    manage INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS api_keys_by_subscriber ON api_keys (subscriber, created_at);
CREATE TABLE IF NOT EXISTS key_uses (id TEXT PRIMARY KEY, last_used_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    hash BLOB PRIMARY KEY,
    subscriber TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_by_expiry ON sessions (expires_at);
CREATE TABLE IF NOT EXISTS used_nonces (nonce TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS used_nonces_by_expiry ON used_nonces (expires_at);
CREATE TABLE IF NOT EXISTS assistants (did BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS searched (scope TEXT PRIMARY KEY, block INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A stored key. hash: keyed, 32 bytes. Times in unix seconds, budget in credits."""

    id: str
    hash: bytes
    subscriber: str
    name: str
    budget: int | None
    expires_at: int | None
    dids: tuple[str, ...] | None
    manage: bool
    created_at: int
    revoked_at: int | None


class AccessStore:
    """Use `open_access_store`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._reader = _connect(path)
        self._writer = _connect(path)
        self._writing = threading.Lock()
        self._writer.executescript(_SCHEMA)

    def close(self) -> None:
        with self._writing:
            self._reader.close()
            self._writer.close()

    def key_by_hash(self, digest: bytes) -> KeyRow | None:
        """One indexed read; from the event loop only."""
        row = self._reader.execute("SELECT * FROM api_keys WHERE hash = ?", (digest,)).fetchone()
        return None if row is None else _row(row)

    async def keys_of(self, subscriber: str) -> list[KeyRow]:
        """Newest first."""
        query = "SELECT * FROM api_keys WHERE subscriber = ? ORDER BY created_at DESC, id"
        return [_row(row) for row in self._reader.execute(query, (subscriber,))]

    async def add_key(self, row: KeyRow) -> None:
        """Durable when it returns."""
        dids = None if row.dids is None else orjson.dumps(row.dids).decode()
        values = (
            *(row.id, row.hash, row.subscriber, row.name, row.budget, row.expires_at, dids),
            *(int(row.manage), row.created_at, row.revoked_at),
        )
        await self._write(lambda db: db.execute("INSERT INTO api_keys VALUES (?,?,?,?,?,?,?,?,?,?)", values))

    async def revoke_key(self, key_id: str, now: int) -> None:
        """Durable when it returns; revoking twice keeps the first time."""
        query = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
        await self._write(lambda db: db.execute(query, (now, key_id)))

    async def note_uses(self, uses: Mapping[str, int]) -> None:
        """When keys (by id) were used last, unix seconds; an earlier time changes nothing."""
        query = (
            "INSERT INTO key_uses VALUES (?, ?) ON CONFLICT (id) DO UPDATE "
            "SET last_used_at = max(last_used_at, excluded.last_used_at)"
        )
        await self._write(lambda db: db.executemany(query, list(uses.items())))

    def last_use(self, key_id: str) -> int | None:
        """Unix seconds; None = never."""
        row = self._reader.execute("SELECT last_used_at FROM key_uses WHERE id = ?", (key_id,)).fetchone()
        return None if row is None else row["last_used_at"]

    async def add_session(self, digest: bytes, subscriber: str, created_at: int, expires_at: int) -> None:
        """Durable when it returns. Forgets sessions that have expired."""

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM sessions WHERE expires_at < ?", (created_at,))
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", (digest, subscriber, created_at, expires_at))

        await self._write(write)

    def session_by_hash(self, digest: bytes) -> tuple[str, int, int] | None:
        """(subscriber, created_at, expires_at)."""
        row = self._reader.execute(
            "SELECT subscriber, created_at, expires_at FROM sessions WHERE hash = ?", (digest,)
        ).fetchone()
        return None if row is None else tuple(row)

    async def end_session(self, digest: bytes) -> None:
        """Durable when it returns."""
        await self._write(lambda db: db.execute("DELETE FROM sessions WHERE hash = ?", (digest,)))

    async def use_nonce(self, nonce: str, now: int, expires_at: int) -> bool:
        """True for exactly one caller per nonce, across processes. Forgets nonces that have expired by themselves."""

        def write(db: sqlite3.Connection) -> bool:
            db.execute("DELETE FROM used_nonces WHERE expires_at < ?", (now,))
            query = "INSERT INTO used_nonces VALUES (?, ?) ON CONFLICT DO NOTHING"
            return db.execute(query, (nonce, expires_at)).rowcount == 1

        return await self._write(write)

    def assistants(self) -> list[bytes]:
        """DIDs that once named this node."""
        return [row["did"] for row in self._reader.execute("SELECT did FROM assistants ORDER BY did")]

    def searched(self, scope: str) -> int | None:
        """Up to which block the registry's logs were searched for them; None = never."""
        row = self._reader.execute("SELECT block FROM searched WHERE scope = ?", (scope,)).fetchone()
        return None if row is None else row["block"]

    async def add_assistants(self, scope: str, dids: Sequence[bytes], block: int) -> None:
        """Found in the logs up to `block`."""

        def write(db: sqlite3.Connection) -> None:
            db.executemany("INSERT INTO assistants VALUES (?) ON CONFLICT DO NOTHING", [(did,) for did in dids])
            query = "INSERT INTO searched VALUES (?, ?) ON CONFLICT (scope) DO UPDATE SET block = excluded.block"
            db.execute(query, (scope, block))

        await self._write(write)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            with self._writing, self._writer:
                self._writer.execute("BEGIN IMMEDIATE")
                return work(self._writer)

        return await asyncio.to_thread(run)


@asynccontextmanager
async def open_access_store(path: Path) -> AsyncIterator[AccessStore]:
    """The store in `path`, which is created where it is missing."""
    store = AccessStore(path)
    try:
        yield store
    finally:
        store.close()


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    return db


def _row(row: sqlite3.Row) -> KeyRow:
    dids = None if row["dids"] is None else tuple(orjson.loads(row["dids"]))
    return KeyRow(
        id=row["id"],
        hash=row["hash"],
        subscriber=row["subscriber"],
        name=row["name"],
        budget=row["budget"],
        expires_at=row["expires_at"],
        dids=dids,
        manage=bool(row["manage"]),
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )
