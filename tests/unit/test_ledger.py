from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs
from yoyo import get_backend, read_migrations  # type: ignore[import-untyped]

from node_proxy.ledger import Ledger, books, open_ledger, sqlite
from node_proxy.ledger.base import (
    LOST,
    MAX_CREDITS,
    AccountId,
    Applied,
    Attempt,
    BatchConflict,
    BatchState,
    BudgetSpent,
    Checkpoint,
    Entry,
    Forgotten,
    Hold,
    LedgerFailed,
    LedgerInUse,
    NotEnoughCredits,
    Promise,
    ReservationGone,
    Snapshot,
)
from node_proxy.ledger.postgres import PostgresLedger
from node_proxy.ledger.sqlite import SqliteLedger
from tests.postgres import Postgres, postgres
from tests.world import until

DID, PLAN, NODE = b"\x01" * 32, b"\x02" * 32, b"\x03" * 20
ALICE, BOB = AccountId(PLAN, b"\x0a" * 20), AccountId(PLAN, b"\x0b" * 20)


def snapshot(who: AccountId, balance: int, block: int = 1) -> Snapshot:
    return Snapshot(who, block, balance, 0, 0, 0, 1)


def checkpoint(block: int, floor: int = 0) -> Checkpoint:
    return Checkpoint(block, block.to_bytes(32), 0.0, floor)


def applied(number: int, block: int, **missing: int) -> Applied:
    short = {ALICE.subscriber: missing["alice"]} if missing else {}
    return Applied(DID, PLAN, NODE, number, block, block.to_bytes(32), b"\x07" * 32, short)


def attempt(nonce: int = 0, fee: int = 1) -> Attempt:
    return Attempt(os.urandom(32), nonce, 21_000, fee, 1, b"raw", 5)


async def reserve(
    ledger: Ledger, who: AccountId, credits: int, budget: int | None = None, *, did: bytes = DID, key: str = "key_1"
) -> Hold:
    return await ledger.reserve(who, did, credits, key_id=key, key_budget=budget, request_id="req_1")


async def take(ledger: Ledger, who: AccountId, credits: int, *, did: bytes = DID, key: str) -> None:
    """Charges all that it reserves; what can't be charged is given back."""
    hold = await reserve(ledger, who, credits, did=did, key=key)
    try:
        await ledger.capture(hold, credits, None)
    finally:
        await ledger.release(hold)


async def charge(ledger: Ledger, who: AccountId, credits: int) -> str:
    return (await ledger.capture(await reserve(ledger, who, credits), credits, {"input_tokens": 7})).id


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    server: Postgres = request.getfixturevalue("server")
    return server.database()


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(url, serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100), snapshot(BOB, 50)])
        yield ledger
        audit = await ledger.audit()
        assert audit.clean, audit.imbalances
        assert sum(audit.totals.values()) == 0


# ----------------------------------------------------------------------------------------------- reserve and capture


async def test_an_account_never_seen_has_nothing_to_spend(ledger: Ledger) -> None:
    stranger = AccountId(PLAN, b"\xcc" * 20)
    standing = await ledger.standing(stranger)
    assert (standing.snapshot, standing.spendable) == (None, 0)
    with pytest.raises(NotEnoughCredits):
        await reserve(ledger, stranger, 0)


async def test_a_reservation_holds_and_a_capture_charges_only_what_was_used(ledger: Ledger) -> None:
    hold = await reserve(ledger, ALICE, 60)
    assert (await ledger.standing(ALICE)).spendable == 40
    with pytest.raises(NotEnoughCredits, match="41 credits wanted, 40 can be spent"):
        await reserve(ledger, ALICE, 41)
    made = await ledger.capture(hold, 25, None, frozenset({"usage_missing"}))
    assert (made.id, made.credits, made.credits_left) == (hold.id, 25, 75)
    record = await ledger.charge(hold.id)
    assert record is not None
    assert (record.credits, record.usage) == (25, None)
    assert record.flags == {"usage_missing"}


async def test_whether_an_account_may_be_used_is_asked_in_the_moment_of_the_reservation(ledger: Ledger) -> None:
    seen: list[tuple[AccountId, int]] = []

    async def reserve_if(allowed: bool) -> Hold:
        def covers(snapshot: Snapshot, spendable: int) -> bool:
            seen.append((snapshot.account, spendable))
            return allowed

        return await ledger.reserve(ALICE, DID, 60, key_id="key_1", key_budget=None, request_id="req_1", covers=covers)

    with pytest.raises(NotEnoughCredits):
        await reserve_if(False)
    await reserve_if(True)
    with pytest.raises(NotEnoughCredits):
        await reserve_if(True)  # too little is left: nothing need be asked
    assert seen == [(ALICE, 100), (ALICE, 100)]
    assert (await ledger.standing(ALICE)).reserved == 60


async def test_a_released_reservation_gives_everything_back_once(ledger: Ledger) -> None:
    hold = await reserve(ledger, ALICE, 60)
    await ledger.release(hold)
    await ledger.release(hold)
    assert (await ledger.standing(ALICE)).spendable == 100
    with pytest.raises(ReservationGone):
        await ledger.capture(hold, 1, None)


