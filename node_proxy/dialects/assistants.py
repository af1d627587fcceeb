"""Assistants v2, at a provider that still speaks it: each question is a run in a thread of its own, deleted afterwards.

A run that asks for tool outputs stays open for a while. A caller who comes back with them, the history being the same,
lets it go on where it stood; after that, or at another node process, the thread is made anew with the calls told in
words. Usage is known when a run ends, so it is told with the answer that ends it, over all its rounds.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import orjson

from node_proxy.dialects.assistants_answer import RunTeller
from node_proxy.dialects.assistants_request import RunRequest, translate
from node_proxy.dialects.base import Answer, Json
from node_proxy.dialects.chat_answer import error_event, event, failure
from node_proxy.dialects.chat_request import check_names
from node_proxy.errors import NodeError, ProviderGarbage, ProviderRefusedBuilder, ProviderRejected
from node_proxy.relay import sse
from node_proxy.relay.provider import ProviderAnswer, ProviderCall, ProviderClient
from nvm_chain.definition import Definition

PATIENCE = 540.0
"""Seconds that a run waits for its caller's outputs; at the provider it expires after 600."""

_MOST_WAITING = 10_000
_CLEANING_SECONDS = 5.0
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NAMES = {"thread": "input", "tools": "tools", "tool_outputs": "input", "max_completion_tokens": "max_output_tokens"}


def ask(
    client: ProviderClient, definition: Definition, body: Json, caller_params: frozenset[str]
) -> AbstractAsyncContextManager[Answer]:
    """A thread and a run in it, or the outputs that a run waits for. Raises BadRequest."""
    return _ask(client, definition, translate(definition, body, caller_params), caller_params)


@asynccontextmanager
async def _ask(
    client: ProviderClient, definition: Definition, request: RunRequest, caller_params: frozenset[str]
) -> AsyncIterator[Answer]:
    waiting = _waiting.setdefault(client, _Waiting())
    provider = _Provider(client, definition)
    run = waiting.take(request) if request.outputs else None
    try:
        async with AsyncExitStack() as stack:
            answer = None if run is None else await _go_on(stack, provider, run, request.outputs)
            if answer is None or run is None:
                run = RunTeller(definition.model)
                answer = await _start(stack, provider, request, caller_params)
            yield RunAnswer(answer, run)
    except ProviderRejected as error:
        error.param = _NAMES.get((error.param or "").split(".")[0], error.param)
        raise
    finally:
        if run is not None and run.waits_for:
            waiting.keep(request, run, provider)
        elif run is not None:
            await provider.forget(run.thread)
        for late, its_provider in waiting.overdue():
            await its_provider.forget(late.thread)


async def _start(
    stack: AsyncExitStack, provider: _Provider, request: RunRequest, caller_params: frozenset[str]
) -> ProviderAnswer:
    body = request.body
    if request.extra_tools or request.extra_instructions:  # making thread and run in one has no words for additions
        body = {**body, **await provider.extended(request)}
    there = {name for name, here in _NAMES.items() if here in caller_params}
    call = provider.call("POST", "/threads/runs", body, caller_params | there)
    return await stack.enter_async_context(provider.client.post(call))


async def _go_on(
    stack: AsyncExitStack, provider: _Provider, run: RunTeller, outputs: tuple[str, ...]
) -> ProviderAnswer | None:
    """The stream of a run that gets its outputs; None where it doesn't want them any more."""
    wanted = outputs[-len(run.waits_for) :]
    told = [{"tool_call_id": id, "output": one} for id, one in zip(run.waits_for, wanted, strict=True)]
    path = f"/threads/{run.thread}/runs/{run.run}/submit_tool_outputs"
    run.begin_again()
    try:
        call = provider.call("POST", path, {"tool_outputs": told, "stream": True}, frozenset())
        return await stack.enter_async_context(provider.client.post(call))
    except (ProviderRejected, ProviderRefusedBuilder):
        await provider.forget(run.thread)
        return None


