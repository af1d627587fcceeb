"""Where a builder's URL may lead, and what a provider's refusals become."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.config import HostPort, Settings
from node_proxy.errors import (
    NodeError,
    ProviderBusy,
    ProviderError,
    ProviderGarbage,
    ProviderNotAllowed,
    ProviderRefusedBuilder,
    ProviderRefusedSetup,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
)
from node_proxy.relay import post
from node_proxy.relay.provider import ProviderAnswer, ProviderCall, ProviderClient, classify, open_provider_client
from node_proxy.relay.target import AddressForbidden, Allowed, PublicResolver, is_public
from nvm_chain.secret import Secret

ALLOWED = Allowed(("api.openai.com", "*.example.org"), (HostPort("localhost", 11434), HostPort("127.0.0.1", 8000)))
KEY = Secret("sk-a-builders-secret-key-0123456789")


# ------------------------------------------------------------------------------------------------------------- target


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com:443/v1"),
        ("https://API.OpenAI.com./v1/", "https://api.openai.com:443/v1"),
        ("https://eu.example.org:443/x/v1", "https://eu.example.org:443/x/v1"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_what_the_operator_allows_is_allowed(url: str, becomes: str) -> None:
    assert ALLOWED.url(url) == becomes


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com.evil.com/v1",
        "https://evilapi.openai.com/v1",
        "https://example.org/v1",
        "https://xexample.org/v1",
        "https://api.openai.com@evil.com/v1",
        "https://evil.com#@api.openai.com/v1",
        "https://evil.com?api.openai.com",
        "https://user:password@api.openai.com/v1",
        "https://api.openai.com\\@evil.com/v1",
        "https://api.openai.com /v1",
        "https://api.openai.com/v1/../admin",
        "https://api.openai.com/v1%2f..",
        "https://аpi.openai.com/v1",
        "https://127.0.0.1/v1",
        "https://[::1]/v1",
        "https://[::ffff:127.0.0.1]/v1",
        "https://2130706433/v1",
        "https://0x7f000001/v1",
        "https://0177.0.0.1/v1",
        "https://127.1/v1",
        "https://169.254.169.254/latest/meta-data",
        "http://localhost:11435/v1",
        "http://localhost/v1",
        "http://127.0.0.1:8001/v1",
        "unix:///var/run/docker.sock",
        "file:///etc/passwd",
        "https://",
        "https://api.openai.com:99999/v1",
        "//api.openai.com/v1",
        "",
    ],
)
def test_anything_else_is_refused_without_showing_the_url(url: str) -> None:
    with pytest.raises(ProviderNotAllowed) as caught:
        ALLOWED.url(url)
    assert caught.value.status == 503
    assert "password" not in caught.value.message


def test_which_provider_was_meant_is_told_to_the_operator_only() -> None:
    with pytest.raises(ProviderNotAllowed) as caught:
        ALLOWED.url("https://llm.customer.example/v1")
    assert "customer" not in caught.value.message
    assert "llm.customer.example" in str(caught.value.__cause__)


@given(st.text(max_size=60))
def test_no_text_leads_anywhere_else(text: str) -> None:
    try:
        url = ALLOWED.url(text)
    except ProviderNotAllowed:
        return
    assert url.startswith(("https://api.openai.com:443", "http://localhost:11434", "http://127.0.0.1:8000")) or (
        ".example.org:443" in url
    )


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::"),
        *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "localhost", ""),
        *("fec0::1", "3fff::1", "5f00::1", "2001:2::1", "64:ff9b:1::7f00:1", "192.88.99.1", "168.63.129.16"),
        *("::ffff:168.63.129.16", "2002:a83f:8110::1"),
    ],
)
def test_every_other_address_is_not(address: str) -> None:
    assert not is_public(address)


class Names(AbstractResolver):
    """A name server that says what the test wants."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        return None


async def test_a_name_that_leads_to_a_private_address_is_refused() -> None:
    resolver = PublicResolver([HostPort("localhost", 11434)], Names("1.1.1.1", "127.0.0.1"))
    with pytest.raises(AddressForbidden):
        await resolver.resolve("api.openai.com", 443)
    with pytest.raises(AddressForbidden):
        await resolver.resolve("localhost", 11435)
    assert len(await resolver.resolve("localhost", 11434)) == 2