async def test_a_reservation_is_captured_at_most_once(ledger: Ledger) -> None:
    hold = await reserve(ledger, ALICE, 10)
    both = await asyncio.gather(*(ledger.capture(hold, 10, None) for _ in range(2)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in both) == ["Charge", "ReservationGone"]
    await ledger.release(hold)
    assert (await ledger.standing(ALICE)).spendable == 90


@pytest.mark.parametrize("credits", [-1, 11])
async def test_a_capture_outside_of_the_reservation_is_refused(ledger: Ledger, credits: int) -> None:
    hold = await reserve(ledger, ALICE, 10)
    with pytest.raises(ValueError, match=f"{credits} credits can't be captured of 10 reserved"):
        await ledger.capture(hold, credits, None)


async def test_500_calls_at_once_on_100_credits_are_100_charges(ledger: Ledger) -> None:
    async def call() -> bool:
        try:
            hold = await reserve(ledger, ALICE, 1)
        except NotEnoughCredits:
            return False
        await asyncio.sleep(0)
        await ledger.capture(hold, 1, None)
        return True

    served = await asyncio.gather(*(call() for _ in range(500)))
    assert sum(served) == 100
    assert len(await ledger.charges(subscriber=ALICE.subscriber, limit=1_000)) == 100
    assert (await ledger.standing(ALICE)).spendable == 0


async def test_a_capture_whose_caller_hangs_up_is_written_all_the_same(ledger: Ledger) -> None:
    hold = await reserve(ledger, ALICE, 10)
    capture = asyncio.create_task(ledger.capture(hold, 10, None))
    await asyncio.sleep(0)
    capture.cancel()
    await ledger.release(hold)
    await charge(ledger, BOB, 1)  # goes through the same queue
    assert await ledger.charge(hold.id) is not None
    standing = await ledger.standing(ALICE)
    assert (standing.captured, standing.reserved) == (10, 0)


async def test_a_budget_bounds_what_one_key_spends_whatever_runs_at_once(ledger: Ledger) -> None:
    holds = [await reserve(ledger, ALICE, 10, budget=25) for _ in range(2)]
    with pytest.raises(BudgetSpent, match="10 credits wanted, 5 of 25 are left"):
        await reserve(ledger, ALICE, 10, budget=25)
    await ledger.capture(holds[0], 4, None)
    await ledger.release(holds[1])
    assert await ledger.key_spent("key_1") == 4
    await reserve(ledger, ALICE, 21, budget=25)


async def test_what_does_not_fit_into_the_books_of_a_key_harms_nobody_else(ledger: Ledger) -> None:
    """Two plans whose builder gives away as many credits as a number holds, and one key for both."""
    whales = [AccountId(plan, b"\x0c" * 20) for plan in (PLAN, b"\x22" * 32)]
    await ledger.observe([snapshot(who, MAX_CREDITS) for who in whales])

    await take(ledger, whales[0], MAX_CREDITS - 10, did=whales[0].plan, key="both")
    with pytest.raises(LedgerFailed):
        await take(ledger, whales[1], 11, did=whales[1].plan, key="both")
    await ledger.observe([snapshot(ALICE, 100)])
    await charge(ledger, ALICE, 1)
    assert await ledger.key_spent("both") == MAX_CREDITS - 10


async def test_a_balance_beyond_64_bits_counts_as_the_most_that_a_number_holds(ledger: Ledger) -> None:
    await ledger.observe([snapshot(ALICE, 2**88 - 1, 2)])
    assert (await ledger.standing(ALICE)).spendable == MAX_CREDITS
    await ledger.capture(await reserve(ledger, ALICE, MAX_CREDITS), 5, None)
    assert (await ledger.standing(ALICE)).spendable == MAX_CREDITS - 5


# ------------------------------------------------------------------------------------------------- what survives


async def test_charges_and_budgets_survive_a_restart_and_reservations_do_not(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "ledger?#%20.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        await charge(ledger, ALICE, 30)
        await reserve(ledger, ALICE, 70)
    async with open_ledger(str(path), serving=True) as ledger:
        standing = await ledger.standing(ALICE)
        assert (standing.captured, standing.reserved, standing.spendable) == (30, 0, 70)
        assert await ledger.key_spent("key_1") == 30
        assert await ledger.checkpoint() == checkpoint(1)


async def test_a_ledger_that_was_closed_writes_nothing_more(tmp_path: Path) -> None:
    async with open_ledger(str(tmp_path / "ledger.db"), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        hold = await reserve(ledger, ALICE, 1)
    async with asyncio.timeout(5):
        with pytest.raises(LedgerFailed):
            await ledger.capture(hold, 1, None)
        with pytest.raises(RuntimeError):
            await ledger.rewind(1, bytes(32))


async def test_one_process_serves_from_a_file_and_others_may_look(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    async with open_ledger(path, serving=True) as ledger:
        with pytest.raises(LedgerInUse, match="another process serves calls"):
            async with open_ledger(path, serving=True):
                pass
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        await charge(ledger, ALICE, 30)
        async with open_ledger(path, serving=False) as other:
            assert (await other.standing(ALICE)).captured == 30
            with pytest.raises(LedgerInUse, match="look and settle"):
                await reserve(other, ALICE, 1)


async def test_two_processes_on_one_file_settle_and_capture_at_the_same_time(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    async with open_ledger(path, serving=True) as ledger, open_ledger(path, serving=False) as other:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 1_000_000)])

        enough = asyncio.Event()

        async def capture() -> int:
            calls = 0
            while calls < 60 or not enough.is_set():
                await charge(ledger, ALICE, 1)
                calls += 1
            return calls

        async def settle() -> None:
            number = 0
            while number < 5:
                batch = await other.prepare(DID, PLAN, NODE, number + 1, max_entries=9, now=1)
                if batch is None:
                    await asyncio.sleep(0.001)
                    continue
                number += 1
                await other.attempt(batch.id, attempt())
                await other.advance(checkpoint(number + 1), [], [applied(number, number + 1)])
                await other.confirm(batch.id)
            enough.set()

        captured = asyncio.create_task(capture())
        await settle()
        calls = await captured
        audit = await other.audit()
        assert audit.clean
        assert audit.charges == calls
        assert len(await other.batches(BatchState.CONFIRMED)) == 5


async def test_a_file_that_another_process_keeps_to_itself_holds_all_charges_up_for_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 1)
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.observe([snapshot(ALICE, 100)])
        holds = [await reserve(ledger, ALICE, 1) for _ in range(20)]
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        done = await asyncio.gather(*(ledger.capture(hold, 1, None) for hold in holds), return_exceptions=True)
        took = time.monotonic() - began
        assert [type(one) for one in done] == [LedgerFailed] * 20
        assert took < 10, "they must not wait one after the other"
        other.execute("ROLLBACK")
        other.close()
        for hold in holds:  # they still stand
            await ledger.capture(hold, 1, None)
        assert (await ledger.standing(ALICE)).captured == 20
        assert (await ledger.audit()).clean


async def test_a_file_that_is_no_ledger_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(LedgerFailed, match=r"ledger\.db can't be used: file is not a database"):
        async with open_ledger(str(path), serving=True):
            pass


async def test_a_folder_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerFailed, match="can't be used"):
        async with open_ledger(str(tmp_path / "file" / "ledger.db"), serving=True):
            pass


async def test_a_charge_that_cannot_be_written_charges_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        hold = await reserve(ledger, ALICE, 10)
        breaker = sqlite3.connect(path)
        breaker.execute("CREATE TRIGGER broken BEFORE INSERT ON charges BEGIN SELECT RAISE(ABORT, 'no room'); END")
        with pytest.raises(LedgerFailed, match="no room"):
            await ledger.capture(hold, 10, None)
        standing = await ledger.standing(ALICE)
        assert (standing.captured, standing.reserved) == (0, 10)
        breaker.execute("DROP TRIGGER broken")
        breaker.close()
        assert (await ledger.capture(hold, 10, None)).credits_left == 90
        assert (await ledger.audit()).clean


