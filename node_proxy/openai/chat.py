"""`POST /v1/chat/completions`: one access, plain or streamed, and the completions that are kept for `store: true`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from node_proxy import logs
from node_proxy.asgi import Exchange
from node_proxy.dialects import Answer
from node_proxy.errors import NodeError
from node_proxy.ledger.base import Charge
from node_proxy.openai.calls import Access, Calls, credit_comment, credit_headers
from node_proxy.openai.chat_face import Chunks, completion
from node_proxy.openai.chat_request import Asked, translate
from node_proxy.openai.chat_store import ChatStore
from node_proxy.openai.face import Face
from node_proxy.openai.files import Files
from node_proxy.openai.metering import read_usage
from node_proxy.openai.request import Prepared, prepare
from node_proxy.openai.streaming import DrainOver, finished, read_to_the_end, relay, response_of
from node_proxy.relay import sse
from node_proxy.relay.heartbeat import Heartbeat
from node_proxy.storage import StorageFailed

log = logs.get("chat")

Json = dict[str, Any]


class ChatCompletions:
    """The surface. store: where completions are kept. files: the callers' own."""

    def __init__(self, calls: Calls, store: ChatStore, files: Files) -> None:
        self._calls = calls
        self._store = store
        self._files = files
        self._heartbeat = Heartbeat()

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/chat/completions."""
        calls, settings = self._calls, self._calls.settings
        key = await calls.key(exchange)
        request = await exchange.json(settings.max_body_bytes, settings.body_timeout)
        did = await calls.resolve(request.get("model"), key)
        async with calls.access(key, did, request_id=exchange.id, facts=exchange.facts) as access:
            asked = translate(request, access.definition)
            with asked.renamed():
                if asked.store:
                    await self._store.check_room(key)
                call = _Call(exchange, access, asked, self._store, self._files, settings.drain_timeout)
                await call.run(self._heartbeat)


@dataclass(slots=True)
class _Call:
    """One access: one completion, one charge at most."""

    exchange: Exchange
    access: Access
    asked: Asked
    store: ChatStore
    files: Files
    drain_timeout: float

    async def run(self, heartbeat: Heartbeat) -> None:
        access, name = self.access, str(self.access.did)
        try:
            prepared = await self._prepared(name)
            face = access.face({"model": name})
            metadata = prepared.echo.get("metadata")
            async with access.ask(prepared.body, caller_params=frozenset(prepared.caller_params)) as answer:
                if self.asked.stream:
                    await self._stream(answer, face, Chunks(name, self.asked.include_usage), metadata, heartbeat)
                else:
                    await self._whole(answer, face, metadata)
        except NodeError as error:
            access.ended(error.code)
            raise

    async def _prepared(self, name: str) -> Prepared:
        access, body = self.access, {**self.asked.body, "stream": self.asked.stream, "store": False}
        prepared = prepare(body, access.definition, name=name, safety_identifier=access.safety_identifier)
        prepared.body["input"] = await self.files.attach(access, prepared.items)
        return prepared

    async def _whole(self, answer: Answer, face: Face, metadata: dict[str, str] | None) -> None:
        response = finished(await answer.json())
        shown = completion(face.response(response), metadata)
        data = orjson.dumps(shown)
        await self.exchange.promise(data)
        charge = await self._charge(response)
        await self._keep(shown, metadata)
        self.access.ended(response["status"])
        await self.exchange.respond(200, data, headers=[*answer.headers, *credit_headers(charge)])

    async def _stream(
        self, answer: Answer, face: Face, chunks: Chunks, metadata: dict[str, str] | None, heartbeat: Heartbeat
    ) -> None:
        def show(event: Json, _: bytes) -> bytes:
            shown = face.event(event)
            return b"" if shown is None else chunks.event(shown)

        exchange, events = self.exchange, answer.events()
        reserved = (b"x-nvm-credits-reserved", b"%d" % self.access.max_credits)
        await exchange.start_stream(sse.CONTENT_TYPE, headers=[*answer.headers, reserved])
        try:
            with heartbeat.on(exchange), self.asked.renamed():
                response = response_of(await relay(events, exchange, show, self.drain_timeout))
            shown = face.response(response)
            end = chunks.end(shown)
            await exchange.promise(end)
            charge = await self._charge(response)
            await self._keep(completion(shown, metadata), metadata)
            self.access.ended(response["status"])
            await exchange.finish(credit_comment(charge) + end)
            await read_to_the_end(events)
        except DrainOver:
            await self.access.charge_most()
        except NodeError as error:
            self.access.ended(error.code)
            exchange.facts["error"] = error.code
            await exchange.finish(credit_comment(None) + b"data: %b\n\n" % error.body())

    async def _charge(self, response: Json) -> Charge:
        return await self.access.charge(read_usage(response), hung_up=self.exchange.gone)

    async def _keep(self, shown: Json, metadata: dict[str, str] | None) -> None:
        """Where `store` asks for it. A failure is logged and not raised: the answer was paid for."""
        if not self.asked.store:
            return
        try:
            await self.store.keep(self.access, shown, self.asked.messages, metadata or {})
        except StorageFailed as error:
            log.error("chat.not_kept", error=str(error))