async def test_a_public_name_keeps_the_addresses_that_were_checked() -> None:
    results = await PublicResolver([], Names("1.1.1.1")).resolve("api.openai.com", 443)
    assert [result["host"] for result in results] == ["1.1.1.1"]


# ------------------------------------------------------------------------------------------------------------- client


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def provider(handler: Handler, **limits: object) -> AsyncIterator[tuple[ProviderClient, ProviderCall]]:
    """A real server that misbehaves as the test wants, and the client pointed at it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    settings = Settings(
        rpc_url="http://x", allow_local_providers=(HostPort("127.0.0.1", port),), **limits  # type: ignore[arg-type]
    )  # fmt: skip
    try:
        async with open_provider_client(settings) as client:
            yield client, ProviderCall(f"http://127.0.0.1:{port}/v1", "/responses", KEY, b"{}", frozenset({"input"}))
    finally:
        await runner.cleanup()


async def stream(request: web.Request) -> web.StreamResponse:
    """The beginning of an event stream."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    return response


async def ask(handler: Handler, **limits: object) -> dict[str, object]:
    async with provider(handler, **limits) as (client, call), client.post(call) as answer:
        return await answer.json()


async def test_the_builders_key_goes_to_the_provider_and_nothing_of_ours_does() -> None:
    seen: dict[str, str] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(request.headers)
        return web.json_response({"ok": True})

    assert await ask(handler) == {"ok": True}
    assert seen["Authorization"] == f"Bearer {KEY.reveal()}"
    assert set(seen) <= {
        *("Host", "Authorization", "Content-Type", "Accept", "Accept-Encoding", "User-Agent", "Content-Length"),
    }


def test_the_locked_aiohttp_is_the_one_whose_inside_is_known() -> None:
    assert post.KNOWN, f"compare post.send with ClientSession._request of aiohttp {aiohttp.__version__}"


async def test_an_unknown_aiohttp_sends_the_same_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, sorted(request.headers.items()), await request.read()))
        return web.json_response({})

    async with provider(handler) as (client, call):
        for known in (True, False):
            monkeypatch.setattr(post, "KNOWN", known)
            async with client.post(replace(call, body=b'{"a": 1}', beta="assistants=v2")):
                pass
    assert seen[0] == seen[1]


@pytest.mark.parametrize("size", [2, 64 * 1024])
async def test_a_request_leaves_in_one_piece(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []

    class Noting:
        def __init__(self, transport: asyncio.Transport) -> None:
            self._transport = transport

        def write(self, data: bytes) -> None:
            pieces.append(data)
            self._transport.write(data)

        def __getattr__(self, name: str) -> object:
            return getattr(self._transport, name)

    connected = ResponseHandler.connection_made

    def noted(self: ResponseHandler, wire: Any) -> None:
        connected(self, cast(asyncio.Transport, Noting(wire)))

    monkeypatch.setattr(ResponseHandler, "connection_made", noted)

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"got": len(await request.read())})

    async with provider(handler) as (client, call):
        for _ in range(2):
            async with client.post(replace(call, body=b"x" * size)) as answer:
                assert await answer.json() == {"got": size}
    assert [piece.endswith(b"\r\n\r\n" + b"x" * size) for piece in pieces] == [True, True]


async def test_only_harmless_headers_of_the_provider_pass() -> None:
    async def handler(_: web.Request) -> web.Response:
        headers = {
            "openai-organization": "builders-org",
            "openai-project": "proj_1",
            "openai-processing-ms": "12",
            "openai-version": "2020-10-01",
            "x-request-id": "req_theirs",
            "x-ratelimit-limit-requests": "100",
            "set-cookie": "a=b",
        }
        return web.json_response({}, headers=headers)

    async with provider(handler) as (client, call), client.post(call) as answer:
        assert answer.headers == [(b"openai-processing-ms", b"12"), (b"openai-version", b"2020-10-01")]
        assert answer.request_id == "req_theirs"


