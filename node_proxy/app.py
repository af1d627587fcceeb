"""The node's ASGI application: its routes, and who may ask at all."""

from __future__ import annotations

from node_proxy.access.pages import AccessPages
from node_proxy.asgi import Exchange, Router
from node_proxy.dids import DidPages
from node_proxy.envelope import Asgi, envelope
from node_proxy.errors import KeyInvalid, LoginRefused, ShuttingDown, TooManyRequests
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
    app = envelope(router, services.metrics, Doors(services))
    return app if services.telemetry is None else services.telemetry.around(app, router)


class Doors:
    """See `envelope.Guard`. Shut while the node stops, and for a while to whoever has tried many keys."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def check(self, exchange: Exchange, route: str) -> None:
        """Raises ShuttingDown, TooManyRequests."""
        services = self._services
        if services.stopping and route.startswith("/v1/"):
            raise ShuttingDown("The node is stopping; try again in a moment.", retry_after=2)
        if services.guesses and (wait := services.guesses.wait(services.client(exchange))):
            # Who brings a key that is known to be good, or needs none, needn't wait.
            good = services.keys.knows(exchange.bearer()) or is_operator(services, exchange)
            if _credentials(services, exchange) and not good:
                raise TooManyRequests("Too many wrong keys or logins came from your address; wait.", retry_after=wait)

    def refused(self, exchange: Exchange, error: Exception) -> None:
        """Counts wrong keys and logins."""
        if isinstance(error, KeyInvalid | LoginRefused) and _credentials(self._services, exchange):
            self._services.guessed(exchange)


def _credentials(services: Services, exchange: Exchange) -> bool:
    """Whether the request could be a guess. One without anything isn't: any web site can have its visitors send it."""
    login = exchange.method == "POST" and exchange.path in ("/auth/login", "/auth/session")
    return login or bool(exchange.bearer() or services.sessions.token_of(exchange.header(b"cookie")))
