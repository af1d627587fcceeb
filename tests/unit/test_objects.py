"""What subscribers own: encrypted, theirs alone, in order; in a SQLite file and in a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node_proxy.openai import ids
from node_proxy.openai.objects import CursorUnknown, Objects, Stored
from node_proxy.storage import Database, StorageFailed, open_database
from tests.postgres import Postgres, postgres

pytestmark = pytest.mark.slow

SECRET = b"s" * 64
ALICE, BOB = "0x" + "A1" * 20, "0x" + "B0" * 20


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "objects.db")
    return request.getfixturevalue("server").database()  # type: ignore[no-any-return]


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with open_database(url) as database:
        yield database


@pytest.fixture
def objects(database: Database) -> Objects:
    return Objects(database, SECRET)


def thing(kind: str = "response", subscriber: str = ALICE, **fields: object) -> Stored:
    return Stored(**{"id": ids.new("x_"), "kind": kind, "subscriber": subscriber, "data": {"n": 1}, **fields})  # type: ignore[arg-type]


async def test_what_was_put_comes_back_whole(objects: Objects) -> None:
    before = thing(did="did:nv:1", parent="p", provider_id="resp_1", data={"text": "ä\0\n", "big": 2**60, "none": None})
    await objects.put(before)
    after = await objects.get(ALICE, "response", before.id)
    assert after == replace(before, position=1, version=1)


async def test_somebody_elses_object_is_as_one_that_does_not_exist(objects: Objects) -> None:
    mine = thing()
    await objects.put(mine)
    assert await objects.get(BOB, "response", mine.id) is None
    assert await objects.get(ALICE, "conversation", mine.id) is None
    assert not await objects.delete(BOB, "response", mine.id)
    assert await objects.update(replace(mine, subscriber=BOB, version=1)) is None
    assert (await objects.list(BOB, "response")).objects == []
    assert await objects.lineage(BOB, "response", mine.id, 9) == []
    assert await objects.get(ALICE, "response", mine.id) is not None


@pytest.mark.parametrize("other", ["{}\0", "\0{}", "{}" + "\0" * 200])
async def test_an_id_is_found_as_it_is_written_and_in_no_other_way(objects: Objects, other: str) -> None:
    one = thing()
    await objects.put(one)
    assert await objects.get(ALICE, "response", other.format(one.id)) is None
    assert not await objects.delete(ALICE, "response", other.format(one.id))
    assert await objects.get(ALICE, "response", one.id) is not None


async def test_two_subscribers_may_have_the_same_id(objects: Objects) -> None:
    """Whoever guesses an id can't take it away from its owner."""
    await objects.put(thing(id="same", data={"of": "alice"}))
    await objects.put(thing(id="same", subscriber=BOB, data={"of": "bob"}))
    found = await objects.get(ALICE, "response", "same")
    assert found is not None
    assert found.data == {"of": "alice"}


async def test_nothing_of_the_content_is_on_disk_in_the_clear(tmp_path: Path) -> None:
    path, secret = tmp_path / "objects.db", secrets.token_hex(20)
    async with open_database(path) as database:
        objects = Objects(database, SECRET)
        await objects.put(thing(provider_id=f"resp_{secret}", data={"text": secret}))
        await objects.write(objects.adding_part(ALICE, "x", 0, secret.encode()))
        assert secret.encode() not in on_disk(tmp_path)
    assert secret.encode() not in on_disk(tmp_path)


def on_disk(folder: Path) -> bytes:
    """All files, the write-ahead log included."""
    found = b"".join(file.read_bytes() for file in folder.iterdir())
    assert b"CREATE TABLE objects" in found
    return found


