"""Responses items: normalising input, keeping tool calls answered, and listing."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tests.provider.errors import ApiError, invalid
from tests.provider.model import Json, new_id
from tests.provider.state import State

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def normalise(state: State, given: str | list[Json] | None) -> list[Json]:
    """Input as items in the form in which OpenAI lists them: each with an id, a status and a list of parts.

    Raises ApiError (404) for a reference to an unknown item.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_item(state, item) for item in given or ()]


def _item(state: State, given: Json) -> Json:
    kind: str = given.get("type") or "message"
    if kind == "item_reference" or ("type" not in given and "role" not in given and "id" in given):
        found = next((item for item in state.items() if item["id"] == given["id"]), None)
        if found is None:
            raise ApiError(404, f"Item with id '{given['id']}' not found.", param="input")
        return found
    item = {**given, "type": kind, "id": given.get("id") or new_id(_PREFIXES.get(kind, kind))}
    if kind in ("message", "function_call", "function_call_output"):
        item["status"] = given.get("status") or "completed"
    if kind == "message" and isinstance(given["content"], str):
        output = given["role"] == "assistant"
        part: Json = {"type": "output_text" if output else "input_text", "text": given["content"]}
        item["content"] = [{**part, "annotations": []} if output else part]
    elif kind == "message":
        item["content"] = [_part(part) for part in given["content"]]
    return item


def _part(part: Json) -> Json:
    return {"detail": "auto", **part} if part["type"] == "input_image" else part


def check_calls(items: list[Json]) -> None:
    """Raises ApiError (400) for a function call without an output, and for an output without a call."""
    called: list[str] = []
    answered: set[str] = set()
    for item in items:
        if item["type"] == "function_call":
            called.append(item["call_id"])
        elif item["type"] == "function_call_output":
            if item.get("call_id") not in called:
                raise invalid(
                    f"No tool call found for function call output with call_id {item.get('call_id')}.", "input"
                )
            answered.add(item["call_id"])
    for call_id in called:
        if call_id not in answered:
            raise invalid(f"No tool output found for function call {call_id}.", "input")


def page(request: web.Request, objects: list[Json], *, order: str = "desc") -> Json:
    """A list page of `objects` (oldest first), as `limit`, `order`, `after` and `before` ask. Raises ApiError (400)."""
    query = request.query
    limit = _limit(query.get("limit", "20"))
    order = query.get("order", order)
    if order not in ("asc", "desc"):
        raise invalid(f"Invalid value: '{order}'. Supported values are: 'asc', 'desc'.", "order", "invalid_value")
    found = objects if order == "asc" else objects[::-1]
    ids = [item["id"] for item in found]
    for cursor in ("after", "before"):
        if (id := query.get(cursor)) and id not in ids:
            raise invalid(f"No object with id '{id}' to list {cursor}.", cursor)
    if after := query.get("after"):
        found = found[ids.index(after) + 1 :]
    if before := query.get("before"):
        found = found[: [item["id"] for item in found].index(before)] if before in [i["id"] for i in found] else []
    shown: list[Any] = found[:limit]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else ("", "")
    return {"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": len(found) > limit}


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise invalid(
            f"Invalid 'limit': expected an integer from 1 to 100, but got {text} instead.", "limit", "invalid_value"
        )
    return int(text)
