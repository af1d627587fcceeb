"""`/v1/threads`: made, shown, changed and deleted by whoever keeps them."""

from __future__ import annotations

import time
from contextlib import suppress

from node_proxy.access.keys import ApiKey
from node_proxy.asgi import Exchange
from node_proxy.openai.assistants_api import asking, shapes
from node_proxy.openai.assistants_api.record import NotWaiting
from node_proxy.openai.assistants_api.runner import new_message
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.assistants_api.shelf import Shelf, missing, new_id
from node_proxy.openai.assistants_api.surface import Surface
from node_proxy.openai.objects import Stored


class ThreadPages:
    """Threads cost nothing."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/threads, with first messages."""
        key, shelf = await self._surface.enter(exchange)
        asked = asking.thread_create("", await self._surface.body(exchange))
        await self._surface.fit(key, *asked.get("messages", ()))
        thread = await add_thread(shelf, asked)
        await exchange.respond_json(200, thread.data["thread"])

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/threads/{id}."""
        _, shelf = await self._surface.enter(exchange)
        await exchange.respond_json(200, (await shelf.thread(exchange.params[0])).data["thread"])

    async def update(self, exchange: Exchange) -> None:
        """POST /v1/threads/{id}: its metadata."""
        _, shelf = await self._surface.enter(exchange)
        thread = await shelf.thread(exchange.params[0])
        asked = asking.thread_update("", await self._surface.body(exchange))
        thread = await shelf.change(thread, lambda data: data["thread"].update(asked))
        await exchange.respond_json(200, thread.data["thread"])

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /v1/threads/{id}, with all that is in it; a run under way is cancelled."""
        key, shelf = await self._surface.enter(exchange, live=False)
        thread = await shelf.thread(exchange.params[0])
        await self._end_run(key, shelf, thread)
        if not await shelf.objects.delete(shelf.subscriber, "thread", thread.id):
            raise missing("thread", thread.id)
        await exchange.respond_json(200, shapes.deleted(thread.id, "thread"))

    async def _end_run(self, key: ApiKey, shelf: Shelf, thread: Stored) -> None:
        active = thread.data["active"]
        stored = await shelf.objects.get(shelf.subscriber, "run", active) if active else None
        if stored is not None:
            stored = await self._surface.runner.settle(shelf, stored, key)
            with suppress(NotWaiting):
                await self._surface.runner.cancel(key, shelf, stored)


async def add_thread(shelf: Shelf, asked: Json) -> Stored:
    """A new thread with its first messages, from a checked request. All is kept or nothing."""
    thread = shelf.new("thread", shapes.thread(new_id("thread_"), int(time.time()), asked), active="")
    messages = [new_message(shelf, thread.id, one) for one in asked.get("messages", ())]
    await shelf.objects.put(thread, *messages)
    return await shelf.thread(thread.id)