async def test_a_row_that_was_moved_or_changed_does_not_open(tmp_path: Path) -> None:
    async with open_database(tmp_path / "objects.db") as database:
        objects = Objects(database, SECRET)
        for name in ("a", "b"):
            await objects.put(thing(id=name, data={"of": name}))
        assert await Objects(database, b"t" * 64).get(ALICE, "response", "a") is None
        with sqlite3.connect(tmp_path / "objects.db") as db:
            db.execute("UPDATE objects SET data = (SELECT data FROM objects WHERE id = 'a') WHERE id = 'b'")
        db.close()
        assert await objects.get(ALICE, "response", "b") is None
        assert await objects.get(ALICE, "response", "a") is not None


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_together_are_the_list(objects: Objects, order: str) -> None:
    await objects.put(*(thing("item", parent="conv", id=f"i{n}") for n in range(7)))
    await objects.put(thing("item", parent="other"), thing("item", parent="conv", subscriber=BOB))
    whole = [one.id for one in (await objects.list(ALICE, "item", parent="conv", limit=99, order=order)).objects]  # type: ignore[arg-type]
    assert whole == [f"i{n}" for n in range(7)][:: 1 if order == "asc" else -1]

    forwards: list[str] = []
    while True:
        page = await objects.list(
            ALICE,
            "item",
            parent="conv",
            after=forwards[-1] if forwards else "",
            limit=3,
            order=order,  # type: ignore[arg-type]
        )
        forwards += [one.id for one in page.objects]
        if not page.has_more:
            break
    assert forwards == whole
    page = await objects.list(ALICE, "item", parent="conv", before=whole[5], limit=3, order=order)  # type: ignore[arg-type]
    assert ([one.id for one in page.objects], page.has_more) == (whole[2:5], True)
    page = await objects.list(ALICE, "item", parent="conv", after=whole[1], before=whole[5], order=order)  # type: ignore[arg-type]
    assert ([one.id for one in page.objects], page.has_more) == (whole[2:5], False)


async def test_a_cursor_of_another_list_is_refused(objects: Objects) -> None:
    await objects.put(thing("item", parent="conv", id="mine"), thing("item", parent="conv", id="his", subscriber=BOB))
    for cursor in ("his", "nothing"):
        with pytest.raises(CursorUnknown) as caught:
            await objects.list(ALICE, "item", parent="conv", after=cursor)
        assert caught.value.param == "after"


async def test_of_concurrent_changes_one_wins(objects: Objects) -> None:
    await objects.put(thing(id="run"))
    first = await objects.get(ALICE, "response", "run")
    assert first is not None
    changes = [replace(first, data={"by": n}) for n in range(20)]
    results = await asyncio.gather(*map(objects.update, changes))
    (won,) = [one for one in results if one is not None]
    after = await objects.get(ALICE, "response", "run")
    assert after == won
    assert won.version == 2
    await objects.delete(ALICE, "response", "run")
    assert await objects.update(won) is None


async def test_a_line_of_responses_is_told_from_its_beginning(objects: Objects) -> None:
    await objects.put(*(thing(id=f"r{n}", parent=f"r{n - 1}" if n else "") for n in range(5)))
    assert [one.id for one in await objects.lineage(ALICE, "response", "r4", 100)] == [f"r{n}" for n in range(5)]
    assert [one.id for one in await objects.lineage(ALICE, "response", "r4", 2)] == ["r3", "r4"]
    await objects.delete(ALICE, "response", "r2")
    assert [one.id for one in await objects.lineage(ALICE, "response", "r4", 100)] == ["r3", "r4"]


async def test_with_an_object_go_its_children_and_parts(objects: Objects) -> None:
    await objects.put(thing("thread", id="t"), thing("run", id="r", parent="t"), thing("step", id="s", parent="r"))
    await objects.put(thing("message", id="m", parent="t"), thing("message", id="n", parent="u"))
    await objects.write(objects.adding_part(ALICE, "r", 0, b"event"))
    assert await objects.delete(ALICE, "thread", "t")
    for kind, id in (("thread", "t"), ("run", "r"), ("step", "s"), ("message", "m")):
        assert await objects.get(ALICE, kind, id) is None
    assert await objects.parts(ALICE, "r") == []
    assert await objects.get(ALICE, "message", "n") is not None


