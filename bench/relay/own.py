"""The node's own relay without login, ledger and metering: what those three cost is the node's time less this one's.

`POST /v1/responses` is the node's code as it stands (HTTP, the log line and count of each request, what it remembers of
it for retries, checks of what is asked, the provider's dialect and client, how long it took and how it ended,
heartbeats, the rules of what may be shown). In the place of `Calls`, which knows who asks, holds credits and charges,
is something that does none of it, for one assistant; usage isn't read.
`python -m bench.relay.own UPSTREAM --port 0` prints its URL.
"""

from __future__ import annotations

import argparse
import socket
from contextlib import AbstractAsyncContextManager
from typing import Any, cast
from urllib.parse import urlsplit

import uvicorn
import uvloop

from node_proxy import dialects, logs
from node_proxy.answers import Answers
from node_proxy.asgi import Router
from node_proxy.config import HostPort, Settings
from node_proxy.dialects import Answer
from node_proxy.envelope import Asgi, Open, envelope
from node_proxy.metrics import Metrics
from node_proxy.openai import responses
from node_proxy.openai.calls import _Asking
from node_proxy.openai.face import Face
from node_proxy.openai.ids import IdMap, safety_identifier
from node_proxy.openai.upstream import keeps_state
from node_proxy.relay.provider import ProviderClient, open_provider_client
from node_proxy.server import calm_collector, http
from nvm_chain.definition import Definition
from nvm_chain.secret import Secret

SECRET, OWNER, CALLER, NAME = b"bench" * 8, "0x" + "1" * 40, "0x" + "2" * 40, "did:nv:" + "3" * 64


class Free:
    """Instead of `Calls`."""

    def __init__(self, settings: Settings, provider: ProviderClient, definition: Definition, metrics: Metrics) -> None:
        self.settings = settings
        self.provider = provider
        self.definition = definition
        self.metrics = metrics

    async def key(self, _: object) -> None:
        """Everybody may."""

    async def resolve(self, _: object, __: object) -> None:
        """There is one assistant."""

    def access(self, *_: object, facts: dict[str, Any], **__: object) -> FreeAccess:
        """Nothing is held."""
        return FreeAccess(self, facts)


class FreeAccess:
    """Instead of `Access`."""

    name, max_credits = NAME, 0

    def __init__(self, calls: Free, facts: dict[str, Any]) -> None:
        self.definition = calls.definition
        self.ids = IdMap(SECRET, OWNER, CALLER, forgetful=not keeps_state(calls.definition))
        self.safety_identifier = safety_identifier(SECRET, OWNER, CALLER)
        self._calls = calls
        self._facts = facts

    async def __aenter__(self) -> FreeAccess:
        return self

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to give back."""

    def face(self, echo: dict[str, Any]) -> Face:
        """As the node's."""
        return Face(self.ids, NAME, echo)

    def ask(self, body: dict[str, Any], *, caller_params: frozenset[str]) -> AbstractAsyncContextManager[Answer]:
        """As the node's."""
        calls = self._calls
        asked = dialects.ask(calls.provider, self.definition, body, caller_params=caller_params)
        return _Asking(asked, self._facts, calls.metrics)

    async def charge(self, _: object, *, hung_up: bool = False) -> None:
        """It costs nothing."""

    def ended(self, outcome: str) -> None:
        """As the node's."""
        self._calls.metrics.outcomes.labels(outcome).inc()


def relay(upstream: str, settings: Settings, provider: ProviderClient) -> Asgi:
    """The application. upstream: URL without /v1."""
    definition = Definition(
        base_url=f"{upstream}/v1", api_key=Secret("sk-bench"), model="bench-1", instructions="Answer."
    )
    vars(responses)["read_usage"] = lambda _: None
    nothing, metrics = cast(Any, None), Metrics()
    free = cast(Any, Free(settings, provider, definition, metrics))
    surface = responses.Responses(free, history=nothing, background=nothing)
    router = Router()
    router.add("POST", "/v1/responses", surface.create)
    router.wrap("POST", "/v1/", Answers(kept=nothing, keys=nothing, ledger=nothing, settings=settings).once)
    return envelope(router, metrics, Open())


async def serve(upstream: str, port: int) -> None:
    """Serves until cancelled."""
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    at = urlsplit(upstream)
    settings = Settings(
        rpc_url="http://127.0.0.1:1", chain_id=1, allow_local_providers=(HostPort(at.hostname or "", at.port or 80),)
    )
    async with open_provider_client(settings) as provider:
        config = http(relay(upstream, settings, provider), settings)
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        calm_collector()
        await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream", help="URL without /v1")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    logs.configure()
    with logs.beside():
        uvloop.run(serve(args.upstream, args.port))


if __name__ == "__main__":
    main()
