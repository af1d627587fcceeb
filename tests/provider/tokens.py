"""Tokens: a word with the white space before it; images and files count 100."""

from __future__ import annotations

import re
from typing import Any

import orjson

_TOKEN = re.compile(r"\s*\S+|\s+$")
ATTACHMENT = 100


def split(text: str) -> list[str]:
    """The tokens of a text; joined they are the text."""
    return _TOKEN.findall(text)


def count(text: str | None) -> int:
    """How many tokens a text has."""
    return len(_TOKEN.findall(text)) if text else 0


def count_item(item: dict[str, Any]) -> int:
    """Tokens of one Responses item: its texts, arguments and outputs, and 100 for each image or file."""
    total = count(item.get("arguments")) + count(item.get("name"))
    for parts in (item.get("content"), item.get("output"), item.get("summary")):
        if isinstance(parts, str):
            total += count(parts)
        for part in parts if isinstance(parts, list) else ():
            total += ATTACHMENT if part["type"] in ("input_image", "input_file") else count(part.get("text"))
    return total


def count_tools(tools: list[dict[str, Any]]) -> int:
    """Tokens of tool definitions: those of their JSON."""
    return sum(count(orjson.dumps(tool).decode()) for tool in tools)
