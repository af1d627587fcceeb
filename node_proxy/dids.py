"""`GET /1.0/identifiers/{did}`: the HTTP(S) binding of W3C DID Resolution (https://www.w3.org/TR/did-resolution/)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from node_proxy import logs
from node_proxy.asgi import Exchange
from node_proxy.errors import TooManyRequests
from nvm_chain.canonical import JsonObject
from nvm_chain.resolver import Dereferenced, Place, Resolution, ResolutionFailed, Resolver

if TYPE_CHECKING:
    from node_proxy.services import Services

log = logs.get("dids")

RESOLUTION = "application/did-resolution"
DEREFERENCING = "application/did-url-dereferencing"
EARLIER = 'application/ld+json;profile="https://w3id.org/did-resolution"'
"""The result's media type in the drafts before 2025, where an error is a word. For whoever does not say."""

_RESULTS = {RESOLUTION: RESOLUTION, DEREFERENCING: DEREFERENCING, EARLIER: EARLIER, "application/json": EARLIER}
_DOCUMENTS = ("application/did", "application/did+ld+json", "application/did+json", "application/ld+json")
_URLS = "text/uri-list"

MAX_AT_ONCE, MAX_WAITING = 8, 64
_SECONDS = 20.0


class DidPages:
    """Resolves for anybody; bounded, because a look into a DID's past can take many requests to the chain."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._waiting = 0

    async def identifier(self, exchange: Exchange) -> None:
        """A DID or DID URL in the path; of a DID URL the query may be the request's own."""
        wanted = _accepted(exchange.headers.get(b"accept", b"").decode("latin-1"))
        try:
            if wanted is None:
                known = ", ".join((*_RESULTS, *_DOCUMENTS, _URLS))
                raise ResolutionFailed("representationNotSupported", f"none of the accepted types is known: {known}")
            found = await self._found(_did_url(exchange))
            if wanted == _URLS and not (isinstance(found, Dereferenced) and isinstance(found.content, str)):
                raise ResolutionFailed("representationNotSupported", f"only a service has a URL, as {_URLS}")
        except ResolutionFailed as error:
            await self._fail(exchange, error, wanted)
            return
        headers = [(b"access-control-allow-origin", b"*"), (b"vary", b"accept")]
        if isinstance(found, Dereferenced) and wanted not in _RESULTS:
            await _part(exchange, found, wanted, headers)
            return
        status = found.status if isinstance(found, Resolution) else 200
        if wanted in _DOCUMENTS and isinstance(found, Resolution) and found.document is not None:
            body, kind = found.document, wanted
        else:
            kind = _RESULTS.get(wanted, EARLIER)
            body = _told(found.to_json(), kind)
        await exchange.respond(status, orjson.dumps(body), content_type=kind.encode(), headers=headers)

    async def _found(self, did_url: str) -> Resolution | Dereferenced:
        services = self._services
        if self._waiting >= MAX_WAITING:
            raise TooManyRequests("Many DIDs are being resolved; try again in a moment.", retry_after=1)
        resolver = Resolver([Place(services.chain, services.deployment)], services.store)
        self._waiting += 1
        try:
            async with self._places, asyncio.timeout(_SECONDS):
                return await resolver.dereference(did_url)
        except TimeoutError:
            raise ResolutionFailed("internalError", "it took too long; try again", status=504) from None
        finally:
            self._waiting -= 1

    async def _fail(self, exchange: Exchange, error: ResolutionFailed, wanted: str | None) -> None:
        exchange.facts["error"] = error.code
        shown = error
        if error.status >= 500 and error.code == "internalError":
            # The reason may name the operator's endpoint or folders.
            log.warning("did.unresolved", request=exchange.id, reason=str(error))
            shown = ResolutionFailed(error.code, "the DID can't be resolved at the moment", status=error.status)
        kind = _RESULTS.get(wanted or "", EARLIER)
        await exchange.respond(
            shown.status,
            orjson.dumps(_told(shown.to_json(), kind)),
            content_type=kind.encode(),
            headers=[(b"access-control-allow-origin", b"*"), (b"vary", b"accept")],
        )


async def _part(exchange: Exchange, found: Dereferenced, wanted: str, headers: list[tuple[bytes, bytes]]) -> None:
    if isinstance(found.content, str):
        status, location = (200, []) if wanted == _URLS else (303, [(b"location", found.content.encode("ascii"))])
        await exchange.respond(
            status, found.content.encode() + b"\r\n", content_type=_URLS.encode(), headers=[*headers, *location]
        )
        return
    kind = wanted if wanted in _DOCUMENTS else found.content_type
    await exchange.respond(200, orjson.dumps(found.content), content_type=kind.encode(), headers=headers)


def _did_url(exchange: Exchange) -> str:
    """The path is decoded already; a query of the request's own is the DID URL's, its first %23 the DID URL's #."""
    query = exchange.scope["query_string"].decode("latin-1").replace("%23", "#", 1)
    text = exchange.params[0]
    return f"{text}{'&' if '?' in text else '?'}{query}" if query else text


def _told(result: JsonObject, kind: str) -> JsonObject:
    """The result as its media type has it: an error is an object today and was a word before."""
    metadata: dict[str, Any] = result.get("didResolutionMetadata", {})
    if "problem" not in metadata:
        return result
    problem = metadata.pop("problem")
    if kind != EARLIER:
        result["didResolutionMetadata"] = {"error": problem}
    return result


def _accepted(accept: str) -> str | None:
    """The most wanted type that is known: a key of _RESULTS, a document's type or text/uri-list; `*/*` = any."""
    choices = []
    for position, part in enumerate(_split(accept)):
        kind, *options = [piece.strip() for piece in part.split(";")]
        values = {name.strip().lower(): value.strip() for name, _, value in (o.partition("=") for o in options)}
        try:
            weight = float(values.get("q", "1"))
        except ValueError:
            weight = 0.0
        known = _known(kind.lower(), values.get("profile", "").strip('"'))
        if known is not None and weight > 0:
            choices.append((-weight, position, known))
    if not accept.strip():
        return "*/*"
    return min(choices)[2] if choices else None


def _known(kind: str, profile: str) -> str | None:
    if kind in ("*/*", "application/*"):
        return "*/*"
    if kind == "application/ld+json" and profile.rstrip("/") == "https://w3id.org/did-resolution":
        return EARLIER
    return kind if kind in _RESULTS or kind in _DOCUMENTS or kind == _URLS else None


def _split(accept: str) -> list[str]:
    """At commas, though not at those in quotes; the first few."""
    parts, current, quoted = [], "", False
    for char in accept[:1000]:
        quoted ^= char == '"'
        if char == "," and not quoted:
            parts.append(current)
            current = ""
        else:
            current += char
    return [part for part in (*parts, current) if part.strip()][:32]
