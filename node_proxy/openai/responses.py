"""`POST /v1/responses`: reserve, relay, charge. The end of an answer is held back until its charge is durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson

from node_proxy.access.keys import ApiKey, Keys
from node_proxy.admission import Admission, Reservation
from node_proxy.asgi import Exchange
from node_proxy.assets import Assets, Assistant
from node_proxy.config import Settings
from node_proxy.errors import (
    AssetUnusable,
    NodeError,
    ProviderGarbage,
    TooManyRequests,
)
from node_proxy.ledger.base import Charge
from node_proxy.metrics import Metrics
from node_proxy.openai.face import TERMINAL, Face
from node_proxy.openai.ids import IdMap, safety_identifier
from node_proxy.openai.metering import read_usage
from node_proxy.openai.request import Prepared, prepare
from node_proxy.pricing import USAGE_MISSING, Usage, price
from node_proxy.relay import sse
from node_proxy.relay.heartbeat import Heartbeat
from node_proxy.relay.provider import ProviderAnswer, ProviderCall, ProviderClient, classify

HUNG_UP = "hung_up"
"""Flag of a charge whose caller closed the connection before the end."""

_CHARGED = frozenset({"completed", "incomplete"})
_TAIL_SECONDS = 0.5
_DIALECTS = frozenset({"responses", "responses-stateless"})


class Responses:
    """The surface. secret: what public ids are keyed with."""

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
        self._settings = settings
        self._keys = keys
        self._assets = assets
        self._admission = admission
        self._provider = provider
        self._metrics = metrics
        self._secret = secret
        self._heartbeat = Heartbeat()
        self._running: dict[str, int] = {}
        self._total = 0

    @property
    def running(self) -> int:
        """Calls in flight."""
        return self._total

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/responses."""
        exchange.facts["charged"] = 0
        key = self._keys.verify(exchange.bearer())
        exchange.facts["key"] = key.id
        request = await exchange.json(self._settings.max_body_bytes, self._settings.body_timeout)
        did = await self._assets.resolve(request.get("model"), key)
        exchange.facts["did"] = str(did)
        with self._slot(key):
            async with await self._admission.reserve(
                subscriber=key.subscriber, did=did, key=key, request_id=exchange.id
            ) as reservation:
                assistant = await self._assets.open(did)
                call = _Call(self, exchange, key, assistant, reservation, request)
                await call.run()

    @contextmanager
    def _slot(self, key: ApiKey) -> Iterator[None]:
        """A place among the calls in flight. Raises TooManyRequests."""
        mine = self._running.get(key.id, 0)
        if mine >= self._settings.max_calls_per_key:
            raise TooManyRequests(
                f"{mine} calls of this API key are running already; wait for one to end.", retry_after=1
            )
        if self._total >= self._settings.max_calls:
            raise TooManyRequests("The node is busy; try again in a moment.", retry_after=1)
        self._running[key.id] = mine + 1
        self._total += 1
        self._metrics.calls.set(self._total)
        try:
            yield
        finally:
            self._total -= 1
            self._metrics.calls.set(self._total)
            if self._running[key.id] == 1:
                del self._running[key.id]
            else:
                self._running[key.id] -= 1