async def test_one_charge_that_fails_does_not_take_its_neighbours_with_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        holds = [await reserve(ledger, ALICE, 10) for _ in range(3)]
        breaker = sqlite3.connect(path)
        breaker.execute(
            f"CREATE TRIGGER broken BEFORE INSERT ON charges WHEN new.id = '{holds[1].id}'"
            " BEGIN SELECT RAISE(ABORT, 'this one'); END"
        )
        breaker.close()
        made = await asyncio.gather(*(ledger.capture(hold, 10, None) for hold in holds), return_exceptions=True)
        assert [type(one).__name__ for one in made] == ["Charge", "LedgerFailed", "Charge"]
        assert (await ledger.standing(ALICE)).captured == 20


async def test_a_charge_too_large_for_its_books_does_not_take_its_neighbours_with_it(ledger: Ledger) -> None:
    whale, other = AccountId(PLAN, b"\x0c" * 20), AccountId(PLAN, b"\x0d" * 20)
    await ledger.observe([snapshot(whale, MAX_CREDITS), snapshot(other, MAX_CREDITS)])

    # Both fit their accounts, and together they don't fit what their assistant is owed.
    wide, holds = b"\x77" * 32, [await reserve(ledger, ALICE, 10) for _ in range(3)]
    large = [await reserve(ledger, who, 2**62, did=wide, key=who.subscriber.hex()) for who in (whale, other)]
    await ledger.capture(large[0], 2**62, None)
    made = await asyncio.gather(
        *(ledger.capture(one, one.credits, None) for one in (holds[0], large[1], *holds[1:])), return_exceptions=True
    )
    assert [type(one).__name__ for one in made] == ["Charge", "LedgerFailed", "Charge", "Charge"]
    await ledger.release(large[1])
    assert (await ledger.standing(ALICE)).captured == 30
    assert (await ledger.standing(other)).reserved == 0
    assert len(await ledger.backlog(expiring_before=0)) == 2


async def test_what_does_not_fit_into_the_books_of_a_claim_holds_nothing_else_up(ledger: Ledger) -> None:
    """Also over all that was ever settled: a settlement that the ledger can't write down would stop the watcher."""
    whales = [AccountId(PLAN, bytes([n]) * 20) for n in (0x1A, 0x1B, 0x1C)]
    await ledger.observe([snapshot(who, MAX_CREDITS) for who in whales])

    await take(ledger, whales[0], 2**62, key="one")
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=9, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    with pytest.raises(LedgerFailed):
        await take(ledger, whales[1], 2**62, key="two")
    await take(ledger, whales[1], 2**62 - 1, key="two")
    await take(ledger, whales[2], 2**62, did=b"\x77" * 32, key="three")  # more in all than one number holds
    await ledger.advance(checkpoint(5), [snapshot(ALICE, 100, 5)], [applied(1, 4)])
    with pytest.raises(LedgerFailed):
        await take(ledger, whales[1], 1, key="two")
    second = await ledger.prepare(DID, PLAN, NODE, 2, max_entries=9, now=9)
    assert second is not None
    await ledger.attempt(second.id, attempt())
    await ledger.advance(checkpoint(9), [snapshot(ALICE, 100, 9)], [applied(2, 8)])
    assert (await ledger.audit()).totals["settled"] == 2**63 - 1
    await charge(ledger, ALICE, 0)


async def test_a_hold_whose_caller_left_when_it_was_just_made_is_given_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = [asyncio.create_task(reserve(ledger, ALICE, 10)) for _ in range(5)]

    def leave() -> None:
        for one in asking:
            one.cancel()

    if isinstance(ledger, PostgresLedger):
        done = ledger._done

        def done_and_left(*args: Any) -> None:
            done(*args)
            leave()  # before anybody who waits has been woken

        monkeypatch.setattr(ledger, "_done", done_and_left)
    found = await asyncio.gather(*asking, return_exceptions=True)
    for one in found:
        if isinstance(one, Hold):
            await ledger.release(one)

    async def given_back() -> bool:
        return (await ledger.standing(ALICE)).reserved == 0

    await until(given_back, "the holds")


async def test_a_hold_that_could_not_be_given_back_is_given_back_later(server: Postgres) -> None:
    url = server.database()
    async with open_ledger(url, serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        holds = [await reserve(ledger, ALICE, 10) for _ in range(3)]
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("ALTER TABLE reservations RENAME TO gone")
            with pytest.raises(LedgerFailed):
                await ledger.release(holds[0])
            other.execute("ALTER TABLE gone RENAME TO reservations")

        async def given_back() -> bool:
            return (await ledger.standing(ALICE)).reserved == 20

        await until(given_back, "the hold")
        await ledger.capture(holds[1], 10, None)
        standing = await ledger.standing(ALICE)
        assert (standing.captured, standing.reserved) == (10, 10)


# ------------------------------------------------------------------------------------- SQLite: what isn't posted yet


def in_file(path: Path, query: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def killed(path: Path) -> Path:
    """A copy, as a process would leave it that was killed now."""
    copy = path.with_name("killed.db")
    for end in ("", "-wal"):
        copy.with_name(copy.name + end).write_bytes(path.with_name(path.name + end).read_bytes())
    return copy


async def test_charges_that_a_process_left_unposted_count_in_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        await charge(ledger, ALICE, 30)
        left = killed(path)
    assert in_file(path, "SELECT COUNT(*) FROM unposted") == [(0,)], "it was closed"
    assert in_file(left, "SELECT SUM(credits) FROM unposted") == [(30,)]
    async with open_ledger(str(left), serving=True) as ledger:
        assert in_file(left, "SELECT COUNT(*) FROM unposted") == [(0,)]
        assert in_file(left, "SELECT captured, charged FROM accounts") == [(30, 30)]
        assert in_file(left, "SELECT key_id, spent FROM key_spending") == [("key_1", 30)]
        assert (await ledger.standing(ALICE)).captured == 30
        with pytest.raises(BudgetSpent, match="11 credits wanted, 10 of 40 are left"):
            await reserve(ledger, ALICE, 11, budget=40)
        assert (await ledger.audit()).clean


async def test_a_process_beside_sees_a_charge_once_while_it_is_posted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        await charge(ledger, ALICE, 30)
        async with open_ledger(str(path), serving=False) as other:
            original = books.account

            def slowly(db: Any, who: AccountId) -> Any:
                found = original(db, who)
                with sqlite3.connect(path) as beside:
                    sqlite.post(beside)
                beside.close()
                return found

            monkeypatch.setattr(books, "account", slowly)
            assert (await other.standing(ALICE)).captured == 30


async def test_a_process_beside_counts_what_is_not_posted_and_may_post_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100), snapshot(BOB, 50)])
        await charge(ledger, ALICE, 30)
        async with open_ledger(str(path), serving=False) as other:
            assert (await other.standing(ALICE)).captured == 30
            assert await other.key_spent("key_1") == 30
            assert (await other.audit()).clean
            await other.observe([snapshot(BOB, 50)])
        assert in_file(path, "SELECT COUNT(*) FROM unposted") == [(0,)]
        await charge(ledger, ALICE, 7)
        assert (await ledger.standing(ALICE)).captured == 37
        assert await ledger.key_spent("key_1") == 37
        assert (await ledger.audit()).clean


