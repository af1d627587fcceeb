"""Input items of the Responses API as callers may say them: messages, function calls and their outputs, references.

Every item is built anew from the members that are known, so that nothing passes by unseen.
"""

from __future__ import annotations

from typing import Any

from node_proxy.errors import InvalidValue, UnsupportedParameter
from nvm_chain.policy import Policy
from nvm_chain.text import show

Json = dict[str, Any]

MAX_ITEMS = 2_000
_BUILDERS = "The builder of this assistant"
_HOSTED = frozenset(
    {
        *("reasoning", "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
        *("compaction", "mcp_call", "mcp_list_tools"),
    }
)
"""Items of an earlier output that the provider can't be given back, since their ids are ours: left out."""


def check_items(where: str, value: Any, policy: Policy, most: int) -> list[Json]:
    """Input items of a caller, checked and stripped to what is known. Raises BadRequest, naming the place."""
    if not isinstance(value, list):
        raise InvalidValue(f"`{where}` must be a list of items.", param=where)
    if len(value) > most:
        raise InvalidValue(f"`{where}` has {len(value)} items, at most {most} are taken.", param=where)
    items = [check_item(f"{where}[{number}]", item, policy) for number, item in enumerate(value)]
    return [item for item in items if item is not None]


def check_item(where: str, item: Any, policy: Policy) -> Json | None:
    """One input item; None for one that is left out. Raises BadRequest, naming the place."""
    if not isinstance(item, dict):
        raise InvalidValue(f"`{where}` must be an object.", param=where)
    kind = item.get("type", "message" if "role" in item else "item_reference" if item.keys() == {"id"} else None)
    if kind == "message":
        return _message(where, item, policy)
    if kind == "function_call":
        return {
            "type": kind,
            **{name: _need_text(where, item, name) for name in ("call_id", "name", "arguments")},
        }
    if kind == "function_call_output":
        return {"type": kind, "call_id": _need_text(where, item, "call_id"), "output": _output(where, item, policy)}
    if kind == "custom_tool_call":
        return {"type": kind, **{name: _need_text(where, item, name) for name in ("call_id", "name", "input")}}
    if kind == "custom_tool_call_output":
        return {"type": kind, "call_id": _need_text(where, item, "call_id"), "output": _output(where, item, policy)}
    if isinstance(kind, str) and kind in _HOSTED:
        return None
    if kind == "item_reference":
        return {"type": kind, "id": _need_text(where, item, "id")}
    raise InvalidValue(f"`{where}.type` {show(kind)} is not an input item that this node takes.", param=f"{where}.type")


def _message(where: str, item: Json, policy: Policy) -> Json:
    role, content = item.get("role"), item.get("content")
    if role in ("system", "developer") and not policy.extra_instructions:
        raise UnsupportedParameter(
            f"{_BUILDERS} doesn't allow callers to add instructions: `{where}.role` can't be {role}.",
            param=f"{where}.role",
        )
    if role not in ("user", "assistant", "system", "developer"):
        raise InvalidValue(f"`{where}.role` {show(role)} is not user or assistant.", param=f"{where}.role")
    if isinstance(content, str):
        return {"type": "message", "role": role, "content": content}
    if not isinstance(content, list):
        raise InvalidValue(f"`{where}.content` must be a text or a list.", param=f"{where}.content")
    if role == "assistant":
        return {"type": "message", "role": role, "content": _said(where, content)}
    parts = [_part(f"{where}.content[{number}]", part, policy) for number, part in enumerate(content)]
    return {"type": "message", "role": role, "content": parts}


def _said(where: str, content: list[Any]) -> str:
    """An earlier answer as plain text: its ids, annotations and status are ours and mean nothing to the provider."""
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else None
        if kind not in ("output_text", "input_text", "refusal") or not isinstance(text, str):
            at = f"{where}.content[{number}]"
            raise InvalidValue(f"`{at}` must be an output_text or a refusal.", param=at)
        texts.append(text)
    return "\n".join(texts)


def _part(where: str, part: Any, policy: Policy) -> Json:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "input_text":
        return {"type": kind, "text": _need_text(where, part, "text")}
    if kind not in ("input_image", "input_file"):
        raise InvalidValue(
            f"`{where}.type` {show(kind)} is not input_text, input_image or input_file.", param=f"{where}.type"
        )
    if not (policy.images if kind == "input_image" else policy.files):
        raise UnsupportedParameter(
            f"{_BUILDERS} doesn't allow {'images' if kind == 'input_image' else 'files'} in the input.", param=where
        )
    names = ("image_url", "detail") if kind == "input_image" else ("file_data", "file_url", "filename")
    names = ("file_id", *names)
    kept = {name: _need_text(where, part, name) for name in names if part.get(name) is not None}
    for name in ("image_url", "file_url"):
        if name in kept and not kept[name].startswith(("https://", "data:") if name == "image_url" else "https://"):
            raise InvalidValue(f"`{where}.{name}` must start with https://.", param=f"{where}.{name}")
    if not kept.keys() - {"detail", "filename"}:
        raise InvalidValue(f"`{where}` has no content: give one of {', '.join(names[:3])}.", param=where)
    return {"type": kind, **({"detail": "auto"} if kind == "input_image" else {}), **kept}


def _output(where: str, item: Json, policy: Policy) -> str | list[Json]:
    output = item.get("output")
    if isinstance(output, str):
        return output
    if not isinstance(output, list):
        raise InvalidValue(f"`{where}.output` must be a text or a list.", param=f"{where}.output")
    return [_part(f"{where}.output[{number}]", part, policy) for number, part in enumerate(output)]


def _need_text(where: str, item: Json, name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidValue(f"`{where}.{name}` must be a text.", param=f"{where}.{name}")
    return value
