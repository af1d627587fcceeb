"""The ledger in PostgreSQL: any number of node processes, on one or many machines, share it.

Group commit, as in SQLite: the calls of one process that wait go into one transaction together. It locks the rows of
their accounts and keys (`FOR UPDATE`, in one order, so that no two groups wait for each other), decides in Python what
fits, and writes. READ COMMITTED is enough for that: a locked row is read as it was committed last, and nothing is
decided on a row that isn't locked. Everything about batches and the chain runs under one advisory lock, beside the
captures.

Reservations are rows, because other processes have to see them. Each names the process that holds it; a process holds
the advisory lock of its number for as long as its connection lives, so anybody can tell a dead one without a clock, and
give its reservations back.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import time
from typing import Any, TypeVar

import orjson
import psycopg
from psycopg import errors as pg

from node_proxy.ledger import books
from node_proxy.ledger.base import (
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
    LedgerError,
    LedgerFailed,
    LedgerInUse,
    NotEnoughCredits,
    Promise,
    ReservationGone,
    Snapshot,
    Standing,
)
from node_proxy.ledger.ids import new_id
from node_proxy.postgres import Connection, connect, url_fault
from node_proxy.schema import current, migrate

T = TypeVar("T")

MOST_AT_ONCE = 500
"""Calls in one transaction at most."""

REAP_SECONDS = 2.0
"""How often reservations of dead processes are looked for."""

# First halves of advisory locks ("nvm" and a digit); the second half is a process's number, or 0.
_PROCESS, _MIGRATE, _BOOKS, _LEADER = (0x6E766D30 + n for n in range(4))


class _Cursor:
    """psycopg under the name of `books.Db`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, params: Sequence[Any] = (), /) -> books.Rows:
        return self._connection.execute(sql.replace("?", "%s").encode(), params)


