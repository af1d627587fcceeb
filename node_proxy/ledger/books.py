"""Everything about the books that isn't in the path of a call, in SQL that SQLite and PostgreSQL both speak.

Each function runs within one transaction of its caller, who also sees to it that no two of them run at the same time:
SQLite has one writer, PostgreSQL takes an advisory lock. Captures may run beside them: they only add to what is
captured and charged, to `unsettled` and to the charges that wait.

In SQLite the rows of accounts and keys may lack what isn't posted (see `sqlite`); `account_totals` and `key_totals` are
the books as they are, in both databases.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from node_proxy.ledger.base import (
    LOST,
    MAX_CREDITS,
    AccountId,
    Applied,
    Attempt,
    Audit,
    Backlog,
    Batch,
    BatchConflict,
    BatchState,
    ChargeRecord,
    Checkpoint,
    Entry,
    Forgotten,
    Imbalance,
    Promise,
    Snapshot,
)
from node_proxy.ledger.ids import END, new_id

MIGRATIONS = Path(__file__).parent / "migrations"

T = TypeVar("T")
Row = tuple[Any, ...]


class Rows(Protocol):
    """What `execute` gives back."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Db(Protocol):
    """A connection in a transaction; `?` stands for a parameter."""

    def execute(self, sql: str, params: Sequence[Any] = (), /) -> Rows: ...


# ------------------------------------------------------------------------------------------------------------ accounts

_ACCOUNT = (
    "SELECT block, balance, consumed, expiry, refund_at, units, captured, charged,"
    " COALESCE((SELECT floor FROM checkpoint), 0) FROM accounts WHERE plan = ? AND subscriber = ?"
)


def account(db: Db, who: AccountId) -> tuple[Snapshot | None, int, int]:
    """By the account's row: its snapshot, what is captured, all that was charged. Never seen: (None, 0, 0)."""
    row = db.execute(_ACCOUNT, who).fetchone()
    if row is None:
        return None, 0, 0
    block, balance, consumed, expiry, refund_at, units, captured, charged, floor = row
    if block is None or block < floor:
        return None, captured, charged
    return Snapshot(who, block, balance, consumed, expiry, refund_at, units), captured, charged


def floor(db: Db) -> int:
    """Accounts read before this block have to be read again."""
    row = db.execute("SELECT floor FROM checkpoint").fetchone()
    return 0 if row is None else int(row[0])


def known(db: Db, accounts: Iterable[AccountId]) -> list[AccountId]:
    """Those that have a row."""
    query = "SELECT 1 FROM accounts WHERE plan = ? AND subscriber = ?"
    return [who for who in accounts if db.execute(query, who).fetchone() is not None]


def checkpoint(db: Db) -> Checkpoint | None:
    row = db.execute("SELECT block, block_hash, seen, floor FROM checkpoint").fetchone()
    return None if row is None else Checkpoint(row[0], bytes(row[1]), row[2], row[3])


def advance(db: Db, at: Checkpoint, snapshots: Sequence[Snapshot], applied: Sequence[Applied]) -> list[AccountId]:
    """See Ledger.advance. Answers the accounts whose row has changed."""
    db.execute(
        "INSERT INTO checkpoint (id, block, block_hash, seen, floor) VALUES (1, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET"
        " block = excluded.block, block_hash = excluded.block_hash, seen = excluded.seen, floor = excluded.floor",
        (at.block, at.block_hash, at.seen, at.floor),
    )
    touched = [who for one in applied for who in _mine(db, one)]
    observe(db, snapshots)
    return touched + [snapshot.account for snapshot in snapshots]


def observe(db: Db, snapshots: Sequence[Snapshot]) -> None:
    """Takes the chain's word where it isn't older than what is known, and stops to count what it contains."""
    for snapshot in snapshots:
        values = [snapshot.block, *(min(n, MAX_CREDITS) for n in (snapshot.balance, snapshot.consumed))]
        taken = db.execute(
            "INSERT INTO accounts (plan, subscriber, block, balance, consumed, expiry, refund_at, units)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (plan, subscriber) DO UPDATE SET"
            " block = excluded.block, balance = excluded.balance, consumed = excluded.consumed,"
            " expiry = excluded.expiry, refund_at = excluded.refund_at, units = excluded.units"
            " WHERE accounts.block IS NULL OR accounts.block <= excluded.block",
            (*snapshot.account, *values, snapshot.expiry, snapshot.refund_at, snapshot.units),
        ).rowcount
        if taken:
            _absorb(db, snapshot.account, snapshot.block)


def _absorb(db: Db, who: AccountId, block: int) -> None:
    contained = db.execute(
        "UPDATE entries SET absorbed = 1 WHERE plan = ? AND subscriber = ? AND absorbed = 0 AND block <= ?"
        " RETURNING credits",
        (*who, block),
    ).fetchall()
    if credits := sum(row[0] for row in contained):
        db.execute("UPDATE accounts SET captured = captured - ? WHERE plan = ? AND subscriber = ?", (credits, *who))


