"""Input items as they are kept: in which form, and whether calls of tools have their answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from node_proxy.errors import InvalidValue
from node_proxy.openai import ids

Json = dict[str, Any]

CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
"""Calls of tools, and what answers them."""

_SPECIAL = frozenset({"item_reference", *CALLS.values()})


def check_answered(before: Iterable[Json], given: Iterable[Json], *, strict: bool = True) -> None:
    """Raises InvalidValue for a tool call without an output and, if strict, for a given output without a call.

    before: may begin in the middle, with outputs whose calls were earlier.
    """
    called: dict[str, str] = {}
    answered: set[str] = set()
    earlier = list(before)
    for number, item in enumerate([*earlier, *given]):
        if item["type"] in CALLS:
            called[item["call_id"]] = item["type"]
        elif item["type"] in CALLS.values():
            answered.add(item["call_id"])
            if strict and number >= len(earlier) and item["call_id"] not in called:
                raise InvalidValue(
                    f"No tool call found for function call output with call_id {item['call_id'][:100]}.", param="input"
                )
    for call_id in called:
        if call_id not in answered:
            raise InvalidValue(f"No tool output found for function call {call_id[:100]}.", param="input")


def listed(items: Iterable[Json]) -> list[Json]:
    """Items of a caller in the form in which they are kept and listed: each with an id, a status, a list of parts."""
    return [_listed(item) for item in items]


_PREFIX = {"message": "msg_", "function_call": "fc_", "function_call_output": "fco_", "custom_tool_call": "ctc_"}


def _listed(item: Json) -> Json:
    kind = item["type"]
    shown = {"id": ids.new(_PREFIX.get(kind, "item_")), "status": "completed", **item}
    if kind != "message":
        return shown
    content = item["content"]
    if isinstance(content, str):
        said = {"type": "output_text", "text": content, "annotations": []}
        content = [said if item["role"] == "assistant" else {"type": "input_text", "text": content}]
    return {**shown, "content": content}


def special(items: Iterable[Json]) -> bool:
    """Whether items have something in them that the provider can't be given as it stands."""
    for item in items:
        if item["type"] in _SPECIAL:
            return True
        content = item.get("content")
        if isinstance(content, list) and any("file_id" in part for part in content):
            return True
    return False
