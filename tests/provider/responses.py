"""Responses: create (plain, streamed, background), retrieve, resume, cancel, delete, input_items, input_tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from aiohttp import web
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from tests.provider import items
from tests.provider.bounds import check_bounds
from tests.provider.errors import invalid, not_found, scripted
from tests.provider.model import Answer, Json, Turn, answer, known, new_id, script_of
from tests.provider.narration import finish, narrate
from tests.provider.script import Script
from tests.provider.shape import check
from tests.provider.state import STATE, State, StoredConversation, StoredResponse
from tests.provider.wire import QUEUED, frame, pause, read_json, send_events, send_json


class _Create(ResponseCreateParamsBase, total=False):
    stream: bool | None


def add_routes(app: web.Application) -> None:
    """Adds the surface's routes."""
    app.router.add_post("/v1/responses", _create)
    app.router.add_post("/v1/responses/input_tokens", _count)
    app.router.add_get("/v1/responses/{id}", _retrieve)
    app.router.add_delete("/v1/responses/{id}", _delete)
    app.router.add_post("/v1/responses/{id}/cancel", _cancel)
    app.router.add_get("/v1/responses/{id}/input_items", _input_items)


async def _create(request: web.Request) -> web.StreamResponse:
    state, body = request.app[STATE], await read_json(request)
    check(body, _Create)
    check_bounds(body)
    _check_rules(body)
    history, conversation = _history(state, body)
    given = items.normalise(state, body.get("input"))
    items.check_calls([*history, *given])
    turn = _turn(body, [*history, *given])
    script = script_of(turn, request[QUEUED])
    if failure := script.failure():
        raise failure
    stored = StoredResponse(_skeleton(body), given, turn.items, streamed=bool(body.get("stream")))
    said = answer(turn, script)
    if script.same_ids:
        for one in (stored.response, *said.items):
            one["id"] = one["id"].partition("_")[0] + "_1"
    work = _Work(state, stored, said, script, conversation, keep=body.get("store") is not False)
    if body.get("background"):
        work.begin()
        stored.task = asyncio.create_task(work.in_background())
        at_once = script.at_once()
        if body.get("stream"):
            return await send_events(request, _follow(stored, -1), at_once)
        stored.response["status"] = "queued"
        return await send_json(request, stored.response, at_once)
    with work:
        if body.get("stream"):
            return await send_events(request, work.frames(), script)
        if failing := script.fail_after or script.error_after:
            await pause(script.wait)
            raise scripted(500, failing[1])
        finish(stored.response, work.answer, script)
        sent = await send_json(request, stored.response, script)
        work.done()
        return sent


class _Work:
    """One response being generated. As a context it holds the conversation, and drops a response broken off."""

    def __init__(
        self,
        state: State,
        stored: StoredResponse,
        answer_: Answer,
        script: Script,
        conversation: StoredConversation | None,
        keep: bool,
    ) -> None:
        self.state, self.stored, self.answer, self.script = state, stored, answer_, script
        self.conversation, self.keep, self.complete = conversation, keep, False

    def begin(self) -> None:
        """Locks the conversation. Raises ApiError (400) while another response holds it."""
        if self.conversation:
            if self.conversation.busy:
                text = "Another process is currently operating on this conversation. Please retry in a few seconds."
                raise invalid(text, code="conversation_locked")
            self.conversation.busy = True
        if self.keep:
            self.state.responses[self.stored.response["id"]] = self.stored

    def end(self) -> None:
        """Unlocks the conversation."""
        if self.conversation:
            self.conversation.busy = False

    def done(self) -> None:
        """Adds what was said to the history, if the response came to an end."""
        self.complete = True
        if self.stored.response["status"] in ("completed", "incomplete"):
            self.stored.context = [*self.stored.context, *self.answer.items]
            if self.conversation:
                self.conversation.items += [*self.stored.input, *self.answer.items]

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *exc_info: object) -> None:
        self.end()
        if not self.complete:
            self.state.responses.pop(self.stored.response["id"], None)

    def events(self) -> Iterator[Json]:
        """The events, and the consequences of the last one before it is sent."""
        for event in narrate(self.stored.response, self.answer, self.script):
            if event["type"] in ("response.completed", "response.incomplete", "response.failed"):
                self.done()
            yield event

    async def frames(self) -> AsyncIterator[bytes]:
        """The events on the wire."""
        for event in self.events():
            yield frame(event, event["type"])

    async def in_background(self) -> None:
        """Generates without a reader."""
        stored = self.stored
        try:
            await pause(self.script.wait)
            for event in self.events():
                stored.events.append(event)
                stored.wake()
                await pause(self.script.delay)
        except asyncio.CancelledError:
            stored.response.update(status="cancelled", output=[])
            raise
        finally:
            self.end()
            stored.wake()


async def _follow(stored: StoredResponse, after: int) -> AsyncIterator[bytes]:
    """A background response's events after number `after`, those that come included."""
    position = after + 1
    while True:
        while position < len(stored.events):
            event = stored.events[position]
            yield frame(event, event["type"])
            position += 1
        if stored.task is None or stored.task.done():
            return
        await stored.grown.wait()


