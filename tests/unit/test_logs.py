"""Lines that are written together say the same as others, and keep secrets out as well."""

from __future__ import annotations

import asyncio
import json
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
