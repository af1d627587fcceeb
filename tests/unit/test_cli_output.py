"""What the terminal prints of strangers' text."""

from __future__ import annotations

import asyncio
import io
import json
import unicodedata
from typing import Any

import pytest

from nvm_chain.cli.output import Moment, Money, Output, plain, visible

HOSTILE = {
    "\x1b": "\\x1b",  # escape sequences
    "\x9b": "\\x9b",  # the same in one character
    "\r": "\\r",
    "\x07": "\\x07",
    "\x7f": "\\x7f",
    "\u202e": "\\u202e",  # right-to-left override
    "\u2066": "\\u2066",
    "\u200b": "\\u200b",
    "\u2028": "\\u2028",
    "\ud800": "\\ud800",
    "\U000e0041": "\\U000e0041",  # an invisible tag
}


@pytest.mark.parametrize(("char", "shown"), HOSTILE.items(), ids=[ascii(char) for char in HOSTILE])
@pytest.mark.parametrize("json_wanted", [False, True])
def test_no_text_steers_the_terminal(
    char: str, shown: str, json_wanted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    text, output = f"https://a{char}[2Jb", Output(json_wanted)
    values: dict[str, Any] = {
        "endpoint": text,
        "list": [text],
        "nested": [{"name": text, text: 1}],
        "money": Money(1, text),
    }
    output.record(values, title=text)
    output.table([values], "")
    output.note(text)
    output.failure("Kind", text, {"text": text})
    told = capsys.readouterr()
    for written in (told.out, told.err):
        assert not [c for c in written if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert shown in told.err
    if json_wanted:
        lines = [json.loads(line) for line in told.out.splitlines()]
        assert lines[0]["endpoint"] == lines[1]["items"][0]["endpoint"] == lines[2]["error"]["message"] == text
    else:
        assert shown in told.out


def test_text_makes_lines_only_where_a_text_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Output(False).record({"notes": "one\n\n\ttwo", "nodes": [{"endpoint": "a\nowner 0x1"}, {"endpoint": "b"}]})
    Output(False).table([{"title": "a\nb", "nodes": [{"n": 1}, {"n": 2}]}], "")
    assert capsys.readouterr().out.splitlines() == [
        "  notes  one",
        "",
        "         \ttwo",
        "  nodes  endpoint a\\nowner 0x1",
        "         endpoint b",
        "title  nodes",
        "a\\nb   n 1, n 2",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(1_798_344_252, "2026-12-27T04:04:12Z"), (2**63, "9223372036854775808 s after 1970")]
)
def test_a_time_is_a_date_to_people_and_a_number_to_programs(
    seconds: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Output(False).record({"expiry": Moment.of(seconds), "never": Moment.of(0)})
    Output(True).record({"expiry": Moment.of(seconds), "never": Moment.of(0)})
    for_people, for_programs = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert for_people == f"  expiry  {shown}\n  never   –"
    assert json.loads(for_programs) == {"expiry": seconds, "never": None}


@pytest.mark.parametrize("text", ["Grüße", "日本語", "עברית", "naïve 👍", "é", "a b"])
def test_letters_of_every_language_stay_as_they_are(text: str) -> None:
    assert visible(text) == plain(text) == text


class Screen(io.StringIO):
    """A terminal that takes everything down."""

    def isatty(self) -> bool:
        return True


async def test_a_wait_is_told_on_a_terminal_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("nvm_chain.cli.output._MOMENT", 0.01)
    async with Output(True).waiting(lambda: "a block\x1b[2J"):
        await asyncio.sleep(0.05)
        Output(True).note("one step is done")
        await asyncio.sleep(0.05)
    shown = screen.getvalue()
    assert "… a block\\x1b[2J (0 s)" in shown
    lines = [line.rsplit("\r\x1b[2K")[-1] for line in shown.split("\n")]
    assert lines == ["one step is done", ""]


async def test_a_wait_writes_nothing_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    async with Output(False).waiting(lambda: "a block"):
        await asyncio.sleep(0.6)
    assert capsys.readouterr() == ("", "")
