"""One access of one assistant: who asks, what is held for it, the question to the provider, the one charge.

    key = await calls.key(exchange)
    did = await calls.resolve(request.get("model"), key)
    async with calls.access(key, did, request_id=exchange.id, facts=exchange.facts) as access:
        async with access.ask(body, caller_params=frozenset({"input"})) as answer:
            response = await answer.json()
        charge = await access.charge(read_usage(response))      # durable; now the end of the answer may be shown

Every surface runs its accesses through here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from node_proxy import dialects
from node_proxy.access.keys import ApiKey, Keys
from node_proxy.admission import Admission, Reservation
from node_proxy.asgi import Exchange
from node_proxy.assets import Assets, Assistant
from node_proxy.config import Settings
from node_proxy.dialects import Answer
from node_proxy.errors import ProviderError, failure_kind
from node_proxy.ledger.base import Charge
from node_proxy.limits import Limits
from node_proxy.metrics import Metrics
from node_proxy.openai.face import Face
from node_proxy.openai.ids import IdMap, safety_identifier
from node_proxy.openai.upstream import keeps_state
from node_proxy.pricing import USAGE_MISSING, Usage, micro_credits, price
from node_proxy.relay.provider import ProviderClient
from nvm_chain.definition import Definition
from nvm_chain.did import Did
from nvm_chain.pricing import MICRO

HUNG_UP = "hung_up"
"""Flag of a charge whose caller closed the connection before the end."""

Json = dict[str, Any]


class Calls:
    """Runs accesses. secret: the node's, which public ids are keyed with."""

    def __init__(
        self,
        *,
        settings: Settings,
        keys: Keys,
        assets: Assets,
        admission: Admission,
        provider: ProviderClient,
        metrics: Metrics,
        secret: bytes,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.provider = provider
        self.secret = secret
        self._keys = keys
        self._assets = assets
        self._admission = admission
        self._limits = Limits(settings)
        metrics.gauge("nvm_calls_in_flight", "Calls of assistants that are running", lambda: self.running)

    @property
    def running(self) -> int:
        """Accesses in flight."""
        return self._limits.running

    async def key(self, exchange: Exchange) -> ApiKey:
        """The caller's key. Raises KeyMissing, KeyInvalid, KeyRevoked, KeyExpired (401)."""
        exchange.facts["charged"] = 0
        token = exchange.bearer()
        key = self._keys.remembered(token) or await self._keys.verify(token)
        exchange.facts["key"] = key.id
        return key

    def resolve(self, name: object, key: ApiKey) -> Coroutine[Any, Any, Did]:
        """The assistant that `model` or `assistant_id` names: a DID, an `asst_…` id, or implied by the key.

        Raises InvalidValue (400), NotYours (403), AssetNotFound (404), ChainTooStale (503).
        """
        return self._assets.resolve(name, key)

    def open(self, did: Did) -> Coroutine[Any, Any, Assistant]:
        """The assistant as its builder defined it last. Raises AssetNotFound, AssetUnusable, Unavailable."""
        return self._assets.open(did)

    def access(self, key: ApiKey, did: Did, *, request_id: str, facts: dict[str, Any]) -> Access:
        """An access, to be entered.

        request_id: what the charge is filed under. facts: what the log says of the request; grows with the access.
        """
        return Access(self, key, did, request_id, facts)


class Access:
    """One access that is paid for: as many questions to the provider as its surface needs, one charge at most.

    Entering it takes a place among the calls in flight, holds credits and opens the assistant; leaving it gives back
    what wasn't charged. Entering raises TooManyRequests (429), PaymentRequired in its kinds (402), AssetNotFound (404),
    AssetUnusable, ChainTooStale, LedgerUnavailable (503).

    definition: what the builder sealed; nothing of it may reach the caller. ids: maps the provider's ids to this
    subscriber's. name: the DID as a text. safety_identifier: what the provider knows the subscriber by. facts: see
    `Calls.access`. All but did, key and facts are there once it was entered.
    """

    __slots__ = (
        *("_calls", "_entered", "_handed_over", "_held", "_request_id", "_reservation"),
        *("assistant", "definition", "did", "facts", "ids", "key", "name", "safety_identifier"),
    )
    assistant: Assistant
    definition: Definition
    ids: IdMap
    name: str
    safety_identifier: str
    _reservation: Reservation

    def __init__(self, calls: Calls, key: ApiKey, did: Did, request_id: str, facts: dict[str, Any]) -> None:
        self._calls = calls
        self._request_id = request_id
        self._held = self._entered = self._handed_over = False
        self.key = key
        self.did = did
        self.facts = facts

    async def __aenter__(self) -> Access:
        calls, key, did = self._calls, self.key, self.did
        self.name = self.facts["did"] = str(did)
        limits, secret, subscriber = calls._limits, calls.secret, key.subscriber
        limits.ask(key)
        try:
            self._reservation = await calls._admission.reserve(
                subscriber=subscriber, did=did, key=key, request_id=self._request_id
            )
            self._held = True
            limits.enter()
            self._entered = True
            assets = calls._assets
            assistant = self.assistant = assets.opened(did) or await assets.open(did)
            definition, owner = assistant.definition, assistant.owner
            self.definition = definition
            self.ids = IdMap(secret, owner, subscriber, forgetful=not keeps_state(definition))
            self.safety_identifier = safety_identifier(secret, owner, subscriber)
            return self
        except BaseException:
            await self._leave()
            raise

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        return _nothing() if self._handed_over else self._leave()

    async def _leave(self) -> None:
        try:
            if self._held:
                await self._reservation.release()
        finally:
            self._calls._limits.leave(self.key, entered=self._entered)

    def hand_over(self) -> Callable[..., Coroutine[Any, Any, None]]:
        """The end of this block, for somebody else's stack of exits: leaving it here does nothing any more."""
        self._handed_over = True
        return lambda *_: self._leave()

    @property
    def max_credits(self) -> int:
        """What is held for the access, the most that it can cost."""
        return self._reservation.way.max_credits

    def face(self, echo: Mapping[str, Any]) -> Face:
        """Shows one response. echo: its members that repeat what the caller asked for."""
        return Face(self.ids, self.name, echo)

    def ask(self, body: Json, *, caller_params: frozenset[str] = frozenset()) -> AbstractAsyncContextManager[Answer]:
        """Asks the provider; its answer is read inside the block.

        body: a Responses request in provider form, `stream` inside it. caller_params: names of its members whose faults
        are the caller's. Raises BadRequest for what the provider's dialect can't say, AssetUnusable where it can't say
        what the builder set up, ProviderError in its kinds.
        """
        body["safety_identifier"] = self.safety_identifier
        asked = dialects.ask(self._calls.provider, self.definition, body, caller_params=caller_params)
        return _Asking(asked, self.facts, self._calls.metrics)

    def charge(self, usage: Usage | None, *, hung_up: bool = False) -> Coroutine[Any, Any, Charge]:
        """Charges what was used, priced within the offer; durable when it was awaited. Once per access.

        usage: over all questions of the access; None where the provider didn't say. Raises LedgerUnavailable.
        """
        way = self._reservation.way
        credits, flags = price(usage, self.definition.pricing, way.min_credits, way.max_credits)
        return self._capture(credits, usage, flags | {HUNG_UP} if hung_up else flags)

    def used_up(self, usage: Usage) -> bool:
        """Whether what was used is worth all that the access may cost: anything more would be free."""
        pricing, way = self.definition.pricing, self._reservation.way
        by_tokens = pricing.mode == "tokens" and way.min_credits < way.max_credits
        return by_tokens and micro_credits(usage, pricing) >= way.max_credits * MICRO

    async def charge_most(self) -> Charge:
        """Charges all that is held: the caller left, and what the provider will have used isn't known.

        Anything less could be had by hanging up in time. A fixed price stays what it is. Durable when it returns.
        Raises LedgerUnavailable.
        """
        if self.definition.pricing.mode == "fixed":
            return await self.charge(None, hung_up=True)
        return await self._capture(self.max_credits, None, frozenset({HUNG_UP, USAGE_MISSING}))

    async def _capture(self, credits: int, usage: Usage | None, flags: frozenset[str]) -> Charge:
        charge = await self._reservation.capture(credits, usage, flags=flags)
        self._held = False
        facts, metrics = self.facts, self._calls.metrics
        facts["charge"], facts["charged"], facts["left"] = charge
        metrics.credits.value += charge.credits
        if usage is not None:
            metrics.input_tokens.value += usage.input_tokens
            metrics.output_tokens.value += usage.output_tokens
        return charge

    def ended(self, outcome: str) -> None:
        """Counts how a question ended: a response's status, or an error's code."""
        self._calls.metrics.outcomes.labels(outcome).inc()


class _Asking:
    """A question on its way: notes when its answer began and what the provider calls it, and counts refusals."""

    __slots__ = ("_asked", "_facts", "_metrics")

    def __init__(self, asked: AbstractAsyncContextManager[Answer], facts: dict[str, Any], metrics: Metrics) -> None:
        self._asked = asked
        self._facts = facts
        self._metrics = metrics

    async def __aenter__(self) -> Answer:
        began = time.perf_counter()
        try:
            answer = await self._asked.__aenter__()
        except ProviderError as error:
            self._failed(error)
            raise
        self._metrics.first.observe(time.perf_counter() - began)
        if answer.request_id:
            self._facts["provider_request"] = answer.request_id
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if isinstance(error, ProviderError):
            self._failed(error)
        return await self._asked.__aexit__(kind, error, trace)

    def _failed(self, error: ProviderError) -> None:
        self._metrics.failures.labels(failure_kind(error)).inc()


async def _nothing() -> None:
    """For a block that somebody else leaves."""


def credit_headers(charge: Charge | None) -> list[tuple[bytes, bytes]]:
    """What the call cost. Credits left under the plan that paid, as far as this node knows."""
    if charge is None:
        return [(b"x-nvm-credits-charged", b"0")]
    return [(b"x-nvm-credits-charged", b"%d" % charge.credits), (b"x-nvm-credits-left", b"%d" % charge.credits_left)]


def credit_comment(charge: Charge | None) -> bytes:
    """The same in a stream, where headers are long gone: comment lines, which clients ignore."""
    return b"".join([b": %b: %b\n" % header for header in credit_headers(charge)]) + b"\n"
