"""The node's ASGI application: routes, request ids, one envelope for every error, one log line per request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from node_proxy import logs
from node_proxy.access.pages import AccessPages
from node_proxy.asgi import ClientGone, Exchange, Receive, Router, Scope, Send
from node_proxy.dids import DidPages
from node_proxy.errors import KeyInvalid, LoginRefused, NodeError, ShuttingDown, TooManyRequests, as_node_error
from node_proxy.openai.assistants_api.routes import add_assistants
from node_proxy.openai.chat_routes import add_chat
from node_proxy.openai.models import ModelPages
from node_proxy.openai.routes import add_responses
from node_proxy.openapi import OpenApiPage
from node_proxy.receipt_pages import ReceiptPages
from node_proxy.services import Services
from node_proxy.status import StatusPages, is_operator
from node_proxy.vouchers import VoucherPages
from node_proxy.web.pages import WebPages

log = logs.get("http")
requests = logs.Lines("http", "http.request")

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at debug level only."""


def build_router(services: Services) -> Router:
    """Every address that the node answers."""
    router = Router()
    access, status, models = AccessPages(services), StatusPages(services), ModelPages(services)
    add_responses(router, services)
    add_chat(router, services)
    add_assistants(router, services)
    router.add("GET", "/v1/models", models.list)
    router.add("GET", "/v1/models/{id}", models.retrieve)
    router.add("GET", "/v1/account", access.account)
    receipts, vouchers = ReceiptPages(services, access.caller), VoucherPages(services, access.caller)
    router.add("GET", "/v1/receipts", receipts.page)
    router.add("GET", "/v1/receipts/{id}", receipts.retrieve)
    router.add("GET", "/v1/receipts/{id}/proof", receipts.proof)
    router.add("POST", "/v1/vouchers", vouchers.create)
    router.add("GET", "/v1/vouchers/{plan}", vouchers.retrieve)
    router.add("GET", "/auth/nonce", access.nonce)
    router.add("POST", "/auth/login", access.login)
    router.add("GET", "/auth/session", access.show_session)
    router.add("POST", "/auth/session", access.start_session)
    router.add("DELETE", "/auth/session", access.end_session)
    router.add("GET", "/auth/keys", access.list_keys)
    router.add("POST", "/auth/keys", access.create_key)
    router.add("GET", "/auth/keys/{id}", access.retrieve_key)
    router.add("DELETE", "/auth/keys/{id}", access.revoke_key)
    router.add("GET", "/1.0/identifiers/{did}", DidPages(services).identifier)
    router.add("GET", "/healthz", status.health)
    router.add("GET", "/readyz", status.ready)
    router.add("GET", "/metrics", status.metrics)
    router.add("GET", "/.well-known/nvm-node.json", status.well_known)
    WebPages(services).add_to(router)
    router.add("GET", "/openapi.json", OpenApiPage(router).show)
    router.wrap("POST", "/v1/", services.answers.once)
    return router


def build_app(services: Services) -> Asgi:
    """The application. Resources belong to `services`, which its opener closes."""
    router = build_router(services)
    app = _application(services, router)
    return app if services.telemetry is None else services.telemetry.around(app, router)


def _application(services: Services, router: Router) -> Asgi:
    counted = services.metrics

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await answer(Exchange(scope, receive, send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    async def answer(exchange: Exchange) -> None:
        began, route = time.perf_counter(), "unknown"
        try:
            handler, exchange.params, route = router.find(exchange.method, exchange.path)
            if services.stopping and route.startswith("/v1/"):
                raise ShuttingDown("The node is stopping; try again in a moment.", retry_after=2)
            _check_guesses(services, exchange)
            await handler(exchange)
        except ClientGone:
            exchange.facts["gone"] = True
        except asyncio.CancelledError:
            exchange.facts["cancelled"] = True
            raise
        except Exception as error:
            if isinstance(error, KeyInvalid | LoginRefused) and _credentials(services, exchange):
                services.guessed(exchange)
            await _refuse(exchange, error)
        finally:
            exchange.close()
            seconds = time.perf_counter() - began
            counted.answered(route, exchange.status, seconds)
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


def _check_guesses(services: Services, exchange: Exchange) -> None:
    """Makes whoever has tried many keys wait, unless it brings one that is known to be good or needs none."""
    if services.guesses and (wait := services.guesses.wait(services.client(exchange))):
        good = services.keys.knows(exchange.bearer()) or is_operator(services, exchange)
        if _credentials(services, exchange) and not good:
            raise TooManyRequests("Too many wrong keys or logins came from your address; wait.", retry_after=wait)


def _credentials(services: Services, exchange: Exchange) -> bool:
    """Whether the request could be a guess. One without anything isn't: any web site can have its visitors send it."""
    login = exchange.method == "POST" and exchange.path in ("/auth/login", "/auth/session")
    return login or bool(exchange.bearer() or services.sessions.token_of(exchange.header(b"cookie")))


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


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
