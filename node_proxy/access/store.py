"""Keys, sessions, used login nonces and the list of own assistants, for all of the node's processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from node_proxy.storage import Database, Db, open_database

_KEY = "SELECT id, hash, subscriber, name, budget, expires_at, dids, manage, created_at, revoked_at FROM api_keys"


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
    """Reads see what any process has committed; writes are durable when they return. All raise StorageFailed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ----------------------------------------------------------------------------------------------------------- keys

    async def key_by_hash(self, digest: bytes) -> tuple[KeyRow | None, int]:
        """The key, and how many revocations there had been when it was read."""

        def read(db: Db) -> tuple[KeyRow | None, int]:
            row = db.execute(f"{_KEY} WHERE hash = ?", (digest,)).fetchone()
            return None if row is None else _row(row), _revocations(db)

        return await self._database.read(read)

    async def revocations(self) -> int:
        """How many keys were revoked so far: as long as it stands still, keys that were read are as they were."""
        return await self._database.read(_revocations)

    async def keys_of(self, subscriber: str) -> list[KeyRow]:
        """Newest first."""
        query = f"{_KEY} WHERE subscriber = ? ORDER BY created_at DESC, id"
        return await self._database.read(lambda db: [_row(row) for row in db.execute(query, (subscriber,)).fetchall()])

    async def add_key(self, row: KeyRow) -> None:
        await self.add_keys([row])

    async def add_keys(self, rows: Sequence[KeyRow]) -> None:
        """Those that are known already stay as they are."""

        def write(db: Db) -> None:
            for row in rows:
                dids = None if row.dids is None else orjson.dumps(row.dids).decode()
                db.execute(
                    "INSERT INTO api_keys (id, hash, subscriber, name, budget, expires_at, dids, manage, created_at,"
                    " revoked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                    (
                        *(row.id, row.hash, row.subscriber, row.name, row.budget, row.expires_at, dids),
                        *(int(row.manage), row.created_at, row.revoked_at),
                    ),
                )

        await self._database.write(write)

    async def all_keys(self) -> list[KeyRow]:
        """Every key that was ever made."""
        return await self._database.read(lambda db: [_row(row) for row in db.execute(_KEY).fetchall()])

    async def revoke_key(self, key_id: str, now: int) -> int:
        """Answers `revocations` afterwards; revoking twice keeps the first time."""

        def write(db: Db) -> int:
            db.execute("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id))
            db.execute("UPDATE key_revocations SET version = version + 1 WHERE id = 1")
            return _revocations(db)

        return await self._database.write(write)

    async def note_uses(self, uses: Mapping[str, int]) -> None:
        """When keys (by id) were used last, unix seconds; an earlier time changes nothing."""

        def write(db: Db) -> None:
            for key_id, used_at in sorted(uses.items()):
                db.execute(
                    "INSERT INTO key_uses (id, last_used_at) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET"
                    " last_used_at = excluded.last_used_at WHERE key_uses.last_used_at < excluded.last_used_at",
                    (key_id, used_at),
                )

        await self._database.write(write)

    async def last_use(self, key_id: str) -> int | None:
        """Unix seconds; None = never."""
        query = "SELECT last_used_at FROM key_uses WHERE id = ?"
        row = await self._database.read(lambda db: db.execute(query, (key_id,)).fetchone())
        return None if row is None else int(row[0])

    # ------------------------------------------------------------------------------------------------------- sessions

    async def add_session(self, digest: bytes, subscriber: str, created_at: int, expires_at: int) -> None:
        """Forgets sessions that have expired."""

        def write(db: Db) -> None:
            db.execute("DELETE FROM sessions WHERE expires_at < ?", (created_at,))
            query = "INSERT INTO sessions (hash, subscriber, created_at, expires_at) VALUES (?, ?, ?, ?)"
            db.execute(query, (digest, subscriber, created_at, expires_at))

        await self._database.write(write)

    async def session_by_hash(self, digest: bytes) -> tuple[str, int, int] | None:
        """(subscriber, created_at, expires_at)."""
        query = "SELECT subscriber, created_at, expires_at FROM sessions WHERE hash = ?"
        row = await self._database.read(lambda db: db.execute(query, (digest,)).fetchone())
        return None if row is None else (row[0], row[1], row[2])

    async def end_session(self, digest: bytes) -> None:
        """Ending one that is none changes nothing."""
        await self._database.write(lambda db: _done(db.execute("DELETE FROM sessions WHERE hash = ?", (digest,))))

    async def use_nonce(self, nonce: str, now: int, expires_at: int) -> bool:
        """True for exactly one caller per nonce, across processes. Forgets nonces that have expired by themselves."""

        def write(db: Db) -> bool:
            db.execute("DELETE FROM used_nonces WHERE expires_at < ?", (now,))
            query = "INSERT INTO used_nonces (nonce, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING"
            return db.execute(query, (nonce, expires_at)).rowcount == 1

        return await self._database.write(write)

    # ------------------------------------------------------------------------------------------------ own assistants

    async def assistants(self) -> list[bytes]:
        """DIDs that once named this node."""
        query = "SELECT did FROM assistants ORDER BY did"
        return await self._database.read(lambda db: [bytes(row[0]) for row in db.execute(query).fetchall()])

    async def searched(self, scope: str) -> int | None:
        """Up to which block the registry's logs were searched for them; None = never."""
        query = "SELECT block FROM searched WHERE scope = ?"
        row = await self._database.read(lambda db: db.execute(query, (scope,)).fetchone())
        return None if row is None else int(row[0])

    async def add_assistants(self, scope: str, dids: Sequence[bytes], block: int) -> None:
        """Found in the logs up to `block`."""

        def write(db: Db) -> None:
            for did in sorted(dids):
                db.execute("INSERT INTO assistants (did) VALUES (?) ON CONFLICT DO NOTHING", (did,))
            db.execute(
                "INSERT INTO searched (scope, block) VALUES (?, ?)"
                " ON CONFLICT (scope) DO UPDATE SET block = excluded.block",
                (scope, block),
            )

        await self._database.write(write)


@asynccontextmanager
async def open_access_store(url: str | Path) -> AsyncIterator[AccessStore]:
    """The store in the database at `url`, as `open_database` takes it. Raises StorageFailed."""
    async with open_database(url) as database:
        yield AccessStore(database)


def _revocations(db: Db) -> int:
    return int(db.execute("SELECT version FROM key_revocations WHERE id = 1").fetchone()[0])


def _done(_: object) -> None:
    return None


def _row(row: Sequence[Any]) -> KeyRow:
    key_id, digest, subscriber, name, budget, expires_at, dids, manage, created_at, revoked_at = row
    return KeyRow(
        id=key_id,
        hash=bytes(digest),
        subscriber=subscriber,
        name=name,
        budget=budget,
        expires_at=expires_at,
        dids=None if dids is None else tuple(orjson.loads(dids)),
        manage=bool(manage),
        created_at=created_at,
        revoked_at=revoked_at,
    )
