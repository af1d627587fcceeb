"""One database behind threads: works that wait are written in one transaction, reads run beside them.

What is particular to SQLite or PostgreSQL is an `Engine`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from node_proxy.storage.base import Db, StorageFailed

T = TypeVar("T")
Work = Callable[[Db], Any]

MOST_AT_ONCE = 200
"""Works in one transaction at most."""

READERS = 2
"""Threads, and connections, that read."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How to speak to one kind of database.

    name: for messages, without password. connect: a connection without a transaction of its own. session: the same as
    `Db`. error: base of what the driver raises. broken: whether a connection is of no use any more. conflict: whether
    the same work may succeed if it is tried again after this error.
    """

    dialect: str
    name: str
    connect: Callable[[], Any]
    session: Callable[[Any], Db]
    error: type[Exception]
    broken: Callable[[Any], bool]
    conflict: Callable[[Exception], bool]
    begin_read: str
    begin_write: str


class _Waiting:
    __slots__ = ("future", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class EngineDatabase:
    """Use `open_database`."""

    def __init__(self, engine: Engine) -> None:
        self.owner = 1 + secrets.randbelow(2**31 - 1)
        self._engine = engine
        self._writer: Any = None
        self._idle: list[Any] = []
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="storage-write")
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="storage-read")
        self._waiting: list[_Waiting] = []
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def dialect(self) -> str:
        return self._engine.dialect

    async def close(self) -> None:
        """Writes down what waits, then closes the connections."""
        self._closed = True
        while self._flushing is not None:
            await asyncio.wait([self._flushing])
        self._writing.shutdown()
        self._reading.shutdown()
        for connection in (self._writer, *self._idle):
            if connection is not None:
                connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageFailed(f"{self._engine.name} was closed")

    # ---------------------------------------------------------------------------------------------------------- reads

    async def read(self, work: Callable[[Db], T]) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._read, work)

    def _read(self, work: Callable[[Db], T]) -> T:
        engine = self._engine
        for last in (False, True):
            connection = None
            try:
                connection = self._idle.pop() if self._idle else engine.connect()
                connection.execute(engine.begin_read)
                result = work(engine.session(connection))
                connection.execute("COMMIT")
            except engine.error as error:
                broken = connection is not None and engine.broken(connection)
                self._put_back(connection)
                if last or not (broken or engine.conflict(error)):
                    raise self._failed(error) from error
            except BaseException:
                self._put_back(connection)
                raise
            else:
                self._idle.append(connection)
                return result
        raise AssertionError("unreachable")

    def _put_back(self, connection: Any) -> None:
        if connection is None:
            return
        try:
            connection.execute("ROLLBACK")
        except self._engine.error:
            with suppress(self._engine.error):
                connection.close()
        else:
            self._idle.append(connection)

    # --------------------------------------------------------------------------------------------------------- writes

    async def write(self, work: Callable[[Db], T]) -> T:
        self._check_open()
        waiting = _Waiting(work)
        self._waiting.append(waiting)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())
        result: T = await waiting.future
        return result

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                works = [waiting.work for waiting in group]
                results = await loop.run_in_executor(self._writing, self._write, works)
                for waiting, (result, error) in zip(group, results, strict=True):
                    if waiting.future.done():
                        continue
                    if error is None:
                        waiting.future.set_result(result)
                    else:
                        waiting.future.set_exception(error)
        finally:
            self._flushing = None

    def _write(self, works: Sequence[Work]) -> list[tuple[Any, Exception | None]]:
        """(result, error) of each."""
        engine = self._engine
        for last in (False, True):
            try:
                if self._writer is None or engine.broken(self._writer):
                    self._writer = engine.connect()
                self._writer.execute(engine.begin_write)
                results = [self._run(work, alone=len(works) == 1) for work in works]
            except Exception as error:
                broken = self._writer is not None and engine.broken(self._writer)
                self._roll_back()
                if not isinstance(error, engine.error):
                    return [(None, error)]  # of the only work
                if not last and (broken or engine.conflict(error)):
                    continue
                if len(works) > 1:  # one must not spoil the others'
                    return [result for work in works for result in self._write([work])]
                return [(None, self._failed(error))]
            try:
                self._writer.execute("COMMIT")
            except engine.error as error:
                maybe = engine.broken(self._writer)
                self._roll_back()
                return [(None, self._failed(error, maybe=maybe)) for _ in works]
            return results
        raise AssertionError("unreachable")

    def _run(self, work: Work, *, alone: bool) -> tuple[Any, Exception | None]:
        session, execute = self._engine.session(self._writer), self._writer.execute
        if alone:
            return work(session), None
        execute("SAVEPOINT work")
        try:
            result = work(session)
        except Exception as error:
            if isinstance(error, self._engine.error) and self._engine.conflict(error):
                raise
            execute("ROLLBACK TO SAVEPOINT work")
            execute("RELEASE SAVEPOINT work")
            return None, self._failed(error) if isinstance(error, self._engine.error) else error
        execute("RELEASE SAVEPOINT work")
        return result, None

    def _roll_back(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.execute("ROLLBACK")
        except self._engine.error:
            if self._engine.broken(self._writer) or self._engine.dialect == "postgresql":
                with suppress(self._engine.error):
                    self._writer.close()
                self._writer = None

    def _failed(self, error: Exception, *, maybe: bool = False) -> StorageFailed:
        failure = StorageFailed(f"{self._engine.name}: {error}", maybe=maybe)
        failure.__cause__ = error
        return failure
