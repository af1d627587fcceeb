"""The ledger's border: what a node writes down about credits, and the promises that any implementation keeps.

Amounts are whole credits, at most MAX_CREDITS. Times are unix seconds. DIDs and plan ids are 32 bytes, subscribers 20,
block and transaction hashes 32.

L1  For every account, credits of charges that the chain had not applied at the account's block, plus credits reserved,
    never exceed the chain balance at that block, whatever the concurrency.
L2  A charge is on disk when `capture` returns.
L3  A charge belongs to at most one batch; a batch keeps its number and content from the moment that a transaction for
    it may exist until the chain has applied it, or can never apply it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")

MAX_CREDITS = 2**63 - 1
"""What one number in the ledger can hold. A larger chain balance counts as this much, which errs on the safe side."""


# ------------------------------------------------------------------------------------------------------------- errors


class LedgerError(Exception):
    """Base of what a ledger refuses or can't do."""


class LedgerFailed(LedgerError):
    """The storage failed (disk full, database gone, locked for too long). Nothing of the operation was kept."""


class LedgerInUse(LedgerError):
    """Another process serves calls from this ledger, which admits one at a time."""


class NotEnoughCredits(LedgerError):
    """The account can't cover a reservation. standing: the account as the ledger sees it."""

    def __init__(self, standing: Standing, wanted: int) -> None:
        super().__init__(f"{wanted} credits wanted, {standing.spendable} can be spent")
        self.standing = standing
        self.wanted = wanted


class BudgetSpent(LedgerError):
    """The API key can't cover a reservation. left: what it may still spend; calls in flight may give some back."""

    def __init__(self, key_id: str, budget: int, left: int, wanted: int) -> None:
        super().__init__(f"{wanted} credits wanted, {left} of {budget} are left for {key_id}")
        self.key_id = key_id
        self.budget = budget
        self.left = left
        self.wanted = wanted


class ReservationGone(LedgerError):
    """The reservation was captured or released before."""


class BatchConflict(LedgerError):
    """The batch isn't in the state that the step needs: another process has moved it on."""


# -------------------------------------------------------------------------------------------------------------- nouns


class AccountId(NamedTuple):
    """One subscriber under one plan."""

    plan: bytes
    subscriber: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the chain said about an account at `block`.

    balance: credits held, spendable or not. consumed: credits settled so far. expiry: 0 = never bought, or never
    expires. refund_at: when an announced refund becomes available, 0 = none announced. units: units bought.
    Source: Lens.account, read at that block.
    """

    account: AccountId
    block: int
    balance: int
    consumed: int
    expiry: int
    refund_at: int
    units: int


class Standing(NamedTuple):
    """An account as the ledger sees it.

    snapshot: the latest word of the chain that still holds; None = it has to be read (again) first.
    captured: credits charged that the chain had not applied at the snapshot's block. reserved: credits held for calls
    in flight.
    """

    account: AccountId
    snapshot: Snapshot | None
    captured: int
    reserved: int

    @property
    def spendable(self) -> int:
        """Credits that a new call could reserve; never negative. Expiry and refunds are the caller's to judge."""
        return 0 if self.snapshot is None else max(0, self.snapshot.balance - self.captured - self.reserved)

    def under(self, ceiling: int) -> int:
        """Credits of these that could be settled while `consumed` may rise to `ceiling` at most."""
        if self.snapshot is None:
            return 0
        return max(0, min(self.spendable, ceiling - self.snapshot.consumed - self.captured - self.reserved))


@dataclass(frozen=True, slots=True)
class Promise:
    """The highest voucher that a subscriber has handed in: `consumed` may rise to `ceiling`.

    signature: as the contract takes it (EOA, ERC-1271, ERC-6492). created: when it was handed in.
    """

    account: AccountId
    ceiling: int
    signature: bytes
    created: int


class Hold(NamedTuple):
    """A reservation: `credits` held for one call. It lives as long as the process that made it, at most."""

    id: str
    account: AccountId
    did: bytes
    credits: int
    key_id: str
    request_id: str
    created: float


class Charge(NamedTuple):
    """One captured call. id: of the charge, the same as its reservation's. credits_left: spendable afterwards."""

    id: str
    credits: int
    credits_left: int


@dataclass(frozen=True, slots=True)
class ChargeRecord:
    """One captured call as it is kept. usage: what the provider counted, by name. batch: None = not settled yet."""

    id: str
    account: AccountId
    did: bytes
    credits: int
    usage: Mapping[str, int] | None
    flags: frozenset[str]
    key_id: str
    request_id: str
    created: int
    batch: int | None