async def test_what_left_memory_comes_back_with_every_charge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "ACCOUNTS_IN_MEMORY", 2)
    monkeypatch.setattr(sqlite, "UNPOSTED", 5)
    path = tmp_path / "ledger.db"
    people = [AccountId(PLAN, bytes([n]) * 20) for n in range(9)]
    charged = dict.fromkeys(people, 0)
    async with open_ledger(str(path), serving=True) as ledger:
        assert isinstance(ledger, SqliteLedger)
        await ledger.advance(checkpoint(1), [snapshot(who, 1_000) for who in people])
        for step in range(200):
            who = people[step * step % 7 if step % 3 else step % 9]
            key = f"key_{who.subscriber[0]}"
            budget = charged[who] + 3 if step % 2 else None
            hold = await reserve(ledger, who, 3, budget, key=key)
            with pytest.raises(BudgetSpent):
                await reserve(ledger, who, 1, charged[who] + 3, key=key)
            left = await ledger.capture(hold, step % 4, None)
            charged[who] += step % 4
            assert left.credits_left == 1_000 - charged[who]
            other = people[step % 5]
            assert (await ledger.standing(other)).captured == charged[other]
            assert await ledger.key_spent(f"key_{other.subscriber[0]}") == charged[other]
            # What isn't posted, and the two.
            assert max(len(ledger._accounts), len(ledger._keys)) <= 2 + 5
        assert (await ledger.audit()).clean


async def test_nothing_leaves_memory_while_it_is_being_posted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "ACCOUNTS_IN_MEMORY", 1)
    async with open_ledger(str(tmp_path / "ledger.db"), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100), snapshot(BOB, 50)])
        for charged in range(1, 51):
            await charge(ledger, ALICE, 1)
            posting = asyncio.ensure_future(ledger.observe([snapshot(BOB, 50)]))
            while not posting.done():
                await ledger.standing(AccountId(PLAN, os.urandom(20)))  # has others leave
                assert (await ledger.standing(ALICE)).captured == charged
                await asyncio.sleep(0)
            assert (await ledger.standing(ALICE)).captured == charged


async def test_accounts_are_posted_after_so_many_charges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "UNPOSTED", 10)
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        for _ in range(25):
            await charge(ledger, ALICE, 1)
        [(posted,)] = in_file(path, "SELECT captured FROM accounts")
        assert posted == 20
        assert in_file(path, "SELECT SUM(credits) FROM unposted") == [(5,)]
        assert (await ledger.standing(ALICE)).captured == 25


async def test_charges_that_cannot_be_posted_are_charged_and_posted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "UNPOSTED", 3)
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100), snapshot(BOB, 50)])
        breaker = sqlite3.connect(path)
        breaker.execute("CREATE TRIGGER broken BEFORE UPDATE ON accounts BEGIN SELECT RAISE(ABORT, 'no room'); END")
        with capture_logs() as said:
            for _ in range(8):
                await charge(ledger, ALICE, 2)
        assert [(one["log_level"], one["reason"]) for one in said] == [("error", "no room")] * 2
        assert in_file(path, "SELECT COUNT(*) FROM unposted") == [(8,)]
        with pytest.raises(LedgerFailed, match="no room"):
            await ledger.observe([snapshot(BOB, 60)])
        breaker.execute("DROP TRIGGER broken")
        breaker.close()
        await charge(ledger, ALICE, 6)
        await ledger.observe([snapshot(BOB, 60)])
        assert in_file(path, "SELECT captured FROM accounts ORDER BY captured") == [(0,), (22,)]
        assert (await ledger.standing(ALICE)).captured == 22
        assert (await ledger.audit()).clean


async def test_a_posting_whose_commit_fails_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "ACCOUNTS_IN_MEMORY", 1)
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        assert isinstance(ledger, SqliteLedger)
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100), snapshot(BOB, 50)])
        await charge(ledger, ALICE, 2)
        original = ledger._disk.run

        async def fail() -> Any:
            raise sqlite3.OperationalError("the disk is gone")

        monkeypatch.setattr(ledger._disk, "run", lambda *_: fail())
        holds = [await reserve(ledger, who, 3) for who in (ALICE, BOB)]
        works = [
            ledger.capture(holds[0], 3, None),
            ledger.observe([snapshot(BOB, 50)]),
            ledger.capture(holds[1], 3, None),
        ]
        done = await asyncio.gather(*works, return_exceptions=True)
        assert [type(one) for one in done] == [LedgerFailed] * 3
        monkeypatch.setattr(ledger._disk, "run", original)
        await ledger.standing(AccountId(PLAN, os.urandom(20)))  # has others leave
        for hold in holds:
            await ledger.capture(hold, 3, None)
        assert [(await ledger.standing(who)).captured for who in (ALICE, BOB)] == [5, 3]
        assert await ledger.key_spent("key_1") == 8
        assert (await ledger.audit()).clean


async def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True):
        pass
    with sqlite3.connect(path) as db:
        db.execute(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)"
            " VALUES ('x', '9999.later', '2030-01-01')"
        )
    db.close()
    with pytest.raises(LedgerFailed, match=r"ledger\.db can't be used: a newer version .* \(9999\.later\)"):
        async with open_ledger(str(path), serving=True):
            pass


# ----------------------------------------------------------------------------------------------- the chain's word


async def test_a_settlement_moves_credits_from_captured_to_taken_without_changing_what_is_left(ledger: Ledger) -> None:
    await charge(ledger, ALICE, 30)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=10, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    await ledger.advance(checkpoint(5), [snapshot(ALICE, 70, 5)], [applied(1, 4)])
    standing = await ledger.standing(ALICE)
    assert (standing.captured, standing.spendable) == (0, 70)
    assert (await ledger.confirm(batch.id)).state is BatchState.CONFIRMED


