"""`multipart/form-data` bodies (RFC 7578), whole in memory: they are bounded before they get here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from node_proxy.errors import InvalidValue, UnsupportedMediaType

MAX_PARTS = 20
_BOUNDARY = re.compile(
    r'^multipart/form-data\s*;.*?boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE | re.DOTALL
)
_PARAMETER = re.compile(r';\s*(filename\*|filename|name)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One field of the form. filename: None where it isn't a file."""

    name: str
    filename: str | None
    content: bytes

    @property
    def text(self) -> str:
        """The content of a field that isn't a file. Raises InvalidValue."""
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            raise InvalidValue(f"`{self.name}` isn't text.", param=self.name) from None


def parse(content_type: str, body: bytes) -> list[Part]:
    """The parts of a form. Raises UnsupportedMediaType (415), InvalidValue (400)."""
    match = _BOUNDARY.match(content_type)
    if match is None:
        raise UnsupportedMediaType("Send the file as multipart/form-data, with the fields `file` and `purpose`.")
    boundary = b"--" + (match[1] or match[2]).encode()
    # Every boundary but the first follows a line end, which belongs to it and not to the content before.
    pieces = (b"\r\n" + body).split(b"\r\n" + boundary)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise InvalidValue("The form is broken off, or its boundary isn't the one that the header names.")
    if len(pieces) - 2 > MAX_PARTS:
        raise InvalidValue(f"The form has {len(pieces) - 2} fields, at most {MAX_PARTS} are taken.")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, found, content = piece.lstrip(b" \t").partition(b"\r\n\r\n")
    if not found or not head.startswith(b"\r\n"):
        raise InvalidValue("A field of the form has no header.")
    for line in head.decode("utf-8", "replace").split("\r\n"):
        kind, _, value = line.partition(":")
        if kind.strip().lower() == "content-disposition":
            given = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(value)}
            if "name" in given:
                filename = given.get("filename")
                return Part(given["name"], None if filename is None else _unescaped(filename), content)
    raise InvalidValue("A field of the form has no name.")


def _unescaped(text: str) -> str:
    """As browsers and clients escape a file's name."""
    return re.sub(r"\\(.)", r"\1", text).replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
