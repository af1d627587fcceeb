"""Who sits at the console: the session of the browser that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_proxy.access.sessions import CSRF_HEADER, Session
from node_proxy.asgi import Exchange

if TYPE_CHECKING:
    from node_proxy.services import Services


async def session_of(services: Services, exchange: Exchange) -> Session:
    """The browser's session, its token checked where the request changes something. Raises KeyInvalid, CsrfRefused."""
    sessions = services.sessions
    session = await sessions.verify(sessions.token_of(exchange.header(b"cookie")))
    origin = exchange.headers.get(b"origin")
    origin_text = None if origin is None else origin.decode("latin-1")
    sessions.check_request(session, exchange.method, exchange.header(CSRF_HEADER), origin_text)
    return session
