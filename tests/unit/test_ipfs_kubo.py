"""Against a real IPFS daemon: the same bytes, the same CIDs, the same answers as everybody else's tools get."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.errors import BlockTooLarge, DigestMismatch, InvalidInput, NotFound, StoreUnavailable
from nvm_chain.ipfs import Gateway, KuboStore, LocalStore, Stores, open_store
from tests.peers.ipfs import IpfsPeer
from tests.unit.sample import metadata

BLOCK = metadata().to_block()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsPeer]:
    with IpfsPeer(tmp_path_factory.mktemp("ipfs")) as running:
        yield running


@pytest.fixture
async def store(peer: IpfsPeer) -> AsyncIterator[KuboStore]:
    async with KuboStore(peer.rpc) as opened:
        yield opened


@pytest.mark.parametrize("block", [b"", b"x", BLOCK, bytes(MAX_BLOCK)], ids=len)
async def test_a_daemon_gives_our_cid_and_our_bytes_back(store: KuboStore, block: bytes) -> None:
    cid = await store.put(block)
    assert cid == Cid.of(block)
    assert await store.get(cid) == block
    assert await store.has(cid)


async def test_a_folder_and_a_daemon_agree_on_every_cid(store: KuboStore, tmp_path: Path) -> None:
    local = LocalStore(tmp_path)
    for size in (1, 100, 4096, 100_000):
        block = os.urandom(size)
        assert await store.put(block) == await local.put(block)


async def test_putting_twice_is_putting_once(store: KuboStore) -> None:
    assert await store.put(BLOCK) == await store.put(BLOCK)
    assert await store.has(Cid.of(BLOCK))


async def test_what_is_put_is_pinned_and_survives_garbage_collection(peer: IpfsPeer, store: KuboStore) -> None:
    kept, loose = await store.put(os.urandom(64)), os.urandom(64)
    async with aiohttp.ClientSession(f"{peer.rpc_url}/api/v0/") as session:
        form = aiohttp.FormData()
        form.add_field("file", loose)
        async with session.post("block/put?format=raw&mhtype=sha2-256", data=form) as response:
            assert (await response.json())["Key"] == str(Cid.of(loose))
        assert await store.get(Cid.of(loose)) == loose
        assert not await store.has(Cid.of(loose))
        async with session.post("repo/gc") as response:
            assert response.status == 200
            await response.read()
    async with KuboStore(peer.rpc, timeout=1) as impatient:
        with pytest.raises((StoreUnavailable, NotFound)):
            await impatient.get(Cid.of(loose))
    assert await store.has(kept)
    assert Cid.of(await store.get(kept)) == kept


async def test_the_daemon_s_own_gateway_serves_what_was_put(peer: IpfsPeer, store: KuboStore) -> None:
    cid = await store.put(BLOCK)
    async with Gateway(peer.gateway_url) as gateway:
        assert await gateway.get(cid) == BLOCK


async def test_a_url_does_as_well_as_a_multiaddr(peer: IpfsPeer) -> None:
    async with open_store(f"kubo+{peer.rpc_url}") as by_url:
        assert isinstance(by_url, KuboStore)
        assert await by_url.version()
        assert await by_url.put(BLOCK) == Cid.of(BLOCK)


async def test_a_block_that_nobody_has_ends_in_a_bounded_time(peer: IpfsPeer) -> None:
    async with KuboStore(peer.rpc, timeout=1.5) as impatient:
        other = Cid.of(os.urandom(16))
        assert not await impatient.has(other)
        started = time.monotonic()
        with pytest.raises((StoreUnavailable, NotFound), match=str(other)):
            await impatient.get(other)
        assert time.monotonic() - started < 6


async def test_a_daemon_can_be_one_of_several_places(store: KuboStore, tmp_path: Path) -> None:
    stores = Stores(LocalStore(tmp_path / "a"), [store])
    report = await stores.publish(block := os.urandom(100))
    assert report.held == (stores.primary.name, store.name)
    assert not report.faults
    elsewhere = Stores(LocalStore(tmp_path / "b"), gateways=[store])
    assert (await elsewhere.fetch(report.cid)).source == store.name
    assert await elsewhere.primary.get(report.cid) == block


async def test_the_gateway_s_port_is_told_from_the_rpc_s(peer: IpfsPeer) -> None:
    async with KuboStore(peer.gateway_url) as wrong:
        with pytest.raises(StoreUnavailable, match="RPC port"):
            await wrong.put(BLOCK)


async def test_a_daemon_that_is_not_there_is_said() -> None:
    async with KuboStore("/ip4/127.0.0.1/tcp/1") as nobody:
        for call in (nobody.put(BLOCK), nobody.get(Cid.of(BLOCK)), nobody.has(Cid.of(BLOCK)), nobody.version()):
            with pytest.raises(StoreUnavailable, match="is the daemon running"):
                await call


@contextlib.asynccontextmanager
async def daemon(answer: bytes | None, *, delay: float = 0) -> AsyncIterator[str]:
    """Something that speaks HTTP where a daemon should be."""

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        await asyncio.sleep(delay)
        if answer is None:
            response = web.StreamResponse()
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                for _ in range(1000):
                    await response.write(bytes(64 * 1024))
            return response
        return web.Response(body=answer)

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{path:.*}", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/")).rstrip("/")


async def test_a_lying_daemon_is_caught_and_named() -> None:
    async with daemon(b"something else") as url, KuboStore(url) as liar:
        with pytest.raises(DigestMismatch, match=f"kubo\\+{url} served 14 bytes"):
            await liar.get(Cid.of(BLOCK))
        with pytest.raises(StoreUnavailable):
            await liar.put(BLOCK)
    async with daemon(f'{{"Key":"{Cid.of(b"x")}","Size":1}}'.encode()) as url, KuboStore(url) as liar:
        with pytest.raises(DigestMismatch, match="stored the block as"):
            await liar.put(BLOCK)


@pytest.mark.parametrize(
    "answer", [b"[1]", b'[{"Keys":1}]', b'{"Keys":5}', b"5", b"null", b'"x"', b"", b"{}{}", b"\xff"]
)
async def test_an_answer_of_another_form_is_said(answer: bytes) -> None:
    async with daemon(answer) as url, KuboStore(url) as other:
        with pytest.raises((StoreUnavailable, DigestMismatch), match=r"IPFS node|DecodingError"):
            await other.put(BLOCK)
        with pytest.raises(StoreUnavailable, match=r"IPFS node|DecodingError"):
            await other.version()
        with contextlib.suppress(StoreUnavailable):
            assert not await other.has(Cid.of(BLOCK))


async def test_an_endless_daemon_is_cut_off() -> None:
    async with daemon(None) as url, KuboStore(url) as endless:
        with pytest.raises(BlockTooLarge):
            await endless.get(Cid.of(BLOCK))


async def test_a_stuck_daemon_is_left_after_the_timeout() -> None:
    async with daemon(b"", delay=2) as url, KuboStore(url, timeout=0.3) as stuck:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"within 0\.3 s"):
            await stuck.get(Cid.of(BLOCK))
        assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "address", ["127.0.0.1:5001", "/ip4/127.0.0.1", "/p2p/x", "http://", "http://u:p@h:1", "", "http://h:x"]
)
def test_what_is_no_address_of_a_daemon_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="/ip4/127"):
        KuboStore(address)