class _Call:
    """One access: one answer, one charge at most."""

    def __init__(
        self,
        surface: Responses,
        exchange: Exchange,
        key: ApiKey,
        assistant: Assistant,
        reservation: Reservation,
        request: dict[str, Any],
    ) -> None:
        definition, secret = assistant.definition, surface._secret
        if definition.dialect not in _DIALECTS:
            raise AssetUnusable(
                f"This assistant's provider speaks {definition.dialect}, which this node doesn't relay yet."
            )
        self._settings = surface._settings
        self._metrics = surface._metrics
        self._provider = surface._provider
        self._heartbeat = surface._heartbeat
        self._exchange = exchange
        self._pricing = definition.pricing
        self._reservation = reservation
        self._prepared: Prepared = prepare(
            request,
            definition,
            name=str(assistant.did),
            safety_identifier=safety_identifier(secret, assistant.owner, key.subscriber),
        )
        self._face = Face(IdMap(secret, assistant.owner, key.subscriber), str(assistant.did), self._prepared.echo)
        self._call = ProviderCall(
            base_url=definition.base_url,
            path="/responses",
            key=definition.api_key,
            body=orjson.dumps(self._prepared.body),
            caller_params=frozenset(self._prepared.caller_params),
        )

    async def run(self) -> None:
        try:
            began = time.perf_counter()
            async with self._provider.post(self._call) as answer:
                self._metrics.first.observe(time.perf_counter() - began)
                if answer.request_id:
                    self._exchange.facts["provider_request"] = answer.request_id
                if self._prepared.stream:
                    await self._stream(answer)
                else:
                    await self._whole(answer)
        except NodeError as error:
            self._metrics.outcomes.labels(error.code).inc()
            raise

    # --------------------------------------------------------------------------------------------------------- plain

    async def _whole(self, answer: ProviderAnswer) -> None:
        value = await answer.json()
        status = value.get("status")
        if value.get("object") != "response" or status not in ("completed", "incomplete", "failed"):
            raise ProviderGarbage(
                "The assistant's provider didn't answer with a finished response. Nothing was charged."
            )
        shown = orjson.dumps(self._face.response(value))
        charge = await self._charge(value) if status in _CHARGED else None
        self._metrics.outcomes.labels(str(status)).inc()
        await self._exchange.respond(200, shown, headers=[*answer.headers, *credit_headers(charge)])

    # -------------------------------------------------------------------------------------------------------- stream

    async def _stream(self, answer: ProviderAnswer) -> None:
        events = answer.events()
        exchange = self._exchange
        reserved = (b"x-nvm-credits-reserved", b"%d" % self._reservation.max_credits)
        await exchange.start_stream(sse.CONTENT_TYPE, headers=[*answer.headers, reserved])
        try:
            with self._heartbeat.on(exchange):
                kind, last = await self._relay_all(events)
            await self._end(kind, last)
            await _read_to_the_end(events)
        except _DrainOver:
            # The caller left and the provider is still at work: what it will have used isn't known, so it is the most
            # that was reserved. Anything less could be had by hanging up in time.
            await self._capture(self._reservation.max_credits, None, frozenset({HUNG_UP, USAGE_MISSING}))
        except NodeError as error:
            self._metrics.outcomes.labels(error.code).inc()
            await self._fail(error)

    async def _relay_all(self, events: AsyncIterator[list[sse.Event]]) -> tuple[str, dict[str, Any]]:
        """Relays up to the event that ends the stream, which it gives back. Raises ProviderError, _DrainOver."""
        loop, relaying = asyncio.get_running_loop(), True

        def left() -> None:
            if relaying:
                bound.reschedule(loop.time() + self._settings.drain_timeout)

        try:
            async with asyncio.timeout(None) as bound:
                self._exchange.on_gone(left)
                async for group in events:
                    last = await self._relay(group)
                    if last is not None:
                        return last
        except TimeoutError:
            raise _DrainOver from None
        finally:
            relaying = False
        raise ProviderGarbage("The assistant's provider broke off before the end of its answer. Nothing was charged.")

    async def _relay(self, group: list[sse.Event]) -> tuple[str, dict[str, Any]] | None:
        """Passes events on at once, except the one that ends the stream: that is given back."""
        out: list[bytes] = []
        for event in group:
            if event.data == b"[DONE]":
                continue
            try:
                value = orjson.loads(event.data)
                kind = str(value["type"])
            except (orjson.JSONDecodeError, KeyError, TypeError):
                raise ProviderGarbage("The assistant's provider sent a broken event. Nothing was charged.") from None
            if kind in TERMINAL or kind == "error":
                if out:
                    await self._exchange.write(b"".join(out))
                return kind, value
            if not self._exchange.gone:
                shown = self._face.event(value)
                if shown is not None:
                    out.append(sse.event(kind, shown))
        if out:
            await self._exchange.write(b"".join(out))
        return None

    async def _end(self, kind: str, value: dict[str, Any]) -> None:
        if kind == "error":
            raise _provider_error(value)
        response = value.get("response")
        if not isinstance(response, dict):
            raise ProviderGarbage("The assistant's provider sent a broken event. Nothing was charged.")
        charge = None if kind == "response.failed" else await self._charge(response)
        self._metrics.outcomes.labels(kind.removeprefix("response.")).inc()
        shown = self._face.event(value)
        await self._exchange.write(credit_comment(charge) + sse.event(kind, shown))
        await self._exchange.finish()

    async def _fail(self, error: NodeError) -> None:
        """The stream has begun, so the error is its last event."""
        shown = {"type": "error", "code": error.code, "message": error.message, "param": error.param}
        self._exchange.facts["error"] = error.code
        await self._exchange.write(credit_comment(None) + sse.event("error", self._face.numbered(shown)))
        await self._exchange.finish()

    # -------------------------------------------------------------------------------------------------------- charge

    async def _charge(self, response: dict[str, Any]) -> Charge:
        usage, held = read_usage(response), self._reservation
        credits, flags = price(usage, self._pricing, held.min_credits, held.max_credits)
        return await self._capture(credits, usage, flags | {HUNG_UP} if self._exchange.gone else flags)

    async def _capture(self, credits: int, usage: Usage | None, flags: frozenset[str]) -> Charge:
        charge = await asyncio.shield(self._reservation.capture(credits, usage, flags=flags))
        facts, metrics = self._exchange.facts, self._metrics
        facts |= {"charged": charge.credits, "left": charge.credits_left, "charge": charge.id}
        metrics.credits.inc(charge.credits)
        if usage is not None:
            metrics.tokens.labels("input").inc(usage.input_tokens)
            metrics.tokens.labels("output").inc(usage.output_tokens)
        return charge


class _DrainOver(Exception):
    """The client hung up, and the provider didn't come to its end in the time that it was given then."""


async def _read_to_the_end(events: AsyncIterator[list[sse.Event]]) -> None:
    """Reads what little follows the last event, so that the connection to the provider can be used again."""
    with suppress(TimeoutError, NodeError):
        async with asyncio.timeout(_TAIL_SECONDS):
            async for _ in events:
                pass


def _provider_error(value: dict[str, Any]) -> NodeError:
    """An `error` event in our words."""
    nested = value.get("error")
    fields = nested if isinstance(nested, dict) else value
    code, kind = (text if isinstance(text := fields.get(name), str) else "" for name in ("code", "type"))
    status = 429 if "rate_limit" in code or "rate_limit" in kind else 500
    return classify(status, code, kind, "", {}, frozenset())


def credit_headers(charge: Charge | None) -> list[tuple[bytes, bytes]]:
    """What the call cost. Credits left under the plan that paid, as far as this node knows."""
    if charge is None:
        return [(b"x-nvm-credits-charged", b"0")]
    return [(b"x-nvm-credits-charged", b"%d" % charge.credits), (b"x-nvm-credits-left", b"%d" % charge.credits_left)]


def credit_comment(charge: Charge | None) -> bytes:
    """The same in a stream, where headers are long gone: comment lines, which clients ignore."""
    return b"".join(b": %b: %b\n" % header for header in credit_headers(charge)) + b"\n"
