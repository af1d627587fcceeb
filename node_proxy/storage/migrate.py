"""Brings the storage's schema up to date: numbered SQL files in `migrations/`, run by yoyo."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "migrations"


def current(applied: set[str], dialect: str) -> bool:
    """Whether these migrations, by yoyo's own record, are all that there are: then yoyo needn't be asked."""
    files = {path.stem for path in (FOLDER / dialect).glob("*.sql") if ".rollback" not in path.name}
    return files <= applied


def migrate(url: str, dialect: str) -> None:
    """Applies what is missing, each migration in a transaction of its own. url: as yoyo takes it.

    The caller holds a lock that keeps other processes from doing the same: yoyo's own lock is a row, which a killed
    process leaves behind.
    """
    # Imported here: only who opens a database that isn't up to date pays for it.
    from yoyo import get_backend, read_migrations  # type: ignore[import-untyped]

    with get_backend(url) as backend:
        backend.apply_migrations(backend.to_apply(read_migrations(str(FOLDER / dialect))))