@dataclass(slots=True, eq=False)
class _Call:
    """One operation of a call, on its way through a group."""

    kind: str  # look, reserve, capture, release
    hold: Hold
    budget: int | None = None
    ceiling: int | None = None
    covers: Callable[[Snapshot, int], bool] | None = None
    credits: int = 0
    record: tuple[Any, ...] = ()
    future: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class PostgresLedger:
    """Use `open_postgres`. All methods belong to the event loop that opened it."""

    def __init__(self, url: str, number: int, guard: Connection, serving: bool) -> None:
        self._url = url
        self._number = number
        self._guard = guard
        self._serving = serving
        self._connections: dict[str, Connection] = {}
        self._hot = ThreadPoolExecutor(1, thread_name_prefix="ledger-calls")
        self._cold = ThreadPoolExecutor(1, thread_name_prefix="ledger-books")
        self._waiting: list[_Call] = []
        self._flushing: asyncio.Task[None] | None = None
        self._live: dict[str, bool] = {}  # hold id -> is on its way to the database: being made, or captured
        self._reaper = asyncio.get_running_loop().create_task(self._reap_for_ever()) if serving else None

    async def close(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            with suppress(asyncio.CancelledError):
                await self._reaper
        while self._flushing is not None:
            await asyncio.wait([self._flushing])
        if self._serving:
            with suppress(LedgerFailed):
                await self._write(lambda db: _release_owner(db, self._number))
        self._hot.shutdown()
        self._cold.shutdown()
        for connection in (*self._connections.values(), self._guard):
            connection.close()

    # ---------------------------------------------------------------------------------------------------------- calls

    async def standing(self, account: AccountId) -> Standing:
        found: Standing = await self._submit(_Call("look", _hold(account)))
        return found

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
            raise LedgerInUse("the ledger was opened to look and settle, not to serve calls")
        if credits < 0:
            raise ValueError(f"{credits} credits can't be reserved")
        hold = Hold(new_id(), account, did, credits, key_id, request_id, time())
        self._live[hold.id] = True
        try:
            await self._submit(_Call("reserve", hold, key_budget, ceiling, covers))
        except asyncio.CancelledError:
            self._live.pop(hold.id, None)  # it may have been made in this moment: then `reap` gives it back
            raise
        return hold

    async def capture(
        self, hold: Hold, credits: int, usage: Mapping[str, int] | None, flags: frozenset[str] = frozenset()
    ) -> Charge:
        if not 0 <= credits <= hold.credits:
            raise ValueError(f"{credits} credits can't be captured of {hold.credits} reserved")
        if self._live.get(hold.id, True):
            raise ReservationGone(f"reservation {hold.id} was captured or released before")
        self._live[hold.id] = True
        record = (
            *(hold.id, *hold.account, hold.did, credits, None if usage is None else orjson.dumps(usage).decode()),
            *(",".join(sorted(flags)), hold.key_id, hold.request_id, int(time())),
        )
        made: Charge = await self._submit(_Call("capture", hold, credits=credits, record=record))
        return made

    async def release(self, hold: Hold) -> None:
        if self._live.get(hold.id) is False:
            del self._live[hold.id]
            await self._submit(_Call("release", hold))

    async def key_spent(self, key_id: str) -> int:
        def look(db: books.Db) -> int:
            row = db.execute("SELECT spent FROM key_spending WHERE key_id = ?", (key_id,)).fetchone()
            return 0 if row is None else row[0]

        return await self._look(look)

    # ------------------------------------------------------------------------------------------------------- vouchers

    async def voucher(self, account: AccountId) -> Promise | None:
        return await self._look(lambda db: books.voucher(db, account))

    async def vouchers(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, Promise]:
        return await self._look(lambda db: books.vouchers(db, accounts))

    async def short(self, account: AccountId) -> int:
        return await self._look(lambda db: books.short(db, account))

    async def keep_voucher(self, promise: Promise) -> bool:
        return await self._write(lambda db: books.keep_voucher(db, promise))

    # ------------------------------------------------------------------------------------------------ the chain's word

    async def checkpoint(self) -> Checkpoint | None:
        return await self._look(books.checkpoint)

    async def advance(
        self, checkpoint: Checkpoint, snapshots: Sequence[Snapshot], applied: Sequence[Applied] = ()
    ) -> None:
        def work(db: books.Db) -> None:
            # Another process may be ahead; what it has worked in already changes nothing the second time.
            known = books.checkpoint(db)
            later = known if known is not None and known.block > checkpoint.block else checkpoint
            books.advance(db, later, snapshots, applied)

        await self._write(work)

    async def observe(self, snapshots: Sequence[Snapshot]) -> None:
        await self._write(lambda db: books.observe(db, snapshots))

    async def rewind(self, block: int, block_hash: bytes) -> None:
        await self._write(lambda db: books.rewind(db, block, block_hash))

    async def known(self, accounts: Sequence[AccountId]) -> list[AccountId]:
        return await self._look(lambda db: books.known(db, accounts))

    # ----------------------------------------------------------------------------------------------------- settlement

    async def backlog(self, *, expiring_before: int) -> list[Backlog]:
        return await self._look(lambda db: books.backlog(db, expiring_before))

    async def prepare(
        self, did: bytes, plan: bytes, node: bytes, number: int, *, max_entries: int, now: int
    ) -> Batch | None:
        batch = await self._write(lambda db: books.prepare(db, did, plan, node, number, max_entries, now))
        if batch is None:
            return None
        await books.gather(self._look, self._write, batch.id, max_entries)
        return await self._look(lambda db: books.batch(db, batch.id))

    async def batches(self, *states: BatchState) -> list[Batch]:
        return await self._look(lambda db: books.batches(db, states))

    async def batch(self, batch_id: int) -> Batch:
        return await self._look(lambda db: books.batch(db, batch_id))

    async def last_number(self, did: bytes, plan: bytes, node: bytes) -> int:
        return await self._look(lambda db: books.last_number(db, did, plan, node))

    async def attempt(self, batch_id: int, attempt: Attempt, *, seen: Batch | None = None) -> Batch:
        return await self._write(lambda db: books.attempt(db, batch_id, attempt, seen))

    async def confirm(self, batch_id: int) -> Batch:
        return await self._write(lambda db: books.confirm(db, batch_id))

    async def set_root(self, batch_id: int, root: bytes) -> Batch:
        return await self._write(lambda db: books.set_root(db, batch_id, root))

    async def shrink(self, batch_id: int, keep: Sequence[bytes], *, seen: Batch | None = None) -> Batch:
        return await self._write(lambda db: books.shrink(db, batch_id, keep, seen))

    async def park(
        self, batch_id: int, subscribers: Sequence[bytes], reason: str, *, now: int, seen: Batch | None = None
    ) -> Batch | None:
        return await self._write(lambda db: books.park(db, batch_id, subscribers, reason, now, seen))

    async def unpark(self, batch_id: int) -> None:
        await self._write(lambda db: books.unpark(db, batch_id))

    async def adopt(self, forgotten: Forgotten) -> Batch:
        return await self._write(lambda db: books.adopt(db, forgotten))

    @asynccontextmanager
    async def leader(self) -> AsyncIterator[bool]:
        # The lock lives as long as its connection: a killed leader, or one that is cut off, blocks nobody for long.
        try:
            connection = await asyncio.to_thread(connect, self._url)
        except psycopg.Error as error:
            raise LedgerFailed(f"the PostgreSQL ledger: {error}") from error
        try:
            yield await asyncio.to_thread(_try_lock, connection, _LEADER, 0)
        finally:
            await asyncio.to_thread(connection.close)

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
        return await self._look(lambda db: books.charge(db, charge_id))

    async def each_charge(self, batch: int, work: Callable[[ChargeRecord], T]) -> list[T]:
        return await self._look(lambda db: books.each_charge(db, batch, work))

    async def heads(self, batch_ids: Sequence[int]) -> Mapping[int, Batch]:
        return await self._look(lambda db: books.heads(db, batch_ids))

    async def consumed(self) -> Mapping[AccountId, int]:
        return await self._look(books.consumed)

    async def audit(self) -> Audit:
        return await self._look(books.audit)

    # --------------------------------------------------------------------------------------------------------- groups

    async def _submit(self, call: _Call) -> Any:
        self._waiting.append(call)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())
        return await call.future

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                for call, result in zip(group, await loop.run_in_executor(self._hot, self._run, group), strict=True):
                    self._done(call, result)
        finally:
            self._flushing = None

    def _done(self, call: _Call, result: Any) -> None:
        """On the event loop, once the group is on disk or has failed."""
        failed, name = isinstance(result, Exception), call.hold.id
        if call.kind == "reserve":
            if failed:
                self._live.pop(name, None)
            else:
                self._live[name] = False
        elif call.kind == "capture":
            if failed:
                self._live[name] = False
            else:
                self._live.pop(name, None)
        if call.future.done():  # nobody waits any more, so nobody will release it
            if self._live.get(name) is False:
                del self._live[name]
                self._waiting.append(_Call("release", call.hold))
        elif failed:
            call.future.set_exception(result)
        else:
            call.future.set_result(result)

    def _run(self, group: list[_Call]) -> list[Any]:
        for last in (False, True):
            try:
                connection = self._connection("calls")
                results = _Group(connection, self._number, group).run()
                connection.commit()
                return results
            except (pg.DeadlockDetected, pg.SerializationFailure) as error:
                self._rollback("calls")
                failure: Exception = error
                if last:
                    break
            except psycopg.OperationalError as error:
                self._drop("calls")
                failure = error
                if not last and not any(call.kind == "capture" for call in group):
                    continue
                # The connection may have died after COMMIT had reached the server.
                return self._look_after(group, error)
            except psycopg.Error as error:
                self._rollback("calls")
                if len(group) > 1:  # one call must not spoil the others'
                    return [self._run([call])[0] for call in group]
                failure = error
                break
        reason = LedgerFailed(f"the PostgreSQL ledger: {failure}")
        reason.__cause__ = failure
        return [reason] * len(group)

    def _look_after(self, group: list[_Call], error: Exception) -> list[Any]:
        failure = LedgerFailed(f"the PostgreSQL ledger: {error}")
        try:
            names = [call.hold.id for call in group if call.kind == "capture"]
            connection = self._connection("calls")
            rows = connection.execute("SELECT id, credits FROM charges WHERE id = ANY(%s)", (names,)).fetchall()
            connection.commit()
        except psycopg.Error:
            self._drop("calls")
            return [failure] * len(group)
        written = {name: Charge(name, credits, 0) for name, credits in rows}
        return [written.get(call.hold.id, failure) if call.kind == "capture" else failure for call in group]

    # ---------------------------------------------------------------------------------------------------- connections

    def _connection(self, name: str) -> Connection:
        connection = self._connections.get(name)
        if connection is None or connection.closed:
            connection = self._connections[name] = connect(self._url)
        return connection

    def _drop(self, name: str) -> None:
        connection = self._connections.pop(name, None)
        if connection is not None:
            connection.close()

    def _rollback(self, name: str) -> None:
        try:
            self._connections[name].rollback()
        except (psycopg.Error, KeyError):
            self._drop(name)

    async def _write(self, work: Callable[[books.Db], T]) -> T:
        """Under the lock that keeps changes of the books apart, also those of other processes."""

        def locked(db: books.Db) -> T:
            db.execute("SELECT pg_advisory_xact_lock(?, 0)", (_BOOKS,))
            return work(db)

        return await self._transaction(locked, "READ COMMITTED")

    async def _look(self, work: Callable[[books.Db], T]) -> T:
        """At one state of the ledger."""
        return await self._transaction(work, "REPEATABLE READ READ ONLY")

    async def _transaction(self, work: Callable[[books.Db], T], isolation: str) -> T:
        def run() -> T:
            for last in (False, True):
                try:
                    connection = self._connection("books")
                    connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
                    result = work(_Cursor(connection))
                    connection.commit()
                    return result
                except (pg.DeadlockDetected, pg.SerializationFailure) as error:
                    self._rollback("books")
                    if last:
                        raise LedgerFailed(f"the PostgreSQL ledger: {error}") from error
                except psycopg.OperationalError as error:
                    self._drop("books")
                    if last or "READ ONLY" not in isolation:
                        raise LedgerFailed(f"the PostgreSQL ledger: {error}") from error
                except psycopg.Error as error:
                    self._rollback("books")
                    raise LedgerFailed(f"the PostgreSQL ledger: {error}") from error
                except Exception:
                    self._rollback("books")
                    raise
            raise AssertionError("unreachable")

        return await asyncio.get_running_loop().run_in_executor(self._cold, run)

    # ----------------------------------------------------------------------------------------------- dead processes

    async def _reap_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REAP_SECONDS)
            with suppress(LedgerError):
                await asyncio.to_thread(self._keep_guard)
                await self.reap()

    def _keep_guard(self) -> None:
        """Takes the process's lock again where the connection that held it is gone (the server was restarted)."""
        try:
            self._guard.execute("SELECT 1")
        except psycopg.Error:
            with suppress(psycopg.Error):
                self._guard.close()
                self._guard = connect(self._url, autocommit=True)
                _try_lock(self._guard, _PROCESS, self._number)

    async def reap(self) -> int:
        """Gives back the reservations of processes that are gone, and own ones that nobody holds any more.

        Such a one stays behind where giving it back failed, or its caller left in the moment when it was made. Answers
        how many there were.
        """

        def work(db: books.Db) -> int:
            owners = [row[0] for row in db.execute("SELECT DISTINCT owner FROM reservations").fetchall()]
            count = 0
            for owner in owners:
                if owner == self._number:
                    rows = db.execute("SELECT id FROM reservations WHERE owner = ?", (owner,)).fetchall()
                    # Whatever has a row was in `_live` before it had one.
                    count += _release(db, [id for (id,) in rows if id not in self._live])
                    continue
                (dead,) = db.execute("SELECT pg_try_advisory_xact_lock(?, ?)", (_PROCESS, owner)).fetchone()
                if dead:
                    count += _release_owner(db, owner)
            return count

        return await self._write(work)


