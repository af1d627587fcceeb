"""Gateways for tests: a real HTTP server each, honest or not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from nvm_chain.cid import Cid
from nvm_chain.ipfs import Gateway

BLOCK = b'{"title":"Math tutor"}'
CID = Cid.of(BLOCK)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def gateway(handler: Handler, **options: Any) -> AsyncIterator[Gateway]:
    """A gateway that answers every path as `handler` does."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    async with TestServer(app, host="127.0.0.1") as server, Gateway(str(server.make_url("/")), **options) as client:
        yield client


async def honest(request: web.Request) -> web.Response:
    return web.Response(body=BLOCK) if request.path == f"/ipfs/{CID}" else web.Response(status=404)


async def liar(_: web.Request) -> web.Response:
    return web.Response(body=BLOCK.replace(b"Math", b"Evil"))


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=500)


async def silent(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response(body=BLOCK)
