"""Base 62 with a fixed width: every character survives a double click, a URL and a shell."""

from __future__ import annotations

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(ALPHABET)}


def width(bits: int) -> int:
    """Characters that hold any number of `bits` bits."""
    digits, capacity = 0, 1
    while capacity < 1 << bits:
        digits, capacity = digits + 1, capacity * 62
    return digits


def encode(data: bytes) -> str:
    """`data` as a big-endian number, padded to the width that its length needs."""
    number, digits = int.from_bytes(data), []
    for _ in range(width(8 * len(data))):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def decode(text: str, length: int) -> bytes:
    """The `length` bytes that `encode` was given. Raises ValueError for anything that `encode` can't have made."""
    if len(text) != width(8 * length):
        raise ValueError("wrong length")
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            raise ValueError("not base 62")
        number = number * 62 + value
    if number >> (8 * length):
        raise ValueError("out of range")
    return number.to_bytes(length)
