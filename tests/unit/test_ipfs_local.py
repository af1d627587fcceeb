from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.errors import BlockTooLarge, DigestMismatch, NotFound, StoreUnavailable
from nvm_chain.ipfs import (
    LocalStore,
)
from tests.unit.gateways import BLOCK, CID


def blocks(folder: Path) -> list[Path]:
    """The files in the shards of a store's folder."""
    return sorted(folder.glob("??/*"))


def only(folder: Path) -> Path:
    """The one block there is."""
    (file,) = blocks(folder)
    return file


async def test_a_block_put_into_a_folder_is_there_for_everybody_who_opens_it(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "blocks") as store:
        assert await store.put(BLOCK) == CID
    async with LocalStore(tmp_path / "blocks") as again:
        assert await again.get(CID) == BLOCK
        assert await again.has(CID)
        assert not await again.has(Cid.of(b"other"))
        assert [cid async for cid in again.cids()] == [CID]


async def test_the_folder_is_sharded_and_holds_nothing_but_blocks(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    cids = {await store.put(os.urandom(32)) for _ in range(20)}
    (tmp_path / "ab").mkdir(exist_ok=True)
    (tmp_path / "ab" / "note.txt").write_text("not a block")
    assert {cid async for cid in store.cids()} == cids
    for cid in cids:
        file = tmp_path / str(cid)[-3:-1] / str(cid)
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert {file.name for file in blocks(tmp_path)} == {"note.txt", *map(str, cids)}


async def test_a_missing_block_is_not_found_and_the_folder_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"{tmp_path.as_uri()} holds no block {CID}"):
        await LocalStore(tmp_path).get(CID)


@pytest.mark.parametrize("damage", [b"", BLOCK[:-1], BLOCK + b" ", BLOCK.replace(b"M", b"m")])
async def test_a_damaged_file_is_refused_named_and_mended_by_the_next_put(tmp_path: Path, damage: bytes) -> None:
    store = LocalStore(tmp_path)
    await store.put(BLOCK)
    file = only(tmp_path)
    file.write_bytes(damage)
    with pytest.raises(DigestMismatch, match=str(file)):
        await store.get(CID)
    await store.put(BLOCK)
    assert await store.get(CID) == BLOCK


async def test_putting_again_leaves_the_file_alone(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    await store.put(BLOCK)
    file = only(tmp_path)
    before = file.stat()
    await store.put(BLOCK)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_many_writers_of_one_block_do_not_disturb_each_other(tmp_path: Path) -> None:
    stores = [LocalStore(tmp_path) for _ in range(8)]
    assert set(await asyncio.gather(*(store.put(BLOCK) for store in stores for _ in range(8)))) == {CID}
    assert await stores[0].get(CID) == BLOCK
    assert len(blocks(tmp_path)) == 1


async def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        await LocalStore(tmp_path).put(BLOCK)
    assert not blocks(tmp_path)


async def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = LocalStore(tmp_path / "file")
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        await store.get(CID)
    with pytest.raises(StoreUnavailable, match="block store can't use"):
        await store.put(BLOCK)


async def test_a_block_of_256_kib_fits_and_one_more_byte_does_not(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    cid = await store.put(bytes(MAX_BLOCK))
    assert len(await store.get(cid)) == MAX_BLOCK
    with pytest.raises(BlockTooLarge, match="at most 262144"):
        await store.put(bytes(MAX_BLOCK + 1))
    file = only(tmp_path)
    file.write_bytes(bytes(MAX_BLOCK * 4))
    with pytest.raises(BlockTooLarge):
        await store.get(cid)
