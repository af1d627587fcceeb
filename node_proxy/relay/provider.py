"""The one client through which the node talks to providers. Deny by default; every size and time is bounded.

What a provider says when it refuses is for the log only in classified form, and never for the subscriber: its words can
hold the builder's key, organisation or model.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp
import orjson
from aiohttp import hdrs
from yarl import URL

from node_proxy.config import Settings
from node_proxy.deadline import Deadline, Deadlines
from node_proxy.errors import (
    NodeError,
    ProviderBusy,
    ProviderError,
    ProviderGarbage,
    ProviderNotAllowed,
    ProviderRefusedBuilder,
    ProviderRefusedSetup,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
)
from node_proxy.relay import post, sse
from node_proxy.relay.target import AddressForbidden, Allowed, PublicResolver
from nvm_chain import __version__
from nvm_chain.secret import Secret

_MAX_ERROR_BYTES = 64 * 1024
_ERROR_SECONDS = 10.0
_MAX_RETRY_AFTER = 3600.0
_URLS_IN_MEMORY, _URLS_SECONDS = 10_000, 600.0

BURST_SECONDS = 0.002
"""Pieces of a stream that follow each other faster than this are read together, this much later at most.

Each piece costs a turn of the loop on both sides. A model that takes longer for a token isn't held up.
"""

PUBLIC_HEADERS = (b"openai-processing-ms", b"openai-version")
"""The provider's headers that subscribers may see."""

_PUBLIC = tuple((name, name.decode()) for name in PUBLIC_HEADERS)
_ALWAYS = {
    "accept": "application/json, text/event-stream",
    "accept-encoding": "identity",
    "user-agent": f"nvm-node/{__version__}",
}

_QUOTA_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated", "quota_exceeded"}
)
_CALLERS_CODES = {
    "context_length_exceeded": "The input is longer than this assistant can take: shorten it.",
    "string_above_max_length": "A text in the request is longer than this assistant can take: shorten it.",
    "invalid_prompt": "The provider's safety system refuses this input.",
    "content_policy_violation": "The provider's safety system refuses this input.",
    "content_filter": "The provider's safety system refuses this input.",
    "image_too_large": "The image is too large.",
    "image_too_small": "The image is too small.",
    "invalid_image": "The image can't be read.",
    "invalid_image_format": "The image has a format that this assistant doesn't take.",
    "invalid_base64_image": "The image isn't valid base64.",
    "invalid_image_url": "The image's URL can't be used.",
    "image_parse_error": "The image can't be read.",
    "image_content_policy_violation": "The provider's safety system refuses this image.",
    "empty_image_file": "The image is empty.",
    "unsupported_image_media_type": "The image has a format that this assistant doesn't take.",
    "failed_to_download_image": "The provider couldn't download the image.",
}


@dataclass(slots=True)
class ProviderCall:
    """One request to a provider.

    base_url, path: where. key: the builder's. caller_params: names of the body's members that came from the caller,
    whose faults are the caller's to hear about. body: of `content_type`; JSON if not said. beta: what OpenAI-Beta says.
    """

    base_url: str
    path: str
    key: Secret
    body: bytes = field(repr=False)
    caller_params: frozenset[str] = frozenset()
    method: str = "POST"
    content_type: str = "application/json"
    beta: str = ""


class _Patience(Deadline):
    """How long to wait for a provider: for its next bytes, and in all. Only waiting for the provider counts."""

    __slots__ = ("_ends", "_idle", "clock")

    def __init__(self, deadlines: Deadlines, idle: float, total: float) -> None:
        super().__init__(deadlines, math.inf)
        self.clock = deadlines.loop.time
        self._idle = idle
        self._ends = self.clock() + total

    def start(self) -> None:
        """The wait begins. It is over when `at` is infinite again."""
        at, ends = self.clock() + self._idle, self._ends
        self.at = at if at < ends else ends


