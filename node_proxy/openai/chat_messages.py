"""The messages of a chat completion, checked, as input items of the Responses API."""

from __future__ import annotations

from typing import Any

from node_proxy.errors import InvalidValue, UnsupportedParameter
from node_proxy.openai.assistants_api import checks
from node_proxy.openai.assistants_api.checks import anything, listed, one_of, record, text
from nvm_chain.policy import Policy
from nvm_chain.text import show

Json = dict[str, Any]

MAX_MESSAGES = 2_000

_long = text(4 * checks.MAX_TEXT)
_image = record({"url": text(8 * 2**20, least=1), "detail": one_of("auto", "low", "high")}, "url")
_part = checks.tagged(
    text=record({"type": anything, "text": _long}, "text"),
    image_url=record({"type": anything, "image_url": _image}, "image_url"),
    file=record(
        {"type": anything, "file": record({"file_data": anything, "filename": text(512), "file_id": text(200)})}, "file"
    ),
)
_said_part = checks.tagged(
    text=record({"type": anything, "text": _long}, "text"),
    refusal=record({"type": anything, "refusal": _long}, "refusal"),
)
_text_part = checks.tagged(text=record({"type": anything, "text": _long}, "text"))


def _content(part: checks.Check) -> checks.Check:
    parts = listed(part, 1_000)

    def check(path: str, value: Any) -> Any:
        if not isinstance(value, str | list):
            raise InvalidValue(f"`{path}` must be a text or a list of parts.", param=path)
        return value if isinstance(value, str) else parts(path, value)

    return check


_tool_call = checks.tagged(
    function=record(
        {
            "type": anything,
            "id": text(200, least=1),
            "function": record(
                {"name": text(200, least=1), "arguments": _long, "parsed_arguments": anything}, "name", "arguments"
            ),
            "index": anything,
        },
        "id",
        "function",
    )
)
_name = text(512)


def _null(path: str, _: Any) -> None:
    """Members of OpenAI's answers that are always null here; null itself never gets this far."""
    raise UnsupportedParameter(f"This node doesn't take `{path}`: leave it out.", param=path)


_told = record({"role": anything, "content": _content(_text_part), "name": _name}, "content")
_MESSAGES: dict[str, checks.Check] = {
    "system": _told,
    "developer": _told,
    "user": record({"role": anything, "content": _content(_part), "name": _name}, "content"),
    "assistant": record(
        {
            "role": anything,
            "content": _content(_said_part),
            "refusal": _long,
            "tool_calls": listed(_tool_call, 1_000),
            "name": _name,
            "annotations": anything,  # of ours, as a client gives an answer back: the provider doesn't need them
            "parsed": anything,  # of the client's helpers, as are a call's `parsed_arguments` and `index`
            "audio": _null,
            "function_call": _null,
        }
    ),
    "tool": record(
        {"role": anything, "content": _content(_text_part), "tool_call_id": text(200, least=1), "name": _name},
        "content",
        "tool_call_id",
    ),
}


def read(value: Any, policy: Policy) -> tuple[list[Json], str, list[int]]:
    """Input items, the instructions of leading system messages, and which message each item came from.

    Raises BadRequest in its kinds, with the place.
    """
    if not isinstance(value, list) or not value:
        raise InvalidValue("`messages` must be a list of at least one message.", param="messages")
    if len(value) > MAX_MESSAGES:
        raise InvalidValue(f"`messages` has {len(value)} messages, at most {MAX_MESSAGES} are taken.", param="messages")
    instructions: list[str] = []
    items: list[Json] = []
    positions: list[int] = []
    for number, message in enumerate(value):
        where = f"messages[{number}]"
        role = message.get("role") if isinstance(message, dict) else None
        check = _MESSAGES.get(role) if isinstance(role, str) else None
        if check is None:
            known = "system, developer, user, assistant or tool"
            raise InvalidValue(f"`{where}.role` {show(role)} is not {known}.", param=f"{where}.role")
        checked: Json = check(where, message)
        if role in ("system", "developer") and not items:
            if said := _text(checked["content"]):
                if not policy.extra_instructions:
                    raise UnsupportedParameter(
                        "The builder of this assistant doesn't allow callers to add instructions: "
                        f"`{where}.role` can't be {role}.",
                        param=f"{where}.role",
                    )
                instructions.append(said)
            continue
        made = _items(checked)
        items += made
        positions += [number] * len(made)
    if not items:
        text = "`messages` holds nothing but instructions: add a message of the user's."
        raise InvalidValue(text, param="messages")
    return items, "\n\n".join(instructions), positions


def _items(message: Json) -> list[Json]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        output = content if isinstance(content, str) else _text(content)
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": output}]
    if role != "assistant":
        parts = content if isinstance(content, str) else [_input_part(part) for part in content or ()]
        return [{"type": "message", "role": role, "content": parts}]
    items = []
    if said := "\n".join(one for one in (_text(content), message.get("refusal")) if one):
        items.append({"type": "message", "role": role, "content": said})
    for call in message.get("tool_calls") or ():
        function = {name: call["function"][name] for name in ("name", "arguments")}
        items.append({"type": "function_call", "call_id": call["id"], **function})
    return items


def _input_part(part: Json) -> Json:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    if part["type"] == "image_url":
        image = part["image_url"]
        return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail", "auto")}
    return {"type": "input_file", **part["file"]}


def _text(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(part.get("text", part.get("refusal", "")) for part in content)
