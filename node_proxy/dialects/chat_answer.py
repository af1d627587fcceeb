"""A chat completion, whole or in chunks, as a Response or its events.

Servers differ more than the API's text says. Taken as they come: null or listed content, tool calls without id or
index, usage in any chunk or none, a stream that ends without `[DONE]`. Not taken: an end that can't be told from a
broken connection. Reasoning that a server shows in full is not passed on: it tends to quote the instructions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import orjson

from node_proxy.dialects.base import Json
from node_proxy.dialects.narration import Narration
from node_proxy.errors import NodeError, ProviderGarbage
from node_proxy.relay import sse
from node_proxy.relay.provider import classify

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response(value: Json, model: str) -> Json:
    """The finished Response for a whole chat completion. Raises ProviderError in its kinds."""
    if isinstance(value.get("error"), dict):
        raise failure(value["error"])
    teller = _Teller(model)
    choice = _choice(value)
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, dict):
        raise ProviderGarbage("The assistant's provider didn't answer with a chat completion. Nothing was charged.")
    for _ in teller.heard(message):
        pass
    teller.note(value, choice)
    for _ in teller.end():
        pass
    return teller.narration.response


async def events(groups: AsyncIterator[Iterable[sse.Event]], model: str) -> AsyncIterator[Iterable[sse.Event]]:
    """The Response's events for a stream of chunks. Raises ProviderError in its kinds."""
    teller = _Teller(model)
    yield [event(one) for one in teller.narration.begin()]
    done = False
    async for group in groups:
        told: list[Json] = []
        for received in group:
            if done:
                continue
            if received.data == b"[DONE]":
                told.extend(teller.end())
                done = True
                continue
            chunk = _chunk(received.data)
            if "error" in chunk and chunk["error"] is not None:
                yield [event(one) for one in (*told, error_event(chunk["error"]))]
                return
            choice = _choice(chunk)
            delta = choice.get("delta") if choice is not None else None
            if isinstance(delta, dict):
                told.extend(teller.heard(delta))
            teller.note(chunk, choice)
        if told:
            yield [event(one) for one in told]
    if done:
        return
    if not teller.ended:
        raise ProviderGarbage("The assistant's provider broke off before the end of its answer. Nothing was charged.")
    yield [event(one) for one in teller.end()]


class _Teller:
    """From messages or deltas to a narration."""

    def __init__(self, model: str) -> None:
        self.narration = Narration(model)
        self._calls: list[tuple[object, str]] = []
        self._later: list[tuple[Callable[[str], Iterator[Json]], str]] = []
        self._reason: str | None = None
        self._usage: Json | None = None

    @property
    def ended(self) -> bool:
        """Whether the provider said why it stopped."""
        return self._reason is not None

    def note(self, value: Json, choice: Json | None) -> None:
        """Takes usage and finish reason, wherever they come."""
        found = usage(value.get("usage"))
        if found is not None:
            self._usage = found
        reason = choice.get("finish_reason") if choice is not None else None
        if isinstance(reason, str) and reason:
            self._reason = reason

    def heard(self, said: Json) -> Iterator[Json]:
        """A message, or a delta of one. What is said after a call began waits for the end: the call may go on."""
        refusal = said.get("refusal")
        for tell, text in (
            (self.narration.text, _text(said.get("content"))),
            (self.narration.refusal, refusal if isinstance(refusal, str) else ""),
        ):
            if text and self._calls:
                self._later.append((tell, text))
            elif text:
                yield from tell(text)
        calls = said.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if not isinstance(call, dict):
                raise _mixed_up()
            yield from self._called(call, call.get("index", position))

    def _called(self, call: Json, index: object) -> Iterator[Json]:
        """One tool call, or a piece of one: it belongs to the last call unless it brings another index or id."""
        kind, member = ("custom", "input") if isinstance(call.get("custom"), dict) else ("function", "arguments")
        inner = call.get(kind)
        if not isinstance(inner, dict):
            raise _mixed_up()
        name, id = inner.get("name"), call.get("id")
        id = id if isinstance(id, str) else ""
        new = isinstance(name, str) and bool(name) and (index, id) not in self._calls
        if new and not (self._calls and self._calls[-1][0] == index and not id):
            self._calls.append((index, id))
            yield from self.narration.call("custom_tool_call" if kind == "custom" else "function_call", str(name))
        elif not self._calls or (index is not None and self._calls[-1][0] != index):
            raise _mixed_up()
        arguments = inner.get(member)
        if isinstance(arguments, dict):
            arguments = orjson.dumps(arguments).decode()
        if isinstance(arguments, str):
            yield from self.narration.arguments(arguments)

    def end(self) -> Iterator[Json]:
        """The events of the end."""
        for tell, text in self._later:
            yield from tell(text)
        if self._reason == "error":
            yield from self.narration.finish("failed", usage=self._usage)
        elif self._reason in _INCOMPLETE:
            yield from self.narration.finish("incomplete", reason=_INCOMPLETE[self._reason], usage=self._usage)
        else:
            yield from self.narration.finish("completed", usage=self._usage)


def usage(value: object) -> Json | None:
    """A chat completion's usage in the words of the Responses API; None where there is none that can be read."""
    if not isinstance(value, dict):
        return None
    given, taken = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    counts = {
        "input_tokens": value.get("prompt_tokens"),
        "cached": _detail(given, "cached_tokens"),
        "output_tokens": value.get("completion_tokens", 0),
        "reasoning": _detail(taken, "reasoning_tokens"),
    }
    if not all(type(count) is int and count >= 0 for count in counts.values()):
        return None
    incoming, outgoing = value["prompt_tokens"], value.get("completion_tokens", 0)
    return {
        "input_tokens": incoming,
        "input_tokens_details": {"cached_tokens": counts["cached"]},
        "output_tokens": outgoing,
        "output_tokens_details": {"reasoning_tokens": counts["reasoning"]},
        "total_tokens": incoming + outgoing,
    }


def _detail(details: object, name: str) -> Any:
    value = details.get(name) if isinstance(details, dict) else None
    return 0 if value is None else value


def _choice(value: Json) -> Json | None:
    """The first choice; we never ask for more than one."""
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index", 0) in (0, None):
            return choice
    return None


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def _chunk(data: bytes) -> Json:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ProviderGarbage("The assistant's provider sent a broken event. Nothing was charged.")
    return value


def _mixed_up() -> ProviderGarbage:
    return ProviderGarbage("The assistant's provider sent a tool call that can't be read. Nothing was charged.")


def failure(error: Json) -> NodeError:
    """What an error that came with status 200 is for the caller."""
    code, kind = (text if isinstance(text := error.get(name), str) else "" for name in ("code", "type"))
    status = error["code"] if type(error.get("code")) is int and 400 <= error["code"] < 600 else 500
    return classify(status, code, kind, "", {}, frozenset())


def error_event(error: object) -> Json:
    """An error in the middle of a stream, as the Responses API has it."""
    fields = error if isinstance(error, dict) else {}
    code = fields.get("code")
    if code == 429:
        code = "rate_limit_exceeded"
    return {
        "type": "error",
        "code": code if isinstance(code, str) else "server_error",
        "message": "",
        "param": None,
        "error": {"code": code if isinstance(code, str) else "server_error", "type": fields.get("type")},
    }


def event(value: Json) -> sse.Event:
    """An event of the Responses API as if it had come from a provider."""
    return sse.Event(str(value["type"]).encode(), orjson.dumps(value))
