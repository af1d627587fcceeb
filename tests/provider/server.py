"""The application, and starting it inside a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from tests.provider import assistants, chat, control, conversations, files, models, responses, runs, threads
from tests.provider.errors import ApiError, no_key, wrong_key
from tests.provider.state import STATE, Exchange, State
from tests.provider.wire import EXCHANGE, QUEUED, send_error

KEY = "sk-stand-in-builder-0123456789abcdef"
"""The API key that the stand-in accepts unless told otherwise."""

_SURFACES = (models, files, responses, conversations, chat, assistants, threads, runs)


@dataclass(frozen=True, slots=True)
class Provider:
    """A running stand-in. `url`: what an OpenAI client takes as base_url."""

    url: str
    key: str
    state: State

    @property
    def requests(self) -> list[Exchange]:
        """What it received, oldest first, the control endpoint left out."""
        return self.state.exchanges

    def queue(self, directives: str, *, path: str = "/v1/", times: int = 1) -> None:
        """Applies directives (`[[fail 500]]`) to the next `times` requests whose path contains `path`."""
        self.state.faults.append((path, directives, times))


def build_app(state: State) -> web.Application:
    """The application over a project's state."""
    app = web.Application(middlewares=[_guard], client_max_size=64 << 20)
    app[STATE] = state
    control.add_routes(app)
    for surface in _SURFACES:
        surface.add_routes(app)
    return app


@asynccontextmanager
async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    keys: tuple[str, ...] = (KEY,),
    organization: str = "org-builder",
    project: str = "proj_builder",
) -> AsyncIterator[Provider]:
    """Serves until the block ends; port 0 takes a free one. Raises OSError when the port is taken."""
    state = State(frozenset(keys), organization, project)
    runner = web.AppRunner(build_app(state), handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        actual = runner.addresses[0][1]
        yield Provider(f"http://{host}:{actual}/v1", keys[0], state)
    finally:
        for stored in state.responses.values():
            if stored.task:
                stored.task.cancel()
        await runner.cleanup()


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Journal, key, queued faults, and errors in OpenAI's envelope."""
    if request.path.startswith(control.PREFIX):
        return await handler(request)
    state = request.app[STATE]
    exchange = Exchange(
        request.method, request.path, dict(request.query), {k.lower(): v for k, v in request.headers.items()}
    )
    request[EXCHANGE] = exchange
    state.exchanges.append(exchange)
    request[QUEUED] = script = state.take_faults(request.path)
    try:
        try:
            _authenticate(request, state)
            if failure := script.failure():
                raise failure
            answer = await handler(request)
        except ApiError as error:
            answer = await send_error(request, error, script)
        except web.HTTPException as error:
            answer = await send_error(request, _no_route(request, error))
    except asyncio.CancelledError:
        exchange.status = exchange.status or 499
        raise
    exchange.status = answer.status
    exchange.finished = not exchange.cut
    return answer


def _authenticate(request: web.Request, state: State) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise no_key()
    if key not in state.keys:
        raise wrong_key(key)


def _no_route(request: web.Request, error: web.HTTPException) -> ApiError:
    if error.status == 405:
        return ApiError(405, f"Not allowed to {request.method} on {request.path}.", code="method_not_supported")
    return ApiError(error.status, f"Invalid URL ({request.method} {request.path})")
