"""The border of the node's storage: what it keeps besides the ledger's books (keys, sessions, objects, answers).

SQL is written once for both dialects: `?` stands for a parameter (never write one inside a literal), rows are tuples,
whole numbers are BIGINT (STRICT INTEGER in SQLite), bytes are BYTEA (BLOB), times are unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

MIGRATIONS = Path(__file__).parent / "migrations"

T = TypeVar("T")


class StorageFailed(Exception):
    """The database can't be used now (disk full, server gone, locked for too long).

    maybe: whether the write may have been kept all the same, because the connection broke while it was committed.
    """

    def __init__(self, message: str, *, maybe: bool = False) -> None:
        super().__init__(message)
        self.maybe = maybe


class Rows(Protocol):
    """What `execute` gives back; good until the work returns."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Db(Protocol):
    """A connection in a transaction."""

    def execute(self, sql: str, params: Sequence[Any] = (), /) -> Rows: ...


class Database(Protocol):
    """One database, shared by all processes of a node. All methods belong to the event loop that opened it.

    A work is a plain function of `Db`. It runs in a thread, maybe a second time after a conflict or a lost connection,
    so it must change nothing but what is in the database. What it raises comes out of the call, and nothing of it is
    kept.
    """

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""

    @property
    def owner(self) -> int:
        """A number that no other running process has; 0 < owner < 2**31. For rows that end with the process."""

    async def read(self, work: Callable[[Db], T]) -> T:
        """At one state of the database, beside the writers. Raises StorageFailed."""

    async def write(self, work: Callable[[Db], T]) -> T:
        """In a transaction, durable when it returns. Raises StorageFailed.

        Works that wait at the same time share one transaction and one flush to disk. PostgreSQL runs them at READ
        COMMITTED: decide by what a statement changed (`rowcount`, ON CONFLICT), not by what was read before.
        """

    async def gone(self, owners: Collection[int]) -> set[int]:
        """Those of these processes that run no more. In SQLite that is every other one: a file has one serving process.

        Raises StorageFailed.
        """