def _release_owner(db: books.Db, owner: int) -> int:
    return _release(
        db, [row[0] for row in db.execute("SELECT id FROM reservations WHERE owner = ?", (owner,)).fetchall()]
    )


def _release(db: books.Db, ids: list[str]) -> int:
    if not ids:
        return 0
    rows = db.execute(
        "DELETE FROM reservations WHERE id = ANY(?) RETURNING plan, subscriber, key_id, credits", (ids,)
    ).fetchall()
    accounts: dict[tuple[bytes, bytes], int] = {}
    keys: dict[str, int] = {}
    for plan, subscriber, key_id, credits in rows:
        accounts[bytes(plan), bytes(subscriber)] = accounts.get((bytes(plan), bytes(subscriber)), 0) + credits
        keys[key_id] = keys.get(key_id, 0) + credits
    for who, credits in sorted(accounts.items()):
        db.execute("UPDATE accounts SET reserved = reserved - ? WHERE plan = ? AND subscriber = ?", (credits, *who))
    for key_id, credits in sorted(keys.items()):
        db.execute("UPDATE key_spending SET reserved = reserved - ? WHERE key_id = ?", (credits, key_id))
    return len(rows)


# ------------------------------------------------------------------------------------------------------------- a group

_LOCK_ACCOUNTS = (
    "SELECT plan, subscriber, block, balance, consumed, expiry, refund_at, units, captured, reserved,"
    " COALESCE((SELECT floor FROM checkpoint), 0) FROM accounts"
    " WHERE (plan, subscriber) IN (SELECT * FROM unnest(%s::bytea[], %s::bytea[])) ORDER BY plan, subscriber"
)
_ADD_KEYS = "INSERT INTO key_spending (key_id) SELECT unnest(%s::text[]) ON CONFLICT (key_id) DO NOTHING"
_LOCK_KEYS = "SELECT key_id, spent, reserved FROM key_spending WHERE key_id = ANY(%s) ORDER BY key_id FOR UPDATE"
_TAKE_RESERVATIONS = "DELETE FROM reservations WHERE id = ANY(%s) RETURNING id"
_ADD_RESERVATIONS = (
    "INSERT INTO reservations (id, plan, subscriber, key_id, credits, owner, created)"
    " SELECT id, plan, subscriber, key_id, credits, %s, created FROM"
    " unnest(%s::text[], %s::bytea[], %s::bytea[], %s::text[], %s::bigint[], %s::bigint[])"
    " AS t (id, plan, subscriber, key_id, credits, created)"
)
_ADD_CHARGES = (
    "INSERT INTO charges (id, plan, subscriber, did, credits, usage, flags, key_id, request_id, created)"
    " SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::text[], %s::text[],"
    " %s::text[], %s::text[], %s::bigint[])"
)
_CHANGE_ACCOUNTS = (
    "UPDATE accounts a SET reserved = a.reserved + t.reserved, captured = a.captured + t.charged,"
    " charged = a.charged + t.charged FROM unnest(%s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[])"
    " AS t (plan, subscriber, reserved, charged) WHERE a.plan = t.plan AND a.subscriber = t.subscriber"
)
_CHANGE_KEYS = (
    "UPDATE key_spending k SET reserved = k.reserved + t.reserved, spent = k.spent + t.spent"
    " FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS t (key_id, reserved, spent) WHERE k.key_id = t.key_id"
)
_CHANGE_CLAIMS = (
    "INSERT INTO claims (did, plan, unsettled) SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::bigint[])"
    " ON CONFLICT (did, plan) DO UPDATE SET unsettled = claims.unsettled + excluded.unsettled"
)


