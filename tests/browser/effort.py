"""What a walk through the console takes a person who has never seen it: a keystroke-level model, and a clock.

The model is Card, Moran and Newell's (The Keystroke-Level Model, 1980), with their figures for an average typist who is
none by profession. Every click and every field costs a decision; everything that is typed is typed, with a hand that
goes from mouse to keyboard and back; Tab leads from a field to the next one, and is really pressed here; a text that
stands elsewhere is fetched from another window. A decision takes as long as the reading that it needs, where that is
more than the model's: headings, the labels and hints of fields that are filled, the names of buttons that are pressed,
and every word of a dialog; once each. Leads and notices, which people skip, are counted apart. Wallet, chain and
provider stand in for real ones; what those take is added.

What the machine takes here is measured: the clock runs through the walk, Playwright's own work in it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Locator, expect

from tests.browser.console import Tab
from tests.world import ROOT

OUT = ROOT / "build" / "minutes.json"

KEY, POINT, PRESS, HOME, THINK = 0.28, 1.1, 0.2, 0.4, 1.35
"""Seconds: a key; to point at something; to press and release the button; a hand to the other device; to decide."""

WORD = 60 / 250
"""Seconds for a word, read silently."""

WALLET = 1.0 + max(THINK, 10 * WORD) + POINT + PRESS
"""A wallet's window: it opens, ten words, a click."""

FETCH = THINK + POINT + 2 * PRESS + 8 * KEY
"""A text from another window: there, marked by a double click, copied, back, pasted; two keys each."""

BLOCK, PROVIDER = 4.0, 3.0
"""Allowances: until a transaction is in a block of Base, two of 2 s; until a model answers."""

ASKED = {"eth_requestAccounts", "personal_sign", "eth_signTypedData_v4", "eth_sendTransaction"}
"""What a wallet shows to its person."""

PROSE = "main .lead, main .notice, main .grid .card p"


@dataclass(slots=True)
class Effort:
    """A person at a tab. seconds: by kind. fields: labels of what was filled, in order; clicks: what was pressed."""

    tab: Tab
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read and decide", "act", "type"), 0.0))
    fields: list[str] = field(default_factory=list)
    clicks: list[str] = field(default_factory=list)
    waited: float = 0.0
    calls: int = 0
    prose: int = 0
    _words: int = 0
    _typing: bool = False
    _known: set[str] = field(default_factory=set)

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Runs while the person is at it."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.waited += time.monotonic() - began

    async def click(self, what: Locator) -> None:
        """Finds something by its name, and presses it."""
        name = (await what.get_attribute("aria-label")) or (await what.inner_text())
        self._read(name)
        self.clicks.append(name)
        self._point()
        self._decide()
        await what.click()

    async def type(
        self, what: Locator, text: str, *, fetched: bool = False, after: Locator | None = None, there: bool = False
    ) -> None:
        """Fills a field, from the head or from another window.

        after: the field from which Tab leads here. there: the page has taken the person to it already.
        """
        label, hint = await what.evaluate(
            "(one) => [one.labels[0].innerText, document.getElementById(`${one.id}-hint`)?.innerText ?? '']"
        )
        self._read(f"{label} {hint}")
        self.fields.append(label)
        self._known.add(text)
        if after is not None:
            self.seconds["type"] += KEY
            await after.press("Tab")
        if after is not None or there:
            await expect(what).to_be_focused()
        else:
            self._point()
        self._decide()
        self._hand(typing=True)
        self.seconds["type"] += FETCH if fetched else len(text) * KEY
        await what.fill(text)

    async def press(self, *keys: str) -> None:
        """Presses keys where the hand is."""
        for key in keys:
            self.seconds["type"] += KEY
            await self.tab.page.keyboard.press(key)

    async def look(self, *more: Locator) -> None:
        """Takes in a new page or step: its headings, or all of a dialog; and `more`."""
        page = self.tab.page
        dialog = page.locator("dialog[open]")
        for one in [dialog] if await dialog.count() else [page.locator("main h1, main h2"), *more]:
            for text in await one.all_inner_texts():
                self._read(text)
        for text in await page.locator(PROSE).all_inner_texts():
            self.prose += self._new(text)

    def report(self) -> dict[str, Any]:
        """What it came to, in seconds."""
        asked = [method for method, _ in self.tab.wallet.asked if method in ASKED]
        seconds = {
            **self.seconds | {"read and decide": self.seconds["read and decide"] + self._words * WORD},
            "wallet": len(asked) * WALLET,
            "machine, measured": self.waited,
            "chain and provider": asked.count("eth_sendTransaction") * BLOCK + self.calls * PROVIDER,
        }
        total = sum(seconds.values())
        return {
            "total": round(total, 1),
            "total, with leads and notices": round(total + self.prose * WORD, 1),
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "fields": self.fields,
            "clicks": self.clicks,
            "wallet": asked,
        }

    def _point(self) -> None:
        self._hand(typing=False)
        self.seconds["act"] += POINT + PRESS

    def _hand(self, *, typing: bool) -> None:
        if self._typing != typing:
            self.seconds["act"] += HOME
        self._typing = typing

    def _read(self, text: str) -> None:
        self._words += self._new(text)

    def _decide(self) -> None:
        self.seconds["read and decide"] += max(THINK, self._words * WORD)
        self._words = 0

    def _new(self, text: str) -> int:
        """Words in lines that weren't read or written before."""
        lines = {line.strip() for line in text.splitlines()} - self._known
        self._known |= lines
        return sum(len(line.split()) for line in lines)


def record(name: str, report: dict[str, Any]) -> None:
    """Adds it to build/minutes.json."""
    OUT.parent.mkdir(exist_ok=True)
    known = json.loads(OUT.read_text()) if OUT.is_file() else {}
    new = OUT.with_suffix(f".{os.getpid()}")  # another process may be at it, too
    new.write_text(json.dumps(known | {name: report}, indent=2, ensure_ascii=False) + "\n")
    new.replace(OUT)
    print(f"{name}: {report['total']} s: {report['seconds']}")
