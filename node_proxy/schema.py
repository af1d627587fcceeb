"""Brings a database's schema up to date: numbered SQL files in `<folder>/<dialect>/`, run by yoyo.

The ledger's books and what everything else keeps have a folder each.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


def current(folder: Path, applied: set[str], dialect: str) -> bool:
    """Whether these migrations, by yoyo's own record, are all that there are: then yoyo needn't be asked."""
    return _steps(folder, dialect) <= applied


def _steps(folder: Path, dialect: str) -> set[str]:
    return {path.stem for path in (folder / dialect).glob("*.sql") if ".rollback" not in path.name}


def migrate(folder: Path, url: str, dialect: str) -> None:
    """Applies what is missing, each migration in a transaction of its own. url: as yoyo takes it.

    The caller holds a lock that keeps other processes from doing the same: yoyo's own lock is a row, which a killed
    process leaves behind.
    """
    # Imported here: only who opens a database that isn't up to date pays for it.
    from yoyo import get_backend, read_migrations  # type: ignore[import-untyped]

    with get_backend(url) as backend:
        backend.apply_migrations(backend.to_apply(read_migrations(str(folder / dialect))))


def prepare_sqlite(folder: Path, path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
    """The SQLite file in WAL mode with all migrations, made if it is missing. Raises OSError, sqlite3.Error."""
    with _waiting_lock(path.with_name(path.name + ".migrating")):
        db = connect(path)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            done = _applied(db)
        finally:
            db.close()
        steps = _steps(folder, "sqlite")
        if newer := done - steps:
            names = ", ".join(sorted(newer))
            raise sqlite3.NotSupportedError(
                f"a newer version of this program has changed its tables ({names}): use that"
            )
        if steps - done:
            migrate(folder, f"sqlite:///{quote(str(path.resolve()))}", "sqlite")


def _applied(db: sqlite3.Connection) -> set[str]:
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = '_yoyo_migration'").fetchone() is None:
        return set()
    return {name for (name,) in db.execute("SELECT migration_id FROM _yoyo_migration")}


@contextmanager
def _waiting_lock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
