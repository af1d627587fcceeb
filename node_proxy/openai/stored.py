"""Responses that were kept: retrieve, resume, cancel, delete, input items; and counting an input's tokens.

None of it costs anything. Reading needs a live plan (see `standing`), deleting one's own does not.
"""

from __future__ import annotations

from typing import Any

from node_proxy.asgi import Exchange
from node_proxy.errors import InvalidValue, ObjectNotFound, UnsupportedParameter
from node_proxy.openai.assistants_api.standing import Members
from node_proxy.openai.background import PENDING, Background
from node_proxy.openai.calls import Calls
from node_proxy.openai.history import History
from node_proxy.openai.objects import Objects, Stored
from node_proxy.openai.paging import cut
from node_proxy.openai.request import prepare
from node_proxy.openai.upstream import Upstream, forget, keeps_state
from nvm_chain.did import Did
from nvm_chain.text import show

Json = dict[str, Any]

_COUNTED = frozenset(
    {"model", "input", "previous_response_id", "conversation", "tools", "tool_choice", "text", "truncation"}
) | {"parallel_tool_calls", "reasoning", "instructions"}
_OURS = ("instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text")


class StoredResponses:
    """/v1/responses/{id} and what is below it."""

    def __init__(
        self, calls: Calls, members: Members, objects: Objects, history: History, background: Background
    ) -> None:
        self._calls = calls
        self._members = members
        self._objects = objects
        self._history = history
        self._background = background

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/responses/{id}; with `stream=true` the events of one in the background, after `starting_after`."""
        stored, query = await self._find(exchange), exchange.query
        if query.get("stream", "false").lower() != "true":
            await exchange.respond_json(200, (await self._background.now(stored)).data["response"])
            return
        if not stored.data["response"].get("background"):
            raise InvalidValue("Only a response that was created with background=true can be streamed.", param="stream")
        after = query.get("starting_after", "-1")
        if not after.removeprefix("-").isdecimal() or not after.isascii() or len(after) > 15:
            raise InvalidValue(f"`starting_after` {show(after[:20])} is not a whole number.", param="starting_after")
        await self._background.resume(exchange, await self._background.now(stored), int(after))

    async def cancel(self, exchange: Exchange) -> None:
        """POST /v1/responses/{id}/cancel: only what runs in the background."""
        stored = await self._background.cancel(await self._find(exchange))
        await exchange.respond_json(200, stored.data["response"])

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /v1/responses/{id}: here and at its provider."""
        stored = await self._find(exchange, live=False)
        if (await self._background.now(stored)).data["response"]["status"] in PENDING:
            stored = await self._background.cancel(stored)
        await self._objects.delete(stored.subscriber, "response", stored.id)
        if stored.provider_id:
            await forget(self._calls, stored.did, "responses", lambda _: stored.provider_id)
        await exchange.respond_json(200, {"id": stored.id, "object": "response", "deleted": True})

    async def input_items(self, exchange: Exchange) -> None:
        """GET /v1/responses/{id}/input_items."""
        stored = await self._find(exchange)
        await exchange.respond_json(200, cut(stored.data["input"], exchange.query))

    async def input_tokens(self, exchange: Exchange) -> None:
        """POST /v1/responses/input_tokens: the tokens of what the caller says; the builder's part is left out.

        Asks for what a call needs (credits included) and charges nothing.
        """
        calls, settings = self._calls, self._calls.settings
        key = await calls.key(exchange)
        request = await exchange.json(settings.max_body_bytes, settings.body_timeout)
        for name in request:
            if name not in _COUNTED:
                raise UnsupportedParameter(f"`{name[:100]}` doesn't count: leave it out.", param=name[:100])
        did = await calls.resolve(request.get("model"), key)
        async with calls.access(key, did, request_id=exchange.id, facts=exchange.facts) as access:
            if not keeps_state(access.definition):
                raise UnsupportedParameter("This assistant's provider doesn't count tokens beforehand.", param="model")
            asked = {name: value for name, value in request.items() if name != "truncation"}
            prepared = prepare(asked, access.definition, name=str(did), safety_identifier=access.safety_identifier)
            async with self._history.turn(access, prepared):
                body = {name: prepared.body[name] for name in ("model", *_STATE) if name in prepared.body}
                for name in _OURS:
                    if request.get(name) is not None and name in prepared.echo:
                        body[name] = prepared.echo[name]
                if isinstance(request.get("instructions"), str) and request["instructions"]:
                    body["instructions"] = request["instructions"]
                upstream = Upstream(calls.provider, access.definition)
                tokens = await upstream.count(body, frozenset(prepared.caller_params))
        await exchange.respond_json(200, {"object": "response.input_tokens", "input_tokens": tokens})

    async def _find(self, exchange: Exchange, *, live: bool = True) -> Stored:
        key = await self._calls.key(exchange)
        if live:
            await self._members.check(key)
        id = exchange.params[0]
        stored = await self._objects.get(key.subscriber, "response", id)
        if stored is None:
            raise ObjectNotFound(f"Response with id {show(id[:100])} not found.")
        key.check_opens(Did.parse(stored.did))
        return stored


_STATE = ("input", "previous_response_id", "conversation")
