"""The console's built files, read once, and the headers that keep a browser from doing anything else with them."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from node_proxy.asgi import Exchange, Headers

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
    "png": b"image/png",
    "json": b"application/json",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
)


def page_headers(*, framed: bool = False) -> Headers:
    """What goes with a page. framed: whether any site may show it in a frame."""
    policy = _POLICY.format(ancestors="*" if framed else "'none'")
    headers = [
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
        (b"cache-control", b"no-cache"),
    ]
    return headers if framed else [*headers, (b"x-frame-options", b"DENY")]


@dataclass(frozen=True, slots=True)
class File:
    """One file. packed: the same with gzip. mark: its ETag."""

    body: bytes
    packed: bytes
    kind: bytes
    mark: bytes

    @classmethod
    def of(cls, name: str, body: bytes) -> File:
        """A file by its name's ending."""
        kind = _TYPES[name.rpartition(".")[2]]
        mark = b'"' + hashlib.sha256(body).hexdigest()[:24].encode() + b'"'
        return cls(body, gzip.compress(body, 9, mtime=0), kind, mark)


class Files:
    """What is in `static/`, by its path there."""

    def __init__(self) -> None:
        self._files = {name: File.of(name, found.read_bytes()) for name, found in _walk(files(__package__) / "static")}

    def get(self, name: str) -> File | None:
        """None where there is no such file."""
        return self._files.get(name)

    def scripts(self, page: str) -> list[str]:
        """What a page's script needs at once, itself included: `asset` → `assets/asset-….js` and what it imports."""
        found = [name for name in self._files if re.fullmatch(rf"assets/{page}-[\w-]{{8}}\.js", name)]
        for name in found:
            imports = re.findall(r'from"\./([\w.-]+\.js)"', self.text(name))
            found += [f"assets/{one}" for one in imports if f"assets/{one}" not in found]
        return found

    def text(self, name: str) -> str:
        """A page's text. Raises KeyError: it is part of the package."""
        return self._files[name].body.decode()


async def send(exchange: Exchange, file: File, headers: Headers, *, status: int = 200) -> None:
    """Sends a file, packed where the browser takes that, and not at all where it has it."""
    found = [*headers, (b"etag", file.mark), (b"vary", b"accept-encoding")]
    if status == 200 and exchange.headers.get(b"if-none-match", b"").removeprefix(b"W/") == file.mark:
        await exchange.respond(304, b"", content_type=file.kind, headers=found)
        return
    packed = "gzip" in exchange.header(b"accept-encoding") and len(file.packed) < len(file.body)
    if packed:
        found.append((b"content-encoding", b"gzip"))
    body = file.packed if packed else file.body
    await exchange.respond(status, b"" if exchange.method == "HEAD" else body, content_type=file.kind, headers=found)


def _walk(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    if not folder.is_dir():  # a checkout before the console's first build
        return found
    for item in folder.iterdir():
        if item.is_dir():
            found += _walk(item, f"{prefix}{item.name}/")
        elif item.name.rpartition(".")[2] in _TYPES:
            found.append((prefix + item.name, item))
    return found