def rewind(db: Db, block: int, block_hash: bytes) -> None:
    """See Ledger.rewind."""
    undone = db.execute(
        "SELECT id FROM batches WHERE state IN ('mined', 'confirmed') AND block > ? ORDER BY id", (block,)
    ).fetchall()
    for (batch_id,) in undone:
        _unmine(db, batch_id)
    # The floor is written out: blocks below it will be looked at again.
    below = floor(db) if floor(db) > block else 0
    db.execute("UPDATE accounts SET block = NULL WHERE block > ? OR block < ?", (block, below))
    db.execute(
        "UPDATE checkpoint SET block = ?, block_hash = ?, floor = CASE WHEN floor > ? THEN 0 ELSE floor END",
        (block, block_hash, block),
    )


def _mine(db: Db, applied: Applied) -> list[AccountId]:
    """sent → mined. Answers the accounts that may have changed; none if the batch isn't ours to move."""
    row = db.execute(
        "SELECT id, state, block_hash FROM batches WHERE did = ? AND plan = ? AND node = ? AND number = ?"
        " AND state IN ('sent', 'mined', 'confirmed')",
        (applied.did, applied.plan, applied.node, applied.number),
    ).fetchone()
    if row is None or (row[1] != "sent" and bytes(row[2]) == applied.block_hash):
        return []
    batch_id = row[0]
    if row[1] != "sent":
        _unmine(db, batch_id)
    db.execute(
        "UPDATE batches SET state = 'mined', block = ?, block_hash = ?, tx_hash = ? WHERE id = ?",
        (applied.block, applied.block_hash, applied.tx_hash, batch_id),
    )
    db.execute("UPDATE entries SET block = ?, missing = 0 WHERE batch = ?", (applied.block, batch_id))
    for subscriber, missing in applied.missing.items():
        db.execute("UPDATE entries SET missing = ? WHERE batch = ? AND subscriber = ?", (missing, batch_id, subscriber))
    _move(db, batch_id, mined=1)
    # An account that was read at that block or later knows of the settlement already.
    touched = [
        AccountId(applied.plan, bytes(subscriber))
        for (subscriber,) in db.execute("SELECT subscriber FROM entries WHERE batch = ?", (batch_id,)).fetchall()
    ]
    for who in touched:
        read_at = db.execute("SELECT block FROM accounts WHERE plan = ? AND subscriber = ?", who).fetchone()
        if read_at is not None and read_at[0] is not None and read_at[0] >= applied.block:
            _absorb(db, who, read_at[0])
    return touched


def _unmine(db: Db, batch_id: int) -> None:
    """mined or confirmed → sent: what was absorbed counts as captured again."""
    _move(db, batch_id, mined=-1)
    absorbed = db.execute(
        "SELECT plan, subscriber, credits FROM entries WHERE batch = ? AND absorbed = 1", (batch_id,)
    ).fetchall()
    for plan, subscriber, credits in absorbed:
        db.execute(
            "UPDATE accounts SET captured = captured + ?, block = NULL WHERE plan = ? AND subscriber = ?",
            (credits, plan, subscriber),
        )
    db.execute("UPDATE entries SET absorbed = 0, block = NULL, missing = 0 WHERE batch = ?", (batch_id,))
    db.execute(
        "UPDATE batches SET state = 'sent', block = NULL, block_hash = NULL, tx_hash = NULL WHERE id = ?", (batch_id,)
    )


def _move(db: Db, batch_id: int, *, mined: int = 0, parked: int = 0) -> None:
    """Moves a batch's credits between the books of its claim; +1 forwards, -1 back."""
    did, plan, credits, missing = db.execute(
        "SELECT b.did, b.plan, SUM(e.credits), SUM(e.missing) FROM batches b JOIN entries e ON e.batch = b.id"
        " WHERE b.id = ? GROUP BY b.did, b.plan",
        (batch_id,),
    ).fetchone()
    credits, missing = int(credits), int(missing)
    db.execute(
        "UPDATE claims SET unsettled = unsettled - ?, settled = settled + ?, missing = missing + ?, parked = parked + ?"
        " WHERE did = ? AND plan = ?",
        ((mined + parked) * credits, mined * (credits - missing), mined * missing, parked * credits, did, plan),
    )


# ------------------------------------------------------------------------------------------------------------ vouchers

_VOUCHER = "SELECT plan, subscriber, ceiling, signature, created FROM vouchers WHERE plan = ? AND subscriber = ?"


def voucher(db: Db, who: AccountId) -> Promise | None:
    """See Ledger.voucher."""
    row = db.execute(_VOUCHER, who).fetchone()
    return None if row is None else Promise(AccountId(bytes(row[0]), bytes(row[1])), row[2], bytes(row[3]), row[4])