@dataclass(frozen=True, slots=True)
class _Provider:
    """One builder's account at a provider."""

    client: ProviderClient
    definition: Definition = field(repr=False)

    def call(
        self, method: str, path: str, body: Json | None = None, caller_params: frozenset[str] = frozenset()
    ) -> ProviderCall:
        return ProviderCall(
            base_url=self.definition.base_url,
            path=path,
            key=self.definition.api_key,
            body=b"" if body is None else orjson.dumps(body),
            caller_params=caller_params,
            method=method,
            beta="assistants=v2",
        )

    async def extended(self, request: RunRequest) -> Json:
        """Instructions and tools of the stored assistant with the caller's beside them, where there are any."""
        async with self.client.post(self.call("GET", f"/assistants/{self.definition.assistant_id}")) as answer:
            stored = await answer.json()
        extended: Json = {}
        if request.extra_instructions:
            own = stored.get("instructions")
            extended["instructions"] = "\n\n".join(text for text in (own, request.extra_instructions) if text)
        if request.extra_tools:
            tools = stored.get("tools")
            extended["tools"] = [*(tools if isinstance(tools, list) else []), *request.extra_tools]
            check_names(extended["tools"])
        return extended

    async def forget(self, thread: str) -> None:
        """Deletes a thread; one that can't be deleted isn't worth an error."""
        if not _ID.fullmatch(thread):
            return
        with suppress(NodeError, TimeoutError):
            async with (
                asyncio.timeout(_CLEANING_SECONDS),
                self.client.post(self.call("DELETE", f"/threads/{thread}")) as answer,
            ):
                await answer.json()


class RunAnswer:
    """A run read as a Response."""

    def __init__(self, answer: ProviderAnswer, run: RunTeller) -> None:
        self.status, self.headers, self.request_id = answer.status, answer.headers, answer.request_id
        self._answer = answer
        self._run = run

    async def json(self) -> Json:
        async for group in self._values():
            for value in group:
                if value["type"] == "error":
                    raise failure(value["error"])
        return self._run.narration.response

    async def events(self, again: sse.Again = sse.nothing_known) -> AsyncIterator[Iterable[sse.Event]]:
        async for group in self._values():
            yield [event(value) for value in group]

    async def _values(self) -> AsyncIterator[list[Json]]:
        run = self._run
        told = list(run.narration.begin())  # with the first event: by then the thread's id is known
        async for group in self._answer.events():
            for one in group:
                if one.data == b"[DONE]":
                    continue
                value = _value(one)
                if one.name == b"error":
                    yield [*told, error_event(value.get("error", value))]
                    return
                told.extend(run.heard(one.name.decode("utf-8", "replace"), value))
            if told:
                yield told
                told = []
        if not run.ended:
            raise ProviderGarbage(
                "The assistant's provider broke off before the end of its answer. Nothing was charged."
            )


def _value(one: sse.Event) -> Json:
    try:
        value = orjson.loads(one.data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ProviderGarbage("The assistant's provider sent a broken event. Nothing was charged.")
    return value


class _Waiting:
    """Runs of one node process that wait for their callers' tool outputs."""

    def __init__(self) -> None:
        self._runs: OrderedDict[bytes, tuple[float, RunTeller, _Provider]] = OrderedDict()
        self._late: list[tuple[RunTeller, _Provider]] = []

    def keep(self, request: RunRequest, run: RunTeller, provider: _Provider) -> None:
        """Lets a run wait, under the key of all that was said."""
        if _ID.fullmatch(run.thread) and _ID.fullmatch(run.run):
            key = request.key(run.narration.response["output"])
            if key in self._runs:  # the same question asked twice: the later run is the one to go on with
                self._late.append(self._runs.pop(key)[1:])
            self._runs[key] = (time.monotonic() + PATIENCE, run, provider)

    def take(self, request: RunRequest) -> RunTeller | None:
        """The run that the request's outputs are for, if it still waits. Nobody else gets it afterwards."""
        for number, key in enumerate(request.before, 1):
            until, run, _ = self._runs.get(key, (0.0, None, None))
            if run is not None and until > time.monotonic() and len(run.waits_for) == number:
                del self._runs[key]
                return run
        return None

    def overdue(self) -> list[tuple[RunTeller, _Provider]]:
        """Runs whose callers didn't come back: no longer kept."""
        late, self._late = self._late, []
        while self._runs:
            key, (until, run, provider) = next(iter(self._runs.items()))
            if until > time.monotonic() and len(self._runs) <= _MOST_WAITING:
                break
            del self._runs[key]
            late.append((run, provider))
        return late


_waiting: WeakKeyDictionary[ProviderClient, _Waiting] = WeakKeyDictionary()
