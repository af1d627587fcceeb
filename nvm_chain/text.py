"""Text from strangers: shown without harm in messages, checked before it goes into metadata."""

from __future__ import annotations


def show(value: object, limit: int = 80) -> str:
    """`value` for an error message: one line of ASCII-safe, quoted text, cut after `limit` characters.

    Never for secrets: they have no place in a message.
    """
    if isinstance(value, str):
        quoted = ascii(value[: limit + 1])[1:-1]
        return f'"{quoted[:limit]}…"' if len(value) > limit or len(quoted) > limit else f'"{quoted}"'
    if isinstance(value, bytes | bytearray):
        return show("0x" + bytes(value[:limit]).hex(), limit)
    if value is None or isinstance(value, bool | int | float):
        return show(str(value), limit)[1:-1]
    return f"a {type(value).__name__}"
