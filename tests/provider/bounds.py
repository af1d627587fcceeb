"""Limits on parameters that OpenAI enforces and its types don't tell."""

from __future__ import annotations

from typing import Any

from tests.provider.errors import invalid

_NUMBERS: dict[str, tuple[float, float | None]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_logprobs": (0, 20),
    "max_output_tokens": (16, None),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
    "max_prompt_tokens": (256, None),
    "n": (1, 128),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}


def check_bounds(body: dict[str, Any]) -> None:
    """Raises ApiError (400) for a number, a metadata map or an identifier outside OpenAI's limits."""
    for name, (low, high) in _NUMBERS.items():
        value = body.get(name)
        if value is None:
            continue
        kind = "integer" if isinstance(value, int) else "decimal"
        if value < low:
            text = f"Invalid '{name}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead."
            raise invalid(text, name, f"{kind}_below_min_value")
        if high is not None and value > high:
            text = f"Invalid '{name}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead."
            raise invalid(text, name, f"{kind}_above_max_value")
    for name, length in (("safety_identifier", 128), ("prompt_cache_key", 64)):
        if len(body.get(name) or "") > length:
            raise invalid(_too_long(name, length, len(body[name])), name, "string_above_max_length")
    metadata = body.get("metadata") or {}
    if len(metadata) > 16:
        text = f"Invalid 'metadata': too many properties. Expected at most 16, but got {len(metadata)} instead."
        raise invalid(text, "metadata", "object_above_max_properties")
    for key, value in metadata.items():
        if len(key) > 64:
            raise invalid(_too_long(f"metadata.{key}", 64, len(key)), f"metadata.{key}", "string_above_max_length")
        if len(value) > 512:
            raise invalid(_too_long(f"metadata.{key}", 512, len(value)), f"metadata.{key}", "string_above_max_length")


def _too_long(name: str, limit: int, length: int) -> str:
    expected = f"Expected a string with maximum length {limit}, but got a string with length {length} instead."
    return f"Invalid '{name}': string too long. {expected}"
