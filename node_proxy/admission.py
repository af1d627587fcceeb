"""Who gets in: the only place that decides whether a call is paid for, and under which plan.

    async with await admission.reserve(subscriber=…, did=…, key=…, request_id=…) as reservation:
        answer, usage = await relay(…)
        charge = await reservation.capture(credits, usage)     # durable before the last byte leaves

A call gets in when the chain, as of a block that is fresh enough, says that the subscriber holds a plan that opens
the assistant, with enough credits that are neither charged nor reserved. What would be refused on remembered state is
looked up on the chain once more before the answer is no.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from node_proxy.access.keys import ApiKey
from node_proxy.errors import (
    AssetNotFound,
    BudgetExhausted,
    ChainTooStale,
    CreditsExhausted,
    LedgerUnavailable,
    PaymentRequired,
    PlanExpired,
    PlanRequired,
    TooManyRequests,
    VoucherRequired,
)
from node_proxy.ledger.base import (
    AccountId,
    BudgetSpent,
    Charge,
    Hold,
    Ledger,
    LedgerFailed,
    NotEnoughCredits,
    Snapshot,
    Standing,
)
from node_proxy.pricing import Usage
from nvm_chain.did import Did
from nvm_chain.errors import NvmError
from nvm_chain.plans import PlanId
from nvm_chain.vouchers import voucher_typed_data


@dataclass(frozen=True, slots=True)
class Way:
    """One plan that opens an assistant now, at min..max credits per access.

    time_plan: costs no credits, only time. voucher_required: settles only under a ceiling that the subscriber signed.
    """

    plan: bytes
    min_credits: int
    max_credits: int
    time_plan: bool
    voucher_required: bool


class ChainState(Protocol):
    """What admission asks of the chain; `watcher.ChainView` answers it."""

    @property
    def age(self) -> float:
        """Seconds since the chain was last seen up to its head; infinite before the first look."""

    def now(self) -> float:
        """The later of our clock and the chain's."""

    async def ways(self, did: Did) -> Sequence[Way]:
        """Open ways into the asset by this node, cheapest first. Raises AssetNotFound, NotServed, NvmError."""

    def ways_seen(self, did: Did) -> Sequence[Way]:
        """The same, if nothing has to be looked up or worked out for it; else none."""

    async def read(self, accounts: Sequence[AccountId]) -> None:
        """Reads accounts at the block that is worked in, into the ledger. Raises NvmError."""

    async def refresh(self) -> None:
        """Works in everything up to the chain's head now. Raises NvmError."""

    async def plans(self, did: Did, subscriber: str) -> list[dict[str, Any]]:
        """What a 402 says about the plans that open the asset."""


class Reservation:
    """Credits held for one call. An async context manager: leaves nothing reserved behind.

    way: the plan that was chosen, with what the call may cost under it (0 and 0 on a time plan, whose charges say that
    0 credits are left).
    """

    __slots__ = ("_hold", "_ledger", "way")

    def __init__(self, ledger: Ledger, hold: Hold, way: Way) -> None:
        self._ledger = ledger
        self._hold = hold
        self.way = way

    @property
    def id(self) -> str:
        """The charge will have the same."""
        return self._hold.id

    @property
    def plan_id(self) -> bytes:
        """The plan that pays, 32 bytes."""
        return self._hold.account.plan

    async def capture(self, credits: int, usage: Usage | None, *, flags: frozenset[str] = frozenset()) -> Charge:
        """Charges `credits` within the way's [min, max]; durable when it returns. At most once.

        Raises ValueError for credits out of bounds, ReservationGone for a second call, LedgerUnavailable when the
        charge couldn't be written: then the answer must not be completed.
        """
        way = self.way
        if not way.min_credits <= credits <= way.max_credits:
            raise ValueError(f"{credits} credits are outside of the offer's [{way.min_credits}, {way.max_credits}]")
        try:
            made = await self._ledger.capture(self._hold, credits, None if usage is None else usage.counts(), flags)
            return Charge(made.id, made.credits, 0) if way.time_plan else made
        except LedgerFailed as error:
            raise LedgerUnavailable(
                "The charge couldn't be written down, so the answer was stopped. Try again."
            ) from error

    def release(self) -> Coroutine[Any, Any, None]:
        """Not charged. Does nothing after capture."""
        return self._ledger.release(self._hold)

    async def __aenter__(self) -> Reservation:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ledger.release(self._hold)


