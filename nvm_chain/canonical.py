"""JSON in one form: RFC 8785 for writing, and a reader that accepts nothing that two parsers could read differently."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn, TypeAlias

from nvm_chain.errors import InvalidInput
from nvm_chain.text import show

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object as the json module gives it."""

MAX_SAFE = 2**53 - 1
"""The largest integer that every JSON reader, JavaScript's too, keeps exact."""


MAX_DEPTH = 64
"""Levels of the deepest document that is written; its leaves are one."""


class NotStrict(InvalidInput):
    """Bytes or a value outside of strict JSON.

    kind: the reason without any content, for places where the content is secret.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}{detail}")
        self.kind = kind


def dumps(value: object, *, max_depth: int = MAX_DEPTH) -> bytes:
    """`value` in RFC 8785 canonical form. Raises NotStrict for what JSON or a 53-bit integer can't hold, and for what
    `loads` would refuse as too deep: nothing is written that can't be read again.
    """
    _check(value, max_depth)
    return _write(value).encode()


def loads(data: bytes, *, max_bytes: int, max_depth: int = 16, floats: bool = False) -> Any:
    """Reads strict JSON: UTF-8 without BOM or lone surrogates, no duplicate keys, no NaN or Infinity, integers within
    ±(2**53 - 1), fractions only with `floats`. Bounded in size and depth. Raises NotStrict, which may quote content.
    """
    if len(data) > max_bytes:
        raise NotStrict("too large", f": {len(data)} bytes, at most {max_bytes}")
    failure = NotStrict("not JSON")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_fraction if floats else _no_fraction,
        )
    except NotStrict as error:
        failure = error
    except UnicodeDecodeError as error:
        failure = NotStrict("not UTF-8", f": byte {error.start}")
    except json.JSONDecodeError as error:
        failure = NotStrict("not JSON", f": {error.msg} at character {error.pos}")
    except RecursionError:
        failure = NotStrict("nested too deeply", f": more than {max_depth} levels")
    else:
        _check(value, max_depth)
        return value
    # Outside of the except block, so that no decoder error, which holds the whole document, hangs on to ours.
    raise failure


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    found: JsonObject = {}
    for key, value in pairs:
        if key in found:
            raise NotStrict("duplicate key", f": {show(key)}")
        found[key] = value
    return found


def _constant(name: str) -> NoReturn:
    raise NotStrict("NaN or Infinity", f": {name}")


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(value := int(digits)) > MAX_SAFE:
        raise NotStrict("integer beyond 2**53 - 1", f": {show(digits, 30)}")
    return value


def _fraction(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotStrict("number out of range", f": {show(digits, 30)}")
    return value


def _no_fraction(digits: str) -> NoReturn:
    raise NotStrict("a number with a fraction or exponent", f": {show(digits, 30)}")


def _check(value: object, max_depth: int) -> None:
    level = [value]
    for _ in range(max_depth):
        below: list[object] = []
        for item in level:
            if isinstance(item, str):
                _unicode(item)
            elif isinstance(item, dict):
                for key in item:
                    _key(key)
                below.extend(item.values())
            elif isinstance(item, list | tuple):
                below.extend(item)
        if not below:
            return
        level = below
    raise NotStrict("nested too deeply", f": more than {max_depth} levels")


def _key(key: object) -> None:
    if not isinstance(key, str):
        raise NotStrict("a key that is not text", f": {show(key)}")
    _unicode(key)


def _unicode(text: str) -> None:
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise NotStrict("lone surrogate", f": {show(text)}")


def _write(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        if abs(value) > MAX_SAFE:
            raise NotStrict("integer beyond 2**53 - 1", f": {show(value, 30)}")
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_write, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(_members(value)) + "}"
    raise NotStrict("not a JSON value", f": {type(value).__name__}")


def _members(value: dict[Any, Any]) -> Iterator[str]:
    for key in sorted(value, key=lambda k: k.encode("utf-16-be")):  # RFC 8785, 3.2.3
        yield f"{json.dumps(key, ensure_ascii=False)}:{_write(value[key])}"


def _number(value: float) -> str:
    """ECMAScript's Number::toString, from Python's repr, which gives the same shortest digits."""
    if not math.isfinite(value):
        raise NotStrict("NaN or Infinity", f": {value}")
    if MAX_SAFE < abs(value) < 1e21:  # written without exponent, as an integer that no reader takes
        raise NotStrict("integer beyond 2**53 - 1", f": {value}")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"