async def test_where_a_builders_provider_is_isnt_remembered_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({})

    async with provider(handler) as (client, call):
        async with client.post(call):
            pass
        assert len(client._urls) == 1
        monkeypatch.setattr("node_proxy.relay.provider._URLS_SECONDS", 0)
        async with client.post(replace(call, path="/elsewhere")):
            pass
        assert [path for _, path in client._urls] == ["/elsewhere"]


async def test_a_redirect_is_not_followed() -> None:
    hits = []

    async def handler(request: web.Request) -> web.Response:
        hits.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    with pytest.raises(ProviderGarbage):
        await ask(handler)
    assert hits == ["/v1/responses"]


async def test_a_cookie_is_not_kept() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"cookies": dict(request.cookies)}, headers={"set-cookie": "a=b; Path=/"})

    async with provider(handler) as (client, call):
        for _ in range(2):
            async with client.post(call) as answer:
                assert await answer.json() == {"cookies": {}}


async def test_html_broken_json_and_other_shapes_are_bad_answers() -> None:
    def answering(body: bytes, kind: str) -> Handler:
        async def handler(_: web.Request) -> web.Response:
            return web.Response(body=body, content_type=kind)

        return handler

    for body, kind in ((b"<html>", "text/html"), (b'{"a":', "application/json"), (b"[1]", "application/json")):
        with pytest.raises(ProviderGarbage) as caught:
            await ask(answering(body, kind))
        assert caught.value.status == 502


async def test_a_compressed_answer_is_refused_rather_than_unpacked() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8b", content_type="application/json", headers={"content-encoding": "gzip"})

    with pytest.raises(ProviderGarbage, match="compressed"):
        await ask(handler)


@pytest.mark.parametrize("declared", [True, False])
async def test_an_answer_that_is_too_long_is_cut_off(declared: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        if declared:
            response.content_length = 10**9
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * 10_000)
        return response

    with pytest.raises(ProviderGarbage, match="more than 2048"):
        await ask(handler, max_answer_bytes=2048)


async def test_a_silent_provider_times_out() -> None:
    import asyncio

    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.json_response({})

    with pytest.raises(ProviderTimeout) as caught:
        await ask(handler, provider_idle_timeout=0.2)
    assert caught.value.status == 504


async def test_a_provider_that_is_down_is_unreachable() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({})

    async with provider(handler) as (_, call):
        settings = Settings(rpc_url="http://x", allow_local_providers=(HostPort("127.0.0.1", 1),))
        async with open_provider_client(settings) as client:
            away = ProviderCall("http://127.0.0.1:1/v1", call.path, KEY, b"{}")
            with pytest.raises(ProviderUnreachable):
                async with client.post(away):
                    pass


async def test_a_provider_that_breaks_off_is_unreachable() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json", "content-length": "100"})
        await response.prepare(request)
        await response.write(b'{"a":')
        assert request.transport is not None
        request.transport.abort()
        return response

    with pytest.raises(ProviderUnreachable):
        await ask(handler)


LEAKS = ("sk-a-builders-secret-key-0123456789", "org-builder", "secret-model")


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, {"message": f"Incorrect API key: {LEAKS[0]}", "code": "invalid_api_key"}, ProviderRefusedBuilder),
        (403, {"message": "Country not supported", "code": None}, ProviderRefusedBuilder),
        (429, {"message": f"in organization {LEAKS[1]}", "code": "rate_limit_exceeded"}, ProviderBusy),
        (429, {"message": "quota", "code": "insufficient_quota", "type": "insufficient_quota"}, ProviderRefusedBuilder),
        (429, {"message": "quota", "code": None, "type": "insufficient_quota"}, ProviderRefusedBuilder),
        (404, {"message": f"model {LEAKS[2]} does not exist", "code": "model_not_found"}, ProviderRefusedSetup),
        (400, {"message": f"{LEAKS[2]} has no temperature", "param": "temperature"}, ProviderRefusedSetup),
        (400, {"message": f"{LEAKS[2]} can't", "param": "input[0].content"}, ProviderRejected),
        (400, {"message": f"{LEAKS[2]}: 9 tokens", "code": "context_length_exceeded"}, ProviderRejected),
        (413, {}, ProviderRejected),
        (500, {"message": LEAKS[0]}, ProviderError),
        (503, {"message": LEAKS[0]}, ProviderError),
        (504, {}, ProviderTimeout),
    ],
)  # fmt: skip
async def test_a_refusal_is_told_in_our_words(status: int, error: dict[str, object], kind: type[NodeError]) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"error": error}, status=status)

    with pytest.raises(kind) as caught:
        await ask(handler)
    assert type(caught.value) is kind
    said = caught.value.body().decode()
    assert not [leak for leak in LEAKS if leak in said]


