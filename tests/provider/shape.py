"""Checks a request against the `openai` package's own parameter types, and complains as OpenAI does.

Required and unknown fields, JSON types, literals and nested unions come from the TypedDicts that the client sends, so
the stand-in accepts exactly what this version of the package may send.
"""

from __future__ import annotations

import collections.abc
import functools
import types
from typing import Any, Literal, Union, get_args, get_origin

import typing_extensions
from openai._types import SequenceNotStr
from openai._utils import PropertyInfo

from tests.provider.errors import ApiError, invalid

_WRAPPERS = (typing_extensions.Annotated, typing_extensions.Required, typing_extensions.NotRequired)
_ARRAYS = (list, collections.abc.Iterable, collections.abc.Sequence, SequenceNotStr)
_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a decimal",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
}


def check(value: Any, *wanted: Any) -> None:
    """Raises ApiError (400) naming the first field of `value` that fits none of the TypedDicts `wanted`."""
    _union(value, wanted, "")


def _check(value: Any, hint: Any, path: str) -> None:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _WRAPPERS:
        _check(value, arguments[0], path)
    elif origin in (Union, types.UnionType):
        _union(value, arguments, path)
    elif origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            raise _wrong_value(value, arguments, path)
    elif typing_extensions.is_typeddict(hint):
        _typed_dict(value, hint, path)
    elif hint in (None, types.NoneType) or _python_type(hint) in _NAMES:
        if not _is_a(value, _python_type(hint)):
            raise _wrong_type(value, [hint], path)
        if isinstance(value, list) and arguments:
            for index, item in enumerate(value):
                _check(item, arguments[0], f"{path}[{index}]")
        if isinstance(value, dict) and arguments:
            for key, item in value.items():
                _check(item, arguments[1], f"{path}.{key}")


def _typed_dict(value: Any, hint: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise _wrong_type(value, [dict], path)
    fields, required = _fields(hint)
    prefix = f"{path}." if path else ""
    for name in value:
        if name not in fields:
            raise invalid(f"Unknown parameter: '{prefix}{name}'.", prefix + name, "unknown_parameter")
    for name in required:
        if name not in value:
            raise invalid(f"Missing required parameter: '{prefix}{name}'.", prefix + name, "missing_required_parameter")
    for name, item in value.items():
        _check(item, fields[name], prefix + name)


def _union(value: Any, options: tuple[Any, ...], path: str) -> None:
    options = tuple(_flatten(options))
    fitting = [option for option in options if _is_a(value, _python_type(option))]
    if not fitting:
        raise _wrong_type(value, options, path)
    failures: list[ApiError] = []
    for option in _tagged(value, fitting, path):
        try:
            return _check(value, option, path)
        except ApiError as error:
            failures.append(error)
    # The reading that got furthest into the value is the one that the caller meant.
    raise max(failures, key=lambda error: len(error.param or "") if error.code != "unknown_parameter" else 0)


def _tagged(value: Any, options: list[Any], path: str) -> list[Any]:
    """The options whose `type` and `role` literals are the ones that the value carries."""
    if not isinstance(value, dict) or len(options) < 2:
        return options
    for tag in ("type", "role"):
        choices = {id(option): _literals(option, tag) for option in options}
        if tag in value and all(choices.values()):
            matching = [option for option in options if value[tag] in choices[id(option)]]
            if not matching:
                raise _wrong_value(value[tag], [v for found in choices.values() for v in found], f"{path}.{tag}")
            options = matching
    return options


def _literals(option: Any, tag: str) -> list[Any]:
    """What a TypedDict's field `tag` may be, [] if it is not a set of literals."""
    hint = _fields(option)[0].get(tag) if typing_extensions.is_typeddict(option) else None
    found: list[Any] = []
    for part in _flatten([hint]):
        if get_origin(part) is Literal:
            found.extend(get_args(part))
    return found


def _flatten(hints: collections.abc.Iterable[Any]) -> collections.abc.Iterator[Any]:
    for hint in hints:
        origin: Any = get_origin(hint)
        if origin in _WRAPPERS:
            yield from _flatten(get_args(hint)[:1])
        elif origin in (Union, types.UnionType):
            yield from _flatten(get_args(hint))
        else:
            yield hint


@functools.cache
def _fields(typed_dict: Any) -> tuple[dict[str, Any], list[str]]:
    """Names on the wire and types of a TypedDict's fields; the required ones."""
    fields: dict[str, Any] = {}
    required: list[str] = []
    for name, hint in typing_extensions.get_type_hints(typed_dict, include_extras=True).items():
        wire, inner = name, hint
        while _origin(inner) in _WRAPPERS:
            if _origin(inner) is typing_extensions.Required:
                required.append(name)
            for note in get_args(inner)[1:]:
                if isinstance(note, PropertyInfo) and note.alias:
                    wire = note.alias
            inner = get_args(inner)[0]
        fields[wire] = inner
    return fields, required


def _origin(hint: Any) -> Any:
    return get_origin(hint)


def _python_type(hint: Any) -> Any:
    """The JSON type that a hint asks for, as a Python type; `object` for anything."""
    origin: Any = get_origin(hint)
    if hint in (None, types.NoneType):
        return types.NoneType
    if origin is Literal:
        return type(get_args(hint)[0])
    if typing_extensions.is_typeddict(hint) or origin is dict:
        return dict
    if origin in _ARRAYS:
        return list
    return hint if hint in _NAMES else object


def _is_a(value: Any, wanted: Any) -> bool:
    if wanted in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float if wanted is float else wanted)


def _wrong_type(value: Any, hints: collections.abc.Iterable[Any], path: str) -> ApiError:
    names = list(dict.fromkeys(_NAMES[t] for t in map(_python_type, hints) if t in _NAMES))
    expected = names[0] if len(names) == 1 else f"one of {', '.join(names[:-1])} or {names[-1]}" if names else "null"
    got = "null" if value is None else _NAMES.get(type(value), type(value).__name__)
    return invalid(
        f"Invalid type for '{path}': expected {expected}, but got {got} instead.", path or None, "invalid_type"
    )


def _wrong_value(value: Any, choices: collections.abc.Sequence[Any], path: str) -> ApiError:
    listed = ", ".join(f"'{choice}'" for choice in dict.fromkeys(choices))
    return invalid(f"Invalid value: '{value}'. Supported values are: {listed}.", path, "invalid_value")
