"""The control endpoint: what a test in another process reads and scripts. No API key."""

from __future__ import annotations

from aiohttp import web

from tests.provider.errors import ApiError
from tests.provider.script import HELP, Script
from tests.provider.state import STATE

PREFIX = "/__control__"


def add_routes(app: web.Application) -> None:
    """`GET|DELETE /__control__/requests`, `POST|DELETE /__control__/faults`, `GET /__control__/`."""
    app.router.add_get(PREFIX + "/", _help)
    app.router.add_get(PREFIX + "/requests", _requests)
    app.router.add_delete(PREFIX + "/requests", _forget)
    app.router.add_post(PREFIX + "/faults", _queue)
    app.router.add_delete(PREFIX + "/faults", _clear)


async def _help(request: web.Request) -> web.Response:
    return web.Response(text=HELP)


async def _requests(request: web.Request) -> web.Response:
    return web.json_response([exchange.as_json() for exchange in request.app[STATE].exchanges])


async def _forget(request: web.Request) -> web.Response:
    request.app[STATE].exchanges.clear()
    return web.json_response({})


async def _queue(request: web.Request) -> web.Response:
    """Body `{"directives": "[[fail 500]]", "path": "/v1/responses", "times": 1}`; path and times may be left out."""
    body = await request.json()
    try:
        Script().with_text(body["directives"])
    except ApiError as error:
        return web.json_response(error.envelope(), status=error.status)
    request.app[STATE].faults.append((body.get("path", "/v1/"), body["directives"], int(body.get("times", 1))))
    return web.json_response({})


async def _clear(request: web.Request) -> web.Response:
    request.app[STATE].faults.clear()
    return web.json_response({})
