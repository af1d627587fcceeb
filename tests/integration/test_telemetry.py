"""Traces, as a collector gets them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.world import PROVIDER_KEY, World, free_port

pytestmark = pytest.mark.slow


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.raw: list[bytes] = []

    @property
    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(raw) for raw in self.raw]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def _take(self, request: web.Request) -> web.Response:
        self.raw.append(await request.read())
        return web.Response(content_type="application/x-protobuf")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(self.url.rsplit(":", 1)[1])).start()
        try:
            yield
        finally:
            await runner.cleanup()


def facts(span: Span) -> dict[str, str | int]:
    return {
        one.key: one.value.string_value if one.value.HasField("string_value") else one.value.int_value
        for one in span.attributes
    }


async def test_a_call_is_a_trace_and_holds_nobodys_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    collector = Collector()
    async with collector.running(), World(node={"telemetry": collector.url}) as world:
        plan = (await world.create_plan(price=10**12)).plan_id
        did = str((await world.register(plan)).did)
        wallet = await world.wallet()
        await world.buy(plan, wallet)
        key = await world.login(wallet)
        async with world.async_openai(key) as client:
            await client.responses.create(model=did, input="a very private question")
            async for _ in await client.responses.create(model=did, input="[[say a private answer]]", stream=True):
                pass
        headers = {"authorization": f"Bearer {await world.login(await world.wallet())}"}
        body = {"model": did, "input": "hello"}
        async with aiohttp.ClientSession(headers=headers) as http:
            for path in ("/v1/responses", "/nowhere/secret-path"):
                async with http.post(f"{world.node.url}{path}", json=body) as answer:
                    assert answer.status in (402, 404)
        await world.node.stop()
        raw, spans = b"".join(collector.raw), collector.spans

        calls = [span for span in spans if span.name == "POST /v1/responses"]
        assert [facts(call)["http.response.status_code"] for call in calls] == [200, 200, 402]
        assert all(str(facts(call)["nvm.request_id"]).startswith("req_") for call in calls)
        for call in calls[:2]:
            below = [span for span in spans if span.parent_span_id == call.span_id]
            assert sorted(span.name for span in below) == ["admission", "charge", "provider"]
            assert {span.trace_id for span in below} == {call.trace_id}
            assert all(call.start_time_unix_nano <= one.start_time_unix_nano for one in below)
        (refused,) = [span for span in spans if span.parent_span_id == calls[2].span_id]
        assert (refused.name, facts(refused)["error.type"]) == ("admission", "plan_required")
        assert "POST unknown" in {span.name for span in spans}

        for secret in (key, wallet.address, wallet.address.lower(), PROVIDER_KEY, "private", "secret-path", "nvm_"):
            assert secret.encode() not in raw.replace(b"nvm.", b"")


async def test_a_collector_that_is_not_there_disturbs_nobody() -> None:
    async with World(node={"telemetry": f"http://127.0.0.1:{free_port()}"}) as world:
        url = f"{world.node.url}/readyz"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            assert answer.status == 200