async def test_a_balance_read_before_the_settlement_still_counts_the_charges_in_it(ledger: Ledger) -> None:
    await charge(ledger, ALICE, 30)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=10, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    await ledger.advance(checkpoint(5), [], [applied(1, 4)])
    assert (await ledger.standing(ALICE)).spendable == 70  # 100 at block 1, less 30
    await ledger.observe([snapshot(ALICE, 100, 3)])
    assert (await ledger.standing(ALICE)).spendable == 70
    await ledger.observe([snapshot(ALICE, 70, 5)])
    assert (await ledger.standing(ALICE)).spendable == 70


async def test_a_balance_read_after_a_settlement_not_yet_heard_of_errs_on_the_safe_side(ledger: Ledger) -> None:
    await charge(ledger, ALICE, 30)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=10, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    await ledger.observe([snapshot(ALICE, 70, 5)])
    assert (await ledger.standing(ALICE)).spendable == 40
    await ledger.advance(checkpoint(5), [], [applied(1, 4)])
    assert (await ledger.standing(ALICE)).spendable == 70


async def test_an_older_word_of_the_chain_changes_nothing(ledger: Ledger) -> None:
    await ledger.observe([snapshot(ALICE, 70, 5)])
    await ledger.observe([snapshot(ALICE, 100, 4)])
    assert (await ledger.standing(ALICE)).spendable == 70


async def test_a_reorganisation_brings_the_charges_of_an_undone_settlement_back(ledger: Ledger) -> None:
    await charge(ledger, ALICE, 30)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=10, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    await ledger.advance(checkpoint(5), [snapshot(ALICE, 65, 5)], [applied(1, 4, alice=5)])
    assert (await ledger.audit()).totals["missing"] == 5
    await ledger.rewind(3, b"\x33" * 32)
    assert (await ledger.batch(batch.id)).state is BatchState.SENT
    standing = await ledger.standing(ALICE)
    assert standing.snapshot is None
    assert (await ledger.standing(BOB)).spendable == 50
    await ledger.observe([snapshot(ALICE, 100, 3)])
    assert (await ledger.standing(ALICE)).spendable == 70
    assert await ledger.checkpoint() == Checkpoint(3, b"\x33" * 32, 0.0, 0)
    await ledger.advance(checkpoint(6), [snapshot(ALICE, 70, 6)], [applied(1, 6)])
    assert (await ledger.standing(ALICE)).spendable == 70


async def test_after_a_gap_in_the_logs_every_account_is_read_again(ledger: Ledger) -> None:
    await ledger.advance(checkpoint(900, floor=900), [])
    assert (await ledger.standing(ALICE)).snapshot is None
    await ledger.observe([snapshot(ALICE, 60, 900)])
    assert (await ledger.standing(ALICE)).spendable == 60


# ---------------------------------------------------------------------------------------------------- batches


async def test_a_charge_belongs_to_at_most_one_batch(ledger: Ledger) -> None:
    for who in (ALICE, ALICE, BOB):
        await charge(ledger, who, 2)
    first = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=1, now=9)
    assert first is not None
    assert [(entry.subscriber, entry.calls, entry.credits) for entry in first.entries] == [(ALICE.subscriber, 2, 4)]
    with pytest.raises(BatchConflict, match=r"batch 1 .* is prepared"):
        await ledger.prepare(DID, PLAN, NODE, 2, max_entries=9, now=9)
    await ledger.attempt(first.id, attempt())
    await ledger.advance(checkpoint(5), [], [applied(1, 4)])
    with pytest.raises(BatchConflict, match="the last one is 1"):
        await ledger.prepare(DID, PLAN, NODE, 1, max_entries=9, now=9)
    second = await ledger.prepare(DID, PLAN, NODE, 2, max_entries=9, now=9)
    assert second is not None
    assert second.calls == 1
    await ledger.attempt(second.id, attempt())
    await ledger.advance(checkpoint(6), [], [applied(2, 6)])
    assert await ledger.prepare(DID, PLAN, NODE, 3, max_entries=9, now=9) is None


async def test_shrinking_and_parking_leave_every_charge_in_exactly_one_place(ledger: Ledger) -> None:
    await ledger.observe([snapshot(AccountId(PLAN, bytes([n]) * 20), 10) for n in range(20, 26)])
    for n in range(20, 26):
        await charge(ledger, AccountId(PLAN, bytes([n]) * 20), n - 15)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=10, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    smaller = await ledger.shrink(batch.id, [entry.subscriber for entry in batch.entries[:4]])
    assert (smaller.state, smaller.calls, smaller.attempts) == (BatchState.PREPARED, 4, ())
    left = await ledger.park(batch.id, [smaller.entries[1].subscriber], "why not", now=9)
    assert left is not None
    assert left.calls == 3
    audit = await ledger.audit()
    assert audit.clean
    assert audit.totals["parked"] == 6
    (waiting,) = await ledger.backlog(expiring_before=0)
    assert waiting.calls == 2
    (parked,) = await ledger.batches(BatchState.PARKED)
    assert parked.reason == "why not"
    await ledger.unpark(parked.id)
    (waiting,) = await ledger.backlog(expiring_before=0)
    assert (waiting.calls, waiting.credits) == (3, 9 + 10 + 6)


async def test_a_batch_that_was_mined_can_be_neither_changed_nor_sent_again(ledger: Ledger) -> None:
    await charge(ledger, ALICE, 2)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=1, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    await ledger.advance(checkpoint(5), [], [applied(1, 4)])
    who = [ALICE.subscriber]
    for step in (
        ledger.shrink(batch.id, who),
        ledger.park(batch.id, who, "", now=9),
        ledger.attempt(batch.id, attempt()),
        ledger.set_root(batch.id, bytes(32)),
        ledger.unpark(batch.id),
    ):
        with pytest.raises(BatchConflict, match="is mined"):
            await step


async def test_a_settlement_of_another_node_or_number_is_not_ours(ledger: Ledger) -> None:
    await charge(ledger, ALICE, 2)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=1, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    foreign = Applied(DID, PLAN, b"\x09" * 20, 1, 4, bytes(32), bytes(32), {})
    await ledger.advance(checkpoint(5), [], [foreign, applied(2, 4)])
    assert (await ledger.batch(batch.id)).state is BatchState.SENT


