"""Writes docs/openai-compatibility.md from what tests showed: `python -m scripts.conformance`.

Tests say by a marker which endpoint they drive, with which client, over which dialect (tests/conformance.py), and every
run notes those that passed. A page is written only when all that is declared has passed; `--run` runs the tests first,
`--check` compares the page with the declarations and writes nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import click
import pytest

from nvm_chain.definition import DIALECTS
from tests.conformance import CLIENTS, RECORDS, Cell, cells

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "openai-compatibility.md"
OPENAPI = ROOT / "docs" / "openapi.json"
MARK = "<!-- made by `python -m scripts.conformance`, from here to the end -->"
SURFACES = ("Responses", "Conversations", "Chat Completions", "Assistants", "Files", "Models")
LETTERS = {"python": "S", "python-async": "A", "npm": "N", "http": "H"}


class _Collector:
    """A pytest plugin: notes what the markers declare."""

    def __init__(self) -> None:
        self.found: set[Cell] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.found = {cell for item in items for cell in cells(item)}


def marked_files() -> list[str]:
    """Test files with markers."""
    return sorted(
        str(path.relative_to(ROOT))
        for folder in ("unit", "integration", "attacks", "faults")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
        if "mark.conformance" in path.read_text()
    )


def declared() -> set[Cell]:
    """What the markers of all tests say. Raises RuntimeError where the tests can't be collected."""
    collector = _Collector()
    options = ["--collect-only", "-qq", "-n0", "-m", ""]
    with redirect_stdout(StringIO()):
        ended = pytest.main([*options, *marked_files()], plugins=[collector])
    if ended != 0:
        raise RuntimeError("the tests can't be collected: run pytest to see why")
    return collector.found


def shown() -> set[Cell]:
    """What tests showed when they ran last."""
    return {Cell(**json.loads(line)) for file in RECORDS.glob("*.jsonl") for line in file.read_text().splitlines()}


def endpoints() -> dict[str, list[str]]:
    """Surface → endpoints, as the node's own OpenAPI document has them."""
    found: dict[str, list[str]] = {surface: [] for surface in SURFACES}
    for path, methods in json.loads(OPENAPI.read_text())["paths"].items():
        for method, operation in methods.items():
            surface = (operation.get("tags") or [""])[0]
            if surface in found:
                found[surface].append(f"{method.upper()} {path}")
    return found


def tables(seen: Iterable[Cell]) -> str:
    """The generated half of the page."""
    told: dict[tuple[str, str], set[tuple[bool, str]]] = defaultdict(set)
    for cell in seen:
        told[cell.endpoint, cell.dialect].add((cell.refused, cell.client))
    lines = [MARK, ""]
    for surface, rows in endpoints().items():
        head = "| endpoint | " + " | ".join(f"`{dialect}`" for dialect in DIALECTS) + " |"
        lines += [f"## {surface}", "", head, "|---|" + "---|" * len(DIALECTS)]
        for endpoint in rows:
            shown_cells = [_cell(told[endpoint, dialect], told[endpoint, "any"]) for dialect in DIALECTS]
            lines.append(f"| `{endpoint}` | " + " | ".join(shown_cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(told: set[tuple[bool, str]], elsewhere: set[tuple[bool, str]]) -> str:
    """The clients that it was shown with; a refusal only where nothing else was shown.

    elsewhere: shown over one dialect, whichever it was: in italics.
    """
    for refused in (False, True):
        letters = "".join(LETTERS[client] for client in CLIENTS if (refused, client) in told)
        more = "".join(LETTERS[client] for client in CLIENTS if (refused, client) in elsewhere - told)
        if letters or more:
            letters += f"*{more}*" if more else ""
            return f"400 ({letters})" if refused else letters
    return "–"


def page(seen: Iterable[Cell]) -> str:
    """The whole page: what stands before the mark stays."""
    return PAGE.read_text().partition(MARK)[0] + tables(seen)


@click.command()
@click.option("--run", is_flag=True, help="Run the marked tests first.")
@click.option("--check", is_flag=True, help="Only say whether the page is what the tests declare.")
def main(run: bool, check: bool) -> None:
    wanted = declared()
    if check:
        if PAGE.read_text() != page(wanted):
            sys.exit("docs/openai-compatibility.md isn't what the tests declare: python -m scripts.conformance --run")
        return
    if run:
        shutil.rmtree(RECORDS, ignore_errors=True)
        command = [sys.executable, "-m", "pytest", "-q", "-m", "conformance", *marked_files()]
        subprocess.run(command, cwd=ROOT, check=True)
    if missing := sorted(wanted - shown()):
        names = "\n".join(f"  {cell.endpoint}, {cell.client}, {cell.dialect}" for cell in missing)
        sys.exit(f"these are declared and haven't passed (run the tests, or this with --run):\n{names}")
    PAGE.write_text(page(wanted))


if __name__ == "__main__":
    main()
