"""Everything that a running node holds open, opened and closed in one place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from node_proxy import identity as identities
from node_proxy import logs
from node_proxy.access.adopt import adopt
from node_proxy.access.guesses import Guesses, client_of
from node_proxy.access.keys import Keys
from node_proxy.access.login import Login
from node_proxy.access.sessions import Sessions
from node_proxy.access.store import AccessStore
from node_proxy.admission import Admission, admits
from node_proxy.answers import Answers
from node_proxy.asgi import Exchange
from node_proxy.assets import Assets
from node_proxy.config import Settings
from node_proxy.errors import ChainTooStale, NodeError
from node_proxy.identity import Identity
from node_proxy.kept import Kept
from node_proxy.keyring import Keyring
from node_proxy.ledger import Ledger, open_ledger
from node_proxy.ledger.base import AccountId, LedgerFailed
from node_proxy.metrics import Metrics
from node_proxy.openai.assistants_api.runner import Runner
from node_proxy.openai.background import Background
from node_proxy.openai.calls import Calls
from node_proxy.openai.files import Files
from node_proxy.openai.history import History
from node_proxy.openai.objects import Objects
from node_proxy.openai.responses import Responses
from node_proxy.records import ChainRecords
from node_proxy.relay.provider import ProviderClient, open_provider_client
from node_proxy.settlement import Settlement, Status, Thresholds
from node_proxy.storage import Database, StorageFailed, open_database
from node_proxy.telemetry import Telemetry
from node_proxy.watcher import ChainView
from nvm_chain.abi import Abi
from nvm_chain.chain import Chain, open_chain
from nvm_chain.deployments import Deployment, check_deployed
from nvm_chain.did import Did
from nvm_chain.errors import NvmError
from nvm_chain.ipfs import BlockSource, Gateway, open_store, open_stores

log = logs.get("services")

MAX_PLANS_SHOWN = 200
HOUSEKEEPING_SECONDS = 15.0
_LATER_SECONDS = 2.0


@dataclass
class Services:
    """What the pages use. stopping: set when the node takes no new calls. settling: how settlement stood lately."""

    settings: Settings
    identity: Identity
    origin: str
    chain: Chain
    deployment: Deployment
    store: BlockSource
    ledger: Ledger
    database: Database
    view: ChainView
    records: ChainRecords
    keyring: Keyring
    assets: Assets
    admission: Admission
    settlement: Settlement
    keys: Keys
    login: Login
    sessions: Sessions
    calls: Calls
    objects: Objects
    history: History
    background: Background
    runner: Runner
    responses: Responses
    answers: Answers
    metrics: Metrics
    telemetry: Telemetry | None = None
    stopping: bool = False
    settling: Status | None = None
    guesses: Guesses = field(default_factory=Guesses)
    started: float = field(default_factory=time.time)

    def client(self, exchange: Exchange) -> str:
        """Whose request it is: an address."""
        return client_of(exchange.client, exchange.forwarded, self.settings.trusted_proxies)

    def guessed(self, exchange: Exchange) -> None:
        """Counts a key, session or login that was none. Who sends many of them has to wait."""
        self.guesses.failed(self.client(exchange))

    async def key_spent(self, key_id: str) -> int:
        """Credits charged through an API key so far."""
        return await self.ledger.key_spent(key_id)

    async def look(self) -> None:
        """Notes how settlement stands. Raises NvmError."""
        before, self.settling = self.settling, await self.settlement.status()
        was_low, now = before is not None and before.low, self.settling
        if now.low and not was_low:
            log.warning("settlement.signer_low", signer=now.signer, balance=str(now.balance), runway=now.runway)
        elif was_low and not now.low:
            log.info("settlement.signer_filled", signer=now.signer, balance=str(now.balance), runway=now.runway)

    async def opens(self, subscriber: str, did: Did) -> bool:
        """Whether a plan of the wallet opens the assistant now."""
        try:
            ways = await self.view.ways(did)
        except (NodeError, NvmError):
            return False
        now = self.view.now()
        for way in ways:
            who = AccountId(way.plan, bytes.fromhex(subscriber[2:]))
            if admits(way, await self.ledger.standing(who), now):
                return True
            if (await self.ledger.standing(who)).snapshot is None:
                with suppress(NvmError):
                    await self.view.read([who])
                if admits(way, await self.ledger.standing(who), now):
                    return True
        return False

    async def standing(self, subscriber: str) -> dict[str, Any]:
        """What the wallet holds under every plan that opens an assistant of this node. Raises ChainTooStale."""
        holder = bytes.fromhex(subscriber[2:])
        plans: dict[bytes, list[Did]] = {}
        signed: set[bytes] = set()
        with suppress(NvmError):  # then what is known is shown, with its age
            await self.view.refresh()
        try:
            for did in await self.records.served():
                with suppress(NodeError):
                    for way in await self.view.ways(did):
                        plans.setdefault(way.plan, []).append(did)
                        if way.voucher_required:
                            signed.add(way.plan)
            accounts = [AccountId(plan, holder) for plan in list(plans)[:MAX_PLANS_SHOWN]]
            unread = [who for who in accounts if (await self.ledger.standing(who)).snapshot is None]
            if unread:
                await self.view.read(unread)
        except NvmError as error:
            raise ChainTooStale(
                "The node can't reach the chain to look your plans up. Try again in a moment.", retry_after=5
            ) from error
        rows = []
        for who in accounts:
            standing = await self.ledger.standing(who)
            snapshot = standing.snapshot
            if snapshot is None or not (snapshot.balance or snapshot.consumed or snapshot.units or snapshot.expiry):
                continue
            voucher = await self.ledger.voucher(who) if who.plan in signed else None
            left = standing.under(await self.admission.ceiling(standing)) if who.plan in signed else standing.spendable
            rows.append(
                {
                    "plan_id": "0x" + who.plan.hex(),
                    "balance": snapshot.balance,
                    "charged_not_settled": standing.captured,
                    "reserved": standing.reserved,
                    "credits_left": left,
                    "voucher_required": who.plan in signed,
                    "voucher_ceiling": None if voucher is None else str(voucher.ceiling),
                    "expires_at": snapshot.expiry or None,
                    "assistants": [str(did) for did in plans[who.plan]],
                }
            )
        return {"block": self.view.block, "chain_age_seconds": _age(self.view.age), "plans": rows}


def _age(seconds: float) -> float | None:
    return round(seconds, 3) if seconds < float("inf") else None


@asynccontextmanager
async def open_services(settings: Settings, origin: str) -> AsyncIterator[Services]:
    """Opens everything and starts what runs in the background. origin: base URL that clients use.

    Raises ConfigInvalid, ChainUnavailable (no chain, another chain, no contracts), LedgerInUse, LedgerFailed,
    StorageFailed.
    """
    identity = identities.load(settings)
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings.ledger, serving=True))
        database = await stack.enter_async_context(open_database(settings.database))
        if settings.ledger_file is None:
            await adopt(AccessStore(database), settings.access_file)
        chain = await stack.enter_async_context(open_chain(settings.rpc_url, settings.chain_id))
        deployment = load_deployment(settings)
        await check_deployed(chain, deployment)
        store = await stack.enter_async_context(block_source(settings))
        provider = await stack.enter_async_context(open_provider_client(settings))
        view = ChainView(chain, deployment, ledger, identity.address, max_head_age=settings.max_head_age)
        await view.start()
        stack.push_async_callback(view.stop)
        services = _assemble(settings, identity, origin, chain, deployment, ledger, database, view, store, provider)
        if settings.telemetry is not None:
            services.telemetry = Telemetry(settings.telemetry, identity.address)
            stack.push_async_callback(services.telemetry.close)
            services.telemetry.watch(services)
        with suppress(NvmError):
            await view.refresh()
        for work in _background(services):
            stack.push_async_callback(_end, asyncio.create_task(work))
        stack.push_async_callback(services.runner.stop)
        stack.push_async_callback(services.background.close)
        log.info("node.opened", node=identity.address, chain=chain.chain_id, block=view.block)
        yield services


def _assemble(
    settings: Settings,
    identity: Identity,
    origin: str,
    chain: Chain,
    deployment: Deployment,
    ledger: Ledger,
    database: Database,
    view: ChainView,
    store: BlockSource,
    provider: ProviderClient,
) -> Services:
    metrics, access = Metrics(), AccessStore(database)
    records = ChainRecords(view, access, identity, from_block=settings.from_block or deployment.block)
    keyring = Keyring(records, chain, deployment, identity, settings)
    assets = Assets(
        keyring,
        store,
        chain_id=chain.chain_id,
        registry=deployment.asset_registry,
        node=identity.address,
        ttl=settings.asset_ttl,
        size=settings.asset_cache,
    )
    keys = Keys(access, identity.secret)
    admission = Admission(ledger, view, max_age=settings.max_chain_age, max_rereads=settings.max_rereads)
    validator = Abi.of("SignatureValidator")

    async def validate(signer: str, digest: bytes, signature: bytes) -> bool:
        call = validator.call(deployment.signature_validator, "isValidSignature", signer, digest, signature)
        return bool(await chain.call(call))

    calls = Calls(
        settings=settings,
        keys=keys,
        assets=assets,
        admission=admission,
        provider=provider,
        metrics=metrics,
        secret=identity.secret,
    )
    objects = Objects(database, identity.secret)
    history = History(calls, objects, Files(calls, objects), settings.keep_days * 86_400)
    background = Background(calls, objects, history)
    metrics.gauge("nvm_chain_age_seconds", "Since the chain's head was last seen", lambda: view.age)
    metrics.gauge("nvm_chain_block", "Last block worked in", lambda: view.block or 0)
    metrics.gauge("nvm_definitions_in_memory", "Opened definitions", lambda: assets.open_count)
    services = Services(
        settings=settings,
        identity=identity,
        origin=origin,
        chain=chain,
        deployment=deployment,
        store=store,
        ledger=ledger,
        database=database,
        view=view,
        records=records,
        keyring=keyring,
        assets=assets,
        admission=admission,
        settlement=Settlement(ledger, view, identity.wallet, thresholds(settings)),
        keys=keys,
        login=Login(
            access,
            identity.secret,
            origin=origin,
            chain_id=chain.chain_id,
            window=settings.login_window,
            validate=validate,
        ),
        sessions=Sessions(access, identity.secret, origin=origin),
        calls=calls,
        objects=objects,
        history=history,
        background=background,
        runner=Runner(calls, objects, history.files.attach),
        responses=Responses(calls, history, background),
        answers=Answers(Kept(database, identity.secret), keys, ledger, settings),
        metrics=metrics,
    )
    _settlement_gauges(services)
    return services


def _settlement_gauges(services: Services) -> None:
    def read(of: Callable[[Status], float]) -> Callable[[], float]:
        return lambda: float("nan") if services.settling is None else of(services.settling)

    gauge = services.metrics.gauge
    gauge("nvm_settlement_waiting_calls", "Calls in no batch yet", read(lambda s: sum(b.calls for b in s.backlog)))
    gauge("nvm_settlement_waiting_credits", "Their credits", read(lambda s: sum(b.credits for b in s.backlog)))
    gauge("nvm_settlement_open_batches", "Batches that aren't final yet", read(lambda s: len(s.open)))
    gauge("nvm_settlement_parked_batches", "Batches set aside for the operator", read(lambda s: len(s.parked)))
    gauge("nvm_settlement_problems", "What keeps something from settling", read(lambda s: len(s.problems)))
    gauge("nvm_settlement_signer_low", "1 while the signer needs money soon", read(lambda s: float(s.low)))
    gauge("nvm_settlement_runway", "Settlements that the signer's balance pays for", read(lambda s: s.runway))


def load_deployment(settings: Settings) -> Deployment:
    """The contracts' addresses. Raises InvalidInput."""
    return Deployment.standard() if settings.deployment is None else Deployment.load(settings.deployment)