def vouchers(db: Db, accounts: Iterable[AccountId]) -> dict[AccountId, Promise]:
    """See Ledger.vouchers."""
    return {who: found for who in accounts if (found := voucher(db, who)) is not None}


def short(db: Db, who: AccountId) -> int:
    """See Ledger.short."""
    query = "SELECT COALESCE(SUM(missing), 0) FROM entries WHERE plan = ? AND subscriber = ? AND missing > 0"
    return int(db.execute(query, who).fetchone()[0])


def keep_voucher(db: Db, promise: Promise) -> bool:
    """See Ledger.keep_voucher."""
    values = (*promise.account, promise.ceiling, promise.signature, promise.created)
    done = db.execute(
        "INSERT INTO vouchers (plan, subscriber, ceiling, signature, created) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (plan, subscriber) DO UPDATE SET"
        " ceiling = excluded.ceiling, signature = excluded.signature, created = excluded.created"
        " WHERE vouchers.ceiling < excluded.ceiling",
        values,
    )
    return done.rowcount == 1


# ------------------------------------------------------------------------------------------------------------- batches


def backlog(db: Db, expiring_before: int) -> list[Backlog]:
    """See Ledger.backlog."""
    rows = db.execute(
        "SELECT w.did, w.plan, SUM(w.calls), SUM(w.credits), COUNT(*), MIN(w.oldest),"
        " MAX(CASE WHEN a.refund_at > 0 OR (a.expiry > 0 AND a.expiry < ?) THEN 1 ELSE 0 END)"
        # Its index has all of these: the charges themselves aren't read.
        " FROM (SELECT did, plan, subscriber, COUNT(*) AS calls, SUM(credits) AS credits, MIN(created) AS oldest"
        " FROM charges WHERE batch IS NULL GROUP BY did, plan, subscriber) w"
        " JOIN accounts a ON a.plan = w.plan AND a.subscriber = w.subscriber"
        " GROUP BY w.did, w.plan ORDER BY MIN(w.oldest)",
        (expiring_before,),
    ).fetchall()
    return [
        Backlog(bytes(did), bytes(plan), int(calls), int(credits), subscribers, oldest, bool(urgent))
        for did, plan, calls, credits, subscribers, oldest, urgent in rows
    ]


_MAX_CALLS = 2**32 - 1
"""Calls that one entry of a batch can name."""


def prepare(db: Db, did: bytes, plan: bytes, node: bytes, number: int, max_entries: int, now: int) -> Batch | None:
    """See Ledger.prepare."""
    open_one = db.execute(
        "SELECT number, state FROM batches WHERE did = ? AND plan = ? AND node = ? AND state IN ('prepared', 'sent')",
        (did, plan, node),
    ).fetchone()
    if open_one is not None:
        raise BatchConflict(f"batch {open_one[0]} of this assistant and plan is {open_one[1]}: finish it first")
    if number <= (last := last_number(db, did, plan, node)):
        raise BatchConflict(f"batch {number} of this assistant and plan exists, the last one is {last}")
    some = "SELECT 1 FROM charges WHERE batch IS NULL AND did = ? AND plan = ? LIMIT 1"
    if db.execute(some, (did, plan)).fetchone() is None:
        return None
    (batch_id,) = db.execute(
        "INSERT INTO batches (did, plan, node, number, state, root, created) VALUES (?, ?, ?, ?, 'prepared', ?, ?)"
        " RETURNING id",
        (did, plan, node, number, bytes(32), now),
    ).fetchone()
    # Without an end, which depends on the clock: a batch isn't empty.
    put(db, batch_id, fitting(db, batch_id, max_entries, "", END))
    return batch(db, batch_id)


AT_ONCE = 2_000
"""Charges that one transaction puts into a batch: calls wait for it in SQLite, some 40 µs per charge."""

Waiting = tuple[str, bytes, int]
"""A charge that waits: id, subscriber, credits."""


async def gather(
    look: Callable[[Callable[[Db], list[Waiting]]], Awaitable[list[Waiting]]],
    write: Callable[[Callable[[Db], None]], Awaitable[None]],
    batch_id: int,
    max_entries: int,
) -> None:
    """Puts what fits into a prepared batch: the subscribers that have waited longest, and all that waits of each.

    Of what was reserved before; calls go on, and it must come to an end. AT_ONCE by AT_ONCE, and what to put is looked
    for beside the writer: a batch that has its entries passes over everybody else's charges. The batch is whole after
    every step: it settles what is in it.
    """
    after, before = "", new_id()
    while True:
        step = partial(fitting, batch_id=batch_id, max_entries=max_entries, after=after, before=before)
        found = await look(step)
        if found:
            await write(partial(put, batch_id=batch_id, charges=found))
            after = found[-1][0]
        elif after:
            after = ""  # those that were reserved before and captured meanwhile
        else:
            return


