"""What the demo writes on the terminal: steps with their costs, streamed text, a table. Colours on a terminal only."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

WIDTH = 96
_COLOURS = {
    "dim": "2",
    "bold": "1",
    "green": "32",
    "red": "31",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_WHO = {"operator": "yellow", "builder": "magenta", "subscriber": "cyan", "stranger": "red"}


@dataclass(slots=True)
class Step:
    """One line of the story. gas: of its transactions. credits: charged, or bought (+). note: shown below."""

    what: str
    who: str
    gas: int | None = None
    credits: str = ""
    note: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Terminal:
    """Writes to `out`; keeps every step for the table. NO_COLOR, and anything but a terminal, turns colours off."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    steps: list[Step] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether a line can be written over."""
        return self.out.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def coloured(self) -> bool:
        if os.environ.get("NO_COLOR"):
            return False
        return self.live or bool(os.environ.get("FORCE_COLOR"))

    def paint(self, text: str, *styles: str) -> str:
        """The text in colour, if there are colours."""
        if not self.coloured or not styles:
            return text
        return f"\033[{';'.join(_COLOURS[style] for style in styles)}m{text}\033[0m"

    def title(self, text: str, detail: str) -> None:
        """The first line."""
        self.write(f"\n  {self.paint(text, 'bold')}  {self.paint(detail, 'dim')}\n")

    def scene(self, who: str, text: str) -> None:
        """Who acts now, and why."""
        self.write(f"\n  {self.paint(who, 'bold', _WHO[who])}  {self.paint(text, 'dim')}\n")

    @contextmanager
    def step(self, who: str, what: str) -> Iterator[Step]:
        """Times what is done inside; the line is finished when it is."""
        step = Step(what, who)
        if self.live:
            self.write(f"    {self.paint('…', 'dim')} {what}")
        began = time.perf_counter()
        try:
            yield step
        except BaseException:
            self._finish(step, "✗", "red")
            raise
        step.seconds = time.perf_counter() - began
        self.steps.append(step)
        self._finish(step, "✓", "green")

    def done(self, step: Step) -> None:
        """Adds a step that was shown while it went on, as streamed text."""
        self.steps.append(step)
        self._finish(step, "✓", "green")

    def detail(self, name: str, value: str) -> None:
        """A fact below a step."""
        self.write(f"      {self.paint(f'{name:<12}', 'dim')}{value}\n")

    def quote(self, text: str) -> None:
        """A piece of streamed text, as it arrives."""
        self.write(self.paint(text, "bold") if text.strip() else text)

    def table(self) -> None:
        """All steps with what each cost, and the gas of all."""
        rule = "  " + self.paint("─" * (WIDTH - 4), "dim")
        head = f"  {'who':<11} {'step':<50}{'gas':>11} {'credits':>8} {'ms':>8}"
        self.write(f"\n{self.paint(head, 'bold')}\n{rule}\n")
        for step in self.steps:
            gas = f"{step.gas:,}" if step.gas is not None else ""
            who = self.paint(f"{step.who:<11}", _WHO[step.who])
            self.write(f"  {who} {step.what:<50}{gas:>11} {step.credits:>8} {step.seconds * 1000:>8,.0f}\n")
        self.write(f"{rule}\n  {'':<11} {'':<50}{sum(step.gas or 0 for step in self.steps):>11,}\n")

    def write(self, text: str) -> None:
        """Writes at once."""
        self.out.write(text)
        self.out.flush()

    def _finish(self, step: Step, mark: str, colour: str) -> None:
        costs = [f"{step.gas:,} gas" if step.gas is not None else "", step.credits and f"{step.credits} credits"]
        costs += [f"{step.seconds * 1000:,.0f} ms"] if step.seconds else []
        right = " · ".join(cost for cost in costs if cost)
        room = WIDTH - 6 - len(step.what) - len(right)
        line = f"    {self.paint(mark, colour)} {step.what}{' ' * max(room, 2)}{self.paint(right, 'dim')}"
        self.write(f"\r\033[2K{line}\n" if self.live else line + "\n")
        if step.note:
            self.write(f"      {self.paint(step.note, 'dim')}\n")


def short(text: str) -> str:
    """The text with long ids abridged: `did:nv:b379df…64dd07`, `0x9E42…c312`."""
    return re.sub(r"\b(did:nv:|0x)([0-9a-fA-F]{6})[0-9a-fA-F]{28,}([0-9a-fA-F]{6})\b", r"\1\2…\3", text)


def ether(wei: int) -> str:
    """An exact amount: `0.005 ETH`."""
    whole, rest = divmod(wei, 10**18)
    fraction = f"{rest:018d}".rstrip("0")
    return f"{whole}.{fraction} ETH" if fraction else f"{whole} ETH"