@dataclass(slots=True)
class _State:
    snapshot: Snapshot | None
    captured: int
    reserved: int

    def standing(self, who: AccountId) -> Standing:
        return Standing(who, self.snapshot, self.captured, self.reserved)


class _Group:
    """Operations of calls in one transaction."""

    def __init__(self, connection: Connection, number: int, calls: Sequence[_Call]) -> None:
        self._db = connection
        self._number = number
        self._calls = calls
        self._accounts: dict[AccountId, _State] = {}
        self._keys: dict[str, tuple[int, int]] = {}  # spent, reserved
        self._moved: dict[AccountId, tuple[int, int]] = {}  # reserved, charged
        self._spent: dict[str, tuple[int, int]] = {}  # reserved, spent
        self._claims: dict[tuple[bytes, bytes], int] = {}
        self._held: list[Hold] = []
        self._charged: list[tuple[Any, ...]] = []

    def run(self) -> list[Any]:
        """A result or exception for each; nothing is committed."""
        changing = [call for call in self._calls if call.kind != "look"]
        self._load_accounts({call.hold.account for call in changing}, " FOR UPDATE OF accounts")
        self._load_accounts({call.hold.account for call in self._calls} - self._accounts.keys(), "")
        taken = self._take(changing)
        results = [self._decide(call, taken) for call in self._calls]
        self._write()
        return results

    def _load_accounts(self, accounts: set[AccountId], lock: str) -> None:
        if not accounts:
            return
        names = sorted(accounts)
        query = (_LOCK_ACCOUNTS + lock).encode()
        for row in self._db.execute(query, ([who.plan for who in names], [who.subscriber for who in names])):
            who = AccountId(bytes(row[0]), bytes(row[1]))
            known = row[2] is not None and row[2] >= row[10]
            self._accounts[who] = _State(Snapshot(who, *row[2:8]) if known else None, row[8], row[9])
        for who in accounts:
            self._accounts.setdefault(who, _State(None, 0, 0))

    def _take(self, changing: Sequence[_Call]) -> set[str]:
        """Locks keys; takes the reservations that end here, and answers those that were still there."""
        if not changing:
            return set()
        keys = sorted({call.hold.key_id for call in changing})
        self._db.execute(_ADD_KEYS, (keys,))
        self._keys = {key: (spent, reserved) for key, spent, reserved in self._db.execute(_LOCK_KEYS, (keys,))}
        ending = [call.hold.id for call in changing if call.kind != "reserve"]
        return {row[0] for row in self._db.execute(_TAKE_RESERVATIONS, (ending,))} if ending else set()

    def _decide(self, call: _Call, taken: set[str]) -> Any:
        hold, state = call.hold, self._accounts[call.hold.account]
        if call.kind == "look":
            return state.standing(hold.account)
        if call.kind == "reserve":
            standing = state.standing(hold.account)
            left = standing.spendable if call.ceiling is None else standing.under(call.ceiling)
            snapshot, covers = state.snapshot, call.covers
            if snapshot is None or left < hold.credits or (covers and not covers(snapshot, standing.spendable)):
                return NotEnoughCredits(standing, hold.credits)
            spent, reserved = self._keys[hold.key_id]
            if call.budget is not None and spent + reserved + hold.credits > call.budget:
                left = max(0, call.budget - spent - reserved)
                return BudgetSpent(hold.key_id, call.budget, left, hold.credits)
            self._move(hold, hold.credits, 0)
            self._held.append(hold)
            return None
        if hold.id not in taken:
            lost = f"reservation {hold.id} was given back when this process lost its connection to the ledger"
            return LedgerFailed(lost) if call.kind == "capture" else None
        self._move(hold, -hold.credits, call.credits)
        if call.kind == "release":
            return None
        self._charged.append(call.record)
        claim = (hold.did, hold.account.plan)
        self._claims[claim] = self._claims.get(claim, 0) + call.credits
        return Charge(hold.id, call.credits, state.standing(hold.account).spendable)

    def _move(self, hold: Hold, reserved: int, charged: int) -> None:
        state = self._accounts[hold.account]
        state.reserved += reserved
        state.captured += charged
        before = self._moved.get(hold.account, (0, 0))
        self._moved[hold.account] = (before[0] + reserved, before[1] + charged)
        spent, held = self._keys[hold.key_id]
        self._keys[hold.key_id] = (spent + charged, held + reserved)
        before = self._spent.get(hold.key_id, (0, 0))
        self._spent[hold.key_id] = (before[0] + reserved, before[1] + charged)

    def _write(self) -> None:
        if not self._moved:
            return
        with self._db.pipeline():
            if not self._charged:  # what is only reserved or released needs no disk: it ends with the process anyway
                self._db.execute("SET LOCAL synchronous_commit = off")
            self._db.execute(_CHANGE_ACCOUNTS, _columns((*who, *moved) for who, moved in self._moved.items()))
            self._db.execute(_CHANGE_KEYS, _columns((key, *moved) for key, moved in self._spent.items()))
            if self._held:
                holds = ((h.id, *h.account, h.key_id, h.credits, int(h.created)) for h in self._held)
                self._db.execute(_ADD_RESERVATIONS, (self._number, *_columns(holds)))
            if self._charged:
                self._db.execute(_ADD_CHARGES, _columns(self._charged))
                self._db.execute(_CHANGE_CLAIMS, _columns((*c, n) for c, n in sorted(self._claims.items())))


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _hold(account: AccountId) -> Hold:
    return Hold("", account, b"", 0, "", "", 0.0)


