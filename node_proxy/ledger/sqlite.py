"""The ledger in one SQLite file: one process serves calls, others may look and settle beside it.

Group commit: operations that arrive while one transaction is being written to disk wait, and go into the next one
together; one fsync serves them all. Statements run on the event loop (a microsecond each, into the page cache); only
COMMIT, which waits for the disk, runs in a thread. WAL, synchronous=FULL: what a COMMIT that has returned wrote
survives a power cut. SQLite would now and then let a COMMIT copy the whole log into the file, with all calls waiting:
here that is done beside them.

A charge is appended: to the journal (`charges`), to the index of what waits, and to `unposted`, a line of which stands
for what its account's and its API key's rows don't say yet. Those rows would be a page each, for every call. They are
written later, together: `post`. The serving process has all that isn't posted in memory, so an account or a key that it
has to look up is what its row says.

Reservations live in memory. A reservation is the promise of a living process to a living client; the file's lock admits
one serving process, so nobody else needs to see it, and a process that dies takes its reservations with it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from time import time
from typing import Any, TypeVar, cast

import orjson
import structlog

from node_proxy.ledger import books
from node_proxy.ledger.base import (
    MAX_CREDITS,
    AccountId,
    Applied,
    Attempt,
    Audit,
    Backlog,
    Batch,
    BatchState,
    BudgetSpent,
    Charge,
    ChargeRecord,
    Checkpoint,
    Forgotten,
    Hold,
    LedgerFailed,
    LedgerInUse,
    NotEnoughCredits,
    Promise,
    ReservationGone,
    Snapshot,
    Standing,
)
from node_proxy.ledger.ids import new_id
from node_proxy.schema import prepare_sqlite

log = structlog.get_logger(__name__)

T = TypeVar("T")
K = TypeVar("K")

BUSY_SECONDS = 10
"""How long to wait for another process that writes (`nvm-node settle`)."""

MANY = 4
GATHER_SECONDS, PAUSE_SECONDS = 0.006, 0.0005
"""While transactions have MANY operations, the next begins up to GATHER_SECONDS later: fewer, each for more calls.

Only as long as the event loop has other work, which shows in pauses that end late: else it would do nothing but wait.
"""

LOGGED = 8_000
"""Pages after which the write-ahead log is copied into the file, 32 MB: the copy shares the disk with the calls.

Counted roughly: five for a transaction, one for four operations in it, HEAVY_PAGES for a heavy one, one for a line that
is posted.
"""
HEAVY_PAGES = 500

UNPOSTED, FEW = 4_000, 50
"""Lines of `unposted` after which they are posted, even where nothing else asks for it.

Charges wait for that: 3 ms, or 15 where the lines are of a thousand accounts and 50 where they are of four thousand,
among a million. More lines are cheaper for each call, fewer hold it up for less long. Up to FEW, and those of its own
transaction, are posted by what asks for it.
"""

ACCOUNTS_IN_MEMORY = 20_000
"""Accounts beyond it, and beyond what isn't posted, are read from the file again: some 10 µs."""


@dataclass(slots=True)
class _Account:
    """An account as it would be if every operation committed so far, and no other, had happened.

    charged: all that it ever was. round: of postings, to which its latest charge belongs.
    """

    id: AccountId
    snapshot: Snapshot | None
    captured: int
    charged: int
    reserved: int = 0
    round: int = -1

    @property
    def spendable(self) -> int:
        return 0 if self.snapshot is None else max(0, self.snapshot.balance - self.captured - self.reserved)

    @property
    def standing(self) -> Standing:
        return Standing(self.id, self.snapshot, self.captured, self.reserved)


@dataclass(slots=True)
class _Key:
    """round: as of an account."""

    spent: int
    reserved: int = 0
    round: int = -1


S = TypeVar("S", _Account, _Key)