def thresholds(settings: Settings) -> Thresholds:
    """When to settle."""
    return Thresholds(
        min_calls=settings.settle_min_calls,
        min_credits=settings.settle_min_credits,
        max_age=settings.settle_max_age,
        max_entries=settings.settle_max_entries,
        confirmations=settings.confirmations,
        stuck_after=settings.settle_stuck_after,
    )


def block_source(settings: Settings) -> BlockSource:
    """Where metadata is read: the store and the gateways behind it. Raises InvalidInput."""
    url = settings.store or f"file://{(settings.folder / 'blocks').resolve()}"
    store = open_store(url)
    if isinstance(store, Gateway):
        return store
    return open_stores(url, (), settings.gateways)


def _background(services: Services) -> list[Coroutine[Any, Any, None]]:
    settings = services.settings
    return [
        services.view.run(settings.poll_interval),
        services.settlement.run(settings.settle_interval),
        _housekeeping(services),
        _load_the_rest(),
    ]


async def _load_the_rest() -> None:
    """What signs and opens takes as long to load as everything else: not before the first answer, nor in a call."""
    await asyncio.sleep(_LATER_SECONDS)
    for module in ("ecies", "eth_account"):
        await asyncio.to_thread(import_module, module)


async def _housekeeping(services: Services) -> None:
    """Looks for new own assistants and at settlement, drops definitions that nobody uses."""
    while True:
        services.assets.sweep()
        chores: list[Callable[[], Awaitable[object]]] = [
            *(services.assets.close_retired, services.keys.note_uses, services.records.search, services.look),
            *(services.answers.sweep, services.objects.sweep),
        ]
        for chore in chores:
            try:
                await chore()
            except (NvmError, NodeError, LedgerFailed, StorageFailed) as error:
                log.debug("housekeeping.delayed", error=str(error))
            except Exception:  # a full disk, say: one chore that fails must not end them all for ever
                log.exception("housekeeping.failed")
        await asyncio.sleep(HOUSEKEEPING_SECONDS)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
