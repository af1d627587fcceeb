"""What the terminal shows: results on stdout (tables, or one JSON object), everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Output:
    """as_json: one JSON object on stdout and nothing else there. Amounts in JSON are decimal strings of base units."""

    as_json: bool

    def record(self, values: Mapping[str, Any], title: str | None = None) -> None:
        """One thing: its fields below each other."""
        if self.as_json:
            self._json(values)
            return
        if title:
            click.secho(title, bold=sys.stdout.isatty())
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            for i, line in enumerate(str(plain(value)).splitlines() or [""]):
                click.echo(f"  {name.replace('_', ' ') if i == 0 else '':{width}}  {line}")

    def table(self, rows: Sequence[Mapping[str, Any]], nothing: str) -> None:
        """Many things: one line each. nothing: what to say when there are none."""
        if self.as_json:
            self._json({"items": rows})
            return
        if not rows:
            click.echo(nothing)
            return
        names = list(rows[0])
        cells = [[name.replace("_", " ") for name in names]] + [
            [str(plain(row[name])) for name in names] for row in rows
        ]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        for number, line in enumerate(cells):
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            click.secho(text, bold=number == 0 and sys.stdout.isatty())

    def note(self, text: str) -> None:
        """Progress and hints, for people only."""
        click.echo(text, err=True)

    def _json(self, value: Mapping[str, Any]) -> None:
        click.echo(json.dumps(value, default=_encode, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class Money:
    """An amount: people read `text` ("0.1 ETH"), programs get `base_units` as a decimal string."""

    base_units: int
    text: str


def plain(value: Any) -> Any:
    """How a value reads in a table."""
    if value is None or value == "":
        return "–"
    if isinstance(value, Money):
        return value.text
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        lines = any(isinstance(item, Mapping) for item in value)
        return ("\n" if lines else ", ").join(str(plain(item)) for item in value) or "–"
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, Money):
        return str(value.base_units)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value)
