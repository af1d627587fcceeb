"""HTTP as far as the node needs it: one exchange, its body within bounds, its answer, a table of routes. Raw ASGI."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import orjson

from node_proxy import http1
from node_proxy.deadline import within
from node_proxy.errors import (
    BodyTooLarge,
    InvalidValue,
    MethodNotAllowed,
    NodeError,
    RequestTimeout,
    RouteNotFound,
    Unprocessable,
    UnsupportedMediaType,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"

MOST_LEVELS = 100
"""Of lists and objects in a body. Deeper ones can be read, and not be written again with what goes around them."""

HOLD_SECONDS = 0.05
"""How long a held piece waits for the next one: where nothing is wrong, a charge takes some milliseconds."""

STALL_SECONDS = 60.0
"""How long a client may take nothing of a stream before it counts as gone: it would keep a place and credits taken."""


_PROCESS = secrets.token_hex(6)
_COUNT = itertools.count(secrets.randbits(32))


def new_request_id() -> str:
    """`req_` and 24 hex digits: this process, then a count. Unique, not secret."""
    return f"req_{_PROCESS}{next(_COUNT) & 0xFFFFFFFFFFFF:012x}"


class ClientGone(Exception):
    """The client closed the connection before its request was complete: there is nobody to answer."""


class Tape(Protocol):
    """Records an answer, for whoever asks for the same again: see `answers`. raw: the request's body, once it is read.

    listens: whether it records a stream to its end also after the client hung up.
    """

    raw: bytes | None
    listens: bool

    async def promised(self, data: bytes) -> None:
        """`data` is the rest of the answer, if the charge that is made now gets to disk."""

    def began(self, status: int, headers: Headers) -> None:
        """An answer begins."""

    def written(self, data: bytes) -> None:
        """A piece of it, whether or not somebody was there to get it."""

    async def ended(self) -> None:
        """It is complete, and its end hasn't left yet."""