async def test_accounts_with_an_announced_refund_or_an_early_expiry_make_a_backlog_urgent(ledger: Ledger) -> None:
    await charge(ledger, ALICE, 1)
    assert [one.urgent for one in await ledger.backlog(expiring_before=1_000)] == [False]
    await ledger.observe([Snapshot(ALICE, 2, 100, 0, 999, 0, 1)])
    assert [one.urgent for one in await ledger.backlog(expiring_before=1_000)] == [True]
    assert [one.urgent for one in await ledger.backlog(expiring_before=999)] == [False]
    await ledger.observe([Snapshot(ALICE, 3, 100, 0, 0, 55, 1)])
    assert [one.urgent for one in await ledger.backlog(expiring_before=0)] == [True]


async def test_one_process_leads(ledger: Ledger, url: str) -> None:
    async with open_ledger(url, serving=False) as other:
        async with ledger.leader() as first, other.leader() as second:
            assert (first, second) == (True, False)
        async with other.leader() as second:
            assert second


# -------------------------------------------------------------------------------------------------- two leaders


async def test_a_step_on_a_batch_that_somebody_else_has_moved_on_is_refused(ledger: Ledger) -> None:
    for who in (ALICE, BOB):
        await charge(ledger, who, 5)
    seen = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=9, now=9)
    assert seen is not None
    # Another process believes that it leads, too, and sets an entry aside.
    await ledger.park(seen.id, [BOB.subscriber], "why", now=10, seen=seen)
    with pytest.raises(BatchConflict, match="changed by another process"):
        await ledger.attempt(seen.id, attempt(), seen=seen)
    now = await ledger.batch(seen.id)
    sent = await ledger.attempt(now.id, attempt(), seen=now)
    # A transaction may exist: nobody who doesn't know of it may change the batch, or sign another one.
    for step in (
        ledger.shrink(now.id, [ALICE.subscriber], seen=now),
        ledger.park(now.id, [ALICE.subscriber], "why", now=10, seen=now),
        ledger.attempt(now.id, attempt(nonce=1), seen=now),
    ):
        with pytest.raises(BatchConflict, match="changed by another process"):
            await step
    await ledger.attempt(sent.id, attempt(fee=2), seen=sent)
    assert [one.state for one in await ledger.batches(BatchState.PARKED, BatchState.SENT)] == ["sent", "parked"]


async def test_a_root_is_part_of_what_was_seen(ledger: Ledger) -> None:
    await charge(ledger, ALICE, 5)
    seen = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=9, now=9)
    assert seen is not None
    rooted = await ledger.set_root(seen.id, b"\x05" * 32)
    with pytest.raises(BatchConflict):
        await ledger.attempt(seen.id, attempt(), seen=seen)
    await ledger.attempt(seen.id, attempt(), seen=rooted)
    with pytest.raises(BatchConflict):
        await ledger.set_root(seen.id, b"\x06" * 32)


# -------------------------------------------------------------------------------------------------- an old copy


async def test_a_forgotten_batch_takes_the_oldest_waiting_charges_and_leaves_the_rest(ledger: Ledger) -> None:
    alices = [await charge(ledger, ALICE, n) for n in (1, 2, 3, 4)]
    bobs = [await charge(ledger, BOB, n) for n in (5, 6)]
    carol = AccountId(PLAN, b"\x0c" * 20)
    now = 2**33  # long after all of them
    forgotten = Forgotten(
        applied(1, 2, alice=1),
        b"\x09" * 32,
        (
            Entry(ALICE.subscriber, 2, 3, missing=1),  # exactly the first two
            Entry(BOB.subscriber, 4, 20),  # both, and two that are lost
            Entry(carol.subscriber, 1, 7),  # of an account that the copy has never seen
        ),
        now,
    )
    made = await ledger.adopt(forgotten)
    assert (made.state, made.number, made.calls, made.credits) == (BatchState.MINED, 1, 7, 30)
    inside = await ledger.charges(batch=made.id)
    assert [one.id for one in inside if LOST not in one.flags] == [*alices[:2], *bobs]
    lost = [(one.account, one.credits) for one in inside if LOST in one.flags]
    assert sorted(lost) == sorted([(BOB, 9), (BOB, 0), (carol, 7)])
    assert [one.id for one in await ledger.charges(settled=False)] == alices[2:]
    audit = await ledger.audit()
    assert (audit.totals["unsettled"], audit.totals["settled"], audit.totals["missing"]) == (7, 29, 1)
    # Read before the block: the chain's word doesn't contain it yet. Then it does.
    assert (await ledger.standing(ALICE)).captured == 10
    await ledger.advance(checkpoint(3), [Snapshot(who, 3, 50, 0, 0, 0, 1) for who in (ALICE, BOB, carol)])
    assert [(await ledger.standing(who)).captured for who in (ALICE, BOB, carol)] == [7, 0, 0]
    with pytest.raises(BatchConflict, match="doesn't follow"):
        await ledger.adopt(forgotten)


async def test_charges_from_after_a_forgotten_batch_are_not_in_it(ledger: Ledger) -> None:
    before = int(time.time()) - 3_600
    waiting = await charge(ledger, ALICE, 4)
    made = await ledger.adopt(Forgotten(applied(1, 2), bytes(32), (Entry(ALICE.subscriber, 1, 4),), before))
    assert [one.id for one in await ledger.charges(settled=False)] == [waiting]
    assert made.calls == 1


async def test_a_batch_that_was_sent_keeps_a_forgotten_one_out(ledger: Ledger) -> None:
    await charge(ledger, ALICE, 4)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=9, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    with pytest.raises(BatchConflict, match="come to its end"):
        await ledger.adopt(Forgotten(applied(1, 2), bytes(32), (Entry(ALICE.subscriber, 1, 4),), 2**33))


# ------------------------------------------------------------------------------------------------------ vouchers


async def test_a_voucher_bounds_what_is_consumed_charged_and_reserved_together(ledger: Ledger) -> None:
    await ledger.advance(checkpoint(2), [Snapshot(ALICE, 2, 100, 30, 0, 0, 1)])

    async def reserve_under(ceiling: int, credits: int) -> Hold:
        return await ledger.reserve(ALICE, DID, credits, key_id="k", key_budget=None, request_id="r", ceiling=ceiling)

    with pytest.raises(NotEnoughCredits):
        await reserve_under(0, 1)
    with pytest.raises(NotEnoughCredits):
        await reserve_under(40, 11)
    hold = await reserve_under(40, 10)
    with pytest.raises(NotEnoughCredits):
        await reserve_under(40, 1)
    await ledger.capture(hold, 4, None)
    hold = await reserve_under(40, 6)
    with pytest.raises(NotEnoughCredits):
        await reserve_under(40, 1)
    await ledger.release(hold)
    assert (await ledger.standing(ALICE)).under(40) == 6
    assert (await ledger.standing(ALICE)).under(20) == 0
    with pytest.raises(NotEnoughCredits):  # a voucher makes no credits
        await reserve_under(10_000, 97)


