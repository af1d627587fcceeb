"""`/v1/threads/{id}/messages`: the subscriber's own, and the assistant's answers."""

from __future__ import annotations

from node_proxy.asgi import Exchange
from node_proxy.openai.assistants_api import asking, content, shapes
from node_proxy.openai.assistants_api.paging import window
from node_proxy.openai.assistants_api.runner import new_message
from node_proxy.openai.assistants_api.shelf import missing
from node_proxy.openai.assistants_api.surface import Surface


class MessagePages:
    """Messages cost nothing. While a run is active, none is added or deleted."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/threads/{id}/messages."""
        key, shelf = await self._surface.enter(exchange)
        thread = await shelf.thread(exchange.params[0])
        asked = content.message("", await self._surface.body(exchange))
        await self._surface.runner.check_idle(shelf, thread, key, "add messages to")
        await self._surface.fit(key, asked)
        message = new_message(shelf, thread.id, asked)
        await shelf.add(thread.id, message)
        await exchange.respond_json(200, message.data["message"])

    async def list(self, exchange: Exchange) -> None:
        """GET /v1/threads/{id}/messages; `run_id`: those that a run made."""
        _, shelf = await self._surface.enter(exchange)
        thread = await shelf.thread(exchange.params[0])
        wanted = window(exchange.query, "run_id")
        run = exchange.query.get("run_id")
        if run is None:
            shown = await shelf.page("message", thread.id, wanted)
        else:
            shown = await shelf.messages_of_run((await shelf.run(thread.id, run)).id, wanted)
        await exchange.respond_json(200, shown)

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/threads/{id}/messages/{id}."""
        _, shelf = await self._surface.enter(exchange)
        thread, id = exchange.params
        message = await shelf.message((await shelf.thread(thread)).id, id)
        await exchange.respond_json(200, message.data["message"])

    async def update(self, exchange: Exchange) -> None:
        """POST /v1/threads/{id}/messages/{id}: its metadata."""
        _, shelf = await self._surface.enter(exchange)
        thread, id = exchange.params
        message = await shelf.message((await shelf.thread(thread)).id, id)
        asked = asking.metadata_update("", await self._surface.body(exchange))
        message = await shelf.change(message, lambda data: data["message"].update(asked))
        await exchange.respond_json(200, message.data["message"])

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /v1/threads/{id}/messages/{id}: the assistant won't see it again."""
        key, shelf = await self._surface.enter(exchange, live=False)
        thread = await shelf.thread(exchange.params[0])
        message = await shelf.message(thread.id, exchange.params[1])
        await self._surface.runner.check_idle(shelf, thread, key, "delete messages of")
        if not await shelf.objects.delete(shelf.subscriber, "message", message.id):
            raise missing("message", message.id)
        await exchange.respond_json(200, shapes.deleted(message.id, "thread.message"))
