"""Around every handler: one envelope for every error, one log line and one count for every request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from node_proxy import logs
from node_proxy.asgi import ClientGone, Exchange, Receive, Router, Scope, Send
from node_proxy.errors import NodeError, as_node_error
from node_proxy.metrics import Metrics

log = logs.get("http")
requests = logs.Lines("http", "http.request")

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at debug level only."""


class Guard(Protocol):
    """Who may ask at all."""

    def check(self, exchange: Exchange, route: str) -> None:
        """Raises NodeError for a request that isn't to be handled."""

    def refused(self, exchange: Exchange, error: Exception) -> None:
        """Hears of every request that was refused."""


class Open:
    """Everybody may."""

    def check(self, exchange: Exchange, route: str) -> None:
        """Nothing is looked at."""

    def refused(self, exchange: Exchange, error: Exception) -> None:
        """Nothing is noted."""


def envelope(router: Router, metrics: Metrics, guard: Guard) -> Asgi:
    """The application that answers what `router` knows."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _other(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        began, route = time.perf_counter(), "unknown"
        try:
            handler, exchange.params, route = router.find(exchange.method, exchange.path)
            guard.check(exchange, route)
            await handler(exchange)
        except ClientGone:
            exchange.facts["gone"] = True
        except asyncio.CancelledError:
            exchange.facts["cancelled"] = True
            raise
        except Exception as error:
            guard.refused(exchange, error)
            await _refuse(exchange, error)
        finally:
            exchange.close()
            seconds = time.perf_counter() - began
            metrics.answered(route, exchange.status, seconds)
            fields = {
                "request": exchange.id,
                "method": exchange.method,
                "route": route,
                "status": exchange.status,
                "ms": round(seconds * 1000, 2),
                **exchange.facts,
            }
            if route in _QUIET:
                log.debug("http.request", **fields)
            else:
                requests.info(fields)

    return app


async def _refuse(exchange: Exchange, error: Exception) -> None:
    """Answers with the error; the reason of one that wasn't foreseen is in the log only."""
    known = as_node_error(error)
    exchange.facts["error"] = known.code
    if not isinstance(error, NodeError):
        log.exception("http.failure", request=exchange.id, path=exchange.path)
    elif known.status >= 500:
        exchange.facts["why"] = str(known.__cause__ or known.message)
    if exchange.status:
        return  # the answer has begun and can't be taken back; the connection ends without its last chunk
    charged = [(b"x-nvm-credits-charged", b"%d" % exchange.facts["charged"])] if "charged" in exchange.facts else []
    left = known.extras.get("credits_left")
    if isinstance(left, int):
        charged.append((b"x-nvm-credits-left", b"%d" % left))
    await exchange.refuse(known, headers=charged)


async def _other(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells the server what it may know of the application's life; no websockets."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
