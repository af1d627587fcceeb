"""The ledger against a simple model of it and of the chain, driven by hypothesis through any order of events."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from node_proxy.ledger import Ledger, books, open_ledger, sqlite
from node_proxy.ledger.base import (
    AccountId,
    Applied,
    Attempt,
    Batch,
    BatchConflict,
    BatchState,
    BudgetSpent,
    Checkpoint,
    Hold,
    NotEnoughCredits,
    Promise,
    Snapshot,
)

DIDS = [b"\x01" * 32, b"\x11" * 32]
PLAN, NODE = b"\x02" * 32, b"\x03" * 20
ACCOUNTS = [AccountId(PLAN, bytes([n]) * 20) for n in (10, 11, 12)]
KEYS = ["key_1", "key_2"]


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where there is no waiting for a disk; what is under test is the arithmetic."""


@dataclass
class ChainModel:
    """balances and numbers as of the head; `history[n]` is how they were after block n."""

    balances: dict[AccountId, int] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, 0))
    consumed: dict[AccountId, int] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, 0))
    numbers: dict[bytes, int] = field(default_factory=lambda: dict.fromkeys(DIDS, 0))
    applied: tuple[Applied, ...] = ()


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-model-", dir=MEMORY))
        self.runner = asyncio.Runner()
        self.history = [ChainModel()]  # index: block number
        self.seen = 0  # block that the ledger has worked in
        self.forks = 0
        self.holds: list[Hold] = []
        self.charges: dict[str, tuple[AccountId, bytes, int]] = {}
        self.read_at: dict[AccountId, int] = {}
        self.vouchers: dict[AccountId, int] = {}
        self.keys: dict[str, str] = {}  # of holds and charges
        self.sizes = sqlite.ACCOUNTS_IN_MEMORY, sqlite.UNPOSTED, sqlite.FEW, books.AT_ONCE
        self.open()
        self.beside = open_ledger(str(self.folder / "ledger.db"), serving=False)
        self.other: Ledger = self.run(self.beside.__aenter__())
        self.settler = self.ledger

    # ------------------------------------------------------------------------------------------------------ plumbing

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def open(self) -> None:
        self.context = open_ledger(str(self.folder / "ledger.db"), serving=True)
        self.ledger: Ledger = self.run(self.context.__aenter__())

    def close(self) -> None:
        self.run(self.context.__aexit__(None, None, None))

    def teardown(self) -> None:
        sqlite.ACCOUNTS_IN_MEMORY, sqlite.UNPOSTED, sqlite.FEW, books.AT_ONCE = self.sizes
        self.run(self.beside.__aexit__(None, None, None))
        self.close()
        self.runner.close()
        shutil.rmtree(self.folder)

    @property
    def head(self) -> int:
        return len(self.history) - 1

    @property
    def chain(self) -> ChainModel:
        return self.history[-1]

    def block_hash(self, block: int) -> bytes:
        return f"{self.forks} {block}".encode().ljust(32)

    def mine(self, chain: ChainModel) -> None:
        self.history.append(chain)

    def snapshot(self, who: AccountId, block: int) -> Snapshot:
        then = self.history[block]
        return Snapshot(who, block, then.balances[who], then.consumed[who], 0, 0, 1)

    # --------------------------------------------------------------------------------------------------- the chain

    @initialize(
        units=st.lists(st.integers(0, 60), min_size=3, max_size=3),
        memory=st.sampled_from([1, 2, sqlite.ACCOUNTS_IN_MEMORY]),
        unposted=st.sampled_from([1, 3, sqlite.UNPOSTED]),
        few=st.sampled_from([0, sqlite.FEW]),
        at_once=st.sampled_from([1, 2, books.AT_ONCE]),
    )
    def start(self, units: list[int], memory: int, unposted: int, few: int, at_once: int) -> None:
        """Sizes so small that memory is short, charges are posted in any order, and batches are made in many steps."""
        sqlite.ACCOUNTS_IN_MEMORY, sqlite.UNPOSTED, sqlite.FEW, books.AT_ONCE = memory, unposted, few, at_once
        self.mine(replace(self.chain, balances=dict(zip(ACCOUNTS, units, strict=True))))
        self.look()

    @rule(who=st.sampled_from(ACCOUNTS), credits=st.integers(1, 40), heard=st.booleans())
    def purchase(self, who: AccountId, credits: int, heard: bool) -> None:
        balances = dict(self.chain.balances)
        balances[who] += credits
        self.mine(replace(self.chain, balances=balances))
        if heard:
            self.look()

    @rule()
    def look(self) -> None:
        """The watcher works in all blocks up to the head."""
        applied = [one for one in self.chain.applied if one.block > self.seen]
        now, before = self.chain, self.history[self.seen]
        touched = [
            who
            for who in ACCOUNTS
            if (now.balances[who], now.consumed[who]) != (before.balances[who], before.consumed[who])
        ]
        snapshots = [self.snapshot(who, self.head) for who in touched]
        checkpoint = Checkpoint(self.head, self.block_hash(self.head), 0.0)
        self.run(self.ledger.advance(checkpoint, snapshots, applied))
        self.seen = self.head
        for one in snapshots:
            self.read_at[one.account] = self.head

    @rule(who=st.sampled_from(ACCOUNTS))
    def read(self, who: AccountId) -> None:
        self.run(self.ledger.observe([self.snapshot(who, self.seen)]))
        self.read_at[who] = self.seen

    @precondition(lambda self: self.head > 1)
    @rule(depth=st.integers(1, 3))
    def reorganise(self, depth: int) -> None:
        """The last blocks are replaced by one empty block; the watcher goes back to the fork."""
        fork = max(1, self.head - depth)
        del self.history[fork + 1 :]
        old_hash = self.block_hash(fork)
        self.forks += 1
        if self.seen > fork:
            self.run(self.ledger.rewind(fork, old_hash))
            self.seen = fork
            self.read_at = {who: block for who, block in self.read_at.items() if block <= fork}
        self.mine(self.chain)

    # ------------------------------------------------------------------------------------------------------- calls

    @precondition(lambda self: self.read_at)
    @rule(data=st.data(), did=st.sampled_from(DIDS), key=st.sampled_from(KEYS))
    def call(self, data: st.DataObject, did: bytes, key: str) -> None:
        """Reserves what there is, charges a part of it."""
        who = data.draw(st.sampled_from(sorted(self.read_at)))
        most = self.spendable(who)
        hold = self.run(self.ledger.reserve(who, did, most, key_id=key, key_budget=None, request_id="request"))
        credits = data.draw(st.integers(0, most))
        self.run(self.ledger.capture(hold, credits, None))
        self.keys[hold.id] = key
        self.charges[hold.id] = (who, did, credits)

    @rule(who=st.sampled_from(ACCOUNTS), more=st.integers(-10, 40))
    def hand_in(self, who: AccountId, more: int) -> None:
        """A voucher of the subscriber, up to so much more than the one before; only a higher one counts."""
        before = self.vouchers.get(who, 0)
        ceiling = max(0, before + more)
        assert self.run(self.ledger.keep_voucher(Promise(who, ceiling, b"signed", 1))) == (
            ceiling > before or who not in self.vouchers
        )
        self.vouchers[who] = max(before, ceiling)
        known = self.run(self.ledger.voucher(who))
        assert known.ceiling == self.vouchers[who]

    @rule(
        who=st.sampled_from(ACCOUNTS),
        did=st.sampled_from(DIDS),
        credits=st.integers(0, 30),
        voucher=st.booleans(),
        key=st.sampled_from(KEYS),
        budget=st.none() | st.integers(0, 120),
    )
    def reserve(self, who: AccountId, did: bytes, credits: int, voucher: bool, key: str, budget: int | None) -> None:
        ceiling = self.vouchers.get(who, 0) if voucher else None
        allowed = who in self.read_at and credits <= self.spendable(who)
        if allowed and ceiling is not None:
            consumed = self.history[self.read_at[who]].consumed[who]
            reserved = sum(hold.credits for hold in self.holds if hold.account == who)
            allowed = credits == 0 or consumed + self.captured(who) + reserved + credits <= ceiling
        held = sum(hold.credits for hold in self.holds if hold.key_id == key)
        fits = budget is None or self.spent(key) + held + credits <= budget
        try:
            hold = self.run(
                self.ledger.reserve(
                    who, did, credits, key_id=key, key_budget=budget, request_id="request", ceiling=ceiling
                )
            )
        except NotEnoughCredits:
            assert not allowed
        except BudgetSpent:
            assert allowed
            assert not fits
        else:
            assert allowed
            assert fits
            self.keys[hold.id] = key
            self.holds.append(hold)

    @precondition(lambda self: self.holds)
    @rule(asked=st.none() | st.sampled_from(KEYS), read=st.none() | st.sampled_from(ACCOUNTS))
    def capture_all_at_once(self, asked: str | None, read: AccountId | None) -> None:
        """While a key is asked for, and an account read, in between."""
        middle = len(self.holds) // 2

        async def all_of_them() -> None:
            works: list[Coroutine[Any, Any, object]] = []
            works += [self.ledger.capture(hold, hold.credits, None) for hold in self.holds]
            if asked is not None:
                works.insert(middle, self.ledger.key_spent(asked))
            if read in self.read_at:
                works.insert(middle, self.ledger.observe([self.snapshot(read, self.read_at[read])]))
            await asyncio.gather(*works)

        self.run(all_of_them())
        for hold in self.holds:
            self.charges[hold.id] = (hold.account, hold.did, hold.credits)
        self.holds = []

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.run(self.ledger.release(self.holds.pop(data.draw(st.integers(0, len(self.holds) - 1)))))

    @rule(key=st.sampled_from(KEYS))
    def ask(self, key: str) -> None:
        assert self.run(self.ledger.key_spent(key)) == self.spent(key)

    @rule()
    def restart(self) -> None:
        here = self.settler is self.ledger
        self.close()
        self.open()
        self.settler = self.ledger if here else self.other
        self.holds = []

    @rule(elsewhere=st.booleans())
    def settle_from(self, elsewhere: bool) -> None:
        """Whether batches are moved by the process that serves, or by one beside it."""
        self.settler = self.other if elsewhere else self.ledger

    @rule(posts=st.none() | st.sampled_from(ACCOUNTS))
    def look_from_elsewhere(self, posts: AccountId | None) -> None:
        """A process that has just come sees the same; reading an account once more posts what was charged."""

        async def look() -> None:
            async with open_ledger(str(self.folder / "ledger.db"), serving=False) as other:
                for who in self.read_at:
                    assert (await other.standing(who)).captured == self.captured(who)
                for key in KEYS:
                    assert await other.key_spent(key) == self.spent(key)
                if posts in self.read_at:
                    await other.observe([self.snapshot(posts, self.read_at[posts])])

        self.run(look())

    # -------------------------------------------------------------------------------------------------- settlement

    def batches(self, *states: BatchState) -> list[Batch]:
        """As of the last step."""
        return [batch for batch in self.all_batches if batch.state in states]

    def look_at_batches(self) -> None:
        self.all_batches: list[Batch] = self.run(self.ledger.batches(*BatchState))

    def waiting(self, did: bytes) -> bool:
        settled = {one for batch in self.all_batches if batch.did == did for one in self.in_batch.get(batch.id, ())}
        return any(owner == did and one not in settled for one, (_, owner, _) in self.charges.items())

    @precondition(lambda self: any(map(self.waiting, DIDS)))
    @rule(data=st.data())
    def prepare(self, data: st.DataObject) -> None:
        self.settle(data, steps=1)

    @precondition(lambda self: any(map(self.waiting, DIDS)))
    @rule(data=st.data())
    def prepare_and_send(self, data: st.DataObject) -> None:
        self.settle(data, steps=2)

    @precondition(lambda self: any(map(self.waiting, DIDS)))
    @rule(data=st.data())
    def settle_unheard(self, data: st.DataObject) -> None:
        self.settle(data, steps=3)

    @precondition(lambda self: any(map(self.waiting, DIDS)))
    @rule(data=st.data())
    def settle_and_look(self, data: st.DataObject) -> None:
        self.settle(data, steps=3, heard=True)

    def settle(self, data: st.DataObject, steps: int, heard: bool = False) -> None:
        """Prepares a batch; with 2 steps it is sent, with 3 the chain applies it."""
        most = data.draw(st.integers(1, 3))
        did = data.draw(st.sampled_from([did for did in DIDS if self.waiting(did)]))
        number = self.run(self.ledger.last_number(did, PLAN, NODE)) + 1
        try:
            batch = self.run(self.settler.prepare(did, PLAN, NODE, number, max_entries=most, now=1))
        except BatchConflict:
            assert any(one.did == did for one in self.batches(BatchState.PREPARED, BatchState.SENT))
        else:
            assert len(batch.entries) <= most
            assert batch.number == number
            if steps > 1:
                self.send_batch(batch)
            if steps > 2 and self.chain.numbers[did] + 1 == number:
                self.apply_batch(batch, heard)

    @precondition(lambda self: self.batches(BatchState.PREPARED))
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        self.send_batch(data.draw(st.sampled_from(self.batches(BatchState.PREPARED))))

    def send_batch(self, batch: Batch) -> None:
        self.run(self.settler.attempt(batch.id, Attempt(bytes(32), 0, 1, 1, 1, b"", 1)))

    def applicable(self) -> list[Batch]:
        return [one for one in self.batches(BatchState.SENT) if self.chain.numbers[one.did] + 1 == one.number]

    @precondition(lambda self: self.applicable())
    @rule(data=st.data(), heard=st.booleans())
    def apply(self, data: st.DataObject, heard: bool) -> None:
        self.apply_batch(data.draw(st.sampled_from(self.applicable())), heard)

    def apply_batch(self, batch: Batch, heard: bool) -> None:
        """The contract applies a batch that was sent, if its number is next; what the balance lacks is missing.

        heard: whether the watcher sees the block before anything else happens.
        """
        balances, consumed, missing = dict(self.chain.balances), dict(self.chain.consumed), {}
        for entry in batch.entries:
            who = AccountId(PLAN, entry.subscriber)
            taken = min(entry.credits, balances[who])
            balances[who] -= taken
            consumed[who] += taken
            if taken < entry.credits:
                missing[entry.subscriber] = entry.credits - taken
        block = self.head + 1
        event = Applied(batch.did, PLAN, NODE, batch.number, block, self.block_hash(block), bytes(32), missing)
        numbers = self.chain.numbers | {batch.did: batch.number}
        self.mine(ChainModel(balances, consumed, numbers, (*self.chain.applied, event)))
        if heard:
            self.look()

    @precondition(lambda self: self.batches(BatchState.PREPARED, BatchState.MINED, BatchState.PARKED))
    @rule(data=st.data(), park=st.booleans())
    def confirm_or_change(self, data: st.DataObject, park: bool) -> None:
        movable = self.batches(BatchState.PREPARED, BatchState.MINED, BatchState.PARKED)
        batch = data.draw(st.sampled_from(movable))
        names = [entry.subscriber for entry in batch.entries]
        if batch.state is BatchState.MINED:
            self.run(self.settler.confirm(batch.id))
        elif batch.state is BatchState.PARKED:
            self.run(self.settler.unpark(batch.id))
        else:
            some = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
            work = self.settler.park(batch.id, some, "why", now=1) if park else self.settler.shrink(batch.id, some)
            self.run(work)

    # -------------------------------------------------------------------------------------------------- properties

    def captured(self, who: AccountId) -> int:
        """By definition: charges that the chain had not applied at the block that the account was read at."""
        at = self.read_at[who]
        contained = sum(
            entry.credits
            for batch in self.batches(BatchState.MINED, BatchState.CONFIRMED)
            for entry in batch.entries
            if entry.subscriber == who.subscriber and batch.block is not None and batch.block <= at
        )
        charged = sum(credits for account, _, credits in self.charges.values() if account == who)
        return charged - contained

    def spent(self, key: str) -> int:
        return sum(credits for name, (_, _, credits) in self.charges.items() if self.keys[name] == key)

    def spendable(self, who: AccountId) -> int:
        reserved = sum(hold.credits for hold in self.holds if hold.account == who)
        balance = self.history[self.read_at[who]].balances[who]
        return max(0, balance - self.captured(who) - reserved)

    @invariant()
    def every_charge_is_in_one_place(self) -> None:
        self.look_at_batches()
        records = self.run(self.ledger.charges(limit=100_000))
        assert {one.id: (one.account, one.did, one.credits) for one in records} == self.charges
        self.in_batch: dict[int, set[str]] = {}
        for one in records:
            if one.batch is not None:
                self.in_batch.setdefault(one.batch, set()).add(one.id)
        for batch in self.all_batches:
            inside = [self.charges[one] for one in self.in_batch.get(batch.id, ())]
            for entry in batch.entries:
                mine = [credits for who, _, credits in inside if who.subscriber == entry.subscriber]
                assert (entry.calls, entry.credits) == (len(mine), sum(mine))
            assert batch.calls == len(inside)

    @invariant()
    def the_ledger_knows_what_the_model_knows(self) -> None:
        for who in ACCOUNTS:
            standing = self.run(self.ledger.standing(who))
            assert standing.reserved == sum(hold.credits for hold in self.holds if hold.account == who)
            if who in self.read_at:
                assert standing.snapshot is not None
                assert standing.snapshot.block == self.read_at[who]
                assert standing.captured == self.captured(who)
                assert standing.spendable == self.spendable(who)
            else:
                assert standing.snapshot is None

    @invariant()
    def the_books_are_in_order(self) -> None:
        audit = self.run(self.ledger.audit())
        assert audit.clean, audit.imbalances
        assert sum(audit.totals.values()) == 0
        assert audit.charges == len(self.charges)
        assert -audit.totals["charged"] == sum(credits for _, _, credits in self.charges.values())


def _settings(examples: int, steps: int) -> settings:
    checks = list(HealthCheck)
    return settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks)


class TestModel(LedgerMachine.TestCase):  # type: ignore[misc,valid-type]
    settings = _settings(30, 40)


@pytest.mark.long
@pytest.mark.timeout(3_600)
class TestModelForLong(LedgerMachine.TestCase):  # type: ignore[misc,valid-type]
    settings = _settings(1_000, 60)
