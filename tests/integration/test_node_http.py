"""The node's HTTP manners: one envelope for every error, a request id on every answer, bounds on what it takes."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def key(world: World) -> str:
    return await world.login(await world.wallet())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(world.node.url) as session:
        yield session


async def error_of(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The error object, which every refusal has."""
    assert answer.content_type == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    error: dict[str, Any] = (await answer.json())["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_url"),
        ("GET", "/v1", 404, "unknown_url"),
        ("POST", "/v1/chat", 404, "unknown_url"),
        ("GET", "/v1/models/", 404, "unknown_url"),
        ("GET", "/auth/keys/a/b", 404, "unknown_url"),
        ("GET", "/v1/responses", 405, "method_not_allowed"),
        ("PUT", "/auth/keys", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/responses", 405, "method_not_allowed"),
        ("GET", "/%00", 404, "unknown_url"),
        ("GET", "/" + "a" * 5000, 404, "unknown_url"),
    ],
)
async def test_what_is_not_there_is_told_in_the_envelope(
    http: aiohttp.ClientSession, method: str, path: str, status: int, code: str
) -> None:
    async with http.request(method, path) as answer:
        assert answer.status == status
        assert (await error_of(answer))["code"] == code
        assert ("allow" in answer.headers) == (status == 405)


async def test_every_answer_has_an_id_of_its_own(http: aiohttp.ClientSession) -> None:
    ids = set()
    for path in ("/healthz", "/nowhere", "/v1/models", "/metrics"):
        async with http.get(path, headers={"x-request-id": "mine"}) as answer:
            ids.add(answer.headers["x-request-id"])
    assert len(ids) == 4
    assert "mine" not in ids


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"", {}, 400),
        (b'{"input": NaN}', {}, 400),
        (b'{"input": "\\ud800"}', {}, 400),
        (b'{"input": "\xff"}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"[]", {}, 422),
        (b'"x"', {}, 422),
        (b"null", {}, 422),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (gzip.compress(b"{}", mtime=0), {"content-encoding": "gzip"}, 415),
        (b" " * (4 * 2**20 + 1), {}, 413),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
async def test_a_body_that_can_not_be_taken_is_refused(
    http: aiohttp.ClientSession, key: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    given = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
    async with http.post("/v1/responses", data=io.BytesIO(body), headers=given) as answer:
        assert answer.status == status
        await error_of(answer)
        assert answer.headers["x-nvm-credits-charged"] == "0"


async def test_a_body_without_a_declared_length_is_bounded_too(http: aiohttp.ClientSession, key: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    given = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with http.post("/v1/responses", data=endless(), headers=given) as answer:
        assert answer.status == 413


async def test_a_client_that_leaves_within_its_body_leaves_no_trace(world: World, key: str) -> None:
    host, port = world.node.url.removeprefix("http://").split(":")
    for _ in range(3):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer " + key.encode() + b"\r\ncontent-length: 100\r\n\r\n{"
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/healthz") as answer:
        assert (await answer.json())["calls_in_flight"] == 0
    assert world.node.process is not None
    assert "Traceback" not in world.node.process.output


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Basic abc", "missing_api_key"),
        ("Bearer", "missing_api_key"),
        ("Bearer sk-proj-abcdefghijklmnop", "invalid_api_key"),
        ("Bearer nvm_" + "0" * 49, "invalid_api_key"),
        ("Bearer nvm_x", "invalid_api_key"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/account", "/auth/keys"])
async def test_without_a_good_key_nothing_is_shown(
    http: aiohttp.ClientSession, authorization: str | None, code: str, path: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    async with http.get(path, headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        error = await error_of(answer)
        assert error["code"] == code
        assert "proj-abc" not in error["message"]
        assert "000" not in error["message"]


async def test_a_garbled_key_is_told_to_be_garbled(http: aiohttp.ClientSession, key: str) -> None:
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    async with http.get("/v1/models", headers={"authorization": f"Bearer {wrong}"}) as answer:
        error = await error_of(answer)
        assert "garbled" in error["message"]
        assert wrong not in error["message"]


async def test_the_node_says_how_it_is(world: World, http: aiohttp.ClientSession) -> None:
    async with http.get("/healthz") as answer:
        health = await answer.json()
    assert health["status"] == "ok"
    assert health["chain_id"] == world.chain.chain_id
    assert health["node"] == world.node.account
    assert health["chain_age_seconds"] < 60
    async with http.get("/readyz") as answer:
        assert answer.status == 200
    async with http.head("/healthz") as answer:
        assert answer.status == 200
        assert await answer.read() == b""


async def test_the_published_facts_are_those_of_the_registry(world: World, http: aiohttp.ClientSession) -> None:
    async with http.get("/.well-known/nvm-node.json") as answer:
        facts = await answer.json()
    record = await world.chain.call(world.deployment.nodes.node(world.node.account))
    assert facts["encryption_key"] == "0x" + record.key.to_bytes().hex()
    assert facts["key_version"] == record.version
    assert facts["registered"] is True
    assert facts["contracts"] == world.deployment.to_dict()
    assert facts["api"] == f"{world.node.url}/v1"


async def test_metrics_count_and_name_nobody(world: World, http: aiohttp.ClientSession, key: str) -> None:
    async with http.get("/metrics") as answer:
        assert answer.content_type == "text/plain"
        text = await answer.text()
    assert 'nvm_http_requests_total{route="/healthz",status="200"}' in text
    assert "nvm_chain_age_seconds" in text
    assert "0x" not in text
    assert "did:" not in text
    assert "nvm_" + key[4:10] not in text


async def test_many_connections_at_once_are_answered(http: aiohttp.ClientSession) -> None:
    async def health() -> int:
        async with http.get("/healthz") as answer:
            return answer.status

    assert set(await asyncio.gather(*(health() for _ in range(200)))) == {200}


async def test_a_slow_body_times_out() -> None:
    async with World(node={"body_timeout": "0.5"}) as world:
        key = await world.login(await world.wallet())

        async def slow() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(2)
            yield b"}"

        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        async with (
            aiohttp.ClientSession(world.node.url) as http,
            http.post("/v1/responses", data=slow(), headers=headers) as answer,
        ):
            assert answer.status == 408
            assert orjson.loads(await answer.read())["error"]["code"] == "request_timeout"
