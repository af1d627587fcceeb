"""Holds an object against the `openai` package's own type: strictly, and without a field that the type doesn't have."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import orjson
import pydantic

UNTYPED = {"store"}
"""Fields that OpenAI sends though its package doesn't type them."""


def assert_conforms(wanted: Any, payload: Any) -> None:
    """Raises AssertionError or pydantic.ValidationError, naming the field, if `payload` (JSON) isn't a `wanted`."""
    value = _adapter(wanted).validate_json(orjson.dumps(payload), strict=True)
    unknown = [path for path in _extras(value, "") if path.rsplit(".", 1)[-1] not in UNTYPED]
    assert not unknown, f"fields that the type doesn't have: {unknown}"


def assert_round_trips(wanted: Any, payload: Any) -> None:
    """As assert_conforms; and what the type writes out again is the same JSON."""
    assert_conforms(wanted, payload)
    adapter, data = _adapter(wanted), orjson.dumps(payload)
    again = adapter.dump_json(adapter.validate_json(data, strict=True), by_alias=True, exclude_unset=True)
    assert orjson.loads(again) == orjson.loads(data)


@functools.cache
def _adapter(wanted: Any) -> pydantic.TypeAdapter[Any]:
    """Built once: that of a union of fifty events takes much longer than its use."""
    return pydantic.TypeAdapter(wanted)


def _extras(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, pydantic.BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or ())
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _extras(item, f"{path}[{index}]")
