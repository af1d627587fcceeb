"""From a provider's Response to what was used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node_proxy.pricing import Usage

_CALLERS_OWN = frozenset({"function_call", "custom_tool_call"})


def read_usage(response: Mapping[str, Any]) -> Usage | None:
    """What `response.usage` and the hosted tools' items say; None where there is no usage, or one that can't be."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    given, taken = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    output = response.get("output")
    tools: dict[str, int] = {}
    for item in output if isinstance(output, list) else []:
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind, str) and kind.endswith("_call") and kind not in _CALLERS_OWN:
            tools[kind] = tools.get(kind, 0) + 1
    try:
        return Usage(
            input_tokens=usage["input_tokens"],
            cached_tokens=_detail(given, "cached_tokens"),
            output_tokens=usage["output_tokens"],
            reasoning_tokens=_detail(taken, "reasoning_tokens"),
            tool_calls=tools,
        )
    except (KeyError, ValueError):
        return None


def _detail(details: object, name: str) -> Any:
    value = details.get(name) if isinstance(details, dict) else None
    return 0 if value is None else value