class ProviderAnswer:
    """The provider said yes. headers: those that may pass on. request_id: the provider's, for the log."""

    __slots__ = ("_limit", "_patience", "_response", "headers", "request_id", "status")

    def __init__(self, response: aiohttp.ClientResponse, patience: _Patience, limit: int) -> None:
        self.status = response.status
        self.headers = _public(response.headers)
        self.request_id = response.headers.get("x-request-id", "")[:200]
        self._response = response
        self._patience = patience
        self._limit = limit

    async def json(self) -> dict[str, Any]:
        """The whole body as a JSON object. Raises ProviderGarbage, ProviderTimeout, ProviderUnreachable."""
        if not _is_type(self._response, "application/json"):
            raise ProviderGarbage(
                "The assistant's provider answered with something that isn't JSON. Nothing was charged."
            )
        try:
            value = orjson.loads(await self._read())
        except orjson.JSONDecodeError:
            raise ProviderGarbage("The assistant's provider answered with broken JSON. Nothing was charged.") from None
        if not isinstance(value, dict):
            raise ProviderGarbage("The assistant's provider answered with JSON of another shape. Nothing was charged.")
        return value

    def events(self, again: sse.Again = sse.nothing_known) -> AsyncIterator[Iterable[sse.Event]]:
        """Events in groups that arrived together. Raises ProviderGarbage, ProviderTimeout, ProviderUnreachable.

        again: see `sse.Parser`.
        """
        if not _is_type(self._response, "text/event-stream"):
            raise ProviderGarbage("The assistant's provider answered with something that isn't an event stream.")
        return self._events(again)

    async def _events(self, again: sse.Again) -> AsyncIterator[Iterable[sse.Event]]:
        parser, size, limit = sse.Parser(self._limit, again), 0, self._limit
        patience, content = self._patience, self._response.content
        read, clock = content.readany, patience.clock
        before = arrived = math.inf  # so that the second piece counts as one of a burst
        await asyncio.sleep(0)  # what came while the head was worked on comes along
        try:
            while True:
                if arrived - before < BURST_SECONDS and not content.is_eof():
                    await asyncio.sleep(BURST_SECONDS)
                patience.start()
                try:
                    chunk = await read()
                except asyncio.CancelledError as error:
                    patience.check(error)
                    raise
                finally:
                    patience.at = math.inf
                if not chunk:
                    return
                before, arrived = arrived, clock()
                size += len(chunk)
                if size > limit:
                    raise ProviderGarbage(f"The assistant's provider sent more than {limit} bytes.")
                try:
                    events = parser.feed(chunk)
                except sse.EventTooLong:
                    raise ProviderGarbage("The assistant's provider sent an event that is too long.") from None
                if events:
                    yield events
        except Exception as error:
            if not isinstance(error, NodeError):
                with suppress(sse.EventTooLong):
                    yield parser.feed(_left(content)[: limit - size])  # the connection broke after them
            _translate(error)
            raise

    async def _chunk(self) -> bytes:
        """What has arrived; empty at the end."""
        patience = self._patience
        patience.start()
        try:
            return await self._response.content.readany()
        except asyncio.CancelledError as error:
            patience.check(error)
            raise
        finally:
            patience.at = math.inf

    async def _read(self) -> bytes:
        length, limit = self._response.content_length, self._limit
        if length is not None and length > limit:
            raise ProviderGarbage(
                f"The assistant's provider answered with more than {limit} bytes. Nothing was charged."
            )
        chunks: list[bytes] = []
        size = 0
        try:
            if (content := self._response.content).is_eof():  # all of it came together with the headers
                body = content.read_nowait()
                if len(body) <= limit:
                    return body
                raise ProviderGarbage(f"The assistant's provider answered with more than {limit} bytes.")
            while size != length and (chunk := await self._chunk()):
                size += len(chunk)
                if size > limit:
                    raise ProviderGarbage(f"The assistant's provider answered with more than {limit} bytes.")
                chunks.append(chunk)
        except Exception as error:
            _translate(error)
            raise
        return b"".join(chunks)


