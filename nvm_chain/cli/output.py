"""What the terminal shows: results on stdout (tables, or one JSON object), everything else on stderr.

Much of it is strangers' text: a title, an endpoint, a token's symbol. Nothing of it steers the terminal: characters
that do, or that change the order in which text is read, are shown as escapes, in JSON as JSON's own. A table is aligned
text in a pipe, too, so that what a person sees and what they cut from a log is the same; programs read --json.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

_UNFIT = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Unicode's controls, formats (direction marks among them), half surrogates, private use, line separators."""


def visible(text: str, keep: str = "") -> str:
    """The text with every character that doesn't show, or steers, as an escape like \\x1b. keep: left as they are."""
    return "".join(char if char in keep or _fit(char) else ascii(char)[1:-1] for char in text)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that is the same to every program, and steers no terminal."""
    text = json.dumps(value, default=_encode, ensure_ascii=False, indent=indent)
    return "".join(char if char == "\n" or _fit(char) else json.dumps(char)[1:-1] for char in text)


@dataclass(frozen=True, slots=True)
class Output:
    """as_json: one JSON object on stdout and nothing else there. Amounts in JSON are decimal strings of base units."""

    as_json: bool

    def record(self, values: Mapping[str, Any], title: str | None = None) -> None:
        """One thing: its fields below each other."""
        if self.as_json:
            click.echo(to_json(values))
            return
        if title:
            click.secho(visible(title, "\n"), bold=sys.stdout.isatty())
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            for i, line in enumerate(plain(value, lines=True).split("\n")):
                click.echo(f"  {name.replace('_', ' ') if i == 0 else '':{width}}  {line}".rstrip())

    def table(self, rows: Sequence[Mapping[str, Any]], nothing: str) -> None:
        """Many things: one line each. nothing: what to say when there are none."""
        if self.as_json:
            click.echo(to_json({"items": rows}))
            return
        if not rows:
            click.echo(nothing)
            return
        names = list(rows[0])
        cells = [[name.replace("_", " ") for name in names]] + [[plain(row[name]) for name in names] for row in rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        for number, line in enumerate(cells):
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            click.secho(text, bold=number == 0 and sys.stdout.isatty())

    def note(self, text: str) -> None:
        """Progress and hints, for people only."""
        _erase()
        click.echo(visible(text, "\n"), err=True)

    @asynccontextmanager
    async def waiting(self, what: Callable[[], str]) -> AsyncIterator[None]:
        """While the work inside takes longer than a moment, a terminal's stderr shows what for, and for how long."""
        if not sys.stderr.isatty():
            yield
            return
        ticker = asyncio.create_task(_tick(what))
        try:
            yield
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])
            _erase()

    def failure(self, kind: str, message: str, values: Mapping[str, Any]) -> None:
        """What went wrong. values: what a program wants to know of it."""
        if self.as_json:
            click.echo(to_json({"error": {"type": kind, "message": message, "values": values}}))
            return
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        self.note(message)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount: people read `text` ("0.1 ETH"), programs get `base_units` as a decimal string."""

    base_units: int
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: people read it in UTC, programs get unix seconds."""

    seconds: int

    @classmethod
    def of(cls, seconds: int | None) -> Moment | None:
        """None for none, which contracts write as 0."""
        return cls(seconds) if seconds else None

    def __str__(self) -> str:
        try:
            return f"{datetime.fromtimestamp(self.seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
        except (OverflowError, ValueError, OSError):  # a plan may be good for longer than calendars go
            return f"{self.seconds} s after 1970"


def plain(value: Any, *, lines: bool = False) -> str:
    """How a value reads. lines: it may have several, which a text's own newlines make or one for each of a list's."""
    if value is None or value == "":
        return "–"
    if isinstance(value, Money):
        return visible(value.text)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{visible(str(name)).replace('_', ' ')} {plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        long = lines and any(isinstance(item, Mapping) for item in value)
        return ("\n" if long else ", ").join(plain(item) for item in value) or "–"
    return visible(str(value), "\n\t" if lines else "")


_MOMENT = 0.5
_shown = False
"""Whether the line below the last one on stderr tells what is waited for."""


async def _tick(what: Callable[[], str]) -> None:
    global _shown
    began = time.monotonic()
    while True:
        await asyncio.sleep(_MOMENT)
        text = visible(f"… {what()} ({time.monotonic() - began:.0f} s)")[: shutil.get_terminal_size().columns - 1]
        _erase()
        click.echo(text, nl=False, err=True)
        _shown = True


def _erase() -> None:
    global _shown
    if _shown:
        click.echo("\r\x1b[2K", nl=False, err=True)
    _shown = False


def _fit(char: str) -> bool:
    return " " <= char <= "~" or unicodedata.category(char) not in _UNFIT


def _encode(value: Any) -> Any:
    if isinstance(value, Money):
        return str(value.base_units)
    if isinstance(value, Moment):
        return value.seconds
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value)