class Exchange:
    """One request and its answer.

    id: `req_…`, ours, on every answer. params: what the route's template left open. status: of the answer, 0 before it
    starts. facts: what the access log says besides. written_at: the loop's time when a stream was written to last.
    """

    __slots__ = (
        *(
            "_held",
            "_holding",
            "_left",
            "_listening",
            "_now",
            "_receive",
            "_send",
            "facts",
            "headers",
            "id",
            "method",
            "params",
            "path",
            "scope",
        ),
        *("status", "tape", "written_at"),
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.id = new_request_id()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))  # of repeated headers the first counts
        self.params: tuple[str, ...] = ()
        self.status = 0
        self.facts: dict[str, Any] = {}
        self.written_at = 0.0
        self.tape: Tape | None = None
        self._now = time.monotonic
        self._held = b""
        self._holding: asyncio.TimerHandle | None = None
        self._left: asyncio.Future[None] | None = None
        self._listening: Coroutine[Any, Any, Message] | None = None

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of repeated ones the first."""
        return dict(reversed(parse_qsl(self.scope["query_string"].decode("latin-1"))))

    def bearer(self) -> str:
        """The token of `Authorization: Bearer …`, empty if there is none."""
        value = self.headers.get(b"authorization", b"").decode("latin-1")
        return value[7:].strip() if value[:7].lower() == "bearer " else ""

    @property
    def client(self) -> str:
        """The address that the request came from; empty where the server doesn't say."""
        client = self.scope.get("client")
        return client[0] if client else ""

    @property
    def forwarded(self) -> str:
        """X-Forwarded-For, all its lines as one: some proxies add a line of their own below what the client claims."""
        lines = [value for name, value in self.scope["headers"] if name == b"x-forwarded-for"]
        return b",".join(lines).decode("latin-1")

    def header(self, name: bytes) -> str:
        """A request header, empty if it is missing."""
        return self.headers.get(name, b"").decode("latin-1")

    # ------------------------------------------------------------------------------------------------------- request

    async def body(self, limit: int, seconds: float) -> bytes:
        """The whole body. Raises BodyTooLarge, RequestTimeout, UnsupportedMediaType (compressed), ClientGone."""
        if self.tape is not None and self.tape.raw is not None:
            return self.tape.raw
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Compressed request bodies aren't taken: send the JSON as it is.")
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise BodyTooLarge(f"The request has {int(length):,} bytes, at most {limit:,} are taken.")
        try:
            message = await within(seconds, self._receive())
        except TimeoutError:
            raise _late() from None
        if message["type"] != "http.request":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(body) > limit:
                raise BodyTooLarge(f"The request has more than {limit:,} bytes.")
            return body
        chunks, size = [body], len(body)
        deadline = asyncio.get_running_loop().time() + seconds
        while message.get("more_body"):
            message = await self._next(deadline - asyncio.get_running_loop().time())
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                raise BodyTooLarge(f"The request has more than {limit:,} bytes.")
        return b"".join(chunks)

    async def _next(self, seconds: float) -> Message:
        try:
            message = await within(seconds, self._receive())
        except TimeoutError:
            raise _late() from None
        if message["type"] != "http.request":
            raise ClientGone
        return message

    async def json(self, limit: int, seconds: float) -> dict[str, Any]:
        """The body as a JSON object. Raises UnsupportedMediaType, Unprocessable, InvalidValue, and as `body`."""
        kind = self.headers.get(b"content-type", JSON)
        if kind != JSON and (kind := kind.split(b";")[0].strip().lower()) != JSON:
            shown = kind[:60].decode("latin-1")
            raise UnsupportedMediaType(
                f"The body's type is {shown!r}: send JSON with `content-type: application/json`."
            )
        raw = await self.body(limit, seconds)
        if self.tape is not None:
            self.tape.raw = raw
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise InvalidValue(f"The body isn't JSON: {error.msg} at character {error.pos}.") from None
        if not isinstance(value, dict):
            raise Unprocessable(f"The body must be a JSON object, not {_json_kind(value)}.")
        if raw.count(b"{") + raw.count(b"[") > MOST_LEVELS and _deeper(value, MOST_LEVELS):
            raise InvalidValue(
                f"The body's lists and objects are nested too deep: at most {MOST_LEVELS} levels are taken."
            )
        return value

    # -------------------------------------------------------------------------------------------------------- answer

    async def respond(
        self, status: int, body: bytes, *, content_type: bytes = JSON, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """The whole answer at once."""
        self.status = status
        start = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.id.encode()),
            (b"x-content-type-options", b"nosniff"),
            *headers,
        ]
        if self.tape is not None:
            self.tape.began(status, start)
            self.tape.written(body)
            await self.tape.ended()
        if (cycle := http1.cycle_of(self._send)) is not None:
            await http1.answer(cycle, status, start, body)
            return
        await self._send({"type": "http.response.start", "status": status, "headers": start})
        await self._send({"type": "http.response.body", "body": body})

    async def respond_json(self, status: int, value: object, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        await self.respond(status, orjson.dumps(value), headers=headers)

    async def refuse(self, error: NodeError, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """The error as an answer, in OpenAI's envelope."""
        await self.respond(error.status, error.body(), headers=[*error.headers(), *headers])

    async def start_stream(self, content_type: bytes, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Starts an answer that is written piece by piece, and begins to watch for the client hanging up."""
        self.status = 200
        start = [
            (b"content-type", content_type),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
            (b"x-request-id", self.id.encode()),
            (b"x-content-type-options", b"nosniff"),
            *headers,
        ]
        if self.tape is not None:
            self.tape.began(200, start)
        await self._send({"type": "http.response.start", "status": 200, "headers": start})
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self.written_at = loop.time()
        self._left = loop.create_future()
        self._listening = self._receive()
        self._listen()

    async def write(self, data: bytes) -> None:
        """Sends a piece now. Nothing leaves once the client has hung up, or has stopped to read for too long."""
        if self.tape is not None:
            self.tape.written(data)
        if self._left is None or not self._left.done():
            self.written_at = self._now()
            await self._send_in_time({"type": "http.response.body", "body": self._with_held(data), "more_body": True})

    def hold(self, data: bytes) -> None:
        """A piece that leaves with the next one: a packet and a wake-up less on both sides.

        By itself after HOLD_SECONDS, or with `close`.
        """
        if self.tape is not None:
            self.tape.written(data)
        if data:
            self._held += data
            if self._holding is None:
                self._holding = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._let_go)

    async def finish(self, data: bytes = b"") -> None:
        """The stream's regular end, after a last piece; without it the connection is closed."""
        if self.tape is not None:
            self.tape.written(data)
            await self.tape.ended()
        if not self.gone:
            await self._send_in_time({"type": "http.response.body", "body": self._with_held(data)})

    def _with_held(self, data: bytes) -> bytes:
        if not self._held:
            return data
        self._stop_holding()
        held, self._held = self._held, b""
        return held + data

    def _let_go(self) -> None:
        """Sends what is held, as far as that needs no waiting for room: else it still leaves with the next piece."""
        self._stop_holding()
        if not self._held or self.gone:
            return
        sending = self._send({"type": "http.response.body", "body": self._held, "more_body": True})
        try:
            sending.send(None)
        except StopIteration:
            self._held = b""
        finally:
            sending.close()

    def _stop_holding(self) -> None:
        holding, self._holding = self._holding, None
        if holding is not None:
            holding.cancel()

    async def _send_in_time(self, message: Message) -> None:
        try:
            await within(STALL_SECONDS, self._send(message))
        except TimeoutError:
            self._leave()

    @property
    def gone(self) -> bool:
        """Whether the client of a stream hung up, or might as well have."""
        return self._left is not None and self._left.done()

    @property
    def heard(self) -> bool:
        """Whether what is written to a stream is of use to anybody: the client, or a tape for its next try."""
        return not self.gone or (self.tape is not None and self.tape.listens)

    async def promise(self, data: bytes) -> None:
        """To be called before a charge: `data`, the whole body or the rest of a stream, is sent once it is made.

        So the answer isn't lost with a node that fails between the two, where somebody may ask for it again.
        """
        if self.tape is not None:
            await self.tape.promised(data)

    def hung_up(self) -> bool:
        """Whether the client has closed the connection, as far as the server knows. To be asked after the body."""
        if self._left is not None:
            return self.gone
        if (cycle := http1.cycle_of(self._send)) is not None:
            return cycle.disconnected
        receiving = self._receive()
        try:
            receiving.send(None)  # one step: it answers at once if the connection is closed, else it would wait
        except StopIteration as got:
            return bool(got.value["type"] == "http.disconnect")
        finally:
            receiving.close()
        return False

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Calls back once when the client of a stream is gone."""
        if self._left is not None:
            self._left.add_done_callback(lambda _: callback())

    def _leave(self) -> None:
        if self._left is not None and not self._left.done():
            self._left.set_result(None)

    def _listen(self, _: object = None) -> None:
        """Takes what comes from the client until it hangs up. A task would do, and costs more to begin and to end."""
        while (listening := self._listening) is not None:
            try:
                waits_for = listening.send(None)
            except StopIteration as got:
                if got.value["type"] == "http.disconnect":
                    self._listening = None
                    self._leave()
                else:
                    self._listening = self._receive()
                continue
            if waits_for is None:
                asyncio.get_running_loop().call_soon(self._listen)
            else:
                waits_for._asyncio_future_blocking = False
                waits_for.add_done_callback(self._listen)
            return

    def close(self) -> None:
        """Stops listening; what is held leaves, also where the answer doesn't come to its end."""
        if self._held:
            self._let_go()
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()


Handler = Callable[[Exchange], Awaitable[None]]


class Router:
    """Routes by template: `/auth/keys/{id}` matches one segment that isn't empty."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Handler]] = {}
        self._open: list[tuple[tuple[str, ...], dict[str, Handler], str]] = []

    def add(self, method: str, template: str, handler: Handler) -> None:
        """GET answers HEAD too."""
        methods = [method, "HEAD"] if method == "GET" else [method]
        if "{" not in template:
            self._exact.setdefault(template, {}).update(dict.fromkeys(methods, handler))
            return
        segments = tuple(template.split("/"))
        for known, handlers, _ in self._open:
            if known == segments:
                handlers.update(dict.fromkeys(methods, handler))
                return
        self._open.append((segments, dict.fromkeys(methods, handler), template))

    def routes(self) -> list[tuple[str, str, Handler]]:
        """(verb, template, handler) of all, HEAD left out."""
        tables = [*self._exact.items(), *((template, handlers) for _, handlers, template in self._open)]
        return [
            (method, template, handler)
            for template, handlers in tables
            for method, handler in handlers.items()
            if method != "HEAD"
        ]

    def wrap(self, method: str, prefix: str, wrapper: Callable[[Handler], Handler]) -> None:
        """Puts `wrapper` around every handler that was added for a verb below an address."""
        tables = [(template, handlers) for template, handlers in self._exact.items()]
        for template, handlers in [*tables, *((template, handlers) for _, handlers, template in self._open)]:
            if template.startswith(prefix) and method in handlers:
                handlers[method] = wrapper(handlers[method])

    def find(self, method: str, path: str) -> tuple[Handler, tuple[str, ...], str]:
        """(handler, open segments, template). Raises RouteNotFound, MethodNotAllowed."""
        params: tuple[str, ...] = ()
        handlers, template = self._exact.get(path), path
        if handlers is None:
            handlers, params, template = self._match(path)
        handler = handlers.get(method)
        if handler is None:
            allowed = sorted(handlers)
            raise MethodNotAllowed(
                f"{method} isn't possible at {path[:200]}: use {', '.join(allowed)}.", allowed=allowed
            )
        return handler, params, template

    def _match(self, path: str) -> tuple[dict[str, Handler], tuple[str, ...], str]:
        segments = path.split("/")
        for pattern, handlers, template in self._open:
            if len(pattern) == len(segments):
                params = tuple(got for want, got in zip(pattern, segments, strict=True) if want.startswith("{"))
                fixed = all(
                    want == got for want, got in zip(pattern, segments, strict=True) if not want.startswith("{")
                )
                if fixed and all(params):
                    return handlers, params, template
        raise RouteNotFound(f"There is nothing at {path[:200]!r}. The API's base URL ends in /v1.")


def _late() -> RequestTimeout:
    return RequestTimeout("The request's body didn't arrive in time.")


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested in each other deeper than so many levels."""
    layer = [value]
    for _ in range(levels):
        layer = [
            one
            for outer in layer
            for one in (outer.values() if type(outer) is dict else outer)
            if type(one) is dict or type(one) is list
        ]
        if not layer:
            return False
    return True


def _json_kind(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    return "null" if value is None else f"a {'text' if isinstance(value, str) else 'number or boolean'}"