class _Live:
    """A reservation, and once it is captured the charge on its way to the disk.

    future: of the charge; None = still a reservation.
    """

    __slots__ = ("_ledger", "account", "charge", "future", "hold", "key", "row")

    def __init__(self, ledger: SqliteLedger, hold: Hold, account: _Account, key: _Key) -> None:
        self._ledger = ledger
        self.hold = hold
        self.account = account
        self.key = key
        self.charge = 0
        self.row: tuple[Any, ...] = ()
        self.future: asyncio.Future[Charge] | None = None

    def committed(self, _: object) -> None:
        credits, account, key, future = self.charge, self.account, self.key, self.future
        self._ledger._drop(self)
        account.captured += credits
        account.charged += credits
        key.spent += credits
        account.round = key.round = self._ledger._round
        if future is not None and not future.done():
            future.set_result(Charge(self.hold.id, credits, account.spendable))

    def failed(self, error: Exception) -> None:
        future, self.future = self.future, None
        if future is None or future.done():  # nobody waits any more, so nobody will release it
            self._ledger._drop(self)
        else:
            future.set_exception(error)


class _Work:
    """Any other operation: `run` in the transaction, `then` with its result once that is on disk. posts: before it."""

    __slots__ = ("_ledger", "future", "heavy", "posts", "run", "then")

    def __init__(
        self,
        ledger: SqliteLedger,
        run: Callable[[sqlite3.Connection], Any],
        then: Callable[[Any], Any] | None,
        heavy: bool,
        posts: bool,
        future: asyncio.Future[Any],
    ) -> None:
        self._ledger = ledger
        self.run = run
        self.then = then
        self.heavy = heavy
        self.posts = posts
        self.future = future

    def committed(self, result: Any) -> None:
        if self.posts:
            self._ledger._round += 1
        if self.then is not None:
            result = self.then(result)
        if not self.future.done():
            self.future.set_result(result)

    def failed(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


_Op = _Live | _Work


@dataclass(slots=True)
class _Group:
    """Operations for one transaction, in their order. works: how many of them aren't charges."""

    ops: list[_Op] = field(default_factory=list)
    works: int = 0


class _Disk:
    """A thread for what waits for the disk. `asyncio.to_thread` costs several times as much for each handover."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def run(self, job: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Its result; jobs run one after the other. To be awaited to the end: a job can't be called back.

        Raises RuntimeError after `end`.
        """
        if self._ended:
            raise RuntimeError("the ledger was closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((future, job, args))
        return future

    def end(self) -> None:
        """Returns when the jobs that wait are done."""
        self._ended = True
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (work := self._jobs.get()) is not None:
            future, job, args = work
            try:
                result, error = job(*args), None
            except BaseException as raised:
                result, error = None, raised
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(_tell, future, result, error)
            del work, future, job, args, result, error  # they would live until the next job


def _tell(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class SqliteLedger:
    """Use `open_sqlite`. All methods belong to the event loop that opened it."""

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection, serving: bool) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._serving = serving
        self._loop = asyncio.get_running_loop()
        self._disk = _Disk(self._loop)
        self._waiting = _Group()
        self._flushing: asyncio.Task[None] | None = None
        self._copying: asyncio.Task[None] | None = None
        self._copied = False
        self._logged = 0
        self._unposted, self._post_at = 0, UNPOSTED
        self._round = 0
        self._room = ACCOUNTS_IN_MEMORY
        self._accounts: dict[AccountId, _Account] = {}
        self._keys: dict[str, _Key] = {}
        self._live: dict[str, _Live] = {}

    async def close(self) -> None:
        """Writes down what waits, then closes the file."""
        while (task := self._flushing or self._copying) is not None:
            await asyncio.wait([task])
        if self._unposted:
            await self._post_beside()
        self._disk.end()
        self._reader.close()
        self._writer.close()

    # ---------------------------------------------------------------------------------------------------------- calls

    async def standing(self, account: AccountId) -> Standing:
        return self._account(account).standing

    async def reserve(
        self,
        account: AccountId,
        did: bytes,
        credits: int,
        *,
        key_id: str,
        key_budget: int | None,
        request_id: str,
        ceiling: int | None = None,
        covers: Callable[[Snapshot, int], bool] | None = None,
    ) -> Hold:
        if not self._serving:
            raise LedgerInUse(f"{self._path} was opened to look and settle, not to serve calls")
        if credits < 0:
            raise ValueError(f"{credits} credits can't be reserved")
        # From here on nothing awaits: no other call can come in between.
        state, key = self._account(account), self._key(key_id)
        snapshot, spendable = state.snapshot, state.spendable
        if (
            snapshot is None
            or spendable < credits
            or (ceiling is not None and state.standing.under(ceiling) < credits)
            or (covers is not None and not covers(snapshot, spendable))
        ):
            raise NotEnoughCredits(state.standing, credits)
        used = key.spent + key.reserved
        if key_budget is not None and used + credits > key_budget:
            raise BudgetSpent(key_id, key_budget, max(0, key_budget - used), credits)
        if max(used, state.charged + state.reserved) + credits > MAX_CREDITS:
            raise LedgerFailed(f"{credits} credits more don't fit into the books of this account and API key")
        state.reserved += credits
        key.reserved += credits
        hold = Hold(new_id(), account, did, credits, key_id, request_id, time())
        self._live[hold.id] = _Live(self, hold, state, key)
        return hold

    async def capture(
        self, hold: Hold, credits: int, usage: Mapping[str, int] | None, flags: frozenset[str] = frozenset()
    ) -> Charge:
        if not 0 <= credits <= hold.credits:
            raise ValueError(f"{credits} credits can't be captured of {hold.credits} reserved")
        live = self._live.get(hold.id)
        if live is None or live.future is not None:
            raise ReservationGone(f"reservation {hold.id} was captured or released before")
        plan, subscriber = hold.account
        used = None if usage is None else orjson.dumps(usage).decode()
        named = ",".join(sorted(flags)) if flags else ""
        row = (hold.id, plan, subscriber, hold.did, credits, used, named, hold.key_id, hold.request_id, int(time()))
        live.charge, live.row = credits, row
        future: asyncio.Future[Charge] = self._loop.create_future()
        live.future = future
        self._submit(live)
        return await future

    async def release(self, hold: Hold) -> None:
        live = self._live.get(hold.id)
        if live is not None and live.future is None:
            self._drop(live)

    async def key_spent(self, key_id: str) -> int:
        return self._key(key_id).spent

    def _drop(self, live: _Live) -> None:
        hold = live.hold
        if self._live.pop(hold.id, None) is not None:
            live.account.reserved -= hold.credits
            live.key.reserved -= hold.credits

    def _account(self, who: AccountId) -> _Account:
        state = self._accounts.get(who)
        if state is None:
            self._accounts = self._with_room(self._accounts)
            row, more = self._look_up(lambda db: books.account(db, who), _UNPOSTED_OF_ACCOUNT, who)
            snapshot, captured, charged = row
            state = self._accounts[who] = _Account(who, snapshot, captured + more, charged + more)
        return state

    def _key(self, key_id: str) -> _Key:
        key = self._keys.get(key_id)
        if key is None:
            self._keys = self._with_room(self._keys)
            query = "SELECT COALESCE(SUM(spent), 0) FROM key_spending WHERE key_id = ?"
            of = (key_id,)
            spent, more = self._look_up(lambda db: int(db.execute(query, of).fetchone()[0]), _UNPOSTED_OF_KEY, of)
            key = self._keys[key_id] = _Key(spent + more)
        return key

    def _with_room(self, kept: dict[K, S]) -> dict[K, S]:
        """It, or where it is full what the file alone doesn't tell: accounts and keys of calls, and not yet posted."""
        if len(kept) < self._room:
            return kept
        still = {name: one for name, one in kept.items() if one.reserved or one.round == self._round}
        self._room = max(ACCOUNTS_IN_MEMORY, 2 * len(still))
        return still

    def _look_up(self, query: Callable[[sqlite3.Connection], T], unposted: str, of: Sequence[Any]) -> tuple[T, int]:
        """What isn't in memory: its row, and what isn't posted to it, at one state of the file."""
        if self._serving:  # all that isn't posted is in memory
            return self._read(query), 0

        def both(db: sqlite3.Connection) -> tuple[T, int]:
            db.execute("BEGIN")
            try:
                return query(db), int(db.execute(unposted, of).fetchone()[0])
            finally:
                db.execute("COMMIT")

        return self._read(both)

    # ------------------------------------------------------------------------------------------------------- vouchers

    async def voucher(self, account: AccountId) -> Promise | None:
        return self._read(lambda db: books.voucher(db, account))

    async def vouchers(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, Promise]:
        return self._read(lambda db: books.vouchers(db, accounts))

    async def short(self, account: AccountId) -> int:
        return self._read(lambda db: books.short(db, account))

    async def keep_voucher(self, promise: Promise) -> bool:
        return await self._write(lambda db: books.keep_voucher(db, promise))

    # ------------------------------------------------------------------------------------------------ the chain's word

    async def checkpoint(self) -> Checkpoint | None:
        return self._read(books.checkpoint)

    async def advance(
        self, checkpoint: Checkpoint, snapshots: Sequence[Snapshot], applied: Sequence[Applied] = ()
    ) -> None:
        def run(db: sqlite3.Connection) -> list[_Row]:
            return _rows(db, books.advance(db, checkpoint, snapshots, applied))

        def then(rows: list[_Row]) -> None:
            self._refresh(rows)
            self._forget(lambda snapshot: snapshot.block < checkpoint.floor)

        news = len(snapshots) + len(applied)
        await self._write(run, then if checkpoint.floor else self._refresh, heavy=news > 20, posts=news > 0)

    async def observe(self, snapshots: Sequence[Snapshot]) -> None:
        def run(db: sqlite3.Connection) -> list[_Row]:
            books.observe(db, snapshots)
            return _rows(db, [snapshot.account for snapshot in snapshots])

        await self._write(run, self._refresh, heavy=len(snapshots) > 20, posts=True)

    async def rewind(self, block: int, block_hash: bytes) -> None:
        await self._write(
            lambda db: books.rewind(db, block, block_hash),
            lambda _: self._forget(lambda snapshot: snapshot.block > block),
            heavy=True,
        )

    async def known(self, accounts: Sequence[AccountId]) -> list[AccountId]:
        return self._read(lambda db: books.known(db, accounts))

    def _refresh(self, rows: list[_Row]) -> None:
        """Runs between the completions of the operations before and after: captures on their way aren't in `rows`."""
        for who, snapshot, captured, charged in rows:
            if (state := self._accounts.get(who)) is not None:
                state.snapshot, state.captured, state.charged = snapshot, captured, charged

    def _forget(self, stale: Callable[[Snapshot], bool]) -> None:
        """What the file says too. What is captured is looked up with the next snapshot."""
        for state in self._accounts.values():
            if state.snapshot is not None and stale(state.snapshot):
                state.snapshot = None

    # ----------------------------------------------------------------------------------------------------- settlement

    async def backlog(self, *, expiring_before: int) -> list[Backlog]:
        return await self._look(lambda db: books.backlog(db, expiring_before))

    async def prepare(
        self, did: bytes, plan: bytes, node: bytes, number: int, *, max_entries: int, now: int
    ) -> Batch | None:
        batch = await self._write(lambda db: books.prepare(db, did, plan, node, number, max_entries, now), heavy=True)
        if batch is None:
            return None
        # The calls that wait for the writer get their turn in between.
        await books.gather(self._look, partial(self._write, heavy=True), batch.id, max_entries)
        return self._read(lambda db: books.batch(db, batch.id))

    async def batches(self, *states: BatchState) -> list[Batch]:
        return await self._look(lambda db: books.batches(db, states))

    async def batch(self, batch_id: int) -> Batch:
        return self._read(lambda db: books.batch(db, batch_id))

    async def last_number(self, did: bytes, plan: bytes, node: bytes) -> int:
        return self._read(lambda db: books.last_number(db, did, plan, node))

    async def attempt(self, batch_id: int, attempt: Attempt, *, seen: Batch | None = None) -> Batch:
        return await self._write(lambda db: books.attempt(db, batch_id, attempt, seen))

    async def confirm(self, batch_id: int) -> Batch:
        return await self._write(lambda db: books.confirm(db, batch_id))

    async def set_root(self, batch_id: int, root: bytes) -> Batch:
        return await self._write(lambda db: books.set_root(db, batch_id, root))

    async def shrink(self, batch_id: int, keep: Sequence[bytes], *, seen: Batch | None = None) -> Batch:
        return await self._write(lambda db: books.shrink(db, batch_id, keep, seen), heavy=True)

    async def park(
        self, batch_id: int, subscribers: Sequence[bytes], reason: str, *, now: int, seen: Batch | None = None
    ) -> Batch | None:
        return await self._write(lambda db: books.park(db, batch_id, subscribers, reason, now, seen), heavy=True)

    async def unpark(self, batch_id: int) -> None:
        await self._write(lambda db: books.unpark(db, batch_id), heavy=True)

    async def adopt(self, forgotten: Forgotten) -> Batch:
        return await self._write(lambda db: books.adopt(db, forgotten), heavy=True, posts=True)

    @asynccontextmanager
    async def leader(self) -> AsyncIterator[bool]:
        # The kernel drops the lock with the process, so a killed leader blocks nobody.
        with _lock(self._path.with_name(self._path.name + ".settling")) as held:
            yield held

    # ---------------------------------------------------------------------------------------------------- for people

    async def charges(
        self,
        *,
        subscriber: bytes | None = None,
        dids: Sequence[bytes] | None = None,
        plan: bytes | None = None,
        batch: int | None = None,
        settled: bool | None = None,
        after: str = "",
        before: str = "",
        newest_first: bool = False,
        limit: int = 100,
    ) -> list[ChargeRecord]:
        wanted = (subscriber, dids, plan, batch, settled, after, before, newest_first, limit)
        return await self._look(lambda db: books.charges(db, *wanted))

    async def charge(self, charge_id: str) -> ChargeRecord | None:
        return self._read(lambda db: books.charge(db, charge_id))

    async def each_charge(self, batch: int, work: Callable[[ChargeRecord], T]) -> list[T]:
        return await self._look(lambda db: books.each_charge(db, batch, work))

    async def heads(self, batch_ids: Sequence[int]) -> Mapping[int, Batch]:
        return await self._look(lambda db: books.heads(db, batch_ids))

    async def consumed(self) -> Mapping[AccountId, int]:
        return await self._look(books.consumed)

    async def audit(self) -> Audit:
        return await self._look(books.audit)

    # ------------------------------------------------------------------------------------------------- the connections

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Point look-ups; sees what is committed."""
        try:
            return query(self._reader)
        except sqlite3.Error as error:
            raise LedgerFailed(f"{self._path}: {error}") from error

    async def _look(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Long reads, on a connection and thread of their own and at one state of the ledger."""

        def run() -> T:
            try:
                db = _connect(self._path)
                try:
                    db.execute("BEGIN")
                    return query(db)
                finally:
                    db.close()
            except sqlite3.Error as error:
                raise LedgerFailed(f"{self._path}: {error}") from error

        return await asyncio.to_thread(run)

    async def _write(
        self,
        run: Callable[[sqlite3.Connection], T],
        then: Callable[[T], Any] | None = None,
        *,
        heavy: bool = False,
        posts: bool = False,
    ) -> T:
        """heavy: too long for the event loop, so that the whole transaction runs in the thread.

        posts: whether `run` needs accounts and keys whose rows say all that was charged before.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.works += 1
        self._submit(_Work(self, run, then, heavy, posts, future))
        return await future

    def _submit(self, op: _Op) -> None:
        self._waiting.ops.append(op)
        if self._flushing is None:
            self._flushing = self._loop.create_task(self._flush())

    async def _flush(self) -> None:
        many = 0
        try:
            while self._waiting.ops:
                if many >= MANY:
                    await self._gather()
                group, self._waiting = self._waiting, _Group()
                many = len(group.ops)
                if group.works and self._unposted > FEW and any(isinstance(op, _Work) and op.posts for op in group.ops):
                    await self._post_beside()
                await self._commit(group)
                self._logged += 5 + many // 4
                if self._unposted >= self._post_at:
                    await self._post_beside()
                if self._copied or (self._logged >= LOGGED and self._copying is None):
                    await self._shorten_log()
        finally:
            self._flushing = None

    async def _post_beside(self) -> None:
        """A transaction of its own, for which the calls of the moment wait; not one that another process holds up."""
        self._logged += self._unposted
        self._post_at = self._unposted + UNPOSTED

        def work() -> bool:
            if not self._begin():
                return False
            self._post()
            self._writer.commit()
            return True

        try:
            if await self._disk.run(work):
                self._round += 1
        except Exception as error:  # it stays in the journal and in memory; the next time will do
            with suppress(sqlite3.Error):
                self._writer.rollback()
            log.error("charges can't be posted to their accounts", file=str(self._path), reason=str(error))

    def _post(self) -> None:
        """Within a transaction: nothing is unposted any more. Once that is on disk a round ends."""
        post(self._writer)
        self._unposted, self._post_at = 0, UNPOSTED

    async def _gather(self) -> None:
        """See GATHER_SECONDS."""
        now = self._loop.time
        ends = now() + GATHER_SECONDS
        while (began := now()) < ends:
            await asyncio.sleep(PAUSE_SECONDS)
            if now() - began < 2 * PAUSE_SECONDS:
                return

    async def _shorten_log(self) -> None:
        """Has the log copied into the file, then the rest that came meanwhile, which is little: the log begins anew."""
        if self._copied:
            self._copied, self._logged = False, 0
            await self._disk.run(_copy_log, self._writer)
        else:
            self._copying = self._loop.create_task(self._copy_beside())

    async def _copy_beside(self) -> None:
        def work() -> None:
            with suppress(sqlite3.Error):
                db = _connect(self._path)
                try:
                    _copy_log(db)
                finally:
                    db.close()

        try:
            await asyncio.to_thread(work)
            self._copied = True
        finally:
            self._copying = None

    async def _commit(self, group: _Group) -> None:
        ops = group.ops
        try:
            if group.works and any(isinstance(op, _Work) and op.heavy for op in ops):
                self._logged += HEAVY_PAGES
                results = await self._disk.run(self._whole, group)
            else:
                if not self._begin():
                    await self._disk.run(self._begin_patiently)
                results = self._apply(group)
                await self._disk.run(self._writer.commit)
        except Exception as error:
            with suppress(sqlite3.Error):
                self._writer.rollback()
            if len(ops) > 1 and not _busy(error):  # one operation must not spoil the others'
                for op in ops:
                    await self._commit(_Group([op], int(type(op) is _Work)))
                return
            for op in ops:
                failure = error
                if isinstance(error, sqlite3.Error):
                    failure = LedgerFailed(f"{self._path}: {error}")
                    failure.__cause__ = error
                op.failed(failure)
        else:
            for op, result in zip(ops, results, strict=True):
                op.committed(result)

    def _begin(self) -> bool:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _busy(error):
                return False
            raise
        return True

    def _begin_patiently(self) -> None:
        self._writer.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        finally:
            self._writer.execute("PRAGMA busy_timeout = 0")

    def _whole(self, group: _Group) -> list[Any]:
        self._begin_patiently()
        results = self._apply(group)
        self._writer.commit()
        return results

    def _apply(self, group: _Group) -> list[Any]:
        """The operations in their order; neighbouring charges together."""
        ops = group.ops
        results: list[Any] = [None] * len(ops)
        written = 0
        for place, op in enumerate(ops) if group.works else ():
            if isinstance(op, _Work):
                self._write_charges(cast("list[_Live]", ops[written:place]))
                if op.posts:
                    self._post()
                results[place], written = op.run(self._writer), place + 1
        self._write_charges(cast("list[_Live]", ops[written:]))
        return results

    def _write_charges(self, charges: list[_Live]) -> None:
        if not charges:
            return
        sums: dict[tuple[AccountId, bytes, str], int] = {}
        for live in charges:
            hold = live.hold
            whose = hold.account, hold.did, hold.key_id
            sums[whose] = sums.get(whose, 0) + live.charge
        claims: dict[tuple[bytes, bytes], int] = {}
        for (who, did, _), credits in sums.items():
            claims[did, who.plan] = claims.get((did, who.plan), 0) + credits
        many = self._writer.executemany
        many(_INSERT_CHARGE, [live.row for live in charges])
        many(_LEAVE_UNPOSTED, [(*who, key_id, credits) for (who, _, key_id), credits in sums.items()])
        many(_CREDIT_CLAIM, [(*claim, credits) for claim, credits in claims.items()])
        self._unposted += len(sums)


_INSERT_CHARGE = (
    "INSERT INTO charges (id, plan, subscriber, did, credits, usage, flags, key_id, request_id, created)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LEAVE_UNPOSTED = "INSERT INTO unposted (plan, subscriber, key_id, credits) VALUES (?, ?, ?, ?)"
_CREDIT_CLAIM = (
    "INSERT INTO claims (did, plan, unsettled) VALUES (?, ?, ?)"
    " ON CONFLICT (did, plan) DO UPDATE SET unsettled = unsettled + excluded.unsettled"
)
_POST_TO_ACCOUNTS = (
    "INSERT INTO accounts (plan, subscriber, captured, charged)"
    " SELECT plan, subscriber, SUM(credits), SUM(credits) FROM unposted GROUP BY plan, subscriber"
    " ON CONFLICT (plan, subscriber) DO UPDATE SET"
    " captured = captured + excluded.captured, charged = charged + excluded.charged"
)
_POST_TO_KEYS = (
    "INSERT INTO key_spending (key_id, spent) SELECT key_id, SUM(credits) FROM unposted GROUP BY key_id"
    " ON CONFLICT (key_id) DO UPDATE SET spent = spent + excluded.spent"
)
_UNPOSTED_OF_ACCOUNT = "SELECT COALESCE(SUM(credits), 0) FROM unposted WHERE plan = ? AND subscriber = ?"
_UNPOSTED_OF_KEY = "SELECT COALESCE(SUM(credits), 0) FROM unposted WHERE key_id = ?"


def post(db: sqlite3.Connection) -> None:
    """Adds to the rows of accounts and keys what they lack."""
    db.execute(_POST_TO_ACCOUNTS)
    db.execute(_POST_TO_KEYS)
    db.execute("DELETE FROM unposted")


_Row = tuple[AccountId, Snapshot | None, int, int]


def _busy(error: Exception) -> bool:
    """Whether another process kept the file to itself: then no operation is to blame, and none has begun."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY


def _copy_log(db: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # a full disk, say: the next time will do, and a COMMIT will say more
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _rows(db: sqlite3.Connection, accounts: Sequence[AccountId]) -> list[_Row]:
    return [(who, *books.account(db, who)) for who in dict.fromkeys(accounts)]


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")
    return db


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock on this file; it is held until the context ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


@asynccontextmanager
async def open_sqlite(path: Path, *, serving: bool) -> AsyncIterator[SqliteLedger]:
    """The ledger in `path`, which is created where it is missing, with its schema brought up to date.

    serving: whether this process will admit calls. Raises LedgerInUse where another one does, LedgerFailed where the
    file can't be used.
    """
    with ExitStack() as resources:
        try:
            writer, reader = await asyncio.to_thread(_open, path, serving, resources)
        except (OSError, sqlite3.Error) as error:
            raise LedgerFailed(f"the ledger {path} can't be used: {error}") from error
        ledger = SqliteLedger(path, writer, reader, serving)
        try:
            yield ledger
        finally:
            await ledger.close()


def _open(path: Path, serving: bool, resources: ExitStack) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if serving and not resources.enter_context(_lock(path.with_name(path.name + ".serving"))):
        raise LedgerInUse(f"another process serves calls from {path}: end it, or let several share a PostgreSQL ledger")
    prepare_sqlite(books.MIGRATIONS, path, _connect)
    writer, reader = _connect(path), _connect(path)
    for connection in (writer, reader):
        resources.callback(connection.close)
    # Where a process was killed: this one has nothing in memory of what that one had charged.
    if serving and writer.execute("SELECT 1 FROM unposted LIMIT 1").fetchone() is not None:
        writer.execute("BEGIN IMMEDIATE")
        post(writer)
        writer.execute("COMMIT")
    writer.execute("PRAGMA busy_timeout = 0")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    return writer, reader