async def test_500_calls_at_once_under_a_ceiling_of_60_are_60_charges(ledger: Ledger) -> None:
    await ledger.keep_voucher(Promise(ALICE, 60, b"signed", 1))
    known = await ledger.voucher(ALICE)
    assert known is not None

    async def call() -> bool:
        try:
            hold = await ledger.reserve(
                ALICE, DID, 1, key_id="k", key_budget=None, request_id="r", ceiling=known.ceiling
            )
        except NotEnoughCredits:
            return False
        await asyncio.sleep(0)
        await ledger.capture(hold, 1, None)
        return True

    assert sum(await asyncio.gather(*(call() for _ in range(500)))) == 60
    assert (await ledger.standing(ALICE)).captured == 60


async def test_only_a_higher_voucher_is_kept(ledger: Ledger, url: str) -> None:
    assert await ledger.voucher(ALICE) is None
    for ceiling, kept in ((10, True), (10, False), (9, False), (MAX_CREDITS, True)):
        assert await ledger.keep_voucher(Promise(ALICE, ceiling, b"%d" % ceiling, 1)) is kept
    assert await ledger.keep_voucher(Promise(BOB, 1, b"1", 2))
    assert await ledger.vouchers([BOB, ALICE, AccountId(PLAN, b"\x0c" * 20)]) == {
        BOB: Promise(BOB, 1, b"1", 2),
        ALICE: Promise(ALICE, MAX_CREDITS, b"%d" % MAX_CREDITS, 1),
    }
    async with open_ledger(url, serving=False) as other:
        assert await other.voucher(ALICE) == await ledger.voucher(ALICE)


# ---------------------------------------------------------------------------------------------------- people


async def test_charges_are_found_by_assistant_plan_state_and_place(ledger: Ledger) -> None:
    async def charge_for(did: bytes, credits: int) -> str:
        hold = await ledger.reserve(ALICE, did, credits, key_id="k", key_budget=None, request_id="r")
        return (await ledger.capture(hold, credits, None)).id

    other = b"\x11" * 32
    ids = [await charge_for(did, n) for n, did in enumerate([DID, other, DID], 1)]
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=9, now=9)
    assert batch is not None
    await ledger.attempt(batch.id, attempt())
    ids += [await charge_for(did, n) for n, did in enumerate([DID, other], 4)]
    await charge(ledger, BOB, 9)

    async def found(**wanted: object) -> list[str]:
        return [one.id for one in await ledger.charges(subscriber=ALICE.subscriber, **wanted)]  # type: ignore[arg-type]

    assert await found() == ids
    assert await found(newest_first=True) == ids[::-1]
    assert await found(newest_first=True, limit=2) == [ids[4], ids[3]]
    assert await found(after=ids[0], before=ids[3]) == ids[1:3]
    assert await found(newest_first=True, before=ids[3], limit=1) == [ids[2]]
    assert await found(dids=[other]) == [ids[1], ids[4]]
    assert await found(dids=[other, DID]) == ids
    assert await found(dids=[]) == []
    assert await found(plan=b"\x55" * 32) == []
    assert await found(settled=True) == []
    assert await found(settled=False) == ids
    await ledger.advance(checkpoint(2), [], [applied(1, 2)])
    assert await found(settled=True) == [ids[0], ids[2]]
    assert await found(settled=False) == [ids[1], ids[3], ids[4]]
    assert await ledger.each_charge(batch.id, lambda one: one.id) == [ids[0], ids[2]]
    heads = await ledger.heads([batch.id, 999])
    assert {name: (head.state, head.entries, head.attempts) for name, head in heads.items()} == {
        batch.id: (BatchState.MINED, (), ())
    }


async def test_charges_are_listed_page_by_page_whether_settled_or_not(ledger: Ledger) -> None:
    first = [await charge(ledger, ALICE, n) for n in (1, 2)]
    await ledger.prepare(DID, PLAN, NODE, 1, max_entries=1, now=9)
    ids = first + [await charge(ledger, ALICE, n) for n in (3, 4)]
    await charge(ledger, BOB, 5)
    page = await ledger.charges(subscriber=ALICE.subscriber, limit=3)
    assert [one.id for one in page] == ids[:3]
    assert [one.batch is None for one in page] == [False, False, True]
    rest = await ledger.charges(subscriber=ALICE.subscriber, after=page[-1].id)
    assert [one.id for one in rest] == ids[3:]
    assert await ledger.charge("chg_unknown") is None


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE charges SET credits = credits + 1", "credits charged to account"),
        ("UPDATE accounts SET captured = 0", "that the chain's word doesn't contain"),
        ("UPDATE accounts SET charged = charged + 1", "sum of all books"),
        ("UPDATE claims SET unsettled = unsettled + 1", "unsettled credits of claim"),
        ("UPDATE key_spending SET spent = 0", "credits charged through API key key_1"),
        ("UPDATE entries SET calls = calls + 1", "calls of batch entry"),
        ("DELETE FROM charges WHERE batch IS NOT NULL", "credits of batch entry"),
        ("DELETE FROM unposted", "that the chain's word doesn't contain"),
        ("UPDATE unposted SET credits = credits + 1", "sum of all books"),
        ("UPDATE unposted SET key_id = 'key_9'", "credits charged through API key key_9"),
    ],
)
async def test_the_audit_finds_every_kind_of_damage(tmp_path: Path, damage: str, what: str) -> None:
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100)])
        await charge(ledger, ALICE, 3)
        await ledger.prepare(DID, PLAN, NODE, 1, max_entries=1, now=9)
        await ledger.observe([snapshot(ALICE, 100)])  # what was charged before it is posted, in SQLite
        await charge(ledger, ALICE, 4)
        assert (await ledger.audit()).clean
        with sqlite3.connect(path) as db:
            db.execute(damage)
        db.close()
        audit = await ledger.audit()
        assert not audit.clean
        assert any(what in wrong.what for wrong in audit.imbalances), audit.imbalances


