"""What all pages of the Assistants API share: who asks, what they sent, and the stream of a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson

from node_proxy.access.keys import ApiKey
from node_proxy.asgi import Exchange
from node_proxy.assets import Assets
from node_proxy.errors import BadRequest
from node_proxy.openai.assistants_api.runner import Runner
from node_proxy.openai.assistants_api.running import Running
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.assistants_api.shelf import Shelf
from node_proxy.openai.assistants_api.standing import Members
from node_proxy.openai.calls import Calls
from node_proxy.openai.objects import Objects
from node_proxy.openai.room import Room
from node_proxy.relay import sse
from node_proxy.relay.heartbeat import Heartbeat

Page = Callable[[Exchange], Awaitable[None]]


class BetaRefused(BadRequest):
    """A version of the Assistants API that isn't spoken here (HTTP 400)."""

    code = "invalid_beta"


@dataclass(slots=True)
class Surface:
    """Parts of the node that the pages use. keep_seconds: how long threads are kept that don't grow."""

    calls: Calls
    objects: Objects
    assets: Assets
    members: Members
    runner: Runner
    room: Room
    keep_seconds: int
    heartbeat: Heartbeat = field(default_factory=Heartbeat)

    async def key(self, exchange: Exchange) -> ApiKey:
        """Who asks. Raises BetaRefused (400), KeyMissing in its kinds (401)."""
        key = await self.calls.key(exchange)
        check_beta(exchange.header(b"openai-beta"))
        return key

    async def enter(self, exchange: Exchange, *, live: bool = True) -> tuple[ApiKey, Shelf]:
        """Who asks, and what they keep here. Raises as `key`, and PlanRequired (402) where it has to be live."""
        key = await self.key(exchange)
        if live:
            await self.members.check(key)
        return key, Shelf(self.objects, key, self.keep_seconds)

    async def body(self, exchange: Exchange) -> Json:
        """The request's JSON object; no body at all is an empty one. Raises as `Exchange.json`."""
        if exchange.header(b"content-length") in ("", "0") and not exchange.header(b"transfer-encoding"):
            return {}
        settings = self.calls.settings
        return await exchange.json(settings.max_body_bytes, settings.body_timeout)

    async def fit(self, key: ApiKey, *messages: Json) -> None:
        """Raises NoRoom (400) where the subscriber may not keep so much."""
        if messages:
            await self.room.check(key.subscriber, len(orjson.dumps(messages)))

    async def relay(
        self, exchange: Exchange, running: Running, go: Awaitable[None] | None = None, *, first: bytes = b""
    ) -> None:
        """Streams a run until it ends or waits; it goes on though the client hangs up.

        go: sets the run going, once the stream listens; default: starts it. first: what comes before.
        """
        stream = running.listen()
        if go is None:
            running.start()
        else:
            await go
        held = (b"x-nvm-credits-reserved", b"%d" % running.max_credits)
        await exchange.start_stream(sse.CONTENT_TYPE, headers=[held])

        def left() -> None:
            running.hung_up = True
            if not exchange.heard:
                stream.put_nowait(None)

        exchange.on_gone(left)
        with self.heartbeat.on(exchange):
            if first:
                await exchange.write(first)
            while (piece := await stream.get()) is not None:
                pieces, ended = [piece], False
                while not stream.empty() and not ended:
                    more = stream.get_nowait()
                    ended = more is None
                    pieces.append(more or b"")
                await exchange.write(b"".join(pieces))
                if ended:
                    break
        exchange.facts |= {name: fact for name, fact in running.facts.items() if name != "request"}
        await exchange.finish()


def check_beta(header: str) -> None:
    """Version 2 is spoken; the header may be left out. Raises BetaRefused."""
    for one in header.lower().split(","):
        name, _, version = one.strip().partition("=")
        if name == "assistants" and version != "v2":
            raise BetaRefused(
                f"Version {version[:20]!r} of the Assistants API isn't spoken here, and was shut down long ago: "
                "send 'OpenAI-Beta: assistants=v2'."
            )