class BatchState(StrEnum):
    """prepared (numbered, nothing sent) → sent (a transaction may exist) → mined (in a block) → confirmed (final).

    parked: set aside with a reason; its charges stay counted against their accounts until `unpark`.
    """

    PREPARED = "prepared"
    SENT = "sent"
    MINED = "mined"
    CONFIRMED = "confirmed"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Entry:
    """One subscriber's part of a batch. missing: credits that the chain didn't take (a Shortfall), once it is mined."""

    subscriber: bytes
    calls: int
    credits: int
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A signed transaction for a batch, written down before it was sent. raw: what to send again, unchanged.

    gas: its limit. max_fee, priority_fee: wei per gas; priority_fee None = a legacy transaction.
    """

    tx_hash: bytes
    nonce: int
    gas: int
    max_fee: int
    priority_fee: int | None
    raw: bytes
    created: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls of one assistant under one plan that settle together.

    id: the ledger's. number: the contract's, counted per (did, plan, node); 0 while parked.
    block, block_hash, tx_hash: where it was applied. reason: why it was parked.
    """

    id: int
    did: bytes
    plan: bytes
    node: bytes
    number: int
    state: BatchState
    root: bytes
    created: int
    entries: tuple[Entry, ...]
    attempts: tuple[Attempt, ...] = ()
    block: int | None = None
    block_hash: bytes | None = None
    tx_hash: bytes | None = None
    reason: str | None = None

    @property
    def applied(self) -> bool:
        """Whether the chain has applied it, as far as the ledger knows."""
        return self.state in (BatchState.MINED, BatchState.CONFIRMED)

    @property
    def calls(self) -> int:
        return sum(entry.calls for entry in self.entries)

    @property
    def credits(self) -> int:
        return sum(entry.credits for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Charges of one assistant under one plan that are in no batch. oldest: when the first of them was captured.

    urgent: one of the accounts has announced a refund, or expires soon: settle before the credits are gone.
    """

    did: bytes
    plan: bytes
    calls: int
    credits: int
    subscribers: int
    oldest: int
    urgent: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Up to which block the chain's logs are worked in.

    seen: when the chain was last reached. floor: accounts read before this block have to be read again, because logs
    between then and now were left out.
    """

    block: int
    block_hash: bytes
    seen: float
    floor: int = 0


@dataclass(frozen=True, slots=True)
class Applied:
    """A batch of ours that the chain has applied (event Settled). missing: credits not taken, by subscriber."""

    did: bytes
    plan: bytes
    node: bytes
    number: int
    block: int
    block_hash: bytes
    tx_hash: bytes
    missing: Mapping[bytes, int]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A batch that the chain has applied and the ledger doesn't know: it was restored from an older copy.

    entries: as they were in the transaction, with what the chain didn't take. time: of the block, unix seconds.
    """

    applied: Applied
    root: bytes
    entries: tuple[Entry, ...]
    time: int


LOST = "lost"
"""Flag of a charge of which only the settlement is left: its record is gone with a newer copy of the ledger."""


@dataclass(frozen=True, slots=True)
class Imbalance:
    """Two numbers that must be equal and aren't. what: in words, with the account or batch that is meant."""

    what: str
    expected: int
    found: int


@dataclass(frozen=True, slots=True)
class Audit:
    """The ledger checked against itself. totals: credits by book (charged, unsettled, settled, missing, parked).

    In double entry every credit that a subscriber is charged is owed to an assistant: the books add up to zero.
    """

    totals: Mapping[str, int]
    charges: int
    imbalances: tuple[Imbalance, ...]

    @property
    def clean(self) -> bool:
        return not self.imbalances


# ----------------------------------------------------------------------------------------------------------- protocol


class Ledger(Protocol):
    """Every method may raise LedgerFailed. Methods that write are durable when they return, `reserve` excepted."""

    # ---- calls

    async def standing(self, account: AccountId) -> Standing:
        """The account now; an account never seen has no snapshot and zeroes."""

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
        """Holds `credits`. ceiling: of the voucher, under plans that ask for one; consumed, captured and reserved
        credits never exceed it together. It may be an old one: a later one is never lower.

        covers: whether the account may be used at all, asked in this moment with its snapshot and spendable credits; in
        any thread, with nothing of its own to wait for. Raises NotEnoughCredits (also where the snapshot is missing, or
        `covers` says no), BudgetSpent.
        """

    async def capture(
        self, hold: Hold, credits: int, usage: Mapping[str, int] | None, flags: frozenset[str] = frozenset()
    ) -> Charge:
        """Turns a hold into a charge of 0..hold.credits; durable when it returns (L2).

        Raises ReservationGone; ValueError for credits out of bounds. After LedgerFailed the hold still stands.
        """

    async def release(self, hold: Hold) -> None:
        """Gives the hold back. Doing it twice, or after capture, does nothing."""

    async def key_spent(self, key_id: str) -> int:
        """Credits charged through an API key so far."""

    # ---- vouchers

    async def voucher(self, account: AccountId) -> Promise | None:
        """The account's highest voucher."""

    async def vouchers(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, Promise]:
        """Those that there are."""

    async def short(self, account: AccountId) -> int:
        """Credits of settled calls that the chain didn't take from the account (its balance or voucher fell short)."""

    async def keep_voucher(self, promise: Promise) -> bool:
        """Keeps it where it is higher than the one that is known; answers whether it was. The caller has checked it."""

    # ---- the chain's word

    async def checkpoint(self) -> Checkpoint | None:
        """Where the last watcher stopped; None = never started."""

    async def advance(
        self, checkpoint: Checkpoint, snapshots: Sequence[Snapshot], applied: Sequence[Applied] = ()
    ) -> None:
        """Works in what happened up to the checkpoint's block: batches applied, accounts as they are at that block.

        One transaction. Snapshots older than what is known are ignored. Batches that aren't ours are ignored.
        """

    async def observe(self, snapshots: Sequence[Snapshot]) -> None:
        """Accounts read between two advances; all batches applied up to their block have been worked in before."""

    async def rewind(self, block: int, block_hash: bytes) -> None:
        """The chain has been reorganised: `block` is the last one that still holds.

        Batches applied after it count as sent again, accounts read after it have to be read again, and the checkpoint
        goes back.
        """

    async def known(self, accounts: Sequence[AccountId]) -> list[AccountId]:
        """Those of `accounts` that the ledger has a snapshot of."""

    # ---- settlement

    async def backlog(self, *, expiring_before: int) -> list[Backlog]:
        """What waits for a batch, by assistant and plan. expiring_before: accounts that expire before it are urgent."""

    async def prepare(
        self, did: bytes, plan: bytes, node: bytes, number: int, *, max_entries: int, now: int
    ) -> Batch | None:
        """Puts waiting charges into a new batch `number`; None = nothing waits.

        Raises BatchConflict while another batch of (did, plan, node) is prepared or sent, or where the number was used.
        """

    async def batches(self, *states: BatchState) -> list[Batch]:
        """Batches in these states, oldest first; with entries and attempts."""

    async def batch(self, batch_id: int) -> Batch:
        """Raises KeyError."""

    async def last_number(self, did: bytes, plan: bytes, node: bytes) -> int:
        """The highest number that a batch of (did, plan, node) has, parked ones not counted; 0 = there is none."""

    async def attempt(self, batch_id: int, attempt: Attempt, *, seen: Batch | None = None) -> Batch:
        """Writes down a transaction before it is sent: prepared or sent → sent.

        seen: the batch that was signed. Raises BatchConflict, also where the batch isn't any more what was `seen`:
        its content or attempts have changed, so another process believes that it leads.
        """

    async def confirm(self, batch_id: int) -> Batch:
        """mined → confirmed. Raises BatchConflict."""

    async def set_root(self, batch_id: int, root: bytes) -> Batch:
        """The Merkle root of the batch's receipts. Raises BatchConflict unless the batch is prepared."""

    async def shrink(self, batch_id: int, keep: Sequence[bytes], *, seen: Batch | None = None) -> Batch:
        """Keeps these subscribers' entries; the others' charges wait for a later batch.

        Only where no transaction of the batch can be applied any more: its attempts are forgotten, its root too, and it
        is prepared again under the same number. seen: the batch of which that is known. Raises BatchConflict unless
        the batch is prepared or sent, and what was `seen`.
        """

    async def park(
        self, batch_id: int, subscribers: Sequence[bytes], reason: str, *, now: int, seen: Batch | None = None
    ) -> Batch | None:
        """Sets entries aside with a reason, under the same condition as `shrink`; answers what is left of the batch."""

    async def unpark(self, batch_id: int) -> None:
        """The parked charges wait again, as if they had never been in a batch. Raises BatchConflict unless parked."""

    async def adopt(self, forgotten: Forgotten) -> Batch:
        """Takes a forgotten batch in as mined, the next number: each entry gets its subscriber's oldest waiting charges
        from before the block, and what is left of it charges flagged LOST.

        A prepared batch with its number is dissolved. Only while no process serves from it. Raises BatchConflict.
        """

    def leader(self) -> AbstractAsyncContextManager[bool]:
        """Whether this process is the one that settles, for as long as the context lasts; at most one is."""

    # ---- people who ask

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
        """Charges in the order of their ids, which is that of the reservations.

        after, before: ids between which to look, themselves left out. settled: whether the chain has applied them.
        """

    async def charge(self, charge_id: str) -> ChargeRecord | None:
        """One charge; None = there is none with this id."""

    async def each_charge(self, batch: int, work: Callable[[ChargeRecord], T]) -> list[T]:
        """What `work` makes of every charge of a batch, in the order of their ids. It runs in a thread."""

    async def heads(self, batch_ids: Sequence[int]) -> Mapping[int, Batch]:
        """Batches without their entries and attempts; unknown ids are left out."""

    async def consumed(self) -> Mapping[AccountId, int]:
        """Per account, credits that confirmed and mined batches have taken: what this node's settlements explain."""

    async def audit(self) -> Audit:
        """Recomputes every running total from the journal and compares."""