# --------------------------------------------------------------------------------------------------------- connecting


def _try_lock(connection: Connection, kind: int, number: int) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (kind, number)).fetchone()
    return row is not None and bool(row[0])


@asynccontextmanager
async def open_postgres(url: str, *, serving: bool) -> AsyncIterator[PostgresLedger]:
    """The ledger in the database at `url` (postgresql://…), with its schema brought up to date.

    serving: whether this process will admit calls. Raises LedgerFailed where the database can't be used.
    """
    if fault := url_fault(url):
        raise LedgerFailed(fault)
    number = secrets.randbelow(2**31)
    try:
        guard = await asyncio.to_thread(_open, url, number)
    except psycopg.Error as error:
        raise LedgerFailed(f"the PostgreSQL ledger can't be used: {error}") from error
    ledger = PostgresLedger(url, number, guard, serving)
    try:
        if serving:
            await ledger.reap()
        yield ledger
    finally:
        await ledger.close()


def _open(url: str, number: int) -> Connection:
    guard = connect(url, autocommit=True)
    guard.execute("SELECT pg_advisory_lock(%s, 0)", (_MIGRATE,))
    if not current(books.MIGRATIONS, _migrations(guard), "postgresql"):
        migrate(books.MIGRATIONS, "postgresql+psycopg" + url[url.index("://") :], "postgresql")
    guard.execute("SELECT pg_advisory_unlock(%s, 0)", (_MIGRATE,))
    _try_lock(guard, _PROCESS, number)
    return guard


def _migrations(connection: Connection) -> set[str]:
    if connection.execute("SELECT to_regclass('_yoyo_migration')").fetchone() == (None,):
        return set()
    return {name for (name,) in connection.execute("SELECT migration_id FROM _yoyo_migration")}
