"""How long the tutorials' terminal part takes somebody who has never seen it: counted, measured, written down.

The figures are those of tests/browser/effort.py. A block of commands is copied from the page, in parts where it needs
what was printed; what it leaves open is fetched from elsewhere; every transaction is read and confirmed. The commands
really run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.effort import BLOCK, FETCH, KEY, PROVIDER, THINK, WORD, record
from tests.integration.test_howto import TUTORIALS, blocks, follow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

OPEN = re.compile(r"(?<==)(?:0x|sk-|nvm_|did:nv:)…|https://node\.example\.org|base-sepolia")
"""What the reader has to fill in."""

SENDS = re.compile(r"^nvm-chain (?:plan create|plan buy|assistant register)", re.MULTILINE)
QUESTION = 25
"""Words of a transaction's preview."""


def effort(made: list[str], seconds: float, answers: int) -> dict[str, Any]:
    """made: blocks. seconds: that the commands ran. answers: of a model, that were waited for."""
    commands = [command for block in made for command in commands_of(block)]
    copies = len(made) + sum("as printed" in command for command in commands)
    open_ones = sum(len(OPEN.findall(command)) for command in commands)
    sent = sum(len(SENDS.findall(command)) for command in commands)
    parts = {
        "copy commands": copies * (THINK + FETCH + KEY),
        "fill in": open_ones * FETCH,
        "confirm": sent * (max(THINK, QUESTION * WORD) + 2 * KEY),
        "machine, measured": seconds,
        "chain and provider": sent * BLOCK + answers * PROVIDER,
    }
    return {
        "total": round(sum(parts.values()), 1),
        "seconds": {name: round(value, 1) for name, value in parts.items()},
        "commands": commands,
        "filled in": open_ones,
    }


def commands_of(block: str) -> list[str]:
    """A block's commands; a line that goes on is one with the next."""
    return [line for line in re.sub(r" *\\\n *", " ", block).splitlines() if line.strip()]


async def test_a_terminal_takes_few_commands(tmp_path: Path) -> None:
    clock = "date +clock=%s.%N\n"
    operator, builder, subscriber = (blocks(f"docs/{page}") for page in TUTORIALS)
    upto = subscriber[2].index("nvm-chain usage")
    asked = [*subscriber[:2], subscriber[2][:upto]]
    told = await follow(
        [
            (TUTORIALS[0], operator[:3]),
            (TUTORIALS[1], [builder[0], clock, builder[1], clock]),
            (TUTORIALS[2], [asked[0], clock, *asked[1:], clock]),
        ],
        tmp_path,
    )
    figures = {}
    for who, page, made in (("builder", told[1], builder), ("subscriber", told[2], asked)):
        begun, ended = (float(time) for time in re.findall(r"^clock=(\S+)$", page, re.MULTILINE))
        figures[who] = effort(made, ended - begun, answers=who == "subscriber")
        record(f"{who}, terminal", figures[who])
    assert re.search(r"assistant id +asst_", told[1])
    assert "17 * 23 = 391" in told[2]
    assert len(figures["builder"]["commands"]) <= 9, figures["builder"]
    assert len(figures["subscriber"]["commands"]) <= 10, figures["subscriber"]
