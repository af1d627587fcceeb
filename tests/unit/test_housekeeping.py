"""The node's chores go on for as long as the node does, whatever becomes of one of them."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node_proxy import services
from node_proxy.access.keys import Keys
from node_proxy.access.store import open_access_store
from node_proxy.services import Services


class Chores:
    """Counts them. broken: those that fail, as a full disk or a lost file makes them."""

    def __init__(self, *broken: str) -> None:
        self.done: list[str] = []
        self._broken = broken

    def chore(self, name: str) -> Any:
        async def run() -> None:
            self.done.append(name)
            if name in self._broken:
                raise sqlite3.OperationalError("database or disk is full")

        return run


@pytest.mark.parametrize("broken", ["keys", "search", "retired", "look"])
async def test_a_chore_that_fails_ends_neither_itself_nor_the_others(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "HOUSEKEEPING_SECONDS", 0.01)
    chores, thrice = Chores(broken), asyncio.Event()

    def sweep() -> None:
        chores.done.append("sweep")
        if chores.done.count("sweep") == 3:
            thrice.set()

    node = SimpleNamespace(
        assets=SimpleNamespace(sweep=sweep, close_retired=chores.chore("retired")),
        keys=SimpleNamespace(note_uses=chores.chore("keys")),
        records=SimpleNamespace(search=chores.chore("search")),
        look=chores.chore("look"),
        answers=SimpleNamespace(sweep=chores.chore("answers")),
        objects=SimpleNamespace(sweep=chores.chore("objects")),
    )
    task = asyncio.create_task(services._housekeeping(cast(Services, node)))
    async with asyncio.timeout(5):
        await thrice.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert all(chores.done.count(name) >= 2 for name in ("retired", "keys", "search", "look"))


async def test_when_a_key_was_used_is_kept_until_it_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_access_store(tmp_path / "access.db") as store:
        keys = Keys(store, b"s" * 32)
        text, key = await keys.issue("0x" + "11" * 20, name="one")
        await keys.verify(text)
        with monkeypatch.context() as full:
            full.setattr(store, "note_uses", _full)
            with pytest.raises(sqlite3.OperationalError):
                await keys.note_uses()
        assert await store.last_use(key.id) is None
        await keys.note_uses()
        assert await store.last_use(key.id) is not None


async def _full(_: Any) -> None:
    raise sqlite3.OperationalError("database or disk is full")
