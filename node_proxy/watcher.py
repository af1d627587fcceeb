"""What the node knows of the chain, up to which block, and how old that knowledge is.

Accounts and assets that the node has looked at are remembered. The registries' logs say which of them a new block
has touched; those are read again. So what is remembered is what the chain says at `block`, although hardly anything
is read.

Order matters for the ledger's promise: whatever the logs up to a block say about our batches is worked in together
with the accounts as they are at that block, in one transaction. A reorganisation is found by the hash of the last
block worked in; everything after the fork is read again. After a long pause the logs in between are left out and all
is read again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from node_proxy.admission import Way
from node_proxy.errors import AssetNotFound, NotServed
from node_proxy.ledger.base import AccountId, Applied, BatchState, Checkpoint, Ledger, LedgerError, Snapshot
from nvm_chain.abi import Event
from nvm_chain.assets import FOREVER, Asset
from nvm_chain.chain import BlockHeader, Chain, topic
from nvm_chain.deployments import Deployment
from nvm_chain.did import Did
from nvm_chain.errors import ChainUnavailable, NotFound, NvmError
from nvm_chain.lens import AssetView, OfferView
from nvm_chain.plans import PlanId

MAX_GAP = 50_000
"""Blocks of which the logs are still read after a pause."""

REORG_SPAN = 128
"""How far to go back where no remembered block is left in the chain."""

LAG_SECONDS = 30.0
"""How long a head below one seen before is taken for an endpoint that lags, not for a reorganisation."""

ASSETS_IN_MEMORY = 10_000
READ_AT_ONCE = 100
_SEEN_SECONDS = 10.0
_NEVER = math.inf

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Known:
    """An asset at some block; None = there is none. ways holds until the time `until`."""

    view: AssetView | None
    ways: tuple[Way, ...] = ()
    until: float = -math.inf


class ChainView:
    """The chain as one node sees it.

    node: address that serves and settles. depth: how many blocks to stay behind the head; 0 sees purchases at once,
    more is safe from reorganisations of that depth. max_head_age: seconds; an endpoint whose newest block is older has
    stopped and vouches for nothing (None: any age, for chains that make blocks only on demand). min_gap: seconds
    between two looks that refused calls ask for.
    """

    def __init__(
        self,
        chain: Chain,
        deployment: Deployment,
        ledger: Ledger,
        node: str,
        *,
        depth: int = 0,
        max_head_age: float | None = None,
        min_gap: float = 0.2,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.chain = chain
        self.deployment = deployment
        self.node = node
        self._ledger = ledger
        self._depth = depth
        self._max_head_age = max_head_age
        self._min_gap = min_gap
        self._clock = clock
        self._at: Checkpoint | None = None
        self._seen = -math.inf
        self._kept_seen = -math.inf
        self._chain_time = 0.0
        self._behind_since: float | None = None
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=256)
        self._assets: dict[bytes, _Known] = {}  # by the DIDs' bytes: a `Did` is hashed by Python code
        self._describing: dict[Did, asyncio.Task[_Known]] = {}
        self._touched: set[Did] = set()
        self._working = asyncio.Lock()
        self._begun = 0
        self._begun_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._wanted: dict[AccountId, asyncio.Future[None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Takes up where the ledger's last watcher stopped. Asks the chain nothing."""
        self._at = await self._ledger.checkpoint()
        if self._at is not None:
            self._recent.append((self._at.block, self._at.block_hash))
            pause = self._clock() - self._at.seen
            # A clock that went backwards vouches for nothing.
            self._seen = time.monotonic() - pause if pause >= 0 else -math.inf

    async def run(self, interval: float) -> None:
        """Looks at the chain every `interval` seconds, until it is cancelled."""
        failures = 0
        while True:
            try:
                await self.refresh()
            except Exception as error:  # whatever it is, the next look may succeed
                failures += 1
                if failures in (1, 10, 100) or failures % 1000 == 0:
                    foreseen = isinstance(error, NvmError | LedgerError)
                    age = round(self.age, 1) if self.age < math.inf else None
                    log.warning("chain.unreachable", error=str(error), times=failures, age=age, exc_info=not foreseen)
            else:
                if failures:
                    log.info("chain.reachable", block=self.block, failures=failures)
                failures = 0
            await asyncio.sleep(interval)

    async def stop(self) -> None:
        """Ends reads in flight."""
        for task in (self._looking, self._reading, *self._describing.values()):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    # ------------------------------------------------------------------------------------------------------- standing

    @property
    def block(self) -> int | None:
        """Number of the last block worked in; None before the first look."""
        return None if self._at is None else self._at.block

    @property
    def age(self) -> float:
        """Seconds since the chain's head was last seen; infinite before the first look."""
        return time.monotonic() - self._seen

    def now(self) -> float:
        """Unix seconds: the later of our clock and the chain's, so that nothing is served past its end."""
        return max(self._clock(), self._chain_time)

    # ---------------------------------------------------------------------------------------------------------- looks

    async def refresh(self) -> None:
        """Works in everything up to the head, seen after this call began. Callers at the same time share one look.

        Raises ChainUnavailable and other NvmErrors of the endpoint.
        """
        asked = self._begun
        while True:
            running = self._looking
            if running is None or running.done():  # done: its callback is still waiting for its turn of the loop
                if (pause := self._begun_at + self._min_gap - time.monotonic()) > 0:
                    await asyncio.sleep(pause)
                    if self._begun > asked or not (self._looking is None or self._looking.done()):
                        continue
                self._begun += 1
                self._begun_at = time.monotonic()
                running = self._looking = asyncio.get_running_loop().create_task(self._look())
                running.add_done_callback(self._looked)
            mine = self._begun > asked
            try:
                # Shielded: a caller that hangs up must not end the look of the others.
                await asyncio.shield(running)
            except Exception:
                if mine:
                    raise
            if mine:
                return

    def _looked(self, task: asyncio.Task[None]) -> None:
        if self._looking is task:
            self._looking = None
        if not task.cancelled():
            task.exception()  # seen by whoever waits; nobody may be left

    async def _look(self) -> None:
        head = await self.chain.header("latest")
        if self._max_head_age is not None and (age := self._clock() - head.timestamp) > self._max_head_age:
            raise ChainUnavailable(
                f"{self.chain.where} has shown no new block for {age:.0f} s: block {head.number} is its newest, and "
                f"max_head_age allows {self._max_head_age:g} s"
            )
        if self._depth:
            head = await self.chain.header(max(0, head.number - self._depth))
        async with self._working:
            at = await self._rejoin(head)
            if at is None or head.number - at.block > MAX_GAP:
                await self._skip(at, head)
            elif head.number > at.block:
                await self._follow(at, head)
            elif self._clock() - self._kept_seen > _SEEN_SECONDS:
                await self._take(head, at.floor, (), ())
            self._seen = time.monotonic()
            self._chain_time = max(self._chain_time, head.timestamp)

    async def _rejoin(self, head: BlockHeader) -> Checkpoint | None:
        """The checkpoint, moved back to where our blocks and the chain's part, if they do."""
        at = self._at
        if at is None or await self._holds(at.block, at.block_hash, head):
            self._behind_since = None
            return at
        if head.number < at.block and await self._only_behind(at, head):
            raise ChainUnavailable(
                f"{self.chain.where} is at block {head.number} and was at {at.block} before: it lags behind itself"
            )
        while self._recent:
            number, block_hash = self._recent.pop()
            if await self._holds(number, block_hash, head):
                break
        else:
            number = max(0, min(at.block, head.number) - REORG_SPAN)
            block_hash = _hash((await self.chain.header(number)).hash)
        log.warning("chain.reorganised", back_to=number, was=at.block, head=head.number)
        await self._ledger.rewind(number, block_hash)
        self._recent.append((number, block_hash))
        self._at = await self._ledger.checkpoint()
        self._forget_assets()
        return self._at

    async def _only_behind(self, at: Checkpoint, head: BlockHeader) -> bool:
        """Whether a lower head looks like another server behind the same endpoint rather than like another chain."""
        now = time.monotonic()
        self._behind_since = now if self._behind_since is None else self._behind_since
        if now - self._behind_since > LAG_SECONDS or head.number < at.block - REORG_SPAN:
            return False
        below = [(number, block_hash) for number, block_hash in self._recent if number <= head.number]
        return not below or await self._holds(*below[-1], head)

    async def _holds(self, number: int, block_hash: bytes, head: BlockHeader) -> bool:
        if number > head.number:
            return False
        if number == head.number:
            return _hash(head.hash) == block_hash
        if number == head.number - 1:
            return _hash(head.parent_hash) == block_hash
        try:
            return _hash((await self.chain.header(number)).hash) == block_hash
        except NotFound:
            return False

    async def _skip(self, at: Checkpoint | None, head: BlockHeader) -> None:
        """Starts at the head: accounts are read again when they are needed, open batches are looked up one by one."""
        applied = [] if at is None else await self._applied_meanwhile(at, head)
        log.info("chain.started", block=head.number, skipped=0 if at is None else head.number - at.block)
        await self._take(head, head.number, (), applied)
        self._forget_assets()

    async def _applied_meanwhile(self, at: Checkpoint, head: BlockHeader) -> list[Applied]:
        plans = self.deployment.plans
        for batch in await self._ledger.batches(BatchState.SENT):
            call = plans.next_batch(Did(batch.did), PlanId(batch.plan), self.node)
            if await self.chain.call(call, head.number) <= batch.number:
                continue
            # Settled and Shortfall name the node in the same place.
            events = await self._logs(at.block + 1, head.number, (None, None, None, topic(self.node)))
            return self._applied(events)
        return []

    async def _follow(self, at: Checkpoint, head: BlockHeader) -> None:
        events = await self._logs(at.block + 1, head.number)
        touched = await self._ledger.known(list(dict.fromkeys(_accounts(events))))
        snapshots = [one for part in _parts(touched) for one in await self._snapshots(part, head.number)]
        await self._take(head, at.floor, snapshots, self._applied(events))
        # No await since the checkpoint moved: a description that begins now is of this block.
        for event in events:
            if "did" in event.args and event.name != "Settled":
                did = Did(event.args["did"])
                self._assets.pop(did.value, None)
                self._touched |= self._describing.keys() & {did}
        plans = {event.args["planId"] for event in events if event.name in _PLAN_EVENTS}
        if plans:
            self._drop_assets_of(plans)

    async def _take(
        self, head: BlockHeader, floor: int, snapshots: Sequence[Snapshot], applied: Sequence[Applied]
    ) -> None:
        at = Checkpoint(head.number, _hash(head.hash), self._clock(), floor)
        await self._ledger.advance(at, snapshots, applied)
        self._at = at
        self._kept_seen = at.seen
        if not self._recent or self._recent[-1][0] < at.block:
            self._recent.append((at.block, at.block_hash))

    async def _logs(self, first: int, last: int, topics: Sequence[str | None] = ()) -> list[Event]:
        addresses = (self.deployment.plan_registry, self.deployment.asset_registry)
        return await self.chain.logs(addresses, first, last, topics)

    def _applied(self, events: Iterable[Event]) -> list[Applied]:
        missing: dict[tuple[str, bytes, int], dict[bytes, int]] = {}
        applied = []
        for event in events:
            args = event.args
            if event.address != self.deployment.plan_registry or args.get("node") != self.node:
                continue
            if event.name == "Shortfall":
                short = missing.setdefault((event.tx_hash, args["planId"], args["batch"]), {})
                short[_account(args["subscriber"])] = args["missing"]
            elif event.name == "Settled":
                applied.append(event)
        return [
            Applied(
                did=event.args["did"],
                plan=event.args["planId"],
                node=_account(self.node),
                number=event.args["batch"],
                block=event.block,
                block_hash=_hash(event.block_hash),
                tx_hash=_hash(event.tx_hash),
                missing=missing.get((event.tx_hash, event.args["planId"], event.args["batch"]), {}),
            )
            for event in applied
        ]

    # ------------------------------------------------------------------------------------------------------- accounts

    async def read(self, accounts: Sequence[AccountId]) -> None:
        """Reads accounts at `block` into the ledger. Reads that are asked for at the same time go together."""
        loop = asyncio.get_running_loop()
        waiting = []
        for who in accounts:
            if who not in self._wanted:
                self._wanted[who] = loop.create_future()
            waiting.append(self._wanted[who])
        if self._reading is None:
            self._reading = loop.create_task(self._read_wanted())
        await asyncio.gather(*(asyncio.shield(one) for one in waiting))

    async def _read_wanted(self) -> None:
        try:
            while self._wanted:
                # No new block may be worked in meanwhile: its logs could touch an account not known to the ledger yet.
                async with self._working:
                    wanted = dict(list(self._wanted.items())[:READ_AT_ONCE])
                    for who in wanted:
                        del self._wanted[who]
                    await self._read(wanted)
        finally:
            self._reading = None

    async def _read(self, wanted: dict[AccountId, asyncio.Future[None]]) -> None:
        try:
            if self._at is None:
                raise ChainUnavailable("the chain was not seen yet")
            await self._ledger.observe(await self._snapshots(list(wanted), self._at.block))
        except Exception as error:
            for one in wanted.values():
                if not one.done():
                    one.set_exception(error)
                    one.exception()
        else:
            for one in wanted.values():
                if not one.done():
                    one.set_result(None)

    async def _snapshots(self, accounts: Sequence[AccountId], block: int) -> list[Snapshot]:
        pairs = [(PlanId(who.plan), "0x" + who.subscriber.hex()) for who in accounts]
        views = await self.chain.call(self.deployment.views.accounts(pairs), block)
        return [
            Snapshot(
                account=who,
                # Not the view's own number: on some rollups the EVM counts another chain's blocks.
                block=block,
                balance=view.account.balance,
                consumed=view.account.consumed,
                expiry=view.account.expiry,
                refund_at=view.refund.available_at,
                units=view.account.units_bought,
            )
            for who, view in zip(accounts, views, strict=True)
        ]

    # --------------------------------------------------------------------------------------------------------- assets

    async def describe(self, did: Did) -> AssetView:
        """The asset's record with its offers, plans and nodes. Raises AssetNotFound, NvmError."""
        known = self._assets.get(did.value) or await self._known(did)
        return _found(did, known.view)

    def asset_seen(self, did: Did) -> Asset | None:
        """The asset's record, if nothing has to be looked up for it."""
        known = self._assets.get(did.value)
        return None if known is None or known.view is None else known.view.asset

    async def ways(self, did: Did) -> Sequence[Way]:
        """Open ways into the asset by this node, cheapest first. Raises AssetNotFound, NotServed, NvmError."""
        known = self._assets.get(did.value) or await self._known(did)
        if (now := self.now()) >= known.until:
            view = _found(did, known.view)
            known.until = _next_change(view, now)
            known.ways = _ways(view, self.node, now)
        if not known.ways:
            raise NotServed(f"{did} is {self._why_not_served(_found(did, known.view))}.")
        return known.ways

    def ways_seen(self, did: Did) -> Sequence[Way]:
        """The same, if nothing has to be looked up or worked out for it; else none."""
        known = self._assets.get(did.value)
        if known is None or (known.until < _NEVER and self.now() >= known.until):
            return ()
        return known.ways

    async def _known(self, did: Did) -> _Known:
        known = self._assets.get(did.value)
        if known is None:
            # One description for all calls that miss it at the same time.
            if (task := self._describing.get(did)) is None:
                task = self._describing[did] = asyncio.get_running_loop().create_task(self._describe(did))
                task.add_done_callback(partial(self._described, did))
            known = await asyncio.shield(task)
        return known

    def _described(self, did: Did, task: asyncio.Task[_Known]) -> None:
        del self._describing[did]
        self._touched.discard(did)
        if not task.cancelled():
            task.exception()

    async def _describe(self, did: Did) -> _Known:
        while True:
            if self._at is None:
                raise ChainUnavailable("the chain was not seen yet")
            self._touched.discard(did)
            try:
                view = await self.chain.call(self.deployment.views.describe(did), self._at.block)
            except NotFound:
                view = None
            if did not in self._touched:  # by a block worked in meanwhile
                if len(self._assets) >= ASSETS_IN_MEMORY:
                    self._assets.clear()
                known = self._assets[did.value] = _Known(view)
                return known

    def _why_not_served(self, view: AssetView) -> str:
        if not view.asset.active:
            return "deactivated by its builder"
        if not _serves(view, self.node, self.now()):
            return f"not served by this node: its builder would have to add {self.node} to the asset's nodes"
        return "not open: none of its offers admits calls now"

    def _forget_assets(self) -> None:
        self._assets.clear()
        self._touched |= self._describing.keys()

    def _drop_assets_of(self, plans: set[bytes]) -> None:
        self._touched |= self._describing.keys()
        for did, known in list(self._assets.items()):
            if known.view and any(offer.plan.plan_id.value in plans for offer in known.view.offers):
                del self._assets[did]

    async def plans(self, did: Did, subscriber: str) -> list[dict[str, Any]]:
        """The plans that open the asset now, as JSON values, with the call that buys each. Amounts are strings."""
        view, now = await self.describe(did), int(self.now())
        rows = []
        for offer in view.offers:
            rule = offer.offer.rule_at(now)
            if rule is not None:
                rows.append((rule[1], self._plan_json(offer, rule, subscriber)))
        return [row for _, row in sorted(rows, key=lambda pair: pair[0])]

    def _plan_json(self, way: OfferView, rule: tuple[int, int], subscriber: str) -> dict[str, Any]:
        plan, terms, registry = way.plan, way.plan.terms, self.deployment.plan_registry
        price = terms.due(1)
        call = self.deployment.plans.purchase(plan.plan_id, subscriber, 1, price, price if terms.is_native else 0)
        buy: dict[str, Any] = {
            "to": call.to,
            "value": str(call.value),
            "data": "0x" + call.data.hex(),
            "function": "purchase(bytes32,address,uint32,uint256)",
            "args": [str(plan.plan_id), subscriber, "1", str(price)],
        }
        if not terms.is_native and price:
            buy["first"] = {
                "to": terms.token,
                "function": "approve(address,uint256)",
                "args": [registry, str(price)],
                "data": "0x095ea7b3" + registry[2:].lower().rjust(64, "0") + f"{price:064x}",
            }
        return {
            "plan_id": str(plan.plan_id),
            "on_sale": plan.on_sale,
            "price": str(price),
            "token": None if terms.is_native else terms.token,
            "credits_per_unit": terms.credits_per_unit,
            "duration": terms.duration,
            "min_credits": rule[0],
            "max_credits": rule[1],
            "voucher_required": terms.voucher_required,
            "chain_id": self.chain.chain_id,
            "contract": registry,
            "purchase": buy,
        }


