"""Files of subscribers: kept encrypted at the node, and given to a provider when one of its assistants reads them."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from node_proxy.errors import InvalidValue, ObjectNotFound
from node_proxy.openai import ids
from node_proxy.openai.calls import Access, Calls
from node_proxy.openai.objects import Objects, Stored
from node_proxy.openai.upstream import Upstream, account, forget, keeps_state
from nvm_chain.text import show

Json = dict[str, Any]

PIECE = 512 * 1024
"""Bytes of a file in one row."""

MOST_ATTACHED = 50 * 2**20
"""Bytes of files that one call may bring along."""


class Files:
    """All subscribers' files. Methods raise StorageFailed where the database fails."""

    def __init__(self, calls: Calls, objects: Objects) -> None:
        self._calls = calls
        self._objects = objects

    async def add(self, subscriber: str, name: str, purpose: str, content: bytes, expires_at: int) -> Stored:
        """Keeps a new file until then; durable when it returns."""
        stored = Stored(
            ids.new("file-"),
            "file",
            subscriber,
            {"filename": name, "purpose": purpose, "bytes": len(content), "at": {}},
            expires_at=expires_at,
        )
        pieces = [
            self._objects.adding_part(subscriber, stored.id, number, content[start : start + PIECE])
            for number, start in enumerate(range(0, len(content), PIECE))
        ]
        await self._objects.write(self._objects.putting(stored), *pieces)
        return stored

    async def find(self, subscriber: str, id: str, param: str | None = None) -> Stored:
        """Raises ObjectNotFound."""
        stored = await self._objects.get(subscriber, "file", id)
        if stored is None:
            raise ObjectNotFound(f"No such File object: {show(id[:100])}.", param=param)
        return stored

    async def content(self, stored: Stored) -> bytes:
        """The whole content."""
        found: list[bytes] = []
        after = -1
        while parts := await self._objects.parts(stored.subscriber, stored.id, after):
            found += [data for _, _, data in parts]
            after = parts[-1][1]
        return b"".join(found)

    async def check(self, subscriber: str, items: Iterable[Json], param: str) -> None:
        """Raises ObjectNotFound where items name a file that isn't the subscriber's."""
        for id in sorted({part["file_id"] for part in _parts(items) if "file_id" in part}):
            await self.find(subscriber, id, param)

    # -------------------------------------------------------------------------------------------------------- in use

    async def attach(self, access: Access, items: list[Json]) -> list[Json]:
        """Input items for the provider: each file of the caller's by the provider's own id, or with its content.

        Raises ObjectNotFound (404) for a file that isn't the caller's, InvalidValue (400), ProviderError.
        """
        wanted = {part["file_id"] for part in _parts(items) if "file_id" in part}
        if not wanted:
            return items
        files = {id: await self.find(access.key.subscriber, id, "input") for id in sorted(wanted)}
        if (size := sum(stored.data["bytes"] for stored in files.values())) > MOST_ATTACHED:
            raise InvalidValue(
                f"The files of this call have {size:,} bytes, at most {MOST_ATTACHED:,} are taken.", param="input"
            )
        if keeps_state(access.definition):
            known = {id: {"file_id": await self._at_provider(access, stored)} for id, stored in files.items()}
            return _with_files(items, known)
        return _with_files(items, {id: await self._inline(stored) for id, stored in files.items()})

    async def _at_provider(self, access: Access, stored: Stored) -> str:
        """The file's id at the builder's provider, where it is uploaded the first time."""
        where = account(self._calls.secret, access.definition)
        known: str | None = stored.data["at"].get(where)
        if known is not None:
            return known
        content = await self.content(stored)
        made = await Upstream(self._calls.provider, access.definition).upload(
            stored.data["filename"], "user_data", content
        )
        current: Stored | None = stored
        while current is not None:
            at = {**current.data["at"], where: made}
            dids = sorted({*current.data.get("dids", ()), str(access.did)})
            if await self._objects.update(replace(current, data={**current.data, "at": at, "dids": dids})):
                break
            current = await self._objects.get(stored.subscriber, "file", stored.id)
        return made

    async def _inline(self, stored: Stored) -> Json:
        kind = mimetypes.guess_type(stored.data["filename"])[0] or "application/octet-stream"
        data = f"data:{kind};base64,{base64.b64encode(await self.content(stored)).decode()}"
        return {"file_data": data, "filename": stored.data["filename"]}

    async def forget_upstream(self, stored: Stored) -> None:
        """Deletes the copies at providers, as far as these can be reached."""
        secret, at = self._calls.secret, stored.data["at"]
        for did in stored.data.get("dids", ()):
            await forget(self._calls, did, "files", lambda definition: at.get(account(secret, definition)))


def shown(stored: Stored) -> Json:
    """A file as OpenAI shows it."""
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.data["bytes"],
        "created_at": stored.created_at,
        "expires_at": stored.expires_at or None,
        "filename": stored.data["filename"],
        "purpose": stored.data["purpose"],
        "status": "processed",
        "status_details": None,
    }


def expiry(now: float, keep_seconds: int, wanted: int | None) -> int:
    """Until when a file is kept, unix seconds. wanted: seconds that its owner asked for."""
    return int(now) + min(keep_seconds, keep_seconds if wanted is None else wanted)


def _parts(items: Iterable[Json]) -> Iterator[Json]:
    for item in items:
        for name in ("content", "output"):
            if isinstance(content := item.get(name), list):
                yield from content


def _with_files(items: list[Json], files: dict[str, Json]) -> list[Json]:
    def part(given: Json) -> Json:
        if "file_id" not in given:
            return given
        put = files[given["file_id"]]
        kept = {name: value for name, value in given.items() if name != "file_id"}
        if given["type"] == "input_image" and "file_data" in put:
            return {**kept, "image_url": put["file_data"]}
        return {**kept, **put}

    return [
        item
        | {
            name: [part(one) for one in item[name]]
            for name in ("content", "output")
            if isinstance(item.get(name), list)
        }
        for item in items
    ]
