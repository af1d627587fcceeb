"""What stands in a message: as callers send it, as lists show it, and as the model is given it."""

from __future__ import annotations

from typing import Any

from node_proxy.errors import InvalidValue
from node_proxy.openai.assistants_api import checks
from node_proxy.openai.assistants_api.checks import Json, listed, one_of, record, tagged, text

MAX_PARTS = 100
MAX_ATTACHMENTS = 20

_detail = one_of("auto", "low", "high")
_word = text(2048, least=1)
_part = tagged(
    text=record({"type": checks.anything, "text": text(least=1)}, "text"),
    image_url=record(
        {"type": checks.anything, "image_url": record({"url": text(8 * 2**20, least=1), "detail": _detail}, "url")},
        "image_url",
    ),
    image_file=record(
        {"type": checks.anything, "image_file": record({"file_id": _word, "detail": _detail}, "file_id")}, "image_file"
    ),
)
_parts = listed(_part, MAX_PARTS)
_only_type = record({"type": one_of("code_interpreter", "file_search")}, "type")
_attachment = record({"file_id": _word, "tools": listed(_only_type, 2)}, "file_id")
_text = text(least=1)


def _content(path: str, value: Any) -> list[Json]:
    """Message content as parts, in the form in which it is kept."""
    if isinstance(value, str):
        value = [{"type": "text", "text": _text(path, value)}]
    parts: list[Json] = _parts(path, value)
    if not parts:
        raise InvalidValue(f"`{path}` is empty.", param=path)
    return parts


message = record(
    {
        "role": one_of("user", "assistant"),
        "content": _content,
        "attachments": listed(_attachment, MAX_ATTACHMENTS),
        "metadata": checks.metadata,
    },
    "role",
    "content",
)
"""A new message. Raises BadRequest, naming the member."""


def shown(parts: list[Json]) -> list[Json]:
    """The content of a message that a caller sent, as the message shows it."""
    blocks: list[Json] = []
    for part in parts:
        kind = part["type"]
        if kind == "text":
            blocks.append({"type": "text", "text": {"value": part["text"], "annotations": []}})
        else:
            blocks.append({"type": kind, kind: {"detail": "auto", **part[kind]}})
    return blocks


def item(message: Json, said: str | None = None) -> Json:
    """A message as an input item of Responses. said: an answer's text before citations were marked in it."""
    role = message["role"]
    if role == "assistant":
        return {"type": "message", "role": role, "content": said if said is not None else _plain(message["content"])}
    parts = [_input(block) for block in message["content"]]
    parts += [{"type": "input_file", "file_id": one["file_id"]} for one in message["attachments"] or ()]
    return {"type": "message", "role": role, "content": parts}


def _input(block: Json) -> Json:
    kind = block["type"]
    if kind == "text":
        return {"type": "input_text", "text": block["text"]["value"]}
    if kind == "image_url":
        return {"type": "input_image", "image_url": block[kind]["url"], "detail": block[kind].get("detail", "auto")}
    return {"type": "input_image", "file_id": block[kind]["file_id"], "detail": block[kind].get("detail", "auto")}


def _plain(blocks: list[Json]) -> str:
    """An answer's text; pictures in it aren't given back."""
    texts = [block["text"]["value"] if block["type"] == "text" else block.get("refusal", "") for block in blocks]
    return "\n".join(one for one in texts if one)
