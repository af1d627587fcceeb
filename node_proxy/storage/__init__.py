"""What the node keeps besides the ledger's books: one SQLite file, or tables in the ledger's PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from node_proxy.storage.base import Database, Db, Rows, StorageFailed
from node_proxy.storage.sqlite import open_sqlite

__all__ = ["Database", "Db", "Rows", "StorageFailed", "check_database", "open_database"]


@asynccontextmanager
async def open_database(url: str | Path) -> AsyncIterator[Database]:
    """The database at `url`: the path of a SQLite file (also `sqlite:///…`), or `postgresql://…`.

    It is created where it is missing, and its schema brought up to date. Raises StorageFailed.
    """
    text = str(url)
    if text.startswith(("postgresql://", "postgres://")):
        try:
            from node_proxy.storage.postgres import open_postgres
        except ImportError as error:
            raise StorageFailed(f"PostgreSQL needs a driver ({error}): install nvm-chain[postgresql]") from error
        async with open_postgres(text) as shared:
            yield shared
        return
    async with open_sqlite(_path(text)) as own:
        yield own


async def check_database(url: str | Path) -> None:
    """Whether the database at `url` answers; changes nothing. Raises StorageFailed."""
    text = str(url)
    if text.startswith(("postgresql://", "postgres://")):
        try:
            from node_proxy.storage.postgres import check_postgres
        except ImportError as error:
            raise StorageFailed(f"PostgreSQL needs a driver ({error}): install nvm-chain[postgresql]") from error
        await check_postgres(text)


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///")).expanduser()
