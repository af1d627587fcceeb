"""OpenTelemetry spans of request, admission, provider and charge, for who sets `telemetry`; nothing for who doesn't.

What is traced is wrapped when the node starts, so that a node without it runs the same code as if this module weren't
there. A span has names, numbers and codes: no address of a subscriber, key, text, header or provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from node_proxy.asgi import Receive, Router, Scope, Send
from node_proxy.config import ConfigInvalid
from node_proxy.errors import NodeError
from nvm_chain import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from node_proxy.services import Services

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_FLUSH_MS = 3_000


class Telemetry:
    """endpoint: base URL of an OTLP/HTTP collector. Headers for it stand in OTEL_EXPORTER_OTLP_HEADERS.

    Raises ConfigInvalid without the extra.
    """

    def __init__(self, endpoint: str, node: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ConfigInvalid(
                [f"NVM_NODE_TELEMETRY needs a package ({error.name}): install nvm-chain[otel]"]
            ) from None
        facts = {"service.name": "nvm-node", "service.version": __version__, "service.instance.id": node}
        self._provider = TracerProvider(resource=Resource(facts), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
        self._tracer = self._provider.get_tracer("nvm-node", __version__)

    async def close(self) -> None:
        """Sends what waits, for some seconds at most."""
        await asyncio.to_thread(self._provider.force_flush, _FLUSH_MS)
        await asyncio.to_thread(self._provider.shutdown)

    def watch(self, services: Services) -> None:
        """Puts spans around admission, charges and the provider."""
        tracer = self._tracer
        setattr(services.admission, "reserve", _traced(tracer, "admission", services.admission.reserve))  # noqa: B010
        setattr(services.ledger, "capture", _traced(tracer, "charge", services.ledger.capture))  # noqa: B010
        ask = services.calls.provider.post

        def post(*args: Any, **fields: Any) -> AbstractAsyncContextManager[Any]:
            return _Asked(tracer, ask(*args, **fields))

        setattr(services.calls.provider, "post", post)  # noqa: B010

    def around(self, app: Asgi, router: Router) -> Asgi:
        """The application, every request a span."""
        from opentelemetry.trace import SpanKind

        tracer = self._tracer

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            method, route = scope["method"], _route(router, scope)
            facts = {"http.request.method": method, "http.route": route}
            with tracer.start_as_current_span(
                f"{method} {route}", kind=SpanKind.SERVER, attributes=facts, record_exception=False
            ) as span:

                async def tell(message: Any) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        headers = dict(message["headers"])
                        span.set_attribute("nvm.request_id", headers.get(b"x-request-id", b"").decode())
                    await send(message)

                await app(scope, receive, tell)

        return traced


def _route(router: Router, scope: Scope) -> str:
    try:
        return router.find(scope["method"], scope["path"])[2]
    except NodeError:
        return "unknown"


def _traced(tracer: Tracer, name: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def run(*args: Any, **fields: Any) -> Any:
        with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                return await work(*args, **fields)
            except BaseException as error:
                _failed(span, error)
                raise

    return run


def _failed(span: Span, error: BaseException) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", error.code if isinstance(error, NodeError) else type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))


class _Asked:
    """A question to the provider: from its beginning until its answer has been read."""

    def __init__(self, tracer: Tracer, asked: AbstractAsyncContextManager[Any]) -> None:
        self._tracer = tracer
        self._asked = asked

    async def __aenter__(self) -> Any:
        self._span = self._tracer.start_span("provider")
        try:
            answer = await self._asked.__aenter__()
        except BaseException as error:
            _failed(self._span, error)
            self._span.end()
            raise
        self._span.add_event("answer began")
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._asked.__aexit__(kind, error, trace)
        finally:
            if error is not None:
                _failed(self._span, error)
            self._span.end()