def fitting(db: Db, batch_id: int, max_entries: int, after: str, before: str) -> list[Waiting]:
    """The next charges that fit into the batch, oldest first, AT_ONCE at most. after, before: ids between which."""
    head = db.execute("SELECT did, plan FROM batches WHERE id = ?", (batch_id,)).fetchone()
    entries = db.execute("SELECT subscriber FROM entries WHERE batch = ?", (batch_id,)).fetchall()
    inside = {bytes(who) for (who,) in entries}
    if head is None:
        return []
    only = " AND subscriber IN (SELECT subscriber FROM entries WHERE batch = ?)" if len(inside) >= max_entries else ""
    rows = db.execute(
        "SELECT id, subscriber, credits FROM charges WHERE batch IS NULL AND did = ? AND plan = ?"
        f" AND id > ? AND id < ?{only} ORDER BY id LIMIT ?",
        (bytes(head[0]), bytes(head[1]), after, before, *([batch_id] if only else []), AT_ONCE),
    ).fetchall()
    found: list[Waiting] = []
    for charge_id, subscriber, credits in rows:
        inside.add(who := bytes(subscriber))
        if len(inside) > max_entries:
            break
        found.append((charge_id, who, credits))
    return found


def put(db: Db, batch_id: int, charges: Sequence[Waiting]) -> None:
    """Puts charges into a prepared batch. Raises BatchConflict where its content must stay, or one waits no more."""
    head = db.execute("SELECT plan, state, root FROM batches WHERE id = ?", (batch_id,)).fetchone()
    plan, state, root = head or (b"", "gone", b"")
    if state != "prepared" or any(bytes(root)):
        raise BatchConflict(f"batch {batch_id} is {state} or has its root: nothing can be added to it")
    entries = {
        bytes(subscriber): (calls, credits)
        for subscriber, calls, credits in db.execute(
            "SELECT subscriber, calls, credits FROM entries WHERE batch = ?", (batch_id,)
        ).fetchall()
    }
    for _, who, credits in charges:
        calls, sum_ = entries.get(who, (0, 0))
        entries[who] = calls + 1, sum_ + credits
    for start in range(0, len(charges), _PARAMETERS):
        part = [charge_id for charge_id, *_ in charges[start : start + _PARAMETERS]]
        marks = ", ".join("?" for _ in part)
        query = f"UPDATE charges SET batch = ? WHERE batch IS NULL AND id IN ({marks})"
        if db.execute(query, (batch_id, *part)).rowcount != len(part):
            raise BatchConflict(f"another batch has taken charges that batch {batch_id} was to have")
    for who in sorted({who for _, who, _ in charges}):
        calls, sum_ = entries[who]
        if calls > _MAX_CALLS or sum_ >= 2**63:
            raise BatchConflict(f"{calls} calls with {sum_} credits don't fit into one entry: settle more often")
        db.execute(
            "INSERT INTO entries (batch, subscriber, plan, calls, credits) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (batch, subscriber) DO UPDATE SET calls = excluded.calls, credits = excluded.credits",
            (batch_id, who, bytes(plan), calls, sum_),
        )


_PARAMETERS = 500


def last_number(db: Db, did: bytes, plan: bytes, node: bytes) -> int:
    """See Ledger.last_number."""
    (last,) = db.execute(
        "SELECT MAX(number) FROM batches WHERE did = ? AND plan = ? AND node = ? AND state <> 'parked'",
        (did, plan, node),
    ).fetchone()
    return last or 0


_BATCH = "SELECT id, did, plan, node, number, state, root, created, block, block_hash, tx_hash, reason FROM batches"


def batches(db: Db, states: Sequence[BatchState]) -> list[Batch]:
    """See Ledger.batches."""
    marks = ", ".join("?" for _ in states)
    rows = db.execute(f"{_BATCH} WHERE state IN ({marks}) ORDER BY id", [str(state) for state in states]).fetchall()
    return [_batch(db, row) for row in rows]


def batch(db: Db, batch_id: int) -> Batch:
    """Raises KeyError."""
    row = db.execute(f"{_BATCH} WHERE id = ?", (batch_id,)).fetchone()
    if row is None:
        raise KeyError(f"no batch {batch_id}")
    return _batch(db, row)


def heads(db: Db, batch_ids: Iterable[int]) -> dict[int, Batch]:
    """See Ledger.heads."""
    rows = [db.execute(f"{_BATCH} WHERE id = ?", (one,)).fetchone() for one in batch_ids]
    return {row[0]: _head(row) for row in rows if row is not None}


