"""DID URLs: a DID with a path, query or fragment (https://www.w3.org/TR/did-1.0/#did-url-syntax)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.text import show

MAX_LENGTH = 2048

FRAGMENT_CHARS = "!$&'()*+,;=:@/?"
"""What a fragment may have as it is, besides letters, digits and `-._~` (RFC 3986, section 3.5)."""

_ESCAPED = r"%[0-9A-Fa-f]{2}"
_PCHAR = rf"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|{_ESCAPED})"
_URL = re.compile(
    rf"(?P<did>[^/?#]*)(?P<path>(?:/{_PCHAR}*)*)"
    rf"(?:\?(?P<query>(?:{_PCHAR}|[/?])*))?(?:#(?P<fragment>(?:{_PCHAR}|[/?])*))?"
)


@dataclass(frozen=True, slots=True)
class DidUrl:
    """A DID URL in parts. path: with its leading slash, or empty. query: decoded. fragment: decoded, None = none."""

    did: Did
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    fragment: str | None = None

    @classmethod
    def parse(cls, text: str) -> DidUrl:
        """Raises InvalidInput for anything that is not a `did:nv` URL; a parameter may be there once."""
        if not isinstance(text, str) or len(text) > MAX_LENGTH:
            raise InvalidInput(f"{show(text)} is not a DID URL of at most {MAX_LENGTH} characters")
        match = _URL.fullmatch(text)
        if match is None:
            raise InvalidInput(f"{show(text)} is not a DID URL: it has characters that RFC 3986 has no place for")
        fragment = match["fragment"]
        return cls(
            Did.parse(match["did"]),
            _decode(match["path"]),
            parameters(match["query"] or ""),
            None if fragment is None else _decode(fragment),
        )


def parameters(query: str) -> dict[str, str]:
    """`a=1&b=2` as a dict. Raises InvalidInput where a name is missing or there twice."""
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        name = _decode(name)
        if not name or name in found:
            raise InvalidInput(
                f"parameter {show(name)} of the DID URL is {'there twice' if name else 'without a name'}"
            )
        found[name] = _decode(value)
    return found


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{show(text)} in the DID URL is not percent-encoded UTF-8") from None
