"""The node's own relay without login, ledger and metering: what those three cost is the node's time less this one's.

Its requests and answers go through the node's code (HTTP, checks of the request, the provider's dialect and client, the
rules of what may be shown), for one assistant and one caller who needn't say who they are. Nothing is kept, counted or
logged. `python -m bench.relay.own UPSTREAM --port 0` prints its URL.
"""

from __future__ import annotations

import argparse
import socket
from urllib.parse import urlsplit

import orjson
import uvicorn
import uvloop

from node_proxy import dialects
from node_proxy.asgi import Exchange, Receive, Router, Scope, Send
from node_proxy.config import HostPort, Settings
from node_proxy.openai.face import Face
from node_proxy.openai.ids import IdMap, safety_identifier
from node_proxy.openai.request import prepare
from node_proxy.openai.streaming import read_to_the_end, relay
from node_proxy.relay import sse
from node_proxy.relay.provider import ProviderClient, open_provider_client
from nvm_chain.definition import Definition
from nvm_chain.secret import Secret

SECRET, OWNER, CALLER, NAME = b"bench" * 8, "0x" + "1" * 40, "0x" + "2" * 40, "did:nv:" + "3" * 64


class OwnRelay:
    """One ASGI application, one assistant."""

    def __init__(self, upstream: str, settings: Settings, provider: ProviderClient) -> None:
        self._settings = settings
        self._provider = provider
        self._definition = Definition(
            base_url=f"{upstream}/v1", api_key=Secret("sk-bench"), model="bench-1", instructions="Answer."
        )
        self._router = Router()
        self._router.add("POST", "/v1/responses", self._create)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        exchange = Exchange(scope, receive, send)
        handler, _, _ = self._router.find(exchange.method, exchange.path)
        try:
            await handler(exchange)
        finally:
            exchange.close()

    async def _create(self, exchange: Exchange) -> None:
        request = await exchange.json(self._settings.max_body_bytes, self._settings.body_timeout)
        identifier = safety_identifier(SECRET, OWNER, CALLER)
        prepared = prepare(request, self._definition, name=NAME, safety_identifier=identifier)
        face = Face(IdMap(SECRET, OWNER, CALLER, forgetful=True), NAME, prepared.echo)
        params = frozenset(prepared.caller_params)
        async with dialects.ask(self._provider, self._definition, prepared.body, caller_params=params) as answer:
            if not prepared.stream:
                shown = face.response(await answer.json())
                await exchange.respond(200, orjson.dumps(shown), headers=answer.headers)
                return
            events = answer.events(face.again)
            await exchange.start_stream(sse.CONTENT_TYPE, headers=answer.headers)
            last = await relay(events, exchange, face.wire, self._settings.drain_timeout)
            await exchange.write(sse.event(last["type"], face.event(last)))
            await exchange.finish()
            await read_to_the_end(events)


async def serve(upstream: str, port: int) -> None:
    """Serves until cancelled."""
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    at = urlsplit(upstream)
    settings = Settings(
        rpc_url="http://127.0.0.1:1", chain_id=1, allow_local_providers=(HostPort(at.hostname or "", at.port or 80),)
    )
    async with open_provider_client(settings) as provider:
        config = uvicorn.Config(
            OwnRelay(upstream, settings, provider),
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
        )
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream", help="URL without /v1")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    uvloop.run(serve(args.upstream, args.port))


if __name__ == "__main__":
    main()
