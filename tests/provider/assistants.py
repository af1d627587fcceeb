"""Assistants v2, as some providers still speak it: the stored assistants. Threads and runs have their own modules."""

from __future__ import annotations

import time

from aiohttp import web
from openai.types.beta.assistant_create_params import AssistantCreateParams
from openai.types.beta.assistant_update_params import AssistantUpdateParams

from tests.provider import items
from tests.provider.bounds import check_bounds
from tests.provider.errors import ApiError, invalid
from tests.provider.model import Json, known, new_id
from tests.provider.shape import check
from tests.provider.state import STATE
from tests.provider.wire import read_json, send_json

_SETTINGS = ("name", "description", "instructions", "tools", "tool_resources", "metadata", "model")
_SAMPLING = ("temperature", "top_p", "response_format")


def add_routes(app: web.Application) -> None:
    """Adds the surface's routes."""
    app.router.add_post("/v1/assistants", _create)
    app.router.add_get("/v1/assistants", _list)
    app.router.add_get("/v1/assistants/{id}", _retrieve)
    app.router.add_post("/v1/assistants/{id}", _update)
    app.router.add_delete("/v1/assistants/{id}", _delete)


def need_beta(request: web.Request) -> None:
    """Raises ApiError (400) without the header that the surface asks for."""
    if request.headers.get("openai-beta") != "assistants=v2":
        text = "You must provide the 'OpenAI-Beta' header to access the Assistants API."
        raise invalid(
            f"{text} Please try again by setting the header 'OpenAI-Beta: assistants=v2'.", code="invalid_beta"
        )


def missing(noun: str, id: str) -> ApiError:
    """A 404 in this surface's words."""
    return ApiError(404, f"No {noun} found with id '{id}'.")


def find_assistant(request: web.Request, id: str) -> Json:
    """The assistant. Raises ApiError (404)."""
    found = request.app[STATE].assistants.get(id)
    if found is None:
        raise missing("assistant", id)
    return found


async def _create(request: web.Request) -> web.StreamResponse:
    need_beta(request)
    body = await read_json(request)
    check(body, AssistantCreateParams)
    check_bounds(body)
    assistant: Json = {
        "id": new_id("asst", 24),
        "object": "assistant",
        "created_at": int(time.time()),
        "name": None,
        "description": None,
        "model": known(body["model"]),
        "instructions": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "response_format": "auto",
    }
    _apply(assistant, body)
    request.app[STATE].assistants[assistant["id"]] = assistant
    return await send_json(request, assistant)


async def _list(request: web.Request) -> web.StreamResponse:
    need_beta(request)
    return await send_json(request, items.page(request, list(request.app[STATE].assistants.values())))


async def _retrieve(request: web.Request) -> web.StreamResponse:
    need_beta(request)
    return await send_json(request, find_assistant(request, request.match_info["id"]))


async def _update(request: web.Request) -> web.StreamResponse:
    need_beta(request)
    assistant, body = find_assistant(request, request.match_info["id"]), await read_json(request)
    check(body, AssistantUpdateParams)
    check_bounds(body)
    known(body.get("model") or assistant["model"])
    _apply(assistant, body)
    return await send_json(request, assistant)


async def _delete(request: web.Request) -> web.StreamResponse:
    need_beta(request)
    id = find_assistant(request, request.match_info["id"])["id"]
    del request.app[STATE].assistants[id]
    return await send_json(request, {"id": id, "object": "assistant.deleted", "deleted": True})


def _apply(assistant: Json, body: Json) -> None:
    for name in (*_SETTINGS, *_SAMPLING):
        if body.get(name) is not None:
            assistant[name] = body[name]
