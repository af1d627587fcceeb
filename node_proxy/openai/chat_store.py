"""Chat completions that their caller asked to keep (`store: true`): retrieve, list, change metadata, delete."""

from __future__ import annotations

import time
from typing import Any

from node_proxy.access.keys import ApiKey
from node_proxy.asgi import Exchange
from node_proxy.errors import ObjectNotFound
from node_proxy.openai.assistants_api import checks, paging
from node_proxy.openai.assistants_api.standing import Members
from node_proxy.openai.calls import Access, Calls
from node_proxy.openai.objects import Objects, Stored
from node_proxy.openai.room import Room
from nvm_chain.text import show

Json = dict[str, Any]

KIND = "chat.completion"

_SHOWN = ("role", "name", "refusal", "tool_call_id")
"""Members of a kept message that are shown as they were sent. Annotations and what clients' helpers add aren't."""

_METADATA = checks.record({"metadata": checks.metadata}, "metadata")


class ChatStore:
    """Completions by subscriber. Nothing here costs credits, but reading needs a live plan.

    keep_seconds: how long a completion is kept.
    """

    def __init__(self, calls: Calls, members: Members, objects: Objects, room: Room, keep_seconds: int) -> None:
        self._calls = calls
        self._members = members
        self._objects = objects
        self._room = room
        self._keep_seconds = keep_seconds

    async def check_room(self, key: ApiKey) -> None:
        """Raises NoRoom where the subscriber keeps as much as the node allows already."""
        await self._room.check(key.subscriber)

    async def keep(self, access: Access, shown: Json, messages: list[Json], metadata: dict[str, str]) -> None:
        """Keeps a completion with the messages that it answers. Durable when it returns."""
        data = {"completion": {**shown, "metadata": metadata}, "messages": messages}
        now = int(time.time())
        stored = Stored(
            id=shown["id"],
            kind=KIND,
            subscriber=access.key.subscriber,
            data=data,
            did=str(access.did),
            created_at=now,
            expires_at=now + self._keep_seconds,
        )
        await self._objects.put(stored)

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/chat/completions/{id}."""
        await exchange.respond_json(200, (await self._find(exchange)).data["completion"])

    async def update(self, exchange: Exchange) -> None:
        """POST /v1/chat/completions/{id}: new metadata in place of the old."""
        stored = await self._find(exchange)
        settings = self._calls.settings
        asked = _METADATA("", await exchange.json(settings.max_body_bytes, settings.body_timeout))
        stored.data["completion"]["metadata"] = asked["metadata"]
        await self._objects.put(stored)
        await exchange.respond_json(200, stored.data["completion"])

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /v1/chat/completions/{id}."""
        stored = await self._find(exchange, live=False)
        await self._objects.delete(stored.subscriber, KIND, stored.id)
        await exchange.respond_json(200, {"object": "chat.completion.deleted", "id": stored.id, "deleted": True})

    async def messages(self, exchange: Exchange) -> None:
        """GET /v1/chat/completions/{id}/messages: those that the completion answers."""
        stored = await self._find(exchange)
        window = paging.window({"order": "asc", **exchange.query})
        kept = stored.data["messages"]
        listed = [_kept_message(stored.id, number, message) for number, message in enumerate(kept)]
        await exchange.respond_json(200, paging.cut(listed, window))

    async def list(self, exchange: Exchange) -> None:
        """GET /v1/chat/completions: the subscriber's, oldest first unless asked otherwise."""
        key = await self._calls.key(exchange)
        await self._members.check(key)
        wanted = {name: value for name, value in exchange.query.items() if name.startswith("metadata[")}
        window = paging.window({"order": "asc", **exchange.query}, "model", *wanted)
        did = str(await self._calls.resolve(exchange.query["model"], key)) if exchange.query.get("model") else ""
        found: list[Json] = []
        after, more = window.after, True
        while more and len(found) <= window.limit:
            page = await self._objects.list(
                key.subscriber,
                KIND,
                after=after,
                before=window.before,
                limit=paging.MOST,
                order="desc" if window.newest_first else "asc",
            )
            for stored in page.objects:
                metadata = stored.data["completion"]["metadata"]
                fits = all(metadata.get(name[9:-1]) == value for name, value in wanted.items())
                if fits and (not did or stored.did == did) and _may(key.dids, stored):
                    found.append(stored.data["completion"])
            more = page.has_more and bool(page.objects)
            after = page.objects[-1].id if page.objects else ""
        await exchange.respond_json(200, paging.page(found[: window.limit], len(found) > window.limit))

    async def _find(self, exchange: Exchange, *, live: bool = True) -> Stored:
        key = await self._calls.key(exchange)
        if live:
            await self._members.check(key)
        id = exchange.params[0]
        stored = await self._objects.get(key.subscriber, KIND, id)
        if stored is None or not _may(key.dids, stored):
            raise ObjectNotFound(f"There is no chat completion {show(id[:100])}.", param="completion_id")
        return stored


def _may(dids: Any, stored: Stored) -> bool:
    """Whether a key that is limited to some assistants may see the completion."""
    return dids is None or any(str(did) == stored.did for did in dids)


def _kept_message(id: str, number: int, message: Json) -> Json:
    """A message as the list of stored messages shows it."""
    content = message.get("content")
    text, parts = (content, None) if isinstance(content, str | None) else (None, content)
    shown = {name: message[name] for name in _SHOWN if message.get(name) is not None}
    if calls := message.get("tool_calls"):
        shown["tool_calls"] = [{name: call[name] for name in ("id", "type", "function")} for call in calls]
        for call in shown["tool_calls"]:
            call["function"] = {name: call["function"][name] for name in ("name", "arguments")}
    return {**shown, "id": f"{id}-{number}", "content": text, "content_parts": parts}