async def test_the_postings_of_a_ledger_add_up_to_zero_and_to_its_books(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100), snapshot(BOB, 100)])
        await charge(ledger, ALICE, 30)
        batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=10, now=9)
        assert batch is not None
        await ledger.attempt(batch.id, attempt())
        await ledger.advance(checkpoint(5), [], [applied(1, 4, alice=5)])
        await charge(ledger, BOB, 7)
        totals = (await ledger.audit()).totals
    db = sqlite3.connect(path)
    assert db.execute("SELECT SUM(credits) FROM postings").fetchone() == (0,)
    for book in ("unsettled", "settled", "missing"):
        (total,) = db.execute("SELECT SUM(credits) FROM postings WHERE book LIKE ?", (f"{book} %",)).fetchone()
        assert total == totals[book]
    db.close()


async def test_a_batch_is_gathered_in_parts_and_calls_go_on_in_between(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "AT_ONCE", 2)
    for _ in range(5):
        await charge(ledger, ALICE, 1)
        await charge(ledger, BOB, 2)
    batch, _ = await asyncio.gather(ledger.prepare(DID, PLAN, NODE, 1, max_entries=9, now=9), charge(ledger, BOB, 2))
    assert batch is not None
    settled = {entry.subscriber: (entry.calls, entry.credits) for entry in batch.entries}
    waiting = sum(one.calls for one in await ledger.backlog(expiring_before=0))
    assert settled[ALICE.subscriber] == (5, 5)
    assert settled[BOB.subscriber] == (6 - waiting, 12 - 2 * waiting)
    assert (await ledger.audit()).clean


async def test_a_batch_with_as_many_entries_as_it_may_have_takes_no_others(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "AT_ONCE", 2)
    for who in (ALICE, BOB, ALICE, BOB, ALICE):
        await charge(ledger, who, 1)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=1, now=9)
    assert batch is not None
    assert len(batch.entries) == 1
    assert batch.calls + sum(one.calls for one in await ledger.backlog(expiring_before=0)) == 5
    assert batch.calls == (3 if batch.entries[0].subscriber == ALICE.subscriber else 2)
    assert (await ledger.audit()).clean


async def test_a_batch_has_the_oldest_charges_and_all_of_their_subscribers(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of others come in between."""
    monkeypatch.setattr(books, "AT_ONCE", 2)
    for who in (BOB, *[ALICE] * 10, BOB, *[ALICE] * 7, BOB, BOB, BOB, ALICE):
        await charge(ledger, who, 1)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=1, now=9)
    assert batch is not None
    assert [(entry.subscriber, entry.calls) for entry in batch.entries] == [(BOB.subscriber, 5)]
    assert [one.calls for one in await ledger.backlog(expiring_before=0)] == [18]


async def test_a_batch_is_gathered_to_its_end_while_its_subscribers_never_stop_calling(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "AT_ONCE", 2)

    async def call() -> None:
        while not stopped:
            await charge(ledger, BOB, 0)

    stopped = False
    calls = [asyncio.ensure_future(call()) for _ in range(8)]
    await charge(ledger, BOB, 5)
    try:
        batch = await asyncio.wait_for(ledger.prepare(DID, PLAN, NODE, 1, max_entries=1, now=9), 30)
    finally:
        stopped = True
        await asyncio.gather(*calls)
    assert batch is not None
    assert batch.credits == 5


async def test_a_clock_that_went_back_makes_no_empty_batch(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    await charge(ledger, ALICE, 3)
    monkeypatch.setattr(books, "new_id", lambda: "chg_" + "0" * 28)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=9, now=9)
    assert batch is not None
    assert [(entry.calls, entry.credits) for entry in batch.entries] == [(1, 3)]


async def test_what_was_reserved_first_and_is_captured_while_a_batch_is_gathered_is_in_it(
    ledger: PostgresLedger | SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "AT_ONCE", 2)
    late = await reserve(ledger, BOB, 5)
    for who in (BOB, ALICE) * 4:
        await charge(ledger, who, 1)
    original, looks = ledger._look, 0

    async def look(work: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:
            await ledger.capture(late, 5, None)
        return await original(work)

    monkeypatch.setattr(ledger, "_look", look)
    batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=1, now=9)
    assert batch is not None
    assert [(entry.subscriber, entry.calls, entry.credits) for entry in batch.entries] == [(BOB.subscriber, 5, 9)]


async def test_the_log_is_copied_into_the_file_and_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own way is off: it would let a charge wait for the copy."""
    monkeypatch.setattr("node_proxy.ledger.sqlite.LOGGED", 60)
    path = tmp_path / "ledger.db"
    async with open_ledger(str(path), serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 10_000)])
        for _ in range(600):
            await charge(ledger, ALICE, 1)
        log = path.with_name("ledger.db-wal").stat().st_size
        assert log < 2_000_000  # some 25,000 bytes a charge
        (tmp_path / "copy.db").write_bytes(path.read_bytes())
    # Without the log, as far as the last copy: nothing but the tail is missing.
    with sqlite3.connect(tmp_path / "copy.db") as db:
        assert db.execute("SELECT COUNT(*) FROM charges").fetchone()[0] > 400
    async with open_ledger(str(path), serving=True) as ledger:
        assert (await ledger.standing(ALICE)).captured == 600
        assert (await ledger.audit()).clean


async def test_an_older_ledger_keeps_its_books_through_every_migration(url: str) -> None:
    """Back to what an earlier version left, step by step, and up again by opening it."""
    sqlite = "://" not in url
    folder, place = (
        ("sqlite", f"sqlite:///{url}") if sqlite else ("postgresql", "postgresql+psycopg" + url[url.index("://") :])
    )
    async with open_ledger(url, serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100), snapshot(BOB, 50)])
        await charge(ledger, ALICE, 30)
        await charge(ledger, ALICE, 2)
        await charge(ledger, BOB, 5)
        before = await ledger.backlog(expiring_before=0)
        if sqlite:  # as a process leaves it that is killed: with charges that aren't posted
            url = str(killed(Path(url)))
            place = f"sqlite:///{url}"
    assert [(one.calls, one.credits, one.subscribers) for one in before] == [(3, 37, 2)]
    steps = read_migrations(str(books.MIGRATIONS / folder))
    for back in range(1, len(steps)):  # the first made the tables
        with get_backend(place) as backend:
            backend.rollback_migrations(backend.to_rollback(steps)[:back])
            assert len(backend.to_apply(steps)) == back
        async with open_ledger(url, serving=True) as ledger:
            assert await ledger.backlog(expiring_before=0) == before
            assert (await ledger.audit()).clean
            assert (await ledger.standing(ALICE)).spendable == 68
            assert await ledger.key_spent("key_1") == 37
