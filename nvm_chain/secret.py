"""One type for every secret: it prints, copies and serialises as nothing."""

from __future__ import annotations

import hmac
from typing import NoReturn, final

from nvm_chain.errors import InvalidInput

MASK = "Secret(…)"


@final
class Secret:
    """A text or bytes that must not show: an API key, a private key, a password.

    `repr`, `str` and formatting give `Secret(…)`; pickling, copying and JSON raise TypeError, so that a secret can't
    slip into a log line, a cache, another process or a response. Two secrets compare in constant time; they don't hash.
    Only `reveal()` and `reveal_bytes()` give the value: call them in the expression that uses it and keep no copy.
    """

    __slots__ = ("_value",)
    _value: bytes

    def __init__(self, value: str | bytes) -> None:
        """Raises InvalidInput if `value` is neither text nor bytes (it is not echoed)."""
        if isinstance(value, str):
            encoded: bytes | None = _utf8(value)
        elif isinstance(value, bytes | bytearray):
            encoded = bytes(value)
        else:
            raise InvalidInput(f"a Secret holds text or bytes, not {type(value).__name__}")
        if encoded is None:
            raise InvalidInput("a Secret's text must be valid Unicode; this one has a lone surrogate")
        object.__setattr__(self, "_value", encoded)

    def reveal(self) -> str:
        """The value as text. Raises InvalidInput if the bytes are not UTF-8 (then: `reveal_bytes`)."""
        try:
            return self._value.decode()
        except UnicodeDecodeError:
            pass  # raised below: the decoder's error carries the value
        raise InvalidInput("this Secret holds bytes that are not text; use reveal_bytes()")

    def reveal_bytes(self) -> bytes:
        """The value as bytes; text as UTF-8."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """Constant time in the content (not in the length). A Secret equals only another Secret."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret is a handle on it

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret doesn't change; make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret doesn't change; drop the reference to it")

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a Secret refuses to be copied, pickled or serialised; pass the object itself, or reveal() it")

    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = __getstate__ = __setstate__ = _refuse


def _utf8(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None