def _batch(db: Db, row: Row) -> Batch:
    entries = db.execute(
        "SELECT subscriber, calls, credits, missing FROM entries WHERE batch = ? ORDER BY subscriber", (row[0],)
    ).fetchall()
    attempts = db.execute(
        "SELECT tx_hash, nonce, gas, max_fee, priority_fee, raw, created FROM attempts WHERE batch = ?"
        " ORDER BY created, max_fee",
        (row[0],),
    ).fetchall()
    return replace(
        _head(row),
        entries=tuple(Entry(bytes(who), calls, credits, missing) for who, calls, credits, missing in entries),
        attempts=tuple(
            Attempt(bytes(tx_hash), nonce, gas, fee, tip, bytes(raw), created)
            for tx_hash, nonce, gas, fee, tip, raw, created in attempts
        ),
    )


def _head(row: Row) -> Batch:
    return Batch(
        id=row[0],
        did=bytes(row[1]),
        plan=bytes(row[2]),
        node=bytes(row[3]),
        number=row[4],
        state=BatchState(row[5]),
        root=bytes(row[6]),
        created=row[7],
        entries=(),
        block=row[8],
        block_hash=None if row[9] is None else bytes(row[9]),
        tx_hash=None if row[10] is None else bytes(row[10]),
        reason=row[11],
    )


def adopt(db: Db, forgotten: Forgotten) -> Batch:
    """See Ledger.adopt."""
    applied = forgotten.applied
    claim = (applied.did, applied.plan)
    for batch_id, number, state in db.execute(
        "SELECT id, number, state FROM batches WHERE did = ? AND plan = ? AND node = ?"
        " AND state IN ('prepared', 'sent')",
        (*claim, applied.node),
    ).fetchall():
        if state == "sent" or number != applied.number:
            raise BatchConflict(f"batch {number} is {state}: it has to come to its end first")
        db.execute("UPDATE charges SET batch = NULL WHERE batch = ?", (batch_id,))
        db.execute("DELETE FROM entries WHERE batch = ?", (batch_id,))
        db.execute("DELETE FROM batches WHERE id = ?", (batch_id,))
    if applied.number != (last := last_number(db, *claim, applied.node)) + 1:
        raise BatchConflict(f"batch {applied.number} doesn't follow on batch {last}")
    (batch_id,) = db.execute(
        "INSERT INTO batches (did, plan, node, number, state, root, created, block, block_hash, tx_hash)"
        " VALUES (?, ?, ?, ?, 'mined', ?, ?, ?, ?, ?) RETURNING id",
        (
            *(*claim, applied.node, applied.number, forgotten.root, forgotten.time),
            *(applied.block, applied.block_hash, applied.tx_hash),
        ),
    ).fetchone()
    for entry in forgotten.entries:
        _adopt_entry(db, batch_id, forgotten, entry)
    _move(db, batch_id, mined=1)
    for entry in forgotten.entries:
        who = AccountId(applied.plan, entry.subscriber)
        read_at = db.execute("SELECT block FROM accounts WHERE plan = ? AND subscriber = ?", who).fetchone()[0]
        if read_at is not None and read_at >= applied.block:
            _absorb(db, who, read_at)
    return batch(db, batch_id)


_SKEW = 600
"""Seconds that the node's clock may have been ahead of the chain's."""


def _adopt_entry(db: Db, batch_id: int, forgotten: Forgotten, entry: Entry) -> None:
    applied = forgotten.applied
    where = (applied.did, applied.plan, entry.subscriber)
    waiting = db.execute(
        "SELECT id, credits FROM charges WHERE batch IS NULL AND did = ? AND plan = ? AND subscriber = ?"
        " AND created <= ? ORDER BY id LIMIT ?",
        (*where, forgotten.time + _SKEW, entry.calls),
    ).fetchall()
    # A batch takes all that waits, oldest first: what the ledger still has was in it, as far as it fits.
    while waiting and (
        (rest := entry.credits - sum(credits for _, credits in waiting)) < 0 or (len(waiting) == entry.calls and rest)
    ):
        waiting.pop()
    for charge_id, _ in waiting:
        db.execute("UPDATE charges SET batch = ? WHERE id = ?", (batch_id, charge_id))
    lost, rest = entry.calls - len(waiting), entry.credits - sum(credits for _, credits in waiting)
    for n in range(lost):
        db.execute(
            "INSERT INTO charges (id, plan, subscriber, did, credits, usage, flags, key_id, request_id, created, batch)"
            " VALUES (?, ?, ?, ?, ?, NULL, ?, '', '', ?, ?)",
            (
                *(new_id(), applied.plan, entry.subscriber, applied.did, rest if n == 0 else 0, LOST),
                *(forgotten.time, batch_id),
            ),
        )
    db.execute(
        "INSERT INTO accounts (plan, subscriber, captured, charged) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (plan, subscriber) DO UPDATE SET"
        " captured = accounts.captured + excluded.captured, charged = accounts.charged + excluded.charged",
        (applied.plan, entry.subscriber, rest, rest),
    )
    db.execute(
        "INSERT INTO claims (did, plan, unsettled) VALUES (?, ?, ?) ON CONFLICT (did, plan)"
        " DO UPDATE SET unsettled = claims.unsettled + excluded.unsettled",
        (applied.did, applied.plan, rest),
    )
    db.execute(
        "INSERT INTO entries (batch, subscriber, plan, calls, credits, missing, block) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (batch_id, entry.subscriber, applied.plan, entry.calls, entry.credits, entry.missing, applied.block),
    )


