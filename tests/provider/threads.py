"""Threads and messages of the legacy Assistants v2."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web
from openai.types.beta.thread_create_params import ThreadCreateParams
from openai.types.beta.thread_update_params import ThreadUpdateParams
from openai.types.beta.threads.message_create_params import MessageCreateParams
from openai.types.beta.threads.message_update_params import MessageUpdateParams

from tests.provider import items
from tests.provider.assistants import missing, need_beta
from tests.provider.bounds import check_bounds
from tests.provider.errors import invalid
from tests.provider.model import Json, new_id
from tests.provider.shape import check
from tests.provider.state import STATE, State, StoredThread
from tests.provider.wire import read_json, send_json


def add_routes(app: web.Application) -> None:
    """Adds the surface's routes."""
    path = "/v1/threads"
    app.router.add_post(path, _create)
    app.router.add_get(path + "/{id}", _retrieve)
    app.router.add_post(path + "/{id}", _update)
    app.router.add_delete(path + "/{id}", _delete)
    app.router.add_post(path + "/{id}/messages", _add_message)
    app.router.add_get(path + "/{id}/messages", _list_messages)
    app.router.add_get(path + "/{id}/messages/{message}", _retrieve_message)
    app.router.add_post(path + "/{id}/messages/{message}", _update_message)
    app.router.add_delete(path + "/{id}/messages/{message}", _delete_message)


def new_thread(state: State, body: Json) -> StoredThread:
    """Stores a thread with its first messages."""
    thread: Json = {
        "id": new_id("thread", 24),
        "object": "thread",
        "created_at": int(time.time()),
        "metadata": body.get("metadata") or {},
        "tool_resources": body.get("tool_resources") or {},
    }
    stored = StoredThread(thread)
    stored.messages = [new_message(thread["id"], message) for message in body.get("messages") or ()]
    state.threads[thread["id"]] = stored
    return stored


def new_message(thread_id: str, body: Json, **fields: Any) -> Json:
    """A message as the API shows it."""
    content = body["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {
        "id": new_id("msg", 24),
        "object": "thread.message",
        "created_at": int(time.time()),
        "completed_at": None,
        "incomplete_at": None,
        "incomplete_details": None,
        "thread_id": thread_id,
        "assistant_id": None,
        "run_id": None,
        "role": body["role"],
        "status": "completed",
        "content": [_part(part) for part in parts],
        "attachments": body.get("attachments") or [],
        "metadata": body.get("metadata") or {},
        **fields,
    }


def find_thread(request: web.Request) -> StoredThread:
    """The thread that the path names. Raises ApiError (400, 404)."""
    need_beta(request)
    stored = request.app[STATE].threads.get(request.match_info["id"])
    if stored is None:
        raise missing("thread", request.match_info["id"])
    return stored


def active_run(stored: StoredThread) -> Json | None:
    """The run that has not ended."""
    for one in stored.runs.values():
        if one.run["status"] in ("queued", "in_progress", "requires_action", "cancelling"):
            run: Json = one.run
            return run
    return None


def check_idle(stored: StoredThread, doing: str) -> None:
    """Raises ApiError (400) while a run is active."""
    if run := active_run(stored):
        raise invalid(f"Can't {doing} {stored.thread['id']} while a run {run['id']} is active.")


async def _create(request: web.Request) -> web.StreamResponse:
    need_beta(request)
    body = await read_json(request)
    check(body, ThreadCreateParams)
    check_bounds(body)
    return await send_json(request, new_thread(request.app[STATE], body).thread)


async def _retrieve(request: web.Request) -> web.StreamResponse:
    return await send_json(request, find_thread(request).thread)


async def _update(request: web.Request) -> web.StreamResponse:
    stored, body = find_thread(request), await read_json(request)
    check(body, ThreadUpdateParams)
    check_bounds(body)
    stored.thread |= {name: value for name, value in body.items() if value is not None}
    return await send_json(request, stored.thread)


async def _delete(request: web.Request) -> web.StreamResponse:
    id = find_thread(request).thread["id"]
    del request.app[STATE].threads[id]
    return await send_json(request, {"id": id, "object": "thread.deleted", "deleted": True})


async def _add_message(request: web.Request) -> web.StreamResponse:
    stored, body = find_thread(request), await read_json(request)
    check(body, MessageCreateParams)
    check_bounds(body)
    check_idle(stored, "add messages to")
    message = new_message(stored.thread["id"], body)
    stored.messages.append(message)
    return await send_json(request, message)


async def _list_messages(request: web.Request) -> web.StreamResponse:
    messages = find_thread(request).messages
    if run := request.query.get("run_id"):
        messages = [message for message in messages if message["run_id"] == run]
    return await send_json(request, items.page(request, messages))


async def _retrieve_message(request: web.Request) -> web.StreamResponse:
    return await send_json(request, _find_message(request))


async def _update_message(request: web.Request) -> web.StreamResponse:
    message, body = _find_message(request), await read_json(request)
    check({"thread_id": "", **body}, MessageUpdateParams)
    check_bounds(body)
    message["metadata"] = body.get("metadata") or {}
    return await send_json(request, message)


async def _delete_message(request: web.Request) -> web.StreamResponse:
    stored, message = find_thread(request), _find_message(request)
    check_idle(stored, "delete messages of")
    stored.messages.remove(message)
    return await send_json(request, {"id": message["id"], "object": "thread.message.deleted", "deleted": True})


def _find_message(request: web.Request) -> Json:
    id = request.match_info["message"]
    for message in find_thread(request).messages:
        if message["id"] == id:
            return message
    raise missing("message", id)


def _part(part: Json) -> Json:
    if part["type"] == "text":
        return {"type": "text", "text": {"value": part["text"], "annotations": []}}
    return part
