"""Conversations and their items. They belong to a subscriber, not to an assistant: any that a plan opens can go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from node_proxy.access.keys import ApiKey
from node_proxy.asgi import Exchange
from node_proxy.errors import InvalidValue, ObjectNotFound
from node_proxy.openai import ids
from node_proxy.openai.assistants_api.standing import Members
from node_proxy.openai.calls import Calls
from node_proxy.openai.history import History
from node_proxy.openai.inputs import MAX_ITEMS, check_items
from node_proxy.openai.kept_items import listed
from node_proxy.openai.objects import Objects, Step, Stored
from node_proxy.openai.paging import page, window
from node_proxy.openai.request import UnknownParameter, check_metadata
from node_proxy.openai.room import Room
from node_proxy.openai.turn import locked
from node_proxy.openai.upstream import forget
from nvm_chain.policy import Policy
from nvm_chain.text import show

Json = dict[str, Any]

MOST_ITEMS = 20
"""Items that one request may add, as at OpenAI."""

_ANYTHING = Policy(images=True, files=True, extra_instructions=True)
"""Whether an assistant takes it is its builder's decision, made when the conversation goes on with it."""


class Conversations:
    """/v1/conversations and what is below it."""

    def __init__(self, calls: Calls, members: Members, objects: Objects, history: History, room: Room) -> None:
        self._calls = calls
        self._members = members
        self._objects = objects
        self._history = history
        self._room = room

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/conversations."""
        key, body = await self._key(exchange), await self._body(exchange, "metadata", "items")
        given = await self._items(key, body.get("items") or [])
        stored = Stored(
            ids.new("conv_"),
            "conversation",
            key.subscriber,
            {"metadata": check_metadata("metadata", body.get("metadata") or {})},
            expires_at=self._history.expiry(),
        )
        steps = [self._objects.putting(self._item(stored, item)) for item in given]
        await self._objects.write(self._objects.putting(stored), *steps)
        await exchange.respond_json(200, _shown(stored))

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/conversations/{id}."""
        await exchange.respond_json(200, _shown(await self._find(await self._key(exchange), exchange)))

    async def update(self, exchange: Exchange) -> None:
        """POST /v1/conversations/{id}: other metadata."""
        key, body = await self._key(exchange), await self._body(exchange, "metadata")
        metadata = check_metadata("metadata", body.get("metadata") or {})
        stored: Stored | None = None
        while stored is None:  # changed by somebody else in between: once more
            found = await self._find(key, exchange)
            stored = await self._objects.update(replace(found, data={**found.data, "metadata": metadata}))
        await exchange.respond_json(200, _shown(stored))

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /v1/conversations/{id}: with its items, here and at providers."""
        key = await self._calls.key(exchange)
        stored = await self._find(key, exchange)
        mirrors = await self._objects.list(key.subscriber, "mirror", parent=stored.id, limit=100)
        await self._change(stored, self._objects.deleting(key.subscriber, "conversation", stored.id))
        await self._forget(mirrors.objects)
        await exchange.respond_json(200, {"id": stored.id, "object": "conversation.deleted", "deleted": True})

    # ---------------------------------------------------------------------------------------------------------- items

    async def list_items(self, exchange: Exchange) -> None:
        """GET /v1/conversations/{id}/items."""
        key = await self._key(exchange)
        stored = await self._find(key, exchange)
        found = await self._objects.list(key.subscriber, "item", parent=stored.id, **window(exchange.query))
        await exchange.respond_json(200, page([_shown_item(one) for one in found.objects], found.has_more))

    async def add_items(self, exchange: Exchange) -> None:
        """POST /v1/conversations/{id}/items."""
        key, body = await self._key(exchange), await self._body(exchange, "items")
        stored = await self._find(key, exchange)
        if not isinstance(body.get("items"), list) or not body["items"]:
            raise InvalidValue(f"`items` must be a list of 1 to {MOST_ITEMS} items.", param="items")
        given = await self._items(key, body["items"])
        last = await self._objects.list(key.subscriber, "item", parent=stored.id, limit=1)
        if last.objects and last.objects[0].position + len(given) > MAX_ITEMS:
            raise InvalidValue(f"A conversation holds {MAX_ITEMS} items at most: begin a new one.", param="items")
        added = [self._item(stored, item) for item in given]
        kept = self._objects.keeping(key.subscriber, "conversation", stored.id, self._history.expiry())
        await self._change(stored, *map(self._objects.putting, added), kept)
        await exchange.respond_json(200, page([_shown_item(one) for one in added], False))

    async def retrieve_item(self, exchange: Exchange) -> None:
        """GET /v1/conversations/{id}/items/{item}."""
        _, item = await self._find_item(await self._key(exchange), exchange)
        await exchange.respond_json(200, _shown_item(item))

    async def delete_item(self, exchange: Exchange) -> None:
        """DELETE /v1/conversations/{id}/items/{item}. A provider that has the conversation gets it anew."""
        key = await self._calls.key(exchange)
        stored, item = await self._find_item(key, exchange)
        mirrors = await self._objects.list(key.subscriber, "mirror", parent=stored.id, limit=100)
        await self._change(
            stored,
            self._objects.deleting(key.subscriber, "item", item.id),
            self._objects.deleting_children(key.subscriber, "mirror", stored.id),
        )
        await self._forget(mirrors.objects)
        await exchange.respond_json(200, _shown(stored))

    # ---------------------------------------------------------------------------------------------------------- parts

    async def _change(self, stored: Stored, *steps: Step) -> None:
        """Raises ConversationLocked while a response works on the conversation, ObjectNotFound once it is deleted."""
        name = f"{stored.subscriber}|{stored.id}"
        if not await self._objects.lock(name):
            raise locked()
        there: tuple[Step, ...] = ()
        try:
            await self._history.find_conversation(stored.subscriber, stored.id)
            there = steps
        finally:
            await self._objects.unlock(name, *there)

    async def _items(self, key: ApiKey, given: object) -> list[Json]:
        items = listed(check_items("items", given, _ANYTHING, MOST_ITEMS))
        for item in items:
            if item["type"] == "item_reference":
                raise InvalidValue("`items` takes whole items, no references.", param="items")
        await self._history.files.check(key.subscriber, items, "items")
        await self._room.check(key.subscriber)
        return items

    def _item(self, conversation: Stored, item: Json) -> Stored:
        return Stored(item["id"], "item", conversation.subscriber, {"item": item}, parent=conversation.id)

    async def _forget(self, mirrors: list[Stored]) -> None:
        for mirror in mirrors:
            await forget(self._calls, mirror.did, "conversations", lambda _, id=mirror.provider_id: id)  # type: ignore[misc]

    async def _key(self, exchange: Exchange) -> ApiKey:
        key = await self._calls.key(exchange)
        await self._members.check(key)
        return key

    async def _body(self, exchange: Exchange, *known: str) -> Json:
        settings = self._calls.settings
        body = await exchange.json(settings.max_body_bytes, settings.body_timeout)
        for name in body:
            if name not in known:
                raise UnknownParameter(f"Unknown parameter: {show(name[:100])}.", param=name[:100])
        return body

    async def _find(self, key: ApiKey, exchange: Exchange) -> Stored:
        return await self._history.find_conversation(key.subscriber, exchange.params[0])

    async def _find_item(self, key: ApiKey, exchange: Exchange) -> tuple[Stored, Stored]:
        stored, id = await self._find(key, exchange), exchange.params[1]
        item = await self._objects.get(key.subscriber, "item", id)
        if item is None or item.parent != stored.id:
            raise ObjectNotFound(f"Item with id {show(id[:100])} not found.")
        return stored, item


def _shown(stored: Stored) -> Json:
    return {
        "id": stored.id,
        "object": "conversation",
        "created_at": stored.created_at,
        "metadata": stored.data["metadata"],
    }


def _shown_item(stored: Stored) -> Json:
    item: Json = stored.data["item"]
    if item["type"].startswith("custom_tool_call"):  # has no status here
        return {name: value for name, value in item.items() if name != "status"}
    return item