async def test_an_error_page_in_html_is_a_provider_error() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>Bad gateway", content_type="text/html")

    with pytest.raises(ProviderError) as caught:
        await ask(handler)
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "7"}, 7), ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5), ({"retry-after": "nan"}, 1),
     ({"retry-after": "-5"}, 1), ({"retry-after": "1e9"}, 3600), ({"retry-after": "Wed, 21 Oct 2026"}, 1), ({}, 1)],
)  # fmt: skip
def test_a_rate_limit_says_when_to_come_back(headers: dict[str, str], seconds: float) -> None:
    error = classify(429, "rate_limit_exceeded", "", "", headers, frozenset())
    assert error.status == 429
    assert error.retry_after == seconds
    assert dict(error.headers())[b"retry-after"].isdigit()


@given(st.binary(max_size=200), st.integers(400, 599))
def test_no_refusal_is_taken_for_the_subscribers_own_fault_by_chance(body: bytes, status: int) -> None:
    from node_proxy.relay.provider import _error_fields

    error = classify(status, *_error_fields(body), {}, frozenset())
    assert error.status >= 400
    assert error.status not in (401, 402, 403)
    orjson.loads(error.body())


async def test_events_come_as_they_are_sent() -> None:
    import asyncio

    gate = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream(request)
        await response.write(b"data: 1\n\n")
        await gate.wait()
        await response.write(b"data: 2\n\n")
        return response

    async with provider(handler) as (client, call), client.post(call) as answer:
        groups = answer.events()
        async with asyncio.timeout(5):
            assert [event.data for event in await anext(groups)] == [b"1"]
            gate.set()
            assert [event.data for event in await anext(groups)] == [b"2"]


async def test_pieces_that_follow_each_other_at_once_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_proxy.relay.provider.BURST_SECONDS", 0.5)
    heard = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream(request)
        await response.write(b"data: 1\n\n")
        await heard.wait()
        for number in (2, 3, 4):
            await response.write(b"data: %d\n\n" % number)
            await asyncio.sleep(0.01)
        return response

    groups = []
    async with provider(handler) as (client, call), client.post(call) as answer, asyncio.timeout(10):
        async for group in answer.events():
            groups.append([event.data for event in group])
            heard.set()
    assert groups == [[b"1"], [b"2", b"3", b"4"]]


async def test_what_came_before_a_connection_broke_is_passed_on() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream(request)
        await response.write(b"data: 1\n\n")
        await asyncio.sleep(0.05)  # so that it is read alone
        await response.write(b"data: 2\n\ndata: 3\n\ndata: 4")
        assert request.transport is not None
        request.transport.close()
        return response

    heard: list[bytes] = []

    async def hear(answer: ProviderAnswer) -> None:
        async for group in answer.events():
            heard.extend(event.data for event in group)
            await asyncio.sleep(0.1)  # meanwhile the rest arrives, and the connection's end

    async with provider(handler) as (client, call), client.post(call) as answer:
        with pytest.raises(ProviderUnreachable):
            await hear(answer)
    assert heard == [b"1", b"2", b"3"]


async def test_a_stream_that_never_ends_an_event_is_cut_off() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream(request)
        for _ in range(100):
            await response.write(b"data: " + b"x" * 1000)
        return response

    async with provider(handler, max_answer_bytes=4096) as (client, call), client.post(call) as answer:
        with pytest.raises(ProviderGarbage):
            async for _ in answer.events():
                pass
