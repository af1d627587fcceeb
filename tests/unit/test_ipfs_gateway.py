from __future__ import annotations

import asyncio
import contextlib
import gzip
import time

import pytest
from aiohttp import web

from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.errors import BlockTooLarge, DigestMismatch, NotFound, StoreUnavailable
from nvm_chain.ipfs import (
    Gateway,
)
from tests.unit.gateways import BLOCK, CID, broken, gateway, honest, liar


async def test_a_gateway_is_asked_for_the_raw_block() -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return await honest(request)

    async with gateway(handler) as client:
        assert await client.get(CID) == BLOCK
    (request,) = seen
    assert request.query_string == "format=raw"
    assert request.headers["Accept"] == "application/vnd.ipld.raw"
    assert request.headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in request.headers


async def test_a_lying_gateway_is_caught_and_named_and_not_asked_again() -> None:
    calls = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return await liar(request)

    async with gateway(handler) as client:
        with pytest.raises(DigestMismatch, match=f"{client.url} served {len(BLOCK)} bytes with CID bafkrei"):
            await client.get(CID)
        with pytest.raises(DigestMismatch):
            await client.has(CID)
    assert calls == 2


@pytest.mark.parametrize("body", [b"", b"<html>Sign in</html>", gzip.compress(BLOCK, mtime=0), BLOCK[:-1]])
async def test_anything_but_the_block_is_a_lie(body: bytes) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip"} if body.startswith(b"\x1f") else {})

    async with gateway(handler) as client:
        with pytest.raises(DigestMismatch):
            await client.get(CID)


async def test_an_endless_answer_is_cut_off_at_a_block_s_size() -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent < 64 * MAX_BLOCK:
                await response.write(bytes(64 * 1024))
                sent += 64 * 1024
        return response

    async with gateway(handler) as client:
        with pytest.raises(BlockTooLarge, match="at most 262144"):
            await client.get(CID)
    assert sent < 64 * MAX_BLOCK


async def test_a_length_above_a_block_s_size_is_not_even_read() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=bytes(MAX_BLOCK + 1))

    async with gateway(handler) as client:
        with pytest.raises(BlockTooLarge, match="262145 bytes"):
            await client.get(CID)


async def test_a_gateway_without_the_block_says_not_found_at_once() -> None:
    async with gateway(honest) as client:
        started = time.monotonic()
        with pytest.raises(NotFound, match=client.url):
            await client.get(Cid.of(b"other"))
        assert not await client.has(Cid.of(b"other"))
        assert await client.has(CID)
        assert time.monotonic() - started < 5


async def test_a_busy_gateway_is_asked_again_as_it_wishes() -> None:
    times: list[float] = []

    async def handler(request: web.Request) -> web.Response:
        times.append(time.monotonic())
        answers = {1: web.Response(status=503), 2: web.Response(status=429, headers={"Retry-After": "1"})}
        return answers.get(len(times)) or await honest(request)

    async with gateway(handler) as client:
        assert await client.get(CID) == BLOCK
    assert len(times) == 3
    assert times[2] - times[1] >= 0.99


async def test_a_broken_gateway_is_given_up_with_its_last_word() -> None:
    async with gateway(broken, attempts=2) as client:
        with pytest.raises(StoreUnavailable, match="asked 2 times: it answers 500"):
            await client.get(CID)
    async with Gateway("http://127.0.0.1:1", attempts=1) as nobody:
        with pytest.raises(StoreUnavailable, match="Connect"):
            await nobody.get(CID)


async def test_a_connection_that_breaks_off_is_tried_again() -> None:
    calls = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls == 1:
            response = web.StreamResponse(headers={"Content-Length": "22"})
            await response.prepare(request)
            await response.write(BLOCK[:10])
            assert request.transport is not None
            request.transport.close()
            return response
        return await honest(request)

    async with gateway(handler) as client:
        assert await client.get(CID) == BLOCK
    assert calls == 2


@pytest.mark.parametrize("drip", [False, True])
async def test_a_slow_gateway_is_left_after_the_timeout(drip: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if drip:
            await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for byte in BLOCK:
                await asyncio.sleep(0.2)
                if drip:
                    await response.write(bytes([byte]))
        return response

    async with gateway(handler, timeout=0.5) as client:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"within 0\.5 s"):
            await client.get(CID)
        assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/ipfs",
        "https://gateway.evil.example/",
        "file:///etc/passwd",
        "//evil.example/x",
        "http://127.0.0.1.evil.example/x",
        "http://[::1",
        "gopher://x",
    ],
)
async def test_a_redirect_to_elsewhere_is_not_followed(location: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    async with gateway(handler, attempts=1) as client:
        with pytest.raises(StoreUnavailable, match=r"not followed|ValueError"):
            await client.get(CID)


async def test_a_redirect_within_the_gateway_is_followed_a_few_times() -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path.startswith("/ipfs/"):
            return web.Response(status=301, headers={"Location": f"/raw/{CID}"})
        return web.Response(body=BLOCK)

    async with gateway(handler) as client:
        assert await client.get(CID) == BLOCK

    async def loop(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": str(request.rel_url)})

    async with gateway(loop) as client:
        with pytest.raises(StoreUnavailable, match="redirects more than 3 times"):
            await client.get(CID)


async def test_a_subdomain_of_the_gateway_belongs_to_it() -> None:
    client = Gateway("https://dweb.link/ipfs/")
    assert client.url == "https://dweb.link"
    there = f"https://{CID}.ipfs.dweb.link/?format=raw"
    assert client._follow(f"https://dweb.link/ipfs/{CID}?format=raw", there) == there
    for elsewhere in (
        "http://dweb.link/",
        "https://notdweb.link/",
        "https://dweb.link:8443/",
        "https://dweb.link.evil.example/",
    ):
        with pytest.raises(StoreUnavailable):
            client._follow("https://dweb.link/", elsewhere)
