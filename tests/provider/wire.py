"""Reads requests and writes answers, faults included."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import web

from tests.provider.errors import ApiError, invalid
from tests.provider.model import Json, new_id
from tests.provider.script import Script
from tests.provider.state import STATE, Exchange

EXCHANGE: web.RequestKey[Exchange] = web.RequestKey("exchange", Exchange)
QUEUED: web.RequestKey[Script] = web.RequestKey("queued", Script)
HTML = b"<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body><h1>Error 502</h1></body></html>\n"
GARBAGE = bytes(range(128, 256)) + b'{"id": "resp_'


async def read_json(request: web.Request) -> Json:
    """The request's JSON object; an empty body is {}. Raises ApiError (400)."""
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from error
    request[EXCHANGE].body = body
    if not isinstance(body, dict):
        raise invalid("The JSON body of your request must be an object.", code="invalid_type")
    return body


def headers(request: web.Request) -> dict[str, str]:
    """What OpenAI sends with every answer; organisation, project and cookie tell whose key was used."""
    exchange, state = request[EXCHANGE], request.app[STATE]
    return {
        "openai-version": "2020-10-01",
        "openai-organization": state.organization,
        "openai-project": state.project,
        "openai-processing-ms": str(round((time.monotonic() - exchange.started) * 1000)),
        "x-request-id": exchange.id,
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-tokens": "1999990",
        "x-ratelimit-reset-tokens": "0s",
        "set-cookie": f"__cf_bm={new_id('cf', 16)}; path=/; HttpOnly; Secure",
        "cf-ray": "8f00ba4-AMS",
    }


async def send_json(
    request: web.Request, payload: Any, script: Script | None = None, status: int = 200
) -> web.StreamResponse:
    """Answers with JSON, after the script's wait and with its faults."""
    script = script or request[QUEUED]
    kind, body = "application/json", orjson.dumps(payload)
    await pause(script.wait)
    if script.html:
        kind, body = "text/html", HTML
    elif script.garbage:
        body = GARBAGE
    out = web.StreamResponse(status=status, headers={**headers(request), "content-type": kind})
    out.content_length = len(body)
    await out.prepare(request)
    if script.cut is not None or script.hang_after is not None:
        await out.write(body[: len(body) // 2])
        if script.hang_after is not None:
            await pause(math.inf)
        return _cut(request, out)
    await _write(out, body, script)
    await out.write_eof()
    return out


async def send_error(request: web.Request, error: ApiError, script: Script | None = None) -> web.StreamResponse:
    """Answers with an error."""
    out_headers = {**headers(request), **error.headers}
    if script is not None and script.html:
        return web.Response(status=error.status, body=HTML, headers={**out_headers, "content-type": "text/html"})
    return web.json_response(error.envelope(), status=error.status, headers=out_headers)


async def send_events(request: web.Request, frames: AsyncIterator[bytes], script: Script) -> web.StreamResponse:
    """Answers with server-sent events, one frame at a time."""
    await pause(script.wait)
    if script.html:
        return await send_json(request, None, script)
    kind = "text/event-stream; charset=utf-8"
    out = web.StreamResponse(headers={**headers(request), "content-type": kind, "cache-control": "no-cache"})
    await out.prepare(request)
    exchange = request[EXCHANGE]
    if script.garbage:
        await out.write(b"event: \xff\xfe\ndata: " + GARBAGE.replace(b"\n", b"") + b"\n\n")
    async for frame in frames:
        if script.hang_after == exchange.events:
            await pause(math.inf)
        if script.cut == exchange.events:
            await out.write(frame[: len(frame) // 2])
            return _cut(request, out)
        await _write(out, frame, script)
        exchange.events += 1
        await pause(script.delay)
    await out.write_eof()
    return out


def frame(data: Any, event: str | None = None) -> bytes:
    """One server-sent event; `event` names it."""
    body = data if isinstance(data, bytes) else orjson.dumps(data)
    return (b"event: " + event.encode() + b"\n" if event else b"") + b"data: " + body + b"\n\n"


async def pause(seconds: float) -> None:
    """Sleeps; `math.inf` until the client leaves."""
    if seconds == math.inf:
        await asyncio.Event().wait()
    elif seconds:
        await asyncio.sleep(seconds)


async def _write(out: web.StreamResponse, body: bytes, script: Script) -> None:
    if not script.drip:
        return await out.write(body)
    for start in range(0, len(body), script.drip):
        await out.write(body[start : start + script.drip])
        await asyncio.sleep(0.001)


def _cut(request: web.Request, out: web.StreamResponse) -> web.StreamResponse:
    request[EXCHANGE].cut = True
    if request.transport:
        request.transport.close()
    return out
