"""Checks of what a caller sends: strict, as the old API was. Every complaint names the parameter by its path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from node_proxy.errors import BadRequest, InvalidValue
from node_proxy.openai.request import UnknownParameter
from nvm_chain.text import show

Json = dict[str, Any]
Check = Callable[[str, Any], Any]
"""check(path, value): the value as it is to be kept. Raises BadRequest. Null never gets here."""

MAX_TEXT = 256_000
"""Characters of one text in a message, and of instructions."""


class MissingParameter(BadRequest):
    """A parameter that has to be there isn't (HTTP 400)."""

    code = "missing_required_parameter"


def record(rules: Mapping[str, Check], *required: str) -> Check:
    """An object with these members and no others. A member that is null counts as left out."""

    def check(path: str, value: Any) -> Json:
        if not isinstance(value, dict):
            raise InvalidValue(f"{_at(path)} must be an object.", param=path or None)
        prefix = f"{path}." if path else ""
        for name in value:
            if name not in rules:
                where = f"{prefix}{name}"[:100]
                raise UnknownParameter(f"Unknown parameter: {show(where)}.", param=where)
        for name in required:
            if value.get(name) is None:
                raise MissingParameter(f"Missing required parameter: '{prefix}{name}'.", param=prefix + name)
        return {name: rules[name](prefix + name, one) for name, one in value.items() if one is not None}

    return check


def tagged(**kinds: Check) -> Check:
    """An object whose `type` says which check it has to pass."""

    def check(path: str, value: Any) -> Json:
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            names = ", ".join(kinds)
            raise InvalidValue(f"`{path}.type` {show(kind)} is not one of {names}.", param=f"{path}.type")
        kept: Json = kinds[kind](path, value)
        return kept

    return check


def listed(item: Check, most: int) -> Check:
    """A list of at most `most` values."""

    def check(path: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise InvalidValue(f"{_at(path)} must be a list.", param=path)
        if len(value) > most:
            raise InvalidValue(f"{_at(path)} has {len(value)} members, at most {most} are taken.", param=path)
        return [item(f"{path}[{number}]", one) for number, one in enumerate(value)]

    return check


def text(most: int = MAX_TEXT, *, least: int = 0) -> Check:
    """A text of `least` to `most` characters."""

    def check(path: str, value: Any) -> str:
        if not isinstance(value, str):
            raise InvalidValue(f"{_at(path)} must be a text.", param=path)
        if len(value) > most:
            raise InvalidValue(f"{_at(path)} has {len(value):,} characters, at most {most:,} are taken.", param=path)
        if len(value.strip()) < least:
            raise InvalidValue(f"{_at(path)} is empty.", param=path)
        return value

    return check


def one_of(*words: str) -> Check:
    """One of these texts."""

    def check(path: str, value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise InvalidValue(f"{_at(path)} {show(value)} is not one of {', '.join(words)}.", param=path)
        return value

    return check


def whole(low: int, high: int = 2**53 - 1) -> Check:
    """A whole number."""

    def check(path: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise InvalidValue(f"{_at(path)} must be a whole number of at least {low}.", param=path)
        return value

    return check


def number(low: float, high: float) -> Check:
    """A number within bounds, the bounds included."""

    def check(path: str, value: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            raise InvalidValue(f"{_at(path)} must be a number from {low:g} to {high:g}.", param=path)
        kept: float = value
        return kept

    return check


def flag(path: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise InvalidValue(f"{_at(path)} must be true or false.", param=path)
    return value


def anything(path: str, value: Any) -> Any:
    """Whatever it is; somebody else checks it."""
    return value


def mapping(path: str, value: Any) -> Json:
    """A JSON object, not looked into."""
    if not isinstance(value, dict):
        raise InvalidValue(f"{_at(path)} must be an object.", param=path)
    return value


def metadata(path: str, value: Any) -> dict[str, str]:
    """At most 16 pairs of short texts."""
    if not isinstance(value, dict) or len(value) > 16:
        raise InvalidValue(f"{_at(path)} must be an object of at most 16 pairs.", param=path)
    for key, one in value.items():
        if len(key) > 64 or not isinstance(one, str) or len(one) > 512:
            where = f"{path}.{key}"[:100]
            raise InvalidValue(
                f"{_at(path)} takes keys of at most 64 and texts of at most 512 characters; {show(key)} is neither.",
                param=where,
            )
    return dict(value)


def _at(path: str) -> str:
    return f"`{path}`" if path else "The body"
