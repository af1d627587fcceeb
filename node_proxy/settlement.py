"""Brings charges to the chain, each exactly once, through crashes, lost and replaced transactions and reorganisations.

Three facts make it so. The contract applies batch n of (asset, plan, node) once, and only after n - 1. A batch is
written down, with the root of its receipts, before its transaction is signed, and the signed transaction before it is
sent. And a batch never changes while a transaction for it could still be mined: all transactions of a batch have one
nonce, so they are dead, and known to be, once that nonce was used `confirmations` blocks ago and the batch is not
applied there.

One process leads. Should two believe that they do (a network split, a process that was stopped for a while), each step
still names the batch as its mover has seen it, and the ledger refuses the step if somebody has moved it on.

So every step can be taken again after a crash: sending the same bytes twice is harmless, and what was applied is
learned from the chain's events (`watcher`), not from having sent it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from node_proxy.ledger.base import AccountId, Attempt, Backlog, Batch, BatchConflict, BatchState, Ledger
from node_proxy.receipts import Receipts
from node_proxy.watcher import ChainView
from nvm_chain.abi import Call
from nvm_chain.chain import MAX_LOG_SPAN, Fees, InsufficientFunds, RpcError, event_topics, topic
from nvm_chain.did import Did
from nvm_chain.entries import Entry
from nvm_chain.errors import ContractRefused, NvmError, TransactionFailed
from nvm_chain.plans import PlanId
from nvm_chain.vouchers import VOUCHER_GAS, Voucher, is_signed_by
from nvm_chain.wallet import Wallet

MAX_GAS_SHARE = 2
"""A batch may need at most one half of a block's gas; a larger one is divided."""

MAX_GAS = 2**24
"""What one transaction may have at most (EIP-7825), on chains that say so."""

RUNWAY = 20
"""The signer's balance is low when it pays for fewer settlements than this."""

DEAREST = 4
"""What a stuck transaction offers at most, in multiples of what the chain asks: beyond, it isn't its price."""

