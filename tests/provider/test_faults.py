"""Scripted failures, pacing, keys, headers and the journal."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import openai
import pytest

from tests.provider import Provider


@pytest.mark.parametrize(
    ("directive", "status", "code", "kind"),
    [
        ("[[fail 500]]", 500, None, "server_error"),
        ("[[fail 503]]", 503, None, "server_error"),
        ("[[fail 429]]", 429, "rate_limit_exceeded", "requests"),
        ("[[fail 429 insufficient_quota]]", 429, "insufficient_quota", "insufficient_quota"),
        ("[[fail 400 content_policy]]", 400, "content_policy", "invalid_request_error"),
        ("[[redirect http://127.0.0.1:9/]]", 307, None, "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("where", ["input", "model", "queue"])
async def test_failures_can_be_scripted_from_everywhere(
    http: aiohttp.ClientSession, provider: Provider, where: str, directive: str, status: int, code: str, kind: str
) -> None:
    body = {"model": "stand-in", "input": "hi"}
    if where == "input":
        body["input"] = f"hi {directive}"
    elif where == "model":
        body["model"] = "fault:" + directive.strip("[]").replace(" ", "+")
    else:
        async with http.post("/__control__/faults", json={"directives": directive, "path": "/responses"}) as queued:
            assert queued.status == 200
    async with http.post("/v1/responses", json=body, allow_redirects=False) as answer:
        assert answer.status == status
        error = (await answer.json())["error"]
        assert (error["code"], error["type"]) == (code, kind)
        assert ("retry-after" in answer.headers) == (code == "rate_limit_exceeded")
    if where == "queue":
        async with http.post("/v1/responses", json=body) as answer:
            assert answer.status == 200


async def test_broken_answers(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/responses", json={"model": "stand-in", "input": "[[html]]"}) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
    async with http.post("/v1/responses", json={"model": "stand-in", "input": "[[fail 502]][[html]]"}) as answer:
        assert answer.status == 502
    async with http.post("/v1/responses", json={"model": "stand-in", "input": "[[garbage]]"}) as answer:
        with pytest.raises(UnicodeDecodeError):
            await answer.json()
    async with http.post("/v1/responses", json={"model": "stand-in", "input": "[[cut 0]]"}) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    async with http.post("/v1/responses", json={"model": "stand-in", "input": "[[cut 6]]", "stream": True}) as answer:
        read = [await answer.content.readuntil(b"\n\n") for _ in range(6)]
        assert all(event.startswith(b"event: response.") for event in read)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()
    body = {"model": "stand-in", "input": "[[huge 10000000]]", "stream": True}
    async with http.post("/v1/responses", json=body) as answer:
        frames = (await answer.read()).split(b"\n\n")
        assert max(map(len, frames)) > 10_000_000


async def test_pacing(http: aiohttp.ClientSession) -> None:
    began = time.monotonic()
    body = {"model": "stand-in", "input": "[[wait 0.1]] [[delay 0.02]] a b c", "stream": True}
    async with http.post("/v1/responses", json=body) as answer:
        assert time.monotonic() - began > 0.1
        events = (await answer.read()).count(b"\n\n")
    assert time.monotonic() - began > 0.1 + 0.02 * (events - 1)
    async with http.post("/v1/responses", json={"model": "stand-in", "input": "[[drip 9]] a"}) as answer:
        assert (await answer.json())["status"] == "completed"


@pytest.mark.parametrize("directive", ["[[hang]]", "[[hang_after 3]]"])
async def test_a_hanging_answer_ends_with_the_client(
    http: aiohttp.ClientSession, provider: Provider, directive: str
) -> None:
    timeout = aiohttp.ClientTimeout(total=0.2)
    with pytest.raises(asyncio.TimeoutError):
        async with http.post(
            "/v1/responses", json={"model": "stand-in", "input": directive, "stream": True}, timeout=timeout
        ) as answer:
            await answer.read()
    for _ in range(500):
        if provider.requests[-1].status == 499:
            break
        await asyncio.sleep(0.01)
    assert provider.requests[-1].status == 499
    assert not provider.requests[-1].finished
    assert not provider.state.responses


async def test_keys(provider: Provider) -> None:
    async with openai.AsyncOpenAI(base_url=provider.url, api_key="sk-wrong-key-0123456789", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match=r"Incorrect API key provided: sk-wrong\*+6789") as caught:
            await client.models.list()
        assert caught.value.code == "invalid_api_key"
    async with aiohttp.ClientSession() as http, http.get(f"{provider.url}/models") as answer:
        assert answer.status == 401


async def test_headers_tell_whose_account_it_is(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/responses", json={"model": "stand-in", "input": "hi"}) as answer:
        names = {name.lower() for name in answer.headers}
    assert {"openai-organization", "openai-project", "x-request-id", "openai-processing-ms", "set-cookie"} <= names
    assert {f"x-ratelimit-{a}-{b}" for a in ("limit", "remaining", "reset") for b in ("requests", "tokens")} <= names


async def test_the_journal_keeps_what_was_received(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/responses", json={"model": "stand-in", "input": "hi", "stream": True}) as answer:
        await answer.read()
    async with http.get("/__control__/requests") as answer:
        (entry,) = await answer.json()
    assert entry["body"] == {"model": "stand-in", "input": "hi", "stream": True}
    assert entry["headers"]["authorization"].startswith("Bearer sk-")
    assert (entry["status"], entry["finished"], entry["events"]) == (200, True, 11)
    async with http.delete("/__control__/requests"):
        pass
    async with http.get("/__control__/requests") as answer:
        assert await answer.json() == []


async def test_unknown_paths_and_methods_get_the_envelope(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/nothing") as answer:
        assert (answer.status, (await answer.json())["error"]["message"]) == (404, "Invalid URL (GET /v1/nothing)")
    async with http.put("/v1/responses") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (405, "method_not_supported")