class ProviderClient:
    """Shared by all calls; opened by `open_provider_client`."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._deadlines = Deadlines()
        self._idle, self._total = settings.provider_idle_timeout, settings.provider_total_timeout
        self._limit = settings.max_answer_bytes
        self._allowed = Allowed(settings.allowed_hosts, settings.allow_local_providers)
        self._urls: dict[tuple[str, str], URL] = {}
        self._urls_since = -math.inf

    def check(self, base_url: str) -> str:
        """Raises ProviderNotAllowed."""
        return self._allowed.url(base_url)

    def _url(self, base_url: str, path: str) -> URL:
        """Checked once; the addresses behind the name are checked with every connection.

        Remembered for some minutes: they are the builders' secrets.
        """
        now = self._deadlines.loop.time()
        if now - self._urls_since >= _URLS_SECONDS or len(self._urls) >= _URLS_IN_MEMORY:
            self._urls.clear()
            self._urls_since = now
        url = self._urls.get((base_url, path))
        if url is None:
            url = self._urls[base_url, path] = URL(self._allowed.url(base_url) + path, encoded=True)
        return url

    def post(self, call: ProviderCall) -> AbstractAsyncContextManager[ProviderAnswer]:
        """Sends the call, by whatever method it names; the answer's body is read inside the block, by the same task.

        Raises ProviderError in all its kinds.
        """
        return _Post(self, call)

    async def _send(self, call: ProviderCall) -> aiohttp.ClientResponse:
        headers = {"authorization": f"Bearer {call.key.reveal()}", "content-type": call.content_type}
        if call.beta:
            headers["openai-beta"] = call.beta
        url = self._url(call.base_url, call.path)
        if post.KNOWN and call.method == "POST" and 0 < len(call.body) <= post.MOST:
            return await post.send(self._session, url, headers, call.body)
        return await self._session.request(call.method, url, data=call.body, headers=headers, allow_redirects=False)


class _Post:
    """See `ProviderClient.post`."""

    __slots__ = ("_call", "_client", "_patience", "_response")

    def __init__(self, client: ProviderClient, call: ProviderCall) -> None:
        self._client = client
        self._call = call
        self._patience = _Patience(client._deadlines, client._idle, client._total)
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> ProviderAnswer:
        client, call, patience = self._client, self._call, self._patience
        patience.__enter__()
        try:
            patience.start()
            try:
                response = self._response = await client._send(call)
            except asyncio.CancelledError as error:
                patience.check(error)
                raise
            finally:
                patience.at = math.inf
            if response.status >= 300:
                raise await _refusal(response, call.caller_params)
            if response.headers.get(hdrs.CONTENT_ENCODING, "identity") not in ("identity", ""):
                raise ProviderGarbage("The assistant's provider compressed an answer that it was asked not to.")
            return ProviderAnswer(response, patience, client._limit)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            _translate(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            response = self._response
            if response is not None and not response.closed:  # read to its end, it has given its connection back
                response.release()
                await response.wait_for_close()
        finally:
            self._patience.__exit__(kind, error, trace)


@asynccontextmanager
async def open_provider_client(settings: Settings) -> AsyncIterator[ProviderClient]:
    """One connection pool: no cookies, no proxies from the environment, no redirects, addresses checked."""
    connector = aiohttp.TCPConnector(
        resolver=PublicResolver(settings.allow_local_providers), limit=0, limit_per_host=0, ttl_dns_cache=30
    )
    # The other limits are `_Patience`'s: aiohttp would arm two timers for every call, and one again for every chunk.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.provider_connect_timeout)
    async with aiohttp.ClientSession(
        connector=connector,
        headers=_ALWAYS,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        yield ProviderClient(settings, session)


def _translate(error: BaseException) -> None:
    """Raises what aiohttp raised as one of our errors, without its texts (they can hold the URL)."""
    if isinstance(error, NodeError):
        return
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressForbidden):
        raise ProviderNotAllowed("This assistant can't run here: its provider's name leads to a private address.")
    if isinstance(error, AddressForbidden):
        raise ProviderNotAllowed("This assistant can't run here: its provider's name leads to a private address.")
    if isinstance(error, asyncio.TimeoutError):
        raise ProviderTimeout("The assistant's provider didn't answer in time. Nothing was charged; try again.")
    if isinstance(error, aiohttp.ClientConnectorError):
        raise ProviderUnreachable("The assistant's provider can't be reached. Nothing was charged; try again later.")
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | ConnectionError):
        raise ProviderUnreachable("The assistant's provider broke off in the middle. Nothing was charged; try again.")
    if isinstance(error, aiohttp.ClientError | ValueError):
        raise ProviderGarbage("The assistant's provider didn't answer with HTTP as it should. Nothing was charged.")


def _left(content: aiohttp.StreamReader) -> bytes:
    """What had arrived before a connection broke. aiohttp doesn't give it out any more."""
    return content._read_nowait(-1) if content._buffer else b""


