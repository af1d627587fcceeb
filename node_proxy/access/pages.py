"""Login, keys and the caller's own account, over HTTP."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from node_proxy.access.keys import ApiKey
from node_proxy.access.sessions import CSRF_HEADER, CsrfRefused, Session
from node_proxy.asgi import Exchange
from node_proxy.errors import AccessDenied, InvalidValue
from nvm_chain.address import address
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.text import show

if TYPE_CHECKING:
    from node_proxy.services import Services

MAX_BODY = 64 * 1024
MAX_KEYS = 200
_LONGEST = 10 * 365 * 86_400


class ManageDenied(AccessDenied):
    """The API key may be used for calls only, not to manage keys (HTTP 403)."""

    code = "key_cannot_manage"


class AccessPages:
    """/auth/* and /v1/account."""

    def __init__(self, services: Services) -> None:
        self._services = services

    # --------------------------------------------------------------------------------------------------------- login

    async def nonce(self, exchange: Exchange) -> None:
        """GET /auth/nonce[?address=0x…]: a nonce, and with an address the message to sign."""
        login, wanted = self._services.login, exchange.query.get("address")
        nonce = login.nonce()
        answer: dict[str, Any] = {
            "nonce": nonce.nonce,
            "expires_at": nonce.expires_at,
            "domain": login.domains[0],
            "uri": login.origin,
            "chain_id": login.chain_id,
        }
        if wanted is not None:
            try:
                answer["message"] = login.message(address(wanted, "address"), nonce)
            except InvalidInput as error:
                raise InvalidValue(f"The {error}.", param="address") from None
        await exchange.respond_json(200, answer, headers=[(b"cache-control", b"no-store")])

    async def login(self, exchange: Exchange) -> None:
        """POST /auth/login {message, signature, …}: an API key of the wallet that signed."""
        self._check_origin(exchange)
        body = await exchange.json(MAX_BODY, self._services.settings.body_timeout)
        message, signature = (_text(body, name, 20_000) for name in ("message", "signature"))
        wishes = _wishes(body, {"message", "signature"})
        subscriber = await self._services.login.verify(message, signature)
        if wishes["manage"] is None:
            wishes["manage"] = not _limited(wishes)
        active = await self._services.keys.active(subscriber)
        if len(active) >= MAX_KEYS:  # never locks a wallet out: its oldest key gives way
            await self._services.keys.revoke(subscriber, active[-1].id)
        await self._issue(exchange, subscriber, wishes)

    # ------------------------------------------------------------------------------------------------------- session

    async def start_session(self, exchange: Exchange) -> None:
        """POST /auth/session {message, signature}: the same login, for a browser: sets a cookie, shows no key."""
        self._check_origin(exchange)
        body = await exchange.json(MAX_BODY, self._services.settings.body_timeout)
        message, signature = (_text(body, name, 20_000) for name in ("message", "signature"))
        if unknown := sorted(body.keys() - {"message", "signature"}):
            raise InvalidValue(f"{show(unknown[0])} isn't known here.", param=unknown[0][:100])
        sessions = self._services.sessions
        subscriber = await self._services.login.verify(message, signature)
        token, session = await sessions.start(subscriber, sessions.token_of(exchange.header(b"cookie")))
        headers = [sessions.set_cookie(token), (b"cache-control", b"no-store")]
        await exchange.respond_json(201, session.public(), headers=headers)

    def _check_origin(self, exchange: Exchange) -> None:
        """Before anything is verified: another site must not use up its visitor's tries. Raises CsrfRefused."""
        origin = exchange.headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") != self._services.sessions.origin:
            raise CsrfRefused("This request comes from another site and is refused.")

    async def show_session(self, exchange: Exchange) -> None:
        """GET /auth/session: who is signed in, and the token that changes need."""
        session = await self._session(exchange)
        await exchange.respond_json(200, session.public(), headers=[(b"cache-control", b"no-store")])

    async def end_session(self, exchange: Exchange) -> None:
        """DELETE /auth/session: signs out."""
        await self._session(exchange)
        sessions = self._services.sessions
        await sessions.end(sessions.token_of(exchange.header(b"cookie")))
        answer = {"object": "session.deleted", "deleted": True}
        await exchange.respond_json(200, answer, headers=[sessions.set_cookie("")])

    async def _session(self, exchange: Exchange) -> Session:
        """The browser's session, its token checked where the request changes something."""
        sessions = self._services.sessions
        session = await sessions.verify(sessions.token_of(exchange.header(b"cookie")))
        origin = exchange.headers.get(b"origin")
        origin_text = None if origin is None else origin.decode("latin-1")
        sessions.check_request(session, exchange.method, exchange.header(CSRF_HEADER), origin_text)
        return session

    async def caller(self, exchange: Exchange) -> ApiKey:
        """Whoever sends an API key, or the console with its session."""
        if not exchange.header(b"authorization") and self._services.sessions.token_of(exchange.header(b"cookie")):
            return (await self._session(exchange)).as_key()
        return await self._services.keys.verify(exchange.bearer())

    # ---------------------------------------------------------------------------------------------------------- keys

    async def list_keys(self, exchange: Exchange) -> None:
        """GET /auth/keys: the wallet's keys, without their secrets; a key that can't manage sees itself."""
        key = await self.caller(exchange)
        keys = await self._services.keys.of(key.subscriber) if key.manage else [key]
        data = [await self._shown(one) for one in keys]
        await exchange.respond_json(200, {"object": "list", "data": data, "has_more": False})

    async def create_key(self, exchange: Exchange) -> None:
        """POST /auth/keys {name, budget, expires_in, assistants}: another key of the same wallet."""
        key = await self._manager(exchange)
        wishes = _wishes(await exchange.json(MAX_BODY, self._services.settings.body_timeout), set())
        wishes["manage"] = bool(wishes["manage"])
        if len(await self._services.keys.active(key.subscriber)) >= MAX_KEYS:
            raise InvalidValue(f"This wallet has {MAX_KEYS} keys that work: revoke one before you make another.")
        await self._issue(exchange, key.subscriber, wishes)

    async def retrieve_key(self, exchange: Exchange) -> None:
        """GET /auth/keys/{id}."""
        key = await self.caller(exchange)
        if exchange.params[0] != key.id:
            key = await self._services.keys.get((await self._manager(exchange)).subscriber, exchange.params[0])
        await exchange.respond_json(200, await self._shown(key))

    async def revoke_key(self, exchange: Exchange) -> None:
        """DELETE /auth/keys/{id}; any key can revoke itself."""
        key = await self.caller(exchange)
        if exchange.params[0] != key.id:
            key = await self._manager(exchange)
        revoked = await self._services.keys.revoke(key.subscriber, exchange.params[0])
        await exchange.respond_json(200, {"id": revoked.id, "object": "api_key.deleted", "deleted": True})

    async def _manager(self, exchange: Exchange) -> ApiKey:
        key = await self.caller(exchange)
        if not key.manage:
            raise ManageDenied(
                f"The API key {key.name!r} ({key.id}) can't manage keys: use the one from your login, or log in again."
            )
        return key

    async def _issue(self, exchange: Exchange, subscriber: str, wishes: dict[str, Any]) -> None:
        text, key = await self._services.keys.issue(subscriber, **wishes)
        exchange.facts["key"] = key.id
        shown = {**await self._shown(key), "key": text}
        await exchange.respond_json(201, shown, headers=[(b"cache-control", b"no-store")])

    async def _shown(self, key: ApiKey) -> dict[str, Any]:
        last = await self._services.keys.last_use(key.id)
        return {**key.public(), "last_used_at": last, "spent": await self._services.key_spent(key.id)}

    # ------------------------------------------------------------------------------------------------------- account

    async def account(self, exchange: Exchange) -> None:
        """GET /v1/account: what the wallet holds under each plan that opens an assistant here."""
        key = await self.caller(exchange)
        answer = {
            "object": "account",
            "subscriber": key.subscriber,
            "key": await self._shown(key),
            **await self._services.standing(key.subscriber),
        }
        await exchange.respond_json(200, answer)


def _text(body: dict[str, Any], name: str, longest: int) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value or len(value) > longest:
        raise InvalidValue(f"`{name}` must be a text of 1 to {longest} characters.", param=name)
    return value


def _wishes(body: dict[str, Any], besides: set[str]) -> dict[str, Any]:
    """What the caller wants of a new key. Raises InvalidValue with the parameter's name."""
    known = {"name", "budget", "expires_in", "assistants", "manage"}
    unknown = sorted(body.keys() - known - besides)
    if unknown:
        raise InvalidValue(
            f"{show(unknown[0])} isn't known here; known: {', '.join(sorted(known))}.", param=unknown[0][:100]
        )
    name = body.get("name") or "login"
    if not isinstance(name, str) or len(name) > 100 or not name.isprintable():
        raise InvalidValue("`name` must be a printable text of at most 100 characters.", param="name")
    budget, expires_in = body.get("budget"), body.get("expires_in")
    if budget is not None and (type(budget) is not int or not 1 <= budget < 2**53):
        raise InvalidValue(
            "`budget` must be a whole number of credits, at least 1, or null for no limit.", param="budget"
        )
    if expires_in is not None and (type(expires_in) is not int or not 1 <= expires_in <= _LONGEST):
        raise InvalidValue(f"`expires_in` must be a whole number of seconds from 1 to {_LONGEST}.", param="expires_in")
    if not isinstance(body.get("manage"), bool | None):
        raise InvalidValue("`manage` must be true or false.", param="manage")
    wishes = {
        "name": name,
        "budget": budget,
        "expires_at": None if expires_in is None else int(time.time()) + expires_in,
        "dids": _dids(body.get("assistants")),
        "manage": body.get("manage"),
    }
    if wishes["manage"] and _limited(wishes):
        raise InvalidValue(
            "A key with a budget, an expiry or a list of assistants can't manage other keys: it could make one "
            "without. Leave the limits or `manage` out.",
            param="manage",
        )
    return wishes


def _limited(wishes: dict[str, Any]) -> bool:
    return any(wishes[name] is not None for name in ("budget", "expires_at", "dids"))


def _dids(value: Any) -> frozenset[Did] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= 100:
        raise InvalidValue("`assistants` must be a list of 1 to 100 DIDs, or null for all.", param="assistants")
    try:
        return frozenset(Did.parse(did) for did in value)
    except InvalidInput as error:
        raise InvalidValue(f"`assistants`: {error}.", param="assistants") from None
