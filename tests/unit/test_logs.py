"""Lines that are written together say the same as others, and keep secrets out as well."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import structlog

from node_proxy import logs
from nvm_chain.secret import Secret

FIELDS = {
    "request": "req_1",
    "status": 200,
    "ms": 1.25,
    "seen": "nvm_" + "a" * 40,
    "quoted": 'say "Bearer ' + "b" * 20 + '" \\ \n',
    "key": Secret("sk-secret"),
}


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    import logging

    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    logs.flush()
    root.handlers[:], level = before[0], before[1]
    root.setLevel(level)
    structlog.reset_defaults()


def read(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_a_line_says_what_the_logger_would_have_said(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.Lines("http", "http.request").info(dict(FIELDS))
    structlog.get_logger(part="http").info("http.request", **FIELDS)
    mine, its = read(capsys)
    assert str(mine.pop("timestamp"))[:16] == str(its.pop("timestamp"))[:16]
    assert mine == its
    assert "aaaa" not in str(mine)
    assert "bbbb" not in str(mine)
    assert "sk-secret" not in str(mine)


async def test_lines_come_soon_and_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    lines = logs.Lines("http", "http.request")
    lines.info({"n": 1})
    lines.info({"n": 2})
    assert read(capsys) == []
    async with asyncio.timeout(10):
        found: list[dict[str, object]] = []
        while not found:
            await asyncio.sleep(0.01)
            found = read(capsys)
    assert [line["n"] for line in found] == [1, 2]


def test_without_an_event_loop_a_line_comes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.Lines("http", "http.request").info({"n": 1})
    assert [line["n"] for line in read(capsys)] == [1]


async def test_level_and_form_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json")
    logs.Lines("http", "http.request").info({"n": 1})
    logs.flush()
    assert capsys.readouterr().err == ""
    logs.configure("info", "text")
    logs.Lines("http", "http.request").info({"n": 1})
    assert "n=1" in capsys.readouterr().err


class _Stuck(io.StringIO):
    """Takes nothing until somebody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = threading.Event()

    def write(self, text: str, /) -> int:
        self.reads.wait()
        return super().write(text)


async def test_nobody_waits_for_whoever_reads_the_lines_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stuck := _Stuck())
    logs.configure("info", "json")
    lines, other = logs.Lines("http", "http.request"), logs.get("other")
    with logs.beside():
        async with asyncio.timeout(30):
            for n in range(100):
                lines.info({"n": n})
                other.warning("said", n=n)
            await asyncio.sleep(3 * logs.Lines.SECONDS)
        assert stuck.getvalue() == ""
        stuck.reads.set()
    found = [json.loads(line) for line in stuck.getvalue().splitlines()]
    assert [(line["event"], line["n"]) for line in found] == [
        (event, n) for n in range(100) for event in ("http.request", "said")
    ]


def test_lines_that_nobody_reads_are_counted_instead_of_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stuck := _Stuck())
    monkeypatch.setattr(logs._Output, "MOST", 10)
    logs.configure("info", "json")
    with logs.beside():
        for n in range(50):
            logs.get("other").warning("said", n=n)
        stuck.reads.set()
    *said, dropped = [json.loads(line) for line in stuck.getvalue().splitlines()]
    assert [line["n"] for line in said] == list(range(len(said)))
    assert dropped["event"] == "logs.dropped"
    assert len(said) + dropped["lines"] == 50


def test_a_process_ends_though_nobody_reads_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stuck := _Stuck())
    monkeypatch.setattr(logs, "_LAST_WORDS_SECONDS", 0.05)
    monkeypatch.setattr(logs, "_output", output := logs._Output())
    with output.beside():
        output.write("a\n")
        output.flush()
    output.write("b\n")
    output.flush()  # as at exit
    assert stuck.getvalue() == ""
    stuck.reads.set()


@pytest.mark.parametrize("stream", ["nothing", "broken"])
def test_a_process_works_without_anything_to_write_to(monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    """As after `2>&-`; and what one write does says nothing about the next."""
    broken = io.StringIO()
    broken.close()
    monkeypatch.setattr(sys, "stderr", None if stream == "nothing" else broken)
    if stream == "nothing":
        logs.configure("info", "text")
    logs.configure("info", "json")
    logs.get("other").warning("said", n=1)
    with logs.beside():
        logs.get("other").warning("said", n=2)
        until = time.monotonic() + 10
        while logs._output._texts and time.monotonic() < until:
            time.sleep(0.01)
        monkeypatch.setattr(sys, "stderr", good := io.StringIO())
        logs.get("other").warning("said", n=3)
    assert [json.loads(line)["n"] for line in good.getvalue().splitlines()] == [3]


def test_lines_are_written_though_the_thread_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended after a reader that took too long."""
    monkeypatch.setattr(sys, "stderr", stuck := _Stuck())
    monkeypatch.setattr(logs, "_LAST_WORDS_SECONDS", 0.05)
    output = logs._Output()
    with output.beside():
        output.write("a\n")
        output.flush()
    assert output._thread is not None
    output.write("b\n")
    stuck.reads.set()
    output._thread.join(10)
    output.flush()  # as at exit
    assert stuck.getvalue() == "a\nb\n"


def test_lines_come_soon_in_a_second_event_loop_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    async def say(n: int, seconds: float) -> None:
        logs.Lines("http", "http.request").info({"n": n})
        await asyncio.sleep(seconds)

    asyncio.run(say(1, 0))  # ends before the line was due
    asyncio.run(say(2, 4 * logs.Lines.SECONDS))
    assert [line["n"] for line in read(capsys)] == [1, 2]
