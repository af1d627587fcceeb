"""Every world's files are searched for every secret that was used in it, when the world ends.

`watch()` (called once, by conftest.py) makes each `Secret` report its value here. A world's nodes run at debug level in
tests; when it closes, `Watch.check` reads what its processes left on disk: logs, databases and their journals, blocks,
dumps. The logs of anvil and of the provider stand-in are left out: they know the keys by design.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvm_chain.secret import Secret

DEBUG = "NVM_TEST_LOG_LEVEL"
"""Variable that tells worlds at which level their nodes log."""

_KNOWN_TO_ALL = frozenset({"anvil.log", "provider.log"})
_API_KEY = re.compile(rb"nvm_[0-9A-Za-z]{40,}")
_SHORTEST = 12
_FEWEST_KINDS = 6  # different bytes: what is simpler turns up anywhere


class Leaked(AssertionError):
    """Secrets were found where a world's processes keep things."""


class Watch:
    """The secrets of one world. Its own values are never shown: only where which one was found."""

    open: set[Watch] = set()  # noqa: RUF012 - all of this process's, on purpose

    def __init__(self) -> None:
        self._secrets: set[bytes] = set()
        self.open.add(self)

    def note(self, value: str | bytes) -> None:
        """A secret that is in use."""
        raw = value.encode() if isinstance(value, str) else value
        if len(raw) >= _SHORTEST and len(set(raw)) >= _FEWEST_KINDS:
            self._secrets.add(raw)

    def check(self, folder: Path) -> None:
        """Raises Leaked. Ends the watch."""
        self.open.discard(self)
        found = sorted(set(self._find(folder)))
        if found:
            raise Leaked("secrets were left on disk: " + "; ".join(found))

    def _find(self, folder: Path) -> Iterator[str]:
        forms = [(form, name) for raw in self._secrets for form, name in _forms(raw)]
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.name in _KNOWN_TO_ALL:
                continue
            content, where = path.read_bytes(), path.relative_to(folder)
            if key := _API_KEY.search(content):
                yield f"an API key at byte {key.start()} of {where}"
            yield from (f"{name} in {where}" for form, name in forms if form in content)


def _forms(raw: bytes) -> Iterator[tuple[bytes, str]]:
    """The secret as it may be written, with a name that doesn't give it away."""
    name = f"a secret of {len(raw)} bytes that ends in {raw[-2:].hex()}"
    yield raw, name
    yield raw.hex().encode(), f"{name}, in hex"
    yield raw.hex().upper().encode(), f"{name}, in hex"
    yield base64.b64encode(raw)[: 4 * (len(raw) // 3)], f"{name}, in base64"
    yield repr(raw)[2:-1].encode(), f"{name}, as Python shows it"


def watch() -> None:
    """Makes every Secret report to the worlds that are open."""
    plain = Secret.__init__

    def noted(self: Secret, value: Any) -> None:
        plain(self, value)
        for one in Watch.open:
            one.note(self._value)

    Secret.__init__ = noted  # type: ignore[method-assign]
