"""Threads, messages, runs and steps as they are kept: one subscriber's, encrypted, the same for every replica.

thread   data {thread, active}: the object, and the id of the run that has it to itself (or had it last)
message  data {message, said?}: under its thread; `said` is an answer's text without citation marks
run      data {run, owner, …}: under its thread, see `record`
step     data {step}: under its run
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from node_proxy.access.keys import ApiKey
from node_proxy.errors import Conflict, ObjectNotFound
from node_proxy.openai import ids
from node_proxy.openai.assistants_api.paging import MOST, Window, cut, page
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.objects import Objects, Stored

_TRIES = 20


class Shelf:
    """What one subscriber keeps, as far as a key may see it: one that opens some assistants only doesn't see the
    threads in which another one answered last.

    keep_seconds: how long a thread lives after it grew last. Everything raises StorageUnavailable (503), and
    ObjectNotFound (404) as it says.
    """

    def __init__(self, objects: Objects, key: ApiKey, keep_seconds: int) -> None:
        self.objects = objects
        self.subscriber = key.subscriber
        self._keep_seconds = keep_seconds
        self._dids = None if key.dids is None else {str(did) for did in key.dids}

    # -------------------------------------------------------------------------------------------------------- look-ups

    async def thread(self, id: str) -> Stored:
        """Raises ObjectNotFound."""
        found = await self._get("thread", id, "")
        if self._dids is not None and found.did and found.did not in self._dids:
            raise missing("thread", id)
        return found

    async def message(self, thread: str, id: str) -> Stored:
        """Raises ObjectNotFound."""
        return await self._get("message", id, thread)

    async def run(self, thread: str, id: str) -> Stored:
        """Raises ObjectNotFound."""
        return await self._get("run", id, thread)

    async def step(self, run: str, id: str) -> Stored:
        """Raises ObjectNotFound."""
        return await self._get("step", id, run)

    async def _get(self, kind: str, id: str, parent: str) -> Stored:
        found = await self.objects.get(self.subscriber, kind, id)
        if found is None or found.parent != parent:
            raise missing(kind, id)
        return found

    # ----------------------------------------------------------------------------------------------------------- lists

    async def page(self, kind: str, parent: str, wanted: Window) -> Json:
        """A page of a list. Raises CursorUnknown (400)."""
        found = await self.objects.list(
            self.subscriber,
            kind,
            parent=parent,
            after=wanted.after,
            before=wanted.before,
            limit=wanted.limit,
            order="desc" if wanted.newest_first else "asc",
        )
        return page([one.data[kind] for one in found.objects], found.has_more)

    async def messages_of_run(self, run: str, wanted: Window) -> Json:
        """A page of the messages that a run made: its steps name them."""
        found = []
        async for step in self.all("step", run):
            details = step.data["step"]["step_details"]
            if details["type"] == "message_creation":
                message = await self.objects.get(self.subscriber, "message", details["message_creation"]["message_id"])
                if message is not None:
                    found.append(message.data["message"])
        return cut(found, wanted)

    async def all(self, kind: str, parent: str) -> AsyncIterator[Stored]:
        """Everything under a parent, oldest first."""
        after = ""
        while True:
            found = await self.objects.list(self.subscriber, kind, parent=parent, after=after, limit=MOST, order="asc")
            for one in found.objects:
                yield one
            if not found.has_more or not found.objects:
                return
            after = found.objects[-1].id

    async def newest(self, kind: str, parent: str, most: int) -> list[Stored]:
        """The newest `most` objects under a parent, oldest first."""
        found: list[Stored] = []
        before = ""
        while len(found) < most:
            limit = min(MOST, most - len(found))
            part = await self.objects.list(
                self.subscriber, kind, parent=parent, after=before, limit=limit, order="desc"
            )
            found += part.objects
            if not part.has_more or not part.objects:
                break
            before = part.objects[-1].id
        return found[::-1]

    # ---------------------------------------------------------------------------------------------------------- writes

    def new(self, kind: str, value: Json, parent: str = "", **data: Any) -> Stored:
        """An object that isn't kept yet."""
        return Stored(
            id=value["id"],
            kind=kind,
            subscriber=self.subscriber,
            parent=parent,
            data={kind: value, **data},
            created_at=value["created_at"],
            expires_at=int(time.time()) + self._keep_seconds if kind == "thread" else 0,
        )

    async def change(self, stored: Stored, change: Callable[[Json], None]) -> Stored:
        """Changes the object's data; `change` is applied anew where somebody else was faster. Raises ObjectNotFound."""
        for _ in range(_TRIES):
            data = dict(stored.data)
            data[stored.kind] = dict(data[stored.kind])
            change(data)
            if (saved := await self.objects.update(replace(stored, data=data))) is not None:
                return saved
            stored = await self._get(stored.kind, stored.id, stored.parent)
        raise Conflict(f"The {stored.kind} {stored.id!r} is being changed by too many at once.", retry_after=1)

    async def add(self, thread: str, *objects: Stored) -> None:
        """Puts objects under a thread, which lives longer for it."""
        until = int(time.time()) + self._keep_seconds
        steps = [self.objects.putting(one) for one in objects]
        await self.objects.write(*steps, self.objects.keeping(self.subscriber, "thread", thread, until))


def missing(kind: str, id: str) -> ObjectNotFound:
    """The same for an object that doesn't exist and for somebody else's."""
    noun = {"step": "run step"}.get(kind, kind)
    shown = "".join(char for char in id[:64] if char.isascii() and char.isprintable())
    return ObjectNotFound(f"No {noun} found with id '{shown}'.")


def new_id(prefix: str) -> str:
    """A new id of ours."""
    return ids.new(prefix)
