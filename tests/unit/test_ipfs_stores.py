from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

import pytest

from nvm_chain.cid import Cid
from nvm_chain.errors import DigestMismatch, NotFound, NvmError, StoreUnavailable
from nvm_chain.ipfs import (
    Fault,
    LocalStore,
    Stores,
)
from tests.unit.gateways import BLOCK, CID, Handler, broken, gateway, honest, liar, silent


def blocks(folder: Path) -> list[Path]:
    """The files in the shards of a store's folder."""
    return sorted(folder.glob("??/*"))


def only(folder: Path) -> Path:
    """The one block there is."""
    (file,) = blocks(folder)
    return file


async def test_a_block_goes_to_every_place_and_the_report_says_which_hold_it(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("")
    good, more, bad = LocalStore(tmp_path / "a"), LocalStore(tmp_path / "b"), LocalStore(tmp_path / "full")
    async with Stores(good, [more, bad]) as stores:
        report = await stores.publish(BLOCK)
        assert report.cid == CID
        assert report.held == (good.name, more.name)
        (fault,) = report.faults
        assert fault.source == bad.name
        assert isinstance(fault.error, StoreUnavailable)
        assert await stores.put(BLOCK) == CID
        places = {holding.source: holding for holding in await stores.where(CID)}
    assert [places[store.name].holds for store in (good, more, bad)] == [True, True, False]
    assert places[bad.name].error is not None


async def test_a_primary_that_fails_fails_the_put(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("")
    with pytest.raises(StoreUnavailable):
        await Stores(LocalStore(tmp_path / "full"), [LocalStore(tmp_path / "b")]).put(BLOCK)


async def test_reading_skips_liars_names_them_and_keeps_the_block(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    primary = LocalStore(tmp_path)
    async with gateway(liar) as evil, gateway(honest) as good:
        stores = Stores(primary, gateways=[evil, good])
        fetched = await stores.fetch(CID)
        assert fetched.block == BLOCK
        assert fetched.source == good.name
        assert [(fault.source, fault.lied) for fault in fetched.faults] == [(primary.name, False), (evil.name, True)]
    assert await primary.get(CID) == BLOCK
    async with gateway(liar) as evil, gateway(honest) as good:
        with caplog.at_level(logging.WARNING, "nvm_chain.ipfs"):
            assert await Stores(LocalStore(tmp_path / "new"), gateways=[evil, good]).get(CID) == BLOCK
        assert evil.name in caplog.text
        assert "ipfs.lie" in caplog.text


async def test_a_block_that_a_stranger_asks_for_is_not_kept(tmp_path: Path) -> None:
    primary = LocalStore(tmp_path)
    async with gateway(honest) as good:
        assert await Stores(primary, gateways=[good]).get(CID, keep=False) == BLOCK
    assert not await primary.has(CID)


async def test_whoever_reads_can_be_told_of_each_fault(tmp_path: Path) -> None:
    told: list[Fault] = []
    async with gateway(liar) as evil, gateway(honest) as good:
        assert await Stores(LocalStore(tmp_path), gateways=[evil, good], on_fault=told.append).get(CID) == BLOCK
    assert [type(fault.error) for fault in told] == [NotFound, DigestMismatch]
    assert all(fault.source in str(fault) for fault in told)


async def test_a_damaged_primary_is_mended_from_elsewhere(tmp_path: Path) -> None:
    primary = LocalStore(tmp_path)
    await primary.put(BLOCK)
    file = only(tmp_path)
    file.write_bytes(b"rot")
    async with gateway(honest) as good:
        fetched = await Stores(primary, gateways=[good]).fetch(CID)
    assert fetched.block == BLOCK
    assert [fault.lied for fault in fetched.faults] == [True]
    assert await primary.get(CID) == BLOCK


async def test_a_silent_place_holds_nobody_up_for_longer_than_patience(tmp_path: Path) -> None:
    async with gateway(silent) as mute, gateway(honest) as good:
        stores = Stores(LocalStore(tmp_path), gateways=[mute, good], patience=0.2)
        started = time.monotonic()
        assert (await stores.fetch(CID)).source == good.name
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("handlers", "error", "words"),
    [
        ([], NotFound, "no place has the block"),
        ([honest, honest], NotFound, "no place has the block"),
        ([liar], DigestMismatch, "served 22 bytes"),
        ([liar, honest, broken], DigestMismatch, "served 22 bytes"),
        ([honest, broken], StoreUnavailable, "it answers 500"),
    ],
)
async def test_when_no_place_gives_it_the_worst_reason_is_told(
    tmp_path: Path, handlers: list[Handler], error: type[NvmError], words: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sources = [await stack.enter_async_context(gateway(handler, attempts=1)) for handler in handlers]
        stores = Stores(LocalStore(tmp_path), gateways=sources)
        with pytest.raises(error, match=words):
            await stores.get(Cid.of(b"nobody has this"))
        assert not await stores.has(Cid.of(b"nobody has this")) or liar in handlers


async def test_a_full_disk_does_not_keep_a_good_block_from_its_reader(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("")
    async with gateway(honest) as good:
        assert await Stores(LocalStore(tmp_path / "full"), gateways=[good]).get(CID) == BLOCK