_TYPICAL_GAS = 400_000
_SKEW = 600
_WHOLE_BATCH = frozenset({"NodeNotAuthorised", "VouchersRequired", "AssetUnknown", "PlanUnknown", "OfferUnknown"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When charges of one assistant under one plan settle: any of the first three. Ages are seconds.

    max_entries: subscribers in one batch at most. confirmations: blocks, its own included, after which a block counts
    as final. stuck_after: age of a transaction that is replaced by one with higher fees.
    """

    min_calls: int = 100
    min_credits: int | None = None
    max_age: float = 3_600.0
    max_entries: int = 200
    confirmations: int = 3
    stuck_after: float = 60.0

    def due(self, waiting: Backlog, now: float) -> bool:
        """Whether it is time; always where a refund was announced or credits are about to expire."""
        return (
            waiting.urgent
            or waiting.calls >= self.min_calls
            or (self.min_credits is not None and waiting.credits >= self.min_credits)
            or now - waiting.oldest >= self.max_age
        )


@dataclass(frozen=True, slots=True)
class Status:
    """How settlement stands. balance: of the signer, wei. runway: settlements that it pays for at today's fees.

    problems: what keeps something from settling, in words for the operator.
    """

    signer: str
    balance: int
    runway: int
    backlog: tuple[Backlog, ...]
    open: tuple[Batch, ...]
    parked: tuple[Batch, ...]
    problems: tuple[str, ...]

    @property
    def low(self) -> bool:
        """Whether the signer needs money soon."""
        return self.runway < RUNWAY


class Settlement:
    """wallet: the node's account, registered for the assets that it serves.

    on_step: told what was just done ("prepared", "rooted", "signed", "written", "sent"), for tests that pull the plug.
    receipts: those of the charges that it settles.
    """

    def __init__(
        self,
        ledger: Ledger,
        view: ChainView,
        wallet: Wallet,
        thresholds: Thresholds | None = None,
        *,
        clock: Callable[[], float] = time.time,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._view = view
        self._chain = view.chain
        self._plans = view.deployment.plans
        self._wallet = wallet
        self._node = bytes.fromhex(wallet.address[2:])
        self._limits = thresholds or Thresholds()
        self._clock = clock
        self._on_step = on_step
        self._problems: dict[tuple[bytes, bytes], str] = {}
        self._found: set[tuple[bytes, bytes]] = set()
        self._vouchers: dict[bytes, bool] = {}
        self.receipts = Receipts(ledger, wallet, chain_id=self._chain.chain_id, registry=view.deployment.plan_registry)

    async def run(self, interval: float) -> None:
        """Settles what is due every `interval` seconds, until it is cancelled."""
        while True:
            try:
                await self.step()
            except NvmError as error:
                log.warning("settlement.delayed", error=str(error))
            except Exception:
                log.exception("settlement.failed")
            await asyncio.sleep(interval)

    async def settle_now(self, patience: float = 120.0) -> list[Batch]:
        """Settles everything that waits, whatever its age, and waits until it is mined; answers the batches.

        A batch that was parked is among them, and one that a problem of `status` keeps back. patience: seconds. Raises
        TimeoutError; what is under way then goes on with the next step.
        """
        made: list[int] = []
        async with asyncio.timeout(patience):
            while True:
                leading, fresh = await self._round(everything=True)
                made += fresh
                open_now = await self._ledger.batches(BatchState.PREPARED, BatchState.SENT)
                waiting = [one for one in await self._backlog() if (one.did, one.plan) not in self._problems]
                if leading and not open_now and not waiting:
                    return [await self._ledger.batch(one) for one in dict.fromkeys(made)]
                if leading and open_now and all((one.did, one.plan) in self._problems for one in open_now):
                    return [await self._ledger.batch(one) for one in dict.fromkeys(made)]
                await asyncio.sleep(0.1)

    async def step(self) -> None:
        """One round: confirms, sends again, replaces, starts what is due. Does nothing while another process leads."""
        await self._round(everything=False)

    async def _round(self, *, everything: bool) -> tuple[bool, list[int]]:
        async with self._ledger.leader() as leading:
            if not leading:
                self._problems.clear()  # whoever leads knows better
                return False, []
            await self._view.refresh()
            touched: list[int] = []
            self._found.clear()
            for batch in await self._ledger.batches(BatchState.PREPARED, BatchState.SENT, BatchState.MINED):
                if batch.state is not BatchState.MINED:
                    touched.append(batch.id)
                with self._alone((batch.did, batch.plan)):
                    await self._go_on(batch)
            now, on_their_way = self._clock(), await self._ledger.batches(BatchState.PREPARED, BatchState.SENT)
            behind = {(batch.did, batch.plan): batch.number for batch in on_their_way}
            for waiting in await self._backlog():
                if everything or self._limits.due(waiting, now):
                    with self._alone(key := (waiting.did, waiting.plan)):
                        touched += await self._start(waiting, behind.get(key))
            for key in self._problems.keys() - self._found:
                log.info("settlement.unblocked", did=str(Did(key[0])), plan=str(PlanId(key[1])))
                del self._problems[key]
            if touched:
                await self._view.refresh()
            return True, touched

    @contextmanager
    def _alone(self, key: tuple[bytes, bytes]) -> Iterator[None]:
        """What the endpoint or the chain refuses of one claim must not hold up the others."""
        try:
            yield
        except (TransactionFailed, RpcError) as error:
            self._problem(key, str(error))
        except BatchConflict as error:
            log.warning("settlement.overtaken", did=str(Did(key[0])), why=str(error))

    async def _backlog(self) -> list[Backlog]:
        # What expires before it would be due is urgent: a purchase after the expiry clears the old credits away.
        horizon = int(self._view.now() + 2 * self._limits.max_age)
        return await self._ledger.backlog(expiring_before=horizon)

    # --------------------------------------------------------------------------------------------------- one batch

    async def _start(self, waiting: Backlog, behind: int | None) -> list[int]:
        """behind: the claim's batch that is on its way, which the chain may still expect."""
        key = (waiting.did, waiting.plan)
        number = await self._next_number(waiting.did, waiting.plan)
        if number == behind:
            return []  # the rest waits for it
        last = await self._ledger.last_number(*key, self._node)
        if last and number != last + 1:
            self._problem(
                key,
                f"the chain expects batch {number} of {Did(waiting.did)} under plan {PlanId(waiting.plan)}, "
                f"the ledger's last one is {last}: was the ledger restored from an old copy? "
                f"`nvm-node reconcile` shows the difference, `nvm-node recover` takes in what was forgotten",
            )
            return []
        if not last and number > 1:
            if await self._settled_since(waiting):
                self._problem(
                    key,
                    f"calls of {Did(waiting.did)} under plan {PlanId(waiting.plan)} wait since before a settlement "
                    f"that the ledger doesn't know: was it restored from an old copy? `nvm-node recover` takes in "
                    f"what was forgotten",
                )
                return []
            log.warning("settlement.history_unknown", did=str(Did(waiting.did)), next_batch=number)
        try:
            batch = await self._ledger.prepare(
                *key, self._node, number, max_entries=self._limits.max_entries, now=int(self._clock())
            )
        except BatchConflict:
            return []  # one is on its way; the rest waits for it
        if batch is None:
            return []
        self._on_step("prepared")
        log.info("settlement.prepared", batch=number, did=str(Did(batch.did)), calls=batch.calls, credits=batch.credits)
        await self._send(batch)
        return [batch.id]

    async def _settled_since(self, waiting: Backlog) -> bool:
        """Whether the chain has a settlement of ours from after the first of the charges that wait."""
        topics = [*event_topics("Settled"), topic(waiting.did), topic(waiting.plan), topic(self._wallet.address)]
        last = (await self._chain.header()).number
        while True:
            first = max(0, last - MAX_LOG_SPAN + 1)
            if await self._chain.logs([self._plans.address], first, last, topics):
                return True
            if first == 0 or (await self._chain.header(first)).timestamp < waiting.oldest - _SKEW:
                return False
            last = first - 1

    async def _go_on(self, batch: Batch) -> None:
        if batch.state is BatchState.PREPARED:
            await self._send(batch)
        elif batch.state is BatchState.SENT:
            await self._follow(batch)
        elif self._is_final(batch):
            await self._ledger.confirm(batch.id)
            log.info("settlement.confirmed", batch=batch.number, did=str(Did(batch.did)), entries=len(batch.entries))

    def _is_final(self, batch: Batch) -> bool:
        seen = self._view.block
        return batch.block is not None and seen is not None and seen - batch.block + 1 >= self._limits.confirmations

    async def _send(self, batch: Batch) -> None:
        """Sends a prepared batch; entries that the contract refuses are set aside first."""
        left: Batch | None = batch
        while left is not None:
            key = (left.did, left.plan)
            expected = await self._next_number(*key)
            if expected != left.number:
                if expected > left.number:
                    self._problem(
                        key,
                        f"batch {left.number} of {Did(left.did)} was applied by a transaction that the ledger doesn't "
                        f"know; `nvm-node recover` takes in what was forgotten",
                    )
                return  # an earlier batch is on its way
            vouchers = await self._signed(left)
            if bare := [subscriber for subscriber, voucher in vouchers.items() if voucher is None]:
                # Admission asks for one; without it the contract would take nothing.
                left = await self._park(
                    left, bare, "the plan asks for a voucher, and the subscriber has handed in none"
                )
                continue
            left = await self._rooted(left)
            call = await self._call(left)
            try:
                await self._chain.call(call, sender=self._wallet.address)
                gas = await self._gas(left, call)
            except ContractRefused as error:
                left = await self._set_aside(left, error)
                continue
            except InsufficientFunds as error:
                self._problem(key, str(error))
                return
            most = min(MAX_GAS, (await self._chain.header()).gas_limit // MAX_GAS_SHARE)
            if gas > most and len(left.entries) > 1:
                left = await self._halve(left)
                continue
            await self._attempt(left, call, gas=gas, nonce=await self._next_nonce(), fees=await self._chain.fees())
            return

    async def _gas(self, batch: Batch, call: Call[None]) -> int:
        """The transaction's limit: what it needs, a margin, and all that the wallets' code may burn in the block.

        Such code can be cheap in a simulation only, and what runs out of gas in the block would be sent again for ever.
        """
        needed = await self._chain.estimate(call, self._wallet.address)
        return needed * 5 // 4 + await self._judged_by_code(batch) * VOUCHER_GAS

    async def _judged_by_code(self, batch: Batch) -> int:
        """How many of its vouchers no signature of an account stands for."""
        where = self._chain.chain_id, self._plans.address, PlanId(batch.plan)
        signed = [(f"0x{who.hex()}", one) for who, one in (await self._signed(batch)).items() if one is not None]
        return await asyncio.to_thread(lambda: sum(not is_signed_by(*where, who, one) for who, one in signed))

    async def _attempt(self, batch: Batch, call: Call[None], *, gas: int, nonce: int, fees: Fees) -> None:
        """Signs, writes down, sends; in this order."""
        key = (batch.did, batch.plan)
        balance = await self._chain.balance(self._wallet.address)
        if balance < gas * fees.maximum:
            self._problem(
                key, f"{self._wallet.address} has {balance} wei and the settlement may cost {gas * fees.maximum}"
            )
            return
        signed = await self._chain.sign(call, self._wallet, nonce=nonce, fees=fees, gas=gas)
        self._on_step("signed")
        await self._ledger.attempt(
            batch.id,
            Attempt(
                tx_hash=bytes.fromhex(signed.tx_hash[2:]),
                nonce=nonce,
                gas=gas,
                max_fee=fees.maximum,
                priority_fee=fees.priority,
                raw=signed.raw,
                created=int(self._clock()),
            ),
            seen=batch,
        )
        self._on_step("written")
        await self._broadcast(batch, signed.raw)
        self._on_step("sent")
        log.info("settlement.sent", batch=batch.number, entries=len(batch.entries), tx=signed.tx_hash, nonce=nonce)

    async def _rooted(self, batch: Batch) -> Batch:
        """The prepared batch with the root of its receipts on disk."""
        root = await self.receipts.root(batch.id)
        if root != batch.root:
            batch = await self._ledger.set_root(batch.id, root)
            self._on_step("rooted")
        return batch

    async def _broadcast(self, batch: Batch, raw: bytes) -> None:
        try:
            await self._chain.broadcast(raw)
        except TransactionFailed as error:
            # Refused by the endpoint: the nonce was used, the fee is too low, … `_follow` finds out which.
            log.warning("settlement.not_taken", batch=batch.number, error=str(error))

    async def _follow(self, batch: Batch) -> None:
        """Looks after a batch that was sent and isn't applied at the block that the view has reached."""
        # Without an attempt of ours it is one that was taken in from the chain, which has undone it since.
        latest = batch.attempts[-1] if batch.attempts else None
        if latest is None or await self._dead(batch):
            log.warning("settlement.dead", batch=batch.number, attempts=len(batch.attempts))
            again = await self._ledger.shrink(batch.id, [entry.subscriber for entry in batch.entries], seen=batch)
            await self._send(again)
        elif self._clock() - latest.created >= self._limits.stuck_after:
            await self._replace(batch, latest)
        else:
            await self._broadcast(batch, latest.raw)

    async def _dead(self, batch: Batch) -> bool:
        """Whether no transaction of the batch can be applied any more."""
        final = max(0, (await self._chain.header()).number - max(0, self._limits.confirmations - 1))
        used = await self._chain.nonce(self._wallet.address, final)
        if used <= max(attempt.nonce for attempt in batch.attempts):
            return False
        return await self._next_number(batch.did, batch.plan, final) <= batch.number

    async def _replace(self, batch: Batch, latest: Attempt) -> None:
        """The same batch with the same nonce for more money; an empty transaction if the contract refuses it now."""
        now, bumped = await self._chain.fees(), Fees(latest.max_fee, latest.priority_fee).bumped()
        if bumped.maximum > DEAREST * now.maximum:
            self._problem(
                (batch.did, batch.plan),
                f"batch {batch.number} of {Did(batch.did)} isn't mined: its transaction offers {latest.max_fee} wei "
                f"per gas, and the chain asks for {now.maximum}. It is sent again as it is",
            )
            await self._broadcast(batch, latest.raw)
            return
        if now.priority is None or bumped.priority is None:
            fees = Fees(max(now.maximum, bumped.maximum), None)
        else:
            fees = Fees(max(now.maximum, bumped.maximum), max(now.priority, bumped.priority))
        call, gas = await self._call(batch), batch.attempts[0].gas
        try:
            await self._chain.call(call, sender=self._wallet.address)
            # Higher vouchers may have come meanwhile, whose signatures are longer or judged by code.
            gas = max(gas, await self._gas(batch, call))
        except ContractRefused as error:
            if error.name == "WrongBatch":
                return  # applied a moment ago
            call, gas = _nothing(self._wallet.address), 21_000
        log.info("settlement.replaced", batch=batch.number, nonce=latest.nonce, max_fee=fees.maximum)
        await self._attempt(batch, call, gas=gas, nonce=latest.nonce, fees=fees)

    async def _set_aside(self, batch: Batch, error: ContractRefused) -> Batch | None:
        """Finds what the contract objects to. Answers what is left to send."""
        if error.name == "WrongBatch":
            return None  # somebody was faster; the next round looks again
        index = error.values.get("index")
        if error.name in ("OutsideRule", "InvalidVoucher") and isinstance(index, int) and index < len(batch.entries):
            bad = [batch.entries[index].subscriber]
        elif len(batch.entries) == 1 or error.name in _WHOLE_BATCH:
            bad = [entry.subscriber for entry in batch.entries]
        else:
            return await self._halve(batch)
        return await self._park(batch, bad, str(error))

    async def _park(self, batch: Batch, subscribers: list[bytes], reason: str) -> Batch | None:
        did, count = str(Did(batch.did)), len(subscribers)
        log.error("settlement.parked", batch=batch.number, did=did, entries=count, reason=reason)
        return await self._ledger.park(batch.id, subscribers, reason, now=int(self._clock()), seen=batch)

    async def _halve(self, batch: Batch) -> Batch:
        keep = batch.entries[: len(batch.entries) // 2]
        log.info("settlement.halved", batch=batch.number, entries=len(keep), of=len(batch.entries))
        return await self._ledger.shrink(batch.id, [entry.subscriber for entry in keep], seen=batch)

    async def _call(self, batch: Batch) -> Call[None]:
        did, plan = Did(batch.did), PlanId(batch.plan)
        entries = [Entry("0x" + one.subscriber.hex(), one.calls, one.credits) for one in batch.entries]
        vouchers = await self._signed(batch)
        if not vouchers:
            return self._plans.settle(did, plan, batch.number, entries, batch.root)
        signed = [voucher for voucher in vouchers.values() if voucher is not None]
        return self._plans.settle_with_vouchers(did, plan, batch.number, entries, signed, batch.root)

    async def _signed(self, batch: Batch) -> dict[bytes, Voucher | None]:
        """The voucher of each entry, in their order; nothing at all for a plan that asks for none."""
        if not await self._takes_vouchers(PlanId(batch.plan)):
            return {}
        accounts = [AccountId(batch.plan, entry.subscriber) for entry in batch.entries]
        known = await self._ledger.vouchers(accounts)
        return {
            who.subscriber: Voucher(found.ceiling, found.signature) if (found := known.get(who)) else None
            for who in accounts
        }

    async def _takes_vouchers(self, plan: PlanId) -> bool:
        """A plan's terms never change."""
        if plan.value not in self._vouchers:
            terms = (await self._chain.call(self._plans.plan(plan))).terms
            self._vouchers[plan.value] = terms.voucher_required
        return self._vouchers[plan.value]

    async def _next_number(self, did: bytes, plan: bytes, block: int | None = None) -> int:
        call = self._plans.next_batch(Did(did), PlanId(plan), self._wallet.address)
        return await self._chain.call(call, "latest" if block is None else block)

    async def _next_nonce(self) -> int:
        """After everything pending on the chain and everything written down here, sent or not."""
        pending = await self._chain.nonce(self._wallet.address, "pending")
        written = [one.nonce for batch in await self._ledger.batches(BatchState.SENT) for one in batch.attempts]
        return max([pending, *(nonce + 1 for nonce in written)])

    def _problem(self, key: tuple[bytes, bytes], text: str) -> None:
        if self._problems.get(key) != text:
            log.error("settlement.blocked", problem=text)
        self._problems[key] = text
        self._found.add(key)

    # ------------------------------------------------------------------------------------------------------- people

    async def status(self) -> Status:
        """How settlement stands now. Raises NvmError where the chain can't be reached."""
        balance = await self._chain.balance(self._wallet.address)
        cost = max(1, _TYPICAL_GAS * (await self._chain.fees()).maximum)
        open_states = (BatchState.PREPARED, BatchState.SENT, BatchState.MINED)
        return Status(
            signer=self._wallet.address,
            balance=balance,
            runway=balance // cost,
            backlog=tuple(await self._backlog()),
            open=tuple(await self._ledger.batches(*open_states)),
            parked=tuple(await self._ledger.batches(BatchState.PARKED)),
            problems=tuple(self._problems.values()),
        )


def _nothing(sender: str) -> Call[None]:
    """A transaction to oneself: it does nothing but use up a nonce."""
    return Call(sender, b"", "nothing", "cancel", {}, lambda _: None)
