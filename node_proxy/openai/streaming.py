"""Relaying a provider's events up to the one that ends them, which is held back until the charge is durable.

What came together with it leaves together with it, unless the charge takes long: see `Exchange.hold`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Any

import orjson

from node_proxy.asgi import Exchange
from node_proxy.deadline import within
from node_proxy.errors import NodeError, ProviderGarbage
from node_proxy.openai.face import TERMINAL
from node_proxy.relay import sse
from node_proxy.relay.provider import classify

Json = dict[str, Any]

_TAIL_SECONDS = 0.5


class DrainOver(Exception):
    """The client hung up, and the provider didn't come to its end in the time that it was given then."""


async def relay(
    events: AsyncIterator[Iterable[sse.Event]],
    exchange: Exchange,
    show: Callable[[Json, bytes], bytes | None],
    drain_timeout: float,
) -> Json:
    """Passes events on as they come, and gives back the one that ends them: completed, incomplete, failed or `error`.

    Those that came together with the end are held, for the caller's next `write` or `finish`.
    show: what an event looks like on the wire, from what it says and how that was written; None or empty for one that
    stays hidden. Once the client has hung up nothing is written, and the provider has drain_timeout seconds to come to
    its end. Raises DrainOver, ProviderError.
    """
    loop, relaying = asyncio.get_running_loop(), True

    def left() -> None:
        if relaying:
            bound.reschedule(loop.time() + drain_timeout)

    try:
        async with asyncio.timeout(None) as bound:
            exchange.on_gone(left)
            async for group in events:
                out, last = _shown(group, show, hidden=not exchange.heard)
                if last is not None:
                    exchange.hold(b"".join(out))
                    return last
                if out:
                    await exchange.write(b"".join(out))
    except TimeoutError:
        raise DrainOver from None
    finally:
        relaying = False
    raise ProviderGarbage("The assistant's provider broke off before the end of its answer. Nothing was charged.")


def _shown(
    group: Iterable[sse.Event], show: Callable[[Json, bytes], bytes | None], *, hidden: bool
) -> tuple[list[bytes], Json | None]:
    out: list[bytes] = []
    for name, data in group:
        if name is sse.RELAYED:
            if not hidden:
                out.append(data)
            continue
        try:
            value = orjson.loads(data)
            kind = value["type"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            if data == b"[DONE]":
                continue
            kind = None
        if type(kind) is not str:
            raise ProviderGarbage("The assistant's provider sent a broken event. Nothing was charged.")
        if kind in TERMINAL or kind == "error":
            return out, value
        if not hidden and (shown := show(value, data)):
            out.append(shown)
    return out, None


async def read_to_the_end(events: AsyncIterator[Iterable[sse.Event]]) -> None:
    """Reads what little follows the last event, so that the connection to the provider can be used again."""
    with suppress(TimeoutError, NodeError):
        await within(_TAIL_SECONDS, _exhaust(events))


async def _exhaust(events: AsyncIterator[Iterable[sse.Event]]) -> None:
    async for _ in events:
        pass


def provider_error(value: Json) -> NodeError:
    """An `error` event, or the `error` of a failed response, in our words."""
    nested = value.get("error")
    fields = nested if isinstance(nested, dict) else value
    code, kind = (text if isinstance(text := fields.get(name), str) else "" for name in ("code", "type"))
    status = 429 if "rate_limit" in code or "rate_limit" in kind else 500
    return classify(status, code, kind, "", {}, frozenset())


def response_of(event: Json) -> Json:
    """The finished response inside the event that ends a stream. Raises ProviderError where it failed."""
    if event["type"] == "error":
        raise provider_error(event)
    response = event.get("response")
    if not isinstance(response, dict):
        raise ProviderGarbage("The assistant's provider sent a broken event. Nothing was charged.")
    return finished(response)


def finished(response: Json) -> Json:
    """The response itself, completed or incomplete. Raises ProviderError for one that failed or isn't at its end."""
    status = response.get("status")
    if status == "failed":
        raise provider_error(response)
    if response.get("object") != "response" or status not in ("completed", "incomplete"):
        raise ProviderGarbage("The assistant's provider didn't answer with a finished response. Nothing was charged.")
    return response