def _step(db: Db, batch_id: int, change: str, values: Sequence[Any], *states: str) -> None:
    marks = ", ".join("?" for _ in states)
    query = f"UPDATE batches SET {change} WHERE id = ? AND state IN ({marks})"
    done = db.execute(query, [*values, batch_id, *states])
    if done.rowcount != 1:
        raise BatchConflict(f"batch {batch_id} is {batch(db, batch_id).state}, not {' or '.join(states)}")


def _check_unchanged(db: Db, seen: Batch | None) -> None:
    """Raises BatchConflict unless the batch is still what its mover has looked at."""
    if seen is None:
        return
    now = next(iter(db.execute(f"{_BATCH} WHERE id = ?", (seen.id,)).fetchall()), None)
    if now is None or _content(_batch(db, now)) != _content(seen):
        raise BatchConflict(f"batch {seen.id} was changed by another process meanwhile")


def _content(batch: Batch) -> tuple[Any, ...]:
    entries = {(entry.subscriber, entry.calls, entry.credits) for entry in batch.entries}
    return batch.number, batch.root, entries, {tried.tx_hash for tried in batch.attempts}


def attempt(db: Db, batch_id: int, tried: Attempt, seen: Batch | None) -> Batch:
    """See Ledger.attempt."""
    _check_unchanged(db, seen)
    _step(db, batch_id, "state = 'sent'", (), "prepared", "sent")
    db.execute(
        "INSERT INTO attempts (batch, tx_hash, nonce, gas, max_fee, priority_fee, raw, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (batch_id, tried.tx_hash, tried.nonce, tried.gas, tried.max_fee, tried.priority_fee, tried.raw, tried.created),
    )
    return batch(db, batch_id)


def confirm(db: Db, batch_id: int) -> Batch:
    """See Ledger.confirm."""
    _step(db, batch_id, "state = 'confirmed'", (), "mined")
    return batch(db, batch_id)


def set_root(db: Db, batch_id: int, root: bytes) -> Batch:
    """See Ledger.set_root."""
    _step(db, batch_id, "root = ?", (root,), "prepared")
    return batch(db, batch_id)


def shrink(db: Db, batch_id: int, keep: Sequence[bytes], seen: Batch | None) -> Batch:
    """See Ledger.shrink."""
    if not keep:
        raise BatchConflict(f"batch {batch_id} would be empty")
    _check_unchanged(db, seen)
    _reopen(db, batch_id)
    marks = ", ".join("?" for _ in keep)
    gone = (batch_id, *keep)
    db.execute(f"UPDATE charges SET batch = NULL WHERE batch = ? AND subscriber NOT IN ({marks})", gone)
    db.execute(f"DELETE FROM entries WHERE batch = ? AND subscriber NOT IN ({marks})", gone)
    return batch(db, batch_id)


def park(
    db: Db, batch_id: int, subscribers: Sequence[bytes], reason: str, now: int, seen: Batch | None
) -> Batch | None:
    """See Ledger.park."""
    _check_unchanged(db, seen)
    _reopen(db, batch_id)
    whole = batch(db, batch_id)
    aside = set(subscribers) & {entry.subscriber for entry in whole.entries}
    if len(aside) == len(whole.entries):
        _step(db, batch_id, "state = 'parked', reason = ?", (reason,), "prepared")
        _move(db, batch_id, parked=1)
        return None
    (parked_id,) = db.execute(
        "INSERT INTO batches (did, plan, node, number, state, root, created, reason)"
        " VALUES (?, ?, ?, ?, 'parked', ?, ?, ?) RETURNING id",
        (whole.did, whole.plan, whole.node, whole.number, bytes(32), now, reason),
    ).fetchone()
    for subscriber in aside:
        for table in ("charges", "entries"):
            db.execute(
                f"UPDATE {table} SET batch = ? WHERE batch = ? AND subscriber = ?", (parked_id, batch_id, subscriber)
            )
    _move(db, parked_id, parked=1)
    return batch(db, batch_id)


def unpark(db: Db, batch_id: int) -> None:
    """See Ledger.unpark."""
    _step(db, batch_id, "reason = reason", (), "parked")
    _move(db, batch_id, parked=-1)
    db.execute("UPDATE charges SET batch = NULL WHERE batch = ?", (batch_id,))
    db.execute("DELETE FROM entries WHERE batch = ?", (batch_id,))
    db.execute("DELETE FROM batches WHERE id = ?", (batch_id,))


