"""Writes behind: what a run makes is kept while the answer goes on, newest state only, in the order of its making."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from node_proxy.errors import StorageUnavailable
from node_proxy.openai.objects import Objects, Stored


class Saver:
    """Keeps objects without making the caller wait; `flush` waits until all are durable."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._waiting: dict[str, Stored] = {}
        self._task: asyncio.Task[None] | None = None

    def later(self, *objects: Stored) -> None:
        """Keeps these soon."""
        for one in objects:
            self._waiting[one.id] = one
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def flush(self) -> None:
        """Raises StorageUnavailable; what couldn't be kept waits for the next flush."""
        if self._task is not None:
            await asyncio.shield(self._task)
        while self._waiting:
            await self._write()

    async def _work(self) -> None:
        with suppress(StorageUnavailable):  # `flush` tries again, and tells
            while self._waiting:
                await self._write()

    async def _write(self) -> None:
        batch, self._waiting = self._waiting, {}
        try:
            await self._objects.put(*batch.values())
        except BaseException:
            self._waiting = batch | self._waiting
            raise
