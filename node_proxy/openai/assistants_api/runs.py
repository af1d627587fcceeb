"""`/v1/threads/{id}/runs`: an access each. Creating one is paid for, everything else is free."""

from __future__ import annotations

from node_proxy.asgi import Exchange
from node_proxy.errors import InvalidValue, NodeError
from node_proxy.openai.assistants_api import asking
from node_proxy.openai.assistants_api.paging import window
from node_proxy.openai.assistants_api.running import Running
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.assistants_api.surface import Surface
from node_proxy.openai.assistants_api.threads import add_thread
from node_proxy.relay import sse

_POLL_MS = (b"openai-poll-after-ms", b"500")
"""How soon the SDKs' poll helpers look again."""

_INCLUDE = ("include", "include[]")


class RunPages:
    """Runs of a thread."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/threads/{id}/runs, plain or streamed."""
        key, shelf = await self._surface.enter(exchange)
        thread = await shelf.thread(exchange.params[0])
        asked = asking.run_create("", await self._surface.body(exchange))
        await self._surface.fit(key, *asked.get("additional_messages", ()))
        running = await self._surface.runner.begin(key, shelf, thread, asked, exchange.id)
        await self._answer(exchange, running, asked)

    async def create_with_thread(self, exchange: Exchange) -> None:
        """POST /v1/threads/runs: a thread and its first run; without the run there is no thread either."""
        key, shelf = await self._surface.enter(exchange)
        asked = asking.thread_and_run("", await self._surface.body(exchange))
        thread_asked = asked.pop("thread", {})
        await self._surface.fit(key, *thread_asked.get("messages", ()))
        thread = await add_thread(shelf, thread_asked)
        try:
            running = await self._surface.runner.begin(key, shelf, thread, asked, exchange.id)
        except NodeError:
            await shelf.objects.delete(shelf.subscriber, "thread", thread.id)
            raise
        await self._answer(exchange, running, asked, sse.event("thread.created", thread.data["thread"]))

    async def _answer(self, exchange: Exchange, running: Running, asked: Json, first: bytes = b"") -> None:
        exchange.facts["did"], exchange.facts["begun"] = running.run["model"], True
        created = dict(running.run)
        if asked.get("stream"):
            first += sse.event("thread.run.created", created)
            await self._surface.relay(exchange, running, first=first)
            return
        running.start()
        held = (b"x-nvm-credits-reserved", b"%d" % running.max_credits)
        await exchange.respond_json(200, created, headers=[held])

    async def list(self, exchange: Exchange) -> None:
        """GET /v1/threads/{id}/runs."""
        key, shelf = await self._surface.enter(exchange)
        thread = await shelf.thread(exchange.params[0])
        wanted = window(exchange.query)
        if active := thread.data["active"]:
            await self._surface.runner.settle_if_there(shelf, thread.id, active, key)
        await exchange.respond_json(200, await shelf.page("run", thread.id, wanted))

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/threads/{id}/runs/{id}; what the run cost is in a header, once it was charged."""
        key, shelf = await self._surface.enter(exchange)
        thread, id = exchange.params
        stored = await shelf.run((await shelf.thread(thread)).id, id)
        stored = await self._surface.runner.settle(shelf, stored, key)
        headers = [_POLL_MS]
        if (credits := stored.data.get("credits")) is not None:
            headers.append((b"x-nvm-run-credits", b"%d" % credits))
        await exchange.respond_json(200, stored.data["run"], headers=headers)

    async def update(self, exchange: Exchange) -> None:
        """POST /v1/threads/{id}/runs/{id}: its metadata."""
        _, shelf = await self._surface.enter(exchange)
        thread, id = exchange.params
        stored = await shelf.run((await shelf.thread(thread)).id, id)
        asked = asking.metadata_update("", await self._surface.body(exchange))
        stored = await shelf.change(stored, lambda data: data["run"].update(asked))
        await exchange.respond_json(200, stored.data["run"])

    async def cancel(self, exchange: Exchange) -> None:
        """POST /v1/threads/{id}/runs/{id}/cancel; what was used until then is charged."""
        key, shelf = await self._surface.enter(exchange)
        thread, id = exchange.params
        stored = await shelf.run((await shelf.thread(thread)).id, id)
        stored = await self._surface.runner.settle(shelf, stored, key)
        stored = await self._surface.runner.cancel(key, shelf, stored)
        await exchange.respond_json(200, stored.data["run"])

    async def submit(self, exchange: Exchange) -> None:
        """POST /v1/threads/{id}/runs/{id}/submit_tool_outputs, plain or streamed: the same access goes on."""
        key, shelf = await self._surface.enter(exchange)
        thread, id = exchange.params
        stored = await shelf.run((await shelf.thread(thread)).id, id)
        asked = asking.tool_outputs("", await self._surface.body(exchange))
        outputs = {one["tool_call_id"]: one.get("output", "") for one in asked["tool_outputs"]}
        if len(outputs) < len(asked["tool_outputs"]):
            raise InvalidValue("`tool_outputs` names a tool call twice.", param="tool_outputs")
        runner = self._surface.runner
        stored = await runner.settle(shelf, stored, key)
        running = await runner.waiting(key, shelf, stored, outputs, exchange.id)
        exchange.facts["did"], exchange.facts["begun"] = running.run["model"], True
        if asked.get("stream"):
            await self._surface.relay(exchange, running, running.submit(outputs))
            return
        await running.submit(outputs)
        await exchange.respond_json(200, (await shelf.run(stored.parent, id)).data["run"])

    async def list_steps(self, exchange: Exchange) -> None:
        """GET /v1/threads/{id}/runs/{id}/steps."""
        key, shelf = await self._surface.enter(exchange)
        thread, id = exchange.params
        stored = await shelf.run((await shelf.thread(thread)).id, id)
        wanted = window(exchange.query, *_INCLUDE)
        stored = await self._surface.runner.settle(shelf, stored, key)
        await exchange.respond_json(200, await shelf.page("step", stored.id, wanted))

    async def retrieve_step(self, exchange: Exchange) -> None:
        """GET /v1/threads/{id}/runs/{id}/steps/{id}."""
        key, shelf = await self._surface.enter(exchange)
        thread, run, id = exchange.params
        stored = await shelf.run((await shelf.thread(thread)).id, run)
        stored = await self._surface.runner.settle(shelf, stored, key)
        await exchange.respond_json(200, (await shelf.step(stored.id, id)).data["step"])