def _reopen(db: Db, batch_id: int) -> None:
    _step(db, batch_id, "state = 'prepared', root = ?", (bytes(32),), "prepared", "sent")
    db.execute("DELETE FROM attempts WHERE batch = ?", (batch_id,))


# -------------------------------------------------------------------------------------------------------- for people

_CHARGE = (
    "SELECT c.id, c.plan, c.subscriber, c.did, c.credits, c.usage, c.flags, c.key_id, c.request_id, c.created, c.batch"
)
_APPLIED = "EXISTS (SELECT 1 FROM batches b WHERE b.id = c.batch AND b.state IN ('mined', 'confirmed'))"


def charges(
    db: Db,
    subscriber: bytes | None,
    dids: Sequence[bytes] | None,
    plan: bytes | None,
    batch_id: int | None,
    settled: bool | None,
    after: str,
    before: str,
    newest_first: bool,
    limit: int,
) -> list[ChargeRecord]:
    """See Ledger.charges."""
    where: list[str] = []
    values: list[Any] = []
    for condition, value in (
        ("c.subscriber = ?", subscriber), ("c.plan = ?", plan), ("c.batch = ?", batch_id),
        ("c.id > ?", after or None), ("c.id < ?", before or None),
    ):  # fmt: skip
        if value is not None:
            where.append(condition)
            values.append(value)
    if dids is not None:
        where.append(f"c.did IN ({', '.join('?' for _ in dids) or 'NULL'})")
        values += dids
    past = ["c.batch IS NOT NULL", *where]
    if settled is not None:
        past.append(_APPLIED if settled else f"NOT {_APPLIED}")
    # Two index scans: what waits and what is past have an index each. A subscriber's charges that wait are looked for
    # in the index alone, which has everybody's in the order of their ids.
    sources = [f"charges c WHERE {' AND '.join(past)}"]
    if batch_id is None and not settled:
        waiting = f"charges c WHERE {' AND '.join(['c.batch IS NULL', *where])}"
        sources.append(f"charges c WHERE c.id IN (SELECT c.id FROM {waiting})" if subscriber else waiting)
    end = f"ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?"
    parts = [f"SELECT * FROM ({_CHARGE} FROM {source} {end}) AS part{n}" for n, source in enumerate(sources)]
    rows = db.execute(f"{' UNION ALL '.join(parts)} {end}", [*[*values, limit] * len(parts), limit]).fetchall()
    return [_charge(row) for row in rows]


def each_charge(db: Db, batch_id: int, work: Callable[[ChargeRecord], T]) -> list[T]:
    """See Ledger.each_charge."""
    made: list[T] = []
    after = ""
    while page := charges(db, None, None, None, batch_id, None, after, "", False, _AT_ONCE):
        made += [work(one) for one in page]
        after = page[-1].id
    return made


_AT_ONCE = 10_000


def charge(db: Db, charge_id: str) -> ChargeRecord | None:
    """See Ledger.charge."""
    row = db.execute(f"{_CHARGE} FROM charges c WHERE c.id = ?", (charge_id,)).fetchone()
    return None if row is None else _charge(row)


def _charge(row: Row) -> ChargeRecord:
    return ChargeRecord(
        id=row[0],
        account=AccountId(bytes(row[1]), bytes(row[2])),
        did=bytes(row[3]),
        credits=row[4],
        usage=None if row[5] is None else json.loads(row[5]),
        flags=frozenset(filter(None, row[6].split(","))),
        key_id=row[7],
        request_id=row[8],
        created=row[9],
        batch=row[10],
    )


def consumed(db: Db) -> Mapping[AccountId, int]:
    """See Ledger.consumed."""
    rows = db.execute(
        "SELECT e.plan, e.subscriber, SUM(e.credits - e.missing) FROM entries e JOIN batches b ON b.id = e.batch"
        " WHERE b.state IN ('mined', 'confirmed') GROUP BY e.plan, e.subscriber"
    ).fetchall()
    return {AccountId(bytes(plan), bytes(subscriber)): int(taken) for plan, subscriber, taken in rows}


_BOOKS = ("unsettled", "settled", "missing", "parked")

