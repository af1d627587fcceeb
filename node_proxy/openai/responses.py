"""`POST /v1/responses`: reserve, relay, charge. The end of an answer is held back until its charge is durable."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import orjson

from node_proxy.asgi import Exchange
from node_proxy.dialects import Answer
from node_proxy.errors import NodeError, ProviderGarbage
from node_proxy.openai.background import Background
from node_proxy.openai.calls import Access, Calls, credit_comment, credit_headers
from node_proxy.openai.history import History
from node_proxy.openai.metering import read_usage
from node_proxy.openai.request import Prepared, prepare
from node_proxy.openai.streaming import DrainOver, provider_error, read_to_the_end, relay
from node_proxy.openai.turn import Turn, needs_turn
from node_proxy.relay import sse
from node_proxy.relay.heartbeat import Heartbeat


class Responses:
    """The surface."""

    def __init__(self, calls: Calls, history: History, background: Background) -> None:
        self._calls = calls
        self._history = history
        self._background = background
        self._heartbeat = Heartbeat()

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/responses."""
        calls, settings = self._calls, self._calls.settings
        key = await calls.key(exchange)
        request = await exchange.json(settings.max_body_bytes, settings.body_timeout)
        did = await calls.resolve(request.get("model"), key)
        async with calls.access(key, did, request_id=exchange.id, facts=exchange.facts) as access:
            prepared = prepare(request, access.definition, name=access.name, safety_identifier=access.safety_identifier)
            if not needs_turn(prepared):
                await _Call(exchange, access, prepared, None, self._heartbeat, settings.drain_timeout).run()
                return
            async with AsyncExitStack() as stack:
                stack.push_async_exit(access.hand_over())
                turn = await stack.enter_async_context(self._history.turn(access, prepared))
                if prepared.background:
                    running = await self._background.start(access, prepared, turn, stack.pop_all())
                    await self._background.answer(exchange, running, stream=prepared.stream)
                else:
                    await _Call(exchange, access, prepared, turn, self._heartbeat, settings.drain_timeout).run()


class _Call:
    """One access: one answer, one charge at most."""

    __slots__ = ("_access", "_drain_timeout", "_exchange", "_face", "_heartbeat", "_prepared", "_turn")

    def __init__(
        self,
        exchange: Exchange,
        access: Access,
        prepared: Prepared,
        turn: Turn | None,
        heartbeat: Heartbeat,
        drain_timeout: float,
    ) -> None:
        self._exchange = exchange
        self._access = access
        self._prepared = prepared
        self._turn = turn
        self._heartbeat = heartbeat
        self._drain_timeout = drain_timeout
        self._face = access.face(prepared.echo)

    async def run(self) -> None:
        prepared, access, turn = self._prepared, self._access, self._turn
        try:
            if turn is None:
                asked = access.ask(prepared.body, caller_params=frozenset(prepared.caller_params))
            else:
                asked = turn.ask()
            async with asked as answer:
                if prepared.stream:
                    await self._stream(answer)
                else:
                    await self._whole(answer)
        except NodeError as error:
            access.ended(error.code)
            raise

    # --------------------------------------------------------------------------------------------------------- plain

    async def _whole(self, answer: Answer) -> None:
        value = await answer.json()
        status = value.get("status")
        if value.get("object") != "response" or status not in ("completed", "incomplete", "failed"):
            raise ProviderGarbage(
                "The assistant's provider didn't answer with a finished response. Nothing was charged."
            )
        shown = self._face.response(value)
        body = orjson.dumps(shown)
        exchange, access = self._exchange, self._access
        await exchange.promise(body)
        charge = None if status == "failed" else await access.charge(read_usage(value))
        if self._turn is not None:
            await self._turn.keep(shown, value)
        access.ended(status)
        await exchange.respond(200, body, headers=[*answer.headers, *credit_headers(charge)])

    # -------------------------------------------------------------------------------------------------------- stream

    async def _stream(self, answer: Answer) -> None:
        events = answer.events(self._face.again)
        exchange = self._exchange
        reserved = (b"x-nvm-credits-reserved", b"%d" % self._access.max_credits)
        await exchange.start_stream(sse.CONTENT_TYPE, headers=[*answer.headers, reserved])
        try:
            with self._heartbeat.on(exchange):
                last = await relay(events, exchange, self._face.wire, self._drain_timeout)
            await self._end(last)
            await read_to_the_end(events)
        except DrainOver:
            await self._access.charge_most()
        except NodeError as error:
            self._access.ended(error.code)
            await self._fail(error)

    async def _end(self, value: dict[str, Any]) -> None:
        kind: str = value["type"]
        if kind == "error":
            raise provider_error(value)
        response = value.get("response")
        if not isinstance(response, dict):
            raise ProviderGarbage("The assistant's provider sent a broken event. Nothing was charged.")
        shown = self._face.event(value)
        end = sse.event(kind, shown)
        exchange, access, charge = self._exchange, self._access, None
        await exchange.promise(end)
        if kind != "response.failed":
            charge = await access.charge(read_usage(response), hung_up=exchange.gone)
        if self._turn is not None and shown is not None:
            await self._turn.keep(shown["response"], response)
        access.ended(kind.removeprefix("response."))
        await exchange.finish(credit_comment(charge) + end)

    async def _fail(self, error: NodeError) -> None:
        """The stream has begun, so the error is its last event."""
        shown = {"type": "error", "code": error.code, "message": error.message, "param": error.param}
        self._exchange.facts["error"] = error.code
        if self._turn is not None:
            await self._turn.end()  # before the caller can try again
        await self._exchange.finish(credit_comment(None) + sse.event("error", self._face.numbered(shown)))
