"""Runs and run steps of the legacy Assistants v2."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Required

from aiohttp import web
from openai.types.beta.thread_create_and_run_params import ThreadCreateAndRunParamsBase
from openai.types.beta.threads.run_create_params import RunCreateParamsBase
from openai.types.beta.threads.run_submit_tool_outputs_params import ToolOutput
from openai.types.beta.threads.run_update_params import RunUpdateParams
from typing_extensions import TypedDict

from tests.provider import items
from tests.provider.assistants import find_assistant, missing, need_beta
from tests.provider.bounds import check_bounds
from tests.provider.errors import invalid
from tests.provider.model import Json, known, new_id
from tests.provider.running import Running
from tests.provider.shape import check
from tests.provider.state import STATE, StoredThread
from tests.provider.threads import active_run, find_thread, new_message, new_thread
from tests.provider.wire import QUEUED, frame, read_json, send_events, send_json

LIFETIME = 600
"""Seconds after which a run that waits for tool outputs expires, unless `[[expire S]]` says otherwise."""


class _Create(RunCreateParamsBase, total=False):
    stream: bool | None


class _CreateThreadAndRun(ThreadCreateAndRunParamsBase, total=False):
    stream: bool | None


class _Submit(TypedDict, total=False):
    tool_outputs: Required[list[ToolOutput]]
    stream: bool | None


def add_routes(app: web.Application) -> None:
    """Adds the surface's routes."""
    path = "/v1/threads/{id}/runs"
    app.router.add_post("/v1/threads/runs", _create_thread_and_run)
    app.router.add_post(path, _create)
    app.router.add_get(path, _list)
    app.router.add_get(path + "/{run}", _retrieve)
    app.router.add_post(path + "/{run}", _update)
    app.router.add_post(path + "/{run}/cancel", _cancel)
    app.router.add_post(path + "/{run}/submit_tool_outputs", _submit)
    app.router.add_get(path + "/{run}/steps", _list_steps)
    app.router.add_get(path + "/{run}/steps/{step}", _retrieve_step)


async def _create(request: web.Request) -> web.StreamResponse:
    stored, body = find_thread(request), await read_json(request)
    check(body, _Create)
    check_bounds(body)
    if run := active_run(stored):
        raise invalid(f"Thread {stored.thread['id']} already has an active run {run['id']}.")
    return await _run(request, stored, body)


async def _create_thread_and_run(request: web.Request) -> web.StreamResponse:
    need_beta(request)
    body = await read_json(request)
    check(body, _CreateThreadAndRun)
    check_bounds(body)
    find_assistant(request, body["assistant_id"])
    stored = new_thread(request.app[STATE], body.get("thread") or {})
    return await _run(request, stored, body, with_thread=True)


async def _run(
    request: web.Request, stored: StoredThread, body: Json, *, with_thread: bool = False
) -> web.StreamResponse:
    assistant = find_assistant(request, body["assistant_id"])
    thread_id = stored.thread["id"]
    added = [new_message(thread_id, message) for message in body.get("additional_messages") or ()]
    running = Running(stored, _new_run(thread_id, assistant, body), request[QUEUED])
    stored.messages += added
    script = running.plan()
    if failure := script.failure():
        stored.messages = stored.messages[: len(stored.messages) - len(added)]
        raise failure
    seconds = LIFETIME if script.expire is None else script.expire
    running.run["expires_at"] = int(time.time() + seconds)
    running.timer = asyncio.get_running_loop().call_later(seconds, running.expire)
    stored.runs[running.run["id"]] = running
    return await _go(request, running, body, first=True, thread=stored.thread if with_thread else None)


async def _go(
    request: web.Request, running: Running, body: Json, *, first: bool, thread: Json | None = None
) -> web.StreamResponse:
    created = dict(running.run)
    running.start(first=first)
    if body.get("stream"):
        return await send_events(request, _frames(running, thread), running.script.at_once())
    return await send_json(request, created, running.script.at_once())


async def _frames(running: Running, thread: Json | None) -> AsyncIterator[bytes]:
    if thread:
        yield frame(thread, "thread.created")
    events = running.events
    while event := await events.get():
        yield frame(event[1], event[0])
    yield frame(b"[DONE]", "done")


async def _list(request: web.Request) -> web.StreamResponse:
    return await send_json(request, items.page(request, [one.run for one in find_thread(request).runs.values()]))


async def _retrieve(request: web.Request) -> web.StreamResponse:
    return await send_json(request, _find(request).run)


async def _update(request: web.Request) -> web.StreamResponse:
    running, body = _find(request), await read_json(request)
    check({"thread_id": "", **body}, RunUpdateParams)
    check_bounds(body)
    running.run["metadata"] = body.get("metadata") or {}
    return await send_json(request, running.run)


async def _cancel(request: web.Request) -> web.StreamResponse:
    running = _find(request)
    if running.run["status"] not in ("queued", "in_progress", "requires_action"):
        raise invalid(f"Cannot cancel run with status '{running.run['status']}'.")
    running.cancel()
    return await send_json(request, dict(running.run))


async def _submit(request: web.Request) -> web.StreamResponse:
    running, body = _find(request), await read_json(request)
    check(body, _Submit)
    run = running.run
    if run["status"] != "requires_action":
        raise invalid(f'Runs in status "{run["status"]}" do not accept tool outputs.')
    wanted = [call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]
    given = {output.get("tool_call_id", ""): output.get("output", "") for output in body["tool_outputs"]}
    if sorted(wanted) != sorted(given):
        raise invalid(f"Expected tool outputs for call_ids {wanted}, got {list(given)}", "tool_outputs")
    running.submit(given)
    run.update(status="queued", required_action=None)
    running.plan()
    return await _go(request, running, body, first=False)


async def _list_steps(request: web.Request) -> web.StreamResponse:
    return await send_json(request, items.page(request, _find(request).steps))


async def _retrieve_step(request: web.Request) -> web.StreamResponse:
    for step in _find(request).steps:
        if step["id"] == request.match_info["step"]:
            return await send_json(request, step)
    raise missing("run step", request.match_info["step"])


def _find(request: web.Request) -> Running:
    running: Running | None = find_thread(request).runs.get(request.match_info["run"])
    if running is None:
        raise missing("run", request.match_info["run"])
    return running


def _new_run(thread_id: str, assistant: Json, body: Json) -> Json:
    instructions = assistant["instructions"] if body.get("instructions") is None else body["instructions"]
    extra = body.get("additional_instructions")

    def setting(name: str) -> Any:
        return assistant[name] if body.get(name) is None else body[name]

    return {
        "id": new_id("run", 24),
        "object": "thread.run",
        "created_at": int(time.time()),
        "assistant_id": assistant["id"],
        "thread_id": thread_id,
        "status": "queued",
        "started_at": None,
        "expires_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "model": known(setting("model")),
        "instructions": "\n".join(text for text in (instructions, extra) if text),
        "tools": setting("tools"),
        "metadata": body.get("metadata") or {},
        "incomplete_details": None,
        "usage": None,
        "temperature": setting("temperature"),
        "top_p": setting("top_p"),
        "max_prompt_tokens": body.get("max_prompt_tokens"),
        "max_completion_tokens": body.get("max_completion_tokens"),
        "truncation_strategy": {"last_messages": None, **(body.get("truncation_strategy") or {"type": "auto"})},
        "response_format": setting("response_format"),
        "tool_choice": body.get("tool_choice") or "auto",
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
    }