class Admission:
    """max_age: seconds; calls are admitted on a view of the chain no older than this.

    It has to be shorter than the shortest refund cooldown: a refund announced in the meantime can't be seen earlier.
    patience: seconds that a call waits for an endpoint that hangs. max_rereads: calls that may wait for it at once, so
    that those who were never here before can't fill the node.
    """

    def __init__(
        self, ledger: Ledger, chain: ChainState, *, max_age: float, patience: float = 5.0, max_rereads: int = 1_000
    ) -> None:
        self._ledger = ledger
        self._chain = chain
        self._max_age = max_age
        self._patience = patience
        self._max_rereads = max_rereads
        self._rereading = 0

    async def reserve(self, *, subscriber: str, did: Did, key: ApiKey, request_id: str) -> Reservation:
        """Holds the most that the call may cost.

        subscriber: the wallet's address. Raises NotYours (403), AssetNotFound, NotServed (404), PlanRequired,
        PlanExpired, CreditsExhausted, VoucherRequired, BudgetExhausted (402), TooManyRequests (429), ChainTooStale,
        LedgerUnavailable (503).
        """
        if key.dids is not None:
            key.check_opens(did)
        holder = bytes.fromhex(subscriber[2:])
        try:
            if self._chain.age <= self._max_age:
                try:
                    if (reservation := await self._first(holder, did, key, request_id)) is not None:
                        return reservation
                except AssetNotFound:
                    pass  # what is remembered may be out of date; below it is final
            with self._reread():
                async with asyncio.timeout(self._patience):
                    await self._chain.refresh()
            if (reservation := await self._first(holder, did, key, request_id)) is not None:
                return reservation
            raise await self._refusal(holder, subscriber, did)
        except (NvmError, TimeoutError) as error:
            raise ChainTooStale(
                "The node can't reach the chain to check your plan; nothing was charged. Try again in a moment.",
                retry_after=5,
            ) from error
        except BudgetSpent as spent:
            raise BudgetExhausted(
                f"The API key {key.name!r} ({key.id}) may still spend {spent.left} of its {spent.budget} credits and "
                f"this call may cost {spent.wanted}. Its owner can create a key with a larger budget.",
                extras={"key": key.id, "credits_left": spent.left, "credits_needed": spent.wanted},
            ) from spent
        except LedgerFailed as error:
            raise LedgerUnavailable(
                "The node's ledger doesn't answer; nothing was charged. Try again.", retry_after=1
            ) from error

    @contextmanager
    def _reread(self) -> Iterator[None]:
        """A place among those who wait for the chain. Raises TooManyRequests."""
        if self._rereading >= self._max_rereads:
            raise TooManyRequests("Many calls wait for the chain already; try again in a moment.", retry_after=2)
        self._rereading += 1
        try:
            yield
        finally:
            self._rereading -= 1

    async def _first(self, holder: bytes, did: Did, key: ApiKey, request_id: str) -> Reservation | None:
        """Reserves under the first plan that covers the call. Raises BudgetSpent."""
        chain, ledger = self._chain, self._ledger
        for way in chain.ways_seen(did) or await chain.ways(did):
            account, seen = AccountId(way.plan, holder), False
            while True:
                ceiling = await self.ceiling(await ledger.standing(account)) if way.voucher_required else None
                try:
                    hold = await ledger.reserve(
                        account,
                        did.value,
                        way.max_credits,
                        key_id=key.id,
                        key_budget=key.budget,
                        request_id=request_id,
                        ceiling=ceiling,
                        covers=partial(covers, way, chain.now()),
                    )
                    return Reservation(ledger, hold, way)
                except NotEnoughCredits as refused:
                    if seen or refused.standing.snapshot is not None:
                        break
                seen = True
                with self._reread():
                    async with asyncio.timeout(self._patience):
                        await chain.read([account])
        return None

    async def ceiling(self, standing: Standing) -> int:
        """How far `consumed` may rise by what was signed and bought, less what the chain has refused to take.

        A contract wallet can disown its signature after the calls: what was used stays used.
        """
        voucher, snapshot = await self._ledger.voucher(standing.account), standing.snapshot
        if voucher is None or snapshot is None:
            return 0
        short = await self._ledger.short(standing.account)
        return max(0, min(voucher.ceiling, snapshot.consumed + snapshot.balance) - short)

    async def _pays(self, way: Way, standing: Standing) -> bool:
        return standing.spendable >= way.max_credits + await self._ledger.short(standing.account)

    async def _voucher_wanted(
        self, way: Way, standing: Standing, subscriber: str, did: Did, plans: Sequence[Mapping[str, Any]]
    ) -> VoucherRequired:
        """Which ceiling would let the call in, and what the wallet has to sign for it."""
        snapshot, plan = standing.snapshot, PlanId(way.plan)
        assert snapshot is not None
        known, short = await self._ledger.voucher(standing.account), await self._ledger.short(standing.account)
        used = snapshot.consumed + standing.captured + standing.reserved + short
        ceiling = used + way.max_credits
        row = next(one for one in plans if one["plan_id"] == str(plan))
        typed = voucher_typed_data(row["chain_id"], row["contract"], plan, subscriber, ceiling)
        typed["message"] = {"planId": str(plan), "subscriber": subscriber, "ceiling": str(ceiling)}
        signed = "none is known" if known is None else f"yours is {known.ceiling}"
        return VoucherRequired(
            f"Plan {plan} settles only up to a ceiling that you have signed, and {signed}. {used} credits are used or "
            f"held; a call of {did} may cost {way.max_credits}. Sign a voucher up to {ceiling} or more (EIP-712, "
            f"`voucher.typed_data`) and send it to POST /v1/vouchers.",
            plans=plans,
            extras={
                "voucher": {
                    "plan_id": str(plan),
                    "ceiling": str(ceiling),
                    "signed": None if known is None else str(known.ceiling),
                    "consumed": str(snapshot.consumed),
                    "charged_not_settled": standing.captured,
                    "reserved": standing.reserved,
                    "credits_needed": way.max_credits,
                    "typed_data": typed,
                }
            },
        )

    async def _refusal(self, holder: bytes, subscriber: str, did: Did) -> PaymentRequired:
        """Why none of the ways is open, from the one that came closest."""
        now, plans = self._chain.now(), await self._chain.plans(did, subscriber)
        ways = await self._chain.ways(did)
        standings = [(way, await self._ledger.standing(AccountId(way.plan, holder))) for way in ways]
        held = [(way, standing) for way, standing in standings if _ever_held(standing)]
        if not held:
            return PlanRequired(
                f"{subscriber} holds none of the plans that open {did}. "
                f"Buy one of `plans` with that wallet, then try again.",
                plans=plans,
            )
        alive = [(way, standing) for way, standing in held if not _expired(standing, now)]
        if not alive:
            return PlanExpired(
                f"Every plan of {subscriber} that opens {did} has expired. Renew one of `plans`.", plans=plans
            )
        for way, standing in alive:
            # All but the voucher is there.
            if way.voucher_required and admits(way, standing, now) and await self._pays(way, standing):
                return await self._voucher_wanted(way, standing, subscriber, did, plans)
        way, standing = max(alive, key=lambda pair: pair[1].spendable)
        left = {
            "credits_left": standing.spendable,
            "credits_needed": way.max_credits,
            "credits_reserved": standing.reserved,
        }
        if standing.snapshot is not None and standing.snapshot.refund_at:
            why = "A refund was announced for the plan, which ends its use until `cancelRefund` is called"
        elif way.voucher_required and (short := await self._ledger.short(standing.account)):
            why = f"{standing.spendable} credits are left, of which {short} were used and the chain didn't take them"
        elif standing.reserved:
            why = f"{standing.spendable} credits are left, {standing.reserved} more are held by calls still running"
        else:
            why = f"{standing.spendable} credits are left"
        return CreditsExhausted(
            f"{why}; a call of {did} may cost {way.max_credits}. Buy one of `plans` to add credits.",
            plans=plans,
            extras=left,
        )


def admits(way: Way, standing: Standing, now: float) -> bool:
    """The same of an account as it stands."""
    return standing.snapshot is not None and covers(way, now, standing.snapshot, standing.spendable)


def _ever_held(standing: Standing) -> bool:
    snapshot = standing.snapshot
    return snapshot is not None and bool(snapshot.balance or snapshot.consumed or snapshot.units or snapshot.expiry)


def _expired(standing: Standing, now: float) -> bool:
    return standing.snapshot is not None and 0 < standing.snapshot.expiry <= now


def covers(way: Way, now: float, snapshot: Snapshot, spendable: int) -> bool:
    """Whether the account may pay for a call this way: plan held, not expired, no refund announced, enough credits.

    Where the plan asks for a voucher it is needed besides.
    """
    expiry = snapshot.expiry
    if snapshot.refund_at or 0 < expiry <= now:
        return False
    if way.time_plan:
        return expiry > 0
    return snapshot.balance > 0 and spendable >= way.max_credits