async def test_parts_are_read_from_any_number_on(objects: Objects) -> None:
    await objects.write(objects.adding_part(ALICE, "r", 0, b"a", 4), objects.adding_part(ALICE, "r", 5, b"b", 9))
    assert await objects.parts(ALICE, "r") == [(0, 4, b"a"), (5, 9, b"b")]
    assert await objects.parts(ALICE, "r", after=4) == [(5, 9, b"b")]
    assert await objects.parts(ALICE, "r", after=3, limit=1) == [(0, 4, b"a")]
    assert await objects.parts(BOB, "r") == []


async def test_a_lock_is_held_by_one_and_taken_over_from_the_dead(objects: Objects, url: str) -> None:
    await objects.put(thing(id="half"), thing(id="r"))
    assert await objects.lock("conv_1")
    assert not await objects.lock("conv_1")
    await objects.unlock("conv_1")
    assert sorted(await asyncio.gather(*(objects.lock("conv_1") for _ in range(10))))[-2:] == [False, True]
    await objects.unlock("conv_1")
    async with open_database(url) as other:
        assert await Objects(other, SECRET).lock("conv_1")
        if other.dialect == "postgresql":
            assert not await objects.lock("conv_1")
    assert await objects.lock("conv_1", objects.deleting(ALICE, "response", "half"))  # its process has ended
    assert not await objects.lock("conv_1", objects.deleting(ALICE, "response", "r"))
    assert await objects.get(ALICE, "response", "half") is None
    assert await objects.get(ALICE, "response", "r") is not None


async def test_what_has_expired_is_gone_and_is_swept_with_what_belongs_to_it(objects: Objects) -> None:
    now = int(time.time())
    await objects.put(
        thing("conversation", id="old", expires_at=now - 1),
        thing("item", id="i", parent="old"),
        thing("conversation", id="new", expires_at=now + 1000),
    )
    assert await objects.get(ALICE, "conversation", "old") is None
    assert await objects.get(ALICE, "item", "i") is not None
    assert await objects.sweep() == 1
    assert await objects.get(ALICE, "item", "i") is None
    assert await objects.sweep() == 0
    assert await objects.get(ALICE, "conversation", "new") is not None


async def test_what_has_expired_takes_no_place_in_a_page(objects: Objects) -> None:
    now = int(time.time())
    await objects.put(*(thing("response", id=f"old{number}", expires_at=now - 1) for number in range(5)))
    await objects.put(thing("response", id="new", expires_at=now + 1000), thing("response", id="ever"))
    page = await objects.list(ALICE, "response", order="asc", limit=3)
    assert [one.id for one in page.objects] == ["new", "ever"]
    assert not page.has_more


async def test_an_object_in_use_lives_longer_never_shorter(objects: Objects) -> None:
    soon = int(time.time()) + 100
    await objects.put(thing(id="before", expires_at=soon), thing(id="r", parent="before", expires_at=soon))
    await objects.put(thing(id="ever"))
    for expires_at in (10**10, 10):
        await objects.write(objects.keeping(ALICE, "response", "r", expires_at))
    await objects.write(objects.keeping(ALICE, "response", "ever", 10**10))
    line = await objects.lineage(ALICE, "response", "r")
    assert [(one.id, one.expires_at) for one in line] == [("before", 10**10), ("r", 10**10)]
    ever = await objects.get(ALICE, "response", "ever")
    assert ever is not None
    assert ever.expires_at == 0


async def test_several_changes_happen_together_or_not_at_all(objects: Objects) -> None:
    await objects.write(objects.adding_part(ALICE, "r", 0, b"a"))
    with pytest.raises(StorageFailed):
        await objects.write(objects.putting(thing(id="half")), objects.adding_part(ALICE, "r", 0, b"again"))
    assert await objects.get(ALICE, "response", "half") is None


async def test_the_bytes_of_a_subscriber_are_counted(objects: Objects) -> None:
    await objects.put(thing(data={"text": "x" * 1000}), thing(subscriber=BOB, data={"text": "x" * 5000}))
    await objects.write(objects.adding_part(ALICE, "f", 0, b"y" * 2000))
    assert 3000 < await objects.usage(ALICE) < 3300
