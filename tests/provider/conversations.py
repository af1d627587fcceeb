"""Conversations and their items."""

from __future__ import annotations

import time

from aiohttp import web
from openai.types.conversations.conversation_create_params import ConversationCreateParams
from openai.types.conversations.conversation_update_params import ConversationUpdateParams
from openai.types.conversations.item_create_params import ItemCreateParams

from tests.provider import items
from tests.provider.bounds import check_bounds
from tests.provider.errors import invalid, not_found
from tests.provider.model import Json, new_id
from tests.provider.shape import check
from tests.provider.state import STATE, StoredConversation
from tests.provider.wire import read_json, send_json

MOST_ITEMS = 20
"""Items that one request may add."""


def add_routes(app: web.Application) -> None:
    """Adds the surface's routes."""
    path = "/v1/conversations"
    app.router.add_post(path, _create)
    app.router.add_get(path + "/{id}", _retrieve)
    app.router.add_post(path + "/{id}", _update)
    app.router.add_delete(path + "/{id}", _delete)
    app.router.add_get(path + "/{id}/items", _list_items)
    app.router.add_post(path + "/{id}/items", _add_items)
    app.router.add_get(path + "/{id}/items/{item}", _retrieve_item)
    app.router.add_delete(path + "/{id}/items/{item}", _delete_item)


async def _create(request: web.Request) -> web.StreamResponse:
    state, body = request.app[STATE], await read_json(request)
    check(body, ConversationCreateParams)
    check_bounds(body)
    conversation: Json = {
        "id": new_id("conv"),
        "object": "conversation",
        "created_at": int(time.time()),
        "metadata": body.get("metadata") or {},
    }
    given = items.normalise(state, _few(body.get("items") or []))
    state.conversations[conversation["id"]] = StoredConversation(conversation, given)
    return await send_json(request, conversation)


async def _retrieve(request: web.Request) -> web.StreamResponse:
    return await send_json(request, _find(request).conversation)


async def _update(request: web.Request) -> web.StreamResponse:
    stored, body = _find(request), await read_json(request)
    check(body, ConversationUpdateParams)
    check_bounds(body)
    stored.conversation["metadata"] = body["metadata"] or {}
    return await send_json(request, stored.conversation)


async def _delete(request: web.Request) -> web.StreamResponse:
    id = _find(request).conversation["id"]
    del request.app[STATE].conversations[id]
    return await send_json(request, {"id": id, "object": "conversation.deleted", "deleted": True})


async def _list_items(request: web.Request) -> web.StreamResponse:
    return await send_json(request, items.page(request, _find(request).items))


async def _add_items(request: web.Request) -> web.StreamResponse:
    stored, body = _find(request), await read_json(request)
    check(body, ItemCreateParams)
    given = items.normalise(request.app[STATE], _few(body["items"]))
    _check_free(stored)
    stored.items += given
    first, last = (given[0]["id"], given[-1]["id"]) if given else ("", "")
    added = {"object": "list", "data": given, "first_id": first, "last_id": last, "has_more": False}
    return await send_json(request, added)


async def _retrieve_item(request: web.Request) -> web.StreamResponse:
    return await send_json(request, _find_item(request))


async def _delete_item(request: web.Request) -> web.StreamResponse:
    stored, item = _find(request), _find_item(request)
    _check_free(stored)
    stored.items.remove(item)
    return await send_json(request, stored.conversation)


def _few(given: list[Json]) -> list[Json]:
    if len(given) > MOST_ITEMS:
        expected = f"Expected an array with maximum length {MOST_ITEMS}, but got one with length {len(given)} instead."
        raise invalid(f"Invalid 'items': array too long. {expected}", "items", "array_above_max_length")
    return given


def _check_free(stored: StoredConversation) -> None:
    if stored.busy:
        text = "Another process is currently operating on this conversation. Please retry in a few seconds."
        raise invalid(text, code="conversation_locked")


def _find(request: web.Request) -> StoredConversation:
    stored = request.app[STATE].conversations.get(request.match_info["id"])
    if stored is None:
        raise not_found("Conversation", request.match_info["id"])
    return stored


def _find_item(request: web.Request) -> Json:
    id = request.match_info["item"]
    for item in _find(request).items:
        if item["id"] == id:
            return item
    raise not_found("Item", id)
