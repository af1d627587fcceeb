"""A run as it is kept, written by the process that holds it. Others may change its metadata, cancel or delete it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from node_proxy.errors import BadRequest
from node_proxy.openai.assistants_api import shapes
from node_proxy.openai.assistants_api.progress import Progress
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.assistants_api.shelf import Shelf
from node_proxy.openai.objects import Stored


class TakenOver(Exception):
    """Another process goes on with the run."""


class NotWaiting(BadRequest):
    """The run's status doesn't allow this (HTTP 400)."""

    code = "run_status"


class Record:
    """run, progress: what is kept, as they are then. cancelled: called when somebody else wants the run to end."""

    def __init__(
        self, shelf: Shelf, stored: Stored, run: Json, progress: Progress, cancelled: Callable[[], None]
    ) -> None:
        self.ending: str | None = None
        self.credits: int | None = None
        self.deleted = False
        self._shelf = shelf
        self._stored = stored
        self._run = run
        self._progress = progress
        self._cancelled = cancelled
        self._busy = asyncio.Lock()

    def goes_on_from(self, stored: Stored) -> None:
        """The version that was written by others."""
        self._stored = stored

    async def save(self) -> None:
        """Durable when it returns. Raises TakenOver, StorageUnavailable."""
        objects = self._shelf.objects
        async with self._busy:
            while not self.deleted:
                data: Json = {
                    "run": dict(self._run),
                    "owner": objects.owner,
                    "ending": self.ending,
                    "progress": self._progress.json(),
                    "credits": self.credits,
                }
                saved = await objects.update(replace(self._stored, data=data))
                if saved is not None:
                    self._stored = saved
                    return
                await self._catch_up()
            # Deleted meanwhile, with its thread: so is what was made in it since.
            thread = self._stored.parent
            if await objects.get(self._shelf.subscriber, "thread", thread) is None:
                await objects.delete(self._shelf.subscriber, "thread", thread)

    async def look(self) -> None:
        """Works in what others changed. Raises TakenOver, StorageUnavailable."""
        async with self._busy:
            # Held before it is kept: until then it isn't there, and wasn't deleted.
            if self._stored.version and not self.deleted:
                await self._catch_up()

    async def _catch_up(self) -> None:
        objects = self._shelf.objects
        current = await objects.get(self._shelf.subscriber, "run", self._stored.id)
        if current is None:
            self.deleted = True
            self._cancelled()
            return
        if current.version == self._stored.version:
            return
        if current.data["owner"] != objects.owner:
            raise TakenOver
        self._stored = current
        self._run["metadata"] = current.data["run"]["metadata"]
        if current.data["run"]["status"] == "cancelling" and self._run["status"] in shapes.ACTIVE:
            self._cancelled()