def _is_type(response: aiohttp.ClientResponse, wanted: str) -> bool:
    kind = response.headers.get(hdrs.CONTENT_TYPE, "")
    return kind == wanted or kind.split(";")[0].strip().lower() == wanted


def _public(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    found = []
    for name, text in _PUBLIC:
        value = headers.get(text)
        if value is not None and len(value) <= 200 and value.isascii() and value.isprintable():
            found.append((name, value.encode()))
    return found


async def _refusal(response: aiohttp.ClientResponse, caller_params: frozenset[str]) -> ProviderError:
    """What a status of 300 or more means for the subscriber, in our words."""
    code, kind, param = _error_fields(await _read_some(response))
    return classify(response.status, code, kind, param, response.headers, caller_params)


def classify(
    status: int, code: str, kind: str, param: str, headers: Mapping[str, str], caller_params: frozenset[str]
) -> ProviderError:
    """What a provider's refusal becomes. code, kind, param: as the provider wrote them, not to be repeated."""
    if status in (401, 402, 403) or code in _QUOTA_CODES or kind in _QUOTA_CODES:
        return ProviderRefusedBuilder(
            "The assistant can't run now: its provider refuses the builder's account. Nothing was charged; "
            "only the builder can repair it."
        )
    if status == 429:
        return ProviderBusy(
            "The assistant's provider asks to slow down. Nothing was charged; try again later.",
            retry_after=_retry_after(headers) or 1.0,
        )
    if status in (400, 404, 409, 413, 415, 422):
        return _about_the_request(status, code, param, caller_params)
    if status in (408, 504):
        return ProviderTimeout("The assistant's provider didn't answer in time. Nothing was charged; try again.")
    if status < 400:
        return ProviderGarbage("The assistant's provider sends the call elsewhere, which this node doesn't follow.")
    return ProviderError(
        f"The assistant's provider failed (HTTP {status}). Nothing was charged; try again.",
        retry_after=_retry_after(headers),
    )


def _about_the_request(status: int, code: str, param: str, caller_params: Iterable[str]) -> ProviderError:
    if code in _CALLERS_CODES:
        error = ProviderRejected(_CALLERS_CODES[code], param="input", extras={"reason": code})
        return error
    name = param.split(".")[0].split("[")[0]
    if name and name in caller_params:
        shown = param if len(param) <= 100 and param.isascii() and param.isprintable() else name
        return ProviderRejected(
            f"The assistant's provider found the parameter {shown!r} of your request wrong.", param=shown
        )
    if status == 413:
        return ProviderRejected("The request is larger than the assistant's provider takes: shorten it.", param="input")
    return ProviderRefusedSetup(
        "The assistant can't run now: its provider refuses what the builder set up for it. Nothing was charged; "
        "only the builder can repair it."
    )


def _error_fields(body: bytes) -> tuple[str, str, str]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", "", ""
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return "", "", ""
    code, kind, param = (error.get(name) for name in ("code", "type", "param"))
    return tuple(part if isinstance(part, str) else "" for part in (code, kind, param))  # type: ignore[return-value]


async def _read_some(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of a refusal's body; what can't be read in time isn't worth waiting for."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_SECONDS):
            while len(body) < _MAX_ERROR_BYTES and (chunk := await response.content.read(_MAX_ERROR_BYTES - len(body))):
                body += chunk
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    return bytes(body)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms` or `retry-after`; a date isn't worth parsing."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, _MAX_RETRY_AFTER)
    return None