_PLAN_EVENTS = frozenset({"SalesPaused", "PlanRetired", "PlanTransferred"})
_ACCOUNT_EVENTS = frozenset({"Purchased", "Granted", "CreditsExpired", "Shortfall", "RefundAnnounced", "Refunded"})
_ZERO = "0x" + 40 * "0"


def _accounts(events: Iterable[Event]) -> Iterable[AccountId]:
    """Accounts that the events have changed."""
    for event in events:
        if event.name in _ACCOUNT_EVENTS:
            yield AccountId(event.args["planId"], _account(event.args["subscriber"]))
        elif event.name == "TransferSingle":
            plan = int(event.args["id"]).to_bytes(32)
            for side in ("from", "to"):
                if event.args[side] != _ZERO:
                    yield AccountId(plan, _account(event.args[side]))


def _serves(view: AssetView, node: str, now: float) -> bool:
    return any(one.node.account == node and now < one.until for one in view.nodes)


def _ways(view: AssetView, node: str, now: float) -> tuple[Way, ...]:
    if not view.asset.active or not _serves(view, node, now):
        return ()
    ways = []
    for one in view.offers:
        rule = one.offer.rule_at(int(now))
        if rule is not None:
            terms = one.plan.terms
            ways.append(Way(one.plan.plan_id.value, *rule, terms.credits_per_unit == 0, terms.voucher_required))
    return tuple(sorted(ways, key=lambda way: (way.max_credits, way.min_credits, way.plan)))


def _next_change(view: AssetView, now: float) -> float:
    """When time alone changes the ways; _NEVER if it doesn't."""
    times = [t for one in view.offers for t in (one.offer.effective_at, one.offer.closes_at)]
    times += [one.until for one in view.nodes]
    return min((t for t in times if now < t < FOREVER), default=_NEVER)


def _found(did: Did, view: AssetView | None) -> AssetView:
    if view is None:
        raise AssetNotFound(f"{did} is not registered on this node's chain.", param="model")
    return view


def _parts(accounts: list[AccountId]) -> Iterable[list[AccountId]]:
    return (accounts[i : i + READ_AT_ONCE] for i in range(0, len(accounts), READ_AT_ONCE))


def _hash(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _account(address: str) -> bytes:
    return bytes.fromhex(address[2:])