async def _retrieve(request: web.Request) -> web.StreamResponse:
    stored = _find(request)
    if request.query.get("stream") != "true":
        return await send_json(request, stored.response)
    if not (stored.response["background"] and stored.streamed):
        raise invalid("Only background responses created with stream=true can be streamed.", "stream")
    after = request.query.get("starting_after", "-1")
    if not after.lstrip("-").isdigit():
        raise invalid(f"Invalid type for 'starting_after': expected an integer, but got '{after}'.", "starting_after")
    return await send_events(request, _follow(stored, int(after)), request[QUEUED])


async def _delete(request: web.Request) -> web.StreamResponse:
    stored = _find(request)
    if stored.task:
        stored.task.cancel()
    del request.app[STATE].responses[stored.response["id"]]
    return await send_json(request, {"id": stored.response["id"], "object": "response", "deleted": True})


async def _cancel(request: web.Request) -> web.StreamResponse:
    stored = _find(request)
    if not stored.response["background"] or stored.task is None:
        raise invalid("Cannot cancel a synchronous response.")
    if not stored.task.done():
        stored.task.cancel()
        await asyncio.wait({stored.task})
        stored.response.update(status="cancelled", output=[])
    elif stored.response["status"] != "cancelled":
        raise invalid("Cannot cancel a completed response.")
    return await send_json(request, stored.response)


async def _input_items(request: web.Request) -> web.StreamResponse:
    return await send_json(request, items.page(request, _find(request).input))


async def _count(request: web.Request) -> web.StreamResponse:
    state, body = request.app[STATE], await read_json(request)
    check(body, InputTokenCountParams)
    _check_rules(body)
    history, _ = _history(state, body)
    turn = _turn(body, [*history, *items.normalise(state, body.get("input"))])
    return await send_json(request, {"object": "response.input_tokens", "input_tokens": turn.input_tokens})


def _find(request: web.Request) -> StoredResponse:
    stored = request.app[STATE].responses.get(request.match_info["id"])
    if stored is None:
        raise not_found("Response", request.match_info["id"])
    return stored


def _check_rules(body: Json) -> None:
    """What one field forbids another. Raises ApiError (400)."""
    if not body.get("model"):
        raise invalid("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    known(body["model"])
    if body.get("conversation") and body.get("previous_response_id"):
        raise invalid(
            "Mutually exclusive parameters: 'conversation' and 'previous_response_id'. "
            "Ensure you are only providing one of: 'previous_response_id' or 'conversation'.",
            code="mutually_exclusive_parameters",
        )
    if all(body.get(name) is None for name in ("input", "conversation", "previous_response_id")):
        text = "One of 'input', 'previous_response_id' or 'conversation' must be provided."
        raise invalid(text, "input", "missing_required_parameter")
    if body.get("background") and body.get("store") is False:
        raise invalid("Background mode requires 'store' to be true.", "background")
    names = [tool["name"] for tool in body.get("tools") or () if tool["type"] == "function"]
    wanted = (body.get("tool_choice") or {}) if isinstance(body.get("tool_choice"), dict) else {}
    if wanted.get("type") == "function" and wanted["name"] not in names:
        raise invalid(f"Tool choice '{wanted['name']}' not found in 'tools' parameter.", "tool_choice")


def _history(state: State, body: Json) -> tuple[list[Json], StoredConversation | None]:
    """The items that come before the input. Raises ApiError for an unknown conversation or response."""
    if id := body.get("previous_response_id"):
        if id not in state.responses:
            text = f"Previous response with id '{id}' not found."
            raise invalid(text, "previous_response_id", "previous_response_not_found")
        return state.responses[id].context, None
    if reference := body.get("conversation"):
        id = reference if isinstance(reference, str) else reference["id"]
        if id not in state.conversations:
            raise not_found("Conversation", id)
        return state.conversations[id].items, state.conversations[id]
    return [], None


def _turn(body: Json, history: list[Json]) -> Turn:
    return Turn(
        model=body["model"],
        items=history,
        instructions=body.get("instructions"),
        tools=list(body.get("tools") or ()),
        tool_choice=body.get("tool_choice") or "auto",
        text_format=(body.get("text") or {}).get("format"),
        max_tokens=body.get("max_output_tokens"),
    )


def _skeleton(body: Json) -> Json:
    """The response before anything is generated, with the request's settings as OpenAI repeats them."""
    conversation: Any = body.get("conversation")
    reasoning = body.get("reasoning") or {}
    text = body.get("text") or {}
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": bool(body.get("background")),
        "completed_at": None,
        "conversation": {"id": conversation} if isinstance(conversation, str) else conversation,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": body.get("metadata") or {},
        "model": body["model"],
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
        "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity") or "medium"},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": list(body.get("tools") or ()),
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
        "user": body.get("user"),
    }
