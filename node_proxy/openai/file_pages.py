"""`/v1/files`: upload, list, retrieve, content, delete. They belong to their subscriber and cost nothing."""

from __future__ import annotations

import time

from node_proxy.access.keys import ApiKey
from node_proxy.asgi import Exchange
from node_proxy.errors import BodyTooLarge, InvalidValue
from node_proxy.openai import multipart
from node_proxy.openai.assistants_api.standing import Members
from node_proxy.openai.calls import Calls
from node_proxy.openai.files import Files, expiry, shown
from node_proxy.openai.objects import Objects, Stored
from node_proxy.openai.paging import page, window
from node_proxy.openai.room import Room
from nvm_chain.text import show

PURPOSES = ("assistants", "user_data", "vision")
MOST_LISTED = 10_000
_FORM_BYTES = 64 * 1024
"""What a form may have besides the file."""

_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_LEAST_SECONDS, _MOST_SECONDS = 3_600, 2_592_000


class FilePages:
    """keep_seconds: how long a file is kept."""

    def __init__(
        self, calls: Calls, members: Members, objects: Objects, files: Files, room: Room, keep_seconds: int
    ) -> None:
        self._calls = calls
        self._members = members
        self._objects = objects
        self._files = files
        self._room = room
        self._keep_seconds = keep_seconds

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/files, a form with `file` and `purpose`."""
        key, settings = await self._key(exchange), self._calls.settings
        body = await exchange.body(settings.max_file_bytes + _FORM_BYTES, settings.body_timeout)
        parts = {part.name: part for part in multipart.parse(exchange.header(b"content-type"), body)}
        for name in parts.keys() - {"file", "purpose", _ANCHOR, _SECONDS}:
            raise InvalidValue(f"Unknown field of the form: {show(name[:100])}.", param=name[:100])
        if "file" not in parts or parts["file"].filename is None:
            raise InvalidValue("`file` is missing: send it as a file of the form, with its name.", param="file")
        purpose = parts["purpose"].text if "purpose" in parts else ""
        if purpose not in PURPOSES:
            raise InvalidValue(f"`purpose` {show(purpose[:40])} is not one of {', '.join(PURPOSES)}.", param="purpose")
        name, content = (parts["file"].filename or "file")[:255], parts["file"].content
        if not content:
            raise InvalidValue("`file` is empty.", param="file")
        if len(content) > settings.max_file_bytes:
            raise BodyTooLarge(f"The file has {len(content):,} bytes, at most {settings.max_file_bytes:,} are taken.")
        until = expiry(time.time(), self._keep_seconds, _wanted(parts))
        await self._room.check(key.subscriber, len(content))
        stored = await self._files.add(key.subscriber, name, purpose, content, until)
        await exchange.respond_json(200, shown(stored))

    async def list(self, exchange: Exchange) -> None:
        """GET /v1/files; `purpose` narrows it."""
        key, query = await self._key(exchange), exchange.query
        wanted = window(query, most=MOST_LISTED, default=MOST_LISTED)
        limit, purpose, found = wanted.pop("limit"), query.get("purpose", ""), list[Stored]()
        while True:
            part = await self._objects.list(key.subscriber, "file", limit=limit, **wanted)
            found += [one for one in part.objects if purpose in ("", one.data["purpose"])]
            if len(found) > limit or not part.has_more or not part.objects:
                break
            wanted["after"] = part.objects[-1].id
        await exchange.respond_json(
            200, page([shown(one) for one in found[:limit]], len(found) > limit or part.has_more)
        )

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/files/{id}."""
        key = await self._key(exchange)
        await exchange.respond_json(200, shown(await self._files.find(key.subscriber, exchange.params[0])))

    async def content(self, exchange: Exchange) -> None:
        """GET /v1/files/{id}/content."""
        key = await self._key(exchange)
        stored = await self._files.find(key.subscriber, exchange.params[0])
        content = await self._files.content(stored)
        # Whatever it is, no browser may take it for a page of the node.
        headers = [(b"content-disposition", b"attachment")]
        await exchange.respond(200, content, content_type=b"application/octet-stream", headers=headers)

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /v1/files/{id}: here and at providers."""
        key = await self._calls.key(exchange)
        stored = await self._files.find(key.subscriber, exchange.params[0])
        await self._objects.delete(key.subscriber, "file", stored.id)
        await self._files.forget_upstream(stored)
        await exchange.respond_json(200, {"id": stored.id, "object": "file", "deleted": True})

    async def _key(self, exchange: Exchange) -> ApiKey:
        key = await self._calls.key(exchange)
        await self._members.check(key)
        return key


def _wanted(parts: dict[str, multipart.Part]) -> int | None:
    """Seconds that the file is to be kept, if the form says so. Raises InvalidValue."""
    if _ANCHOR not in parts and _SECONDS not in parts:
        return None
    seconds = parts[_SECONDS].text if _SECONDS in parts else ""
    if _ANCHOR not in parts or parts[_ANCHOR].text != "created_at":
        raise InvalidValue(f"`{_ANCHOR}` must be created_at.", param="expires_after")
    whole = seconds.isascii() and seconds.isdigit() and len(seconds) < 10
    if not whole or not _LEAST_SECONDS <= int(seconds) <= _MOST_SECONDS:
        raise InvalidValue(
            f"`{_SECONDS}` must be a whole number from {_LEAST_SECONDS:,} to {_MOST_SECONDS:,}.", param="expires_after"
        )
    return int(seconds)