# Each: what it says, and rows of (name, what the journal adds up to, what the running total says) that differ.
_CHECKS = (
    (
        "credits charged to account",
        "SELECT a.plan, a.subscriber, COALESCE(c.total, 0), a.charged FROM account_totals a LEFT JOIN"
        " (SELECT plan, subscriber, SUM(credits) AS total FROM charges GROUP BY plan, subscriber) c"
        " ON c.plan = a.plan AND c.subscriber = a.subscriber WHERE COALESCE(c.total, 0) <> a.charged",
    ),
    (
        "credits of account that the chain's word doesn't contain",
        "SELECT a.plan, a.subscriber, COALESCE(w.total, 0) + COALESCE(p.total, 0), a.captured"
        " FROM account_totals a LEFT JOIN"
        " (SELECT plan, subscriber, SUM(credits) AS total FROM charges WHERE batch IS NULL GROUP BY plan, subscriber) w"
        " ON w.plan = a.plan AND w.subscriber = a.subscriber LEFT JOIN"
        " (SELECT plan, subscriber, SUM(credits) AS total FROM entries WHERE absorbed = 0 GROUP BY plan, subscriber) p"
        " ON p.plan = a.plan AND p.subscriber = a.subscriber"
        " WHERE COALESCE(w.total, 0) + COALESCE(p.total, 0) <> a.captured",
    ),
    (
        "credits of batch entry",
        "SELECT e.batch, e.subscriber, COALESCE(c.total, 0), e.credits FROM entries e LEFT JOIN"
        " (SELECT batch, subscriber, SUM(credits) AS total FROM charges WHERE batch IS NOT NULL"
        " GROUP BY batch, subscriber) c ON c.batch = e.batch AND c.subscriber = e.subscriber"
        " WHERE COALESCE(c.total, 0) <> e.credits",
    ),
    (
        "calls of batch entry",
        "SELECT e.batch, e.subscriber, COALESCE(c.calls, 0), e.calls FROM entries e LEFT JOIN"
        " (SELECT batch, subscriber, COUNT(*) AS calls FROM charges WHERE batch IS NOT NULL"
        " GROUP BY batch, subscriber) c ON c.batch = e.batch AND c.subscriber = e.subscriber"
        " WHERE COALESCE(c.calls, 0) <> e.calls",
    ),
    (
        "credits charged through API key",
        "SELECT k.key_id, '', COALESCE(c.total, 0), k.spent FROM key_totals k LEFT JOIN"
        " (SELECT key_id, SUM(credits) AS total FROM charges GROUP BY key_id) c ON c.key_id = k.key_id"
        " WHERE COALESCE(c.total, 0) <> k.spent",
    ),
    *(
        (
            f"{book} credits of claim",
            f"SELECT l.did, l.plan, COALESCE(j.total, 0), l.{book} FROM claims l LEFT JOIN ({journal}) j"
            f" ON j.did = l.did AND j.plan = l.plan WHERE COALESCE(j.total, 0) <> l.{book}",
        )
        for book, journal in (
            (
                "unsettled",
                "SELECT c.did, c.plan, SUM(c.credits) AS total FROM charges c LEFT JOIN batches b ON b.id = c.batch"
                " WHERE b.id IS NULL OR b.state IN ('prepared', 'sent') GROUP BY c.did, c.plan",
            ),
            (
                "settled",
                "SELECT b.did, b.plan, SUM(e.credits - e.missing) AS total"
                " FROM entries e JOIN batches b ON b.id = e.batch"
                " WHERE b.state IN ('mined', 'confirmed') GROUP BY b.did, b.plan",
            ),
            (
                "missing",
                "SELECT b.did, b.plan, SUM(e.missing) AS total FROM entries e JOIN batches b ON b.id = e.batch"
                " WHERE b.state IN ('mined', 'confirmed') GROUP BY b.did, b.plan",
            ),
            (
                "parked",
                "SELECT b.did, b.plan, SUM(e.credits) AS total FROM entries e JOIN batches b ON b.id = e.batch"
                " WHERE b.state = 'parked' GROUP BY b.did, b.plan",
            ),
        )
    ),
)


def audit(db: Db) -> Audit:
    """See Ledger.audit."""
    (count,) = db.execute("SELECT COUNT(*) FROM charges").fetchone()
    totals = {"charged": -_sum(db, "charged", "account_totals")} | {book: _sum(db, book, "claims") for book in _BOOKS}
    wrong = [Imbalance("sum of all books", 0, sum(totals.values()))] if sum(totals.values()) else []
    for what, query in _CHECKS:
        for first, second, expected, found in db.execute(query).fetchall():
            name = " ".join(_show(part) for part in (first, second) if part != "")
            wrong.append(Imbalance(f"{what} {name}", int(expected), int(found)))
    return Audit(totals, count, tuple(wrong))


def _sum(db: Db, column: str, table: str) -> int:
    """Of all rows: more than one number of the database can hold."""
    halves = f"SELECT SUM({column} / {_HALF}), SUM({column} - {column} / {_HALF} * {_HALF}) FROM {table}"
    high, low = (int(half or 0) for half in db.execute(halves).fetchone())
    return high * _HALF + low


_HALF = 2**32


def _show(value: Any) -> str:
    return str(value) if isinstance(value, int | str) else "0x" + bytes(value).hex()
