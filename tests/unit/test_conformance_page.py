"""docs/openai-compatibility.md says what the tests declare, of every endpoint that the node serves."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from nvm_chain.definition import DIALECTS
from scripts import conformance
from tests.conformance import Cell

ROW = re.compile(r"^\| `([A-Z]+ /v1/\S+)` \| (.+) \|$", re.MULTILINE)


def rows() -> dict[str, list[str]]:
    return {endpoint: cells.split(" | ") for endpoint, cells in ROW.findall(conformance.PAGE.read_text())}


def test_every_endpoint_has_a_row_and_every_cell_a_test() -> None:
    served = {endpoint for endpoints in conformance.endpoints().values() for endpoint in endpoints}
    assert len(served) > 40
    assert rows().keys() == served
    assert {endpoint: cells for endpoint, cells in rows().items() if len(cells) != len(DIALECTS) or "–" in cells} == {}


@pytest.mark.slow
def test_the_page_is_what_the_markers_declare() -> None:
    """In a process of its own: pytest can't collect inside of pytest."""
    command = [sys.executable, "-m", "scripts.conformance", "--check"]
    done = subprocess.run(command, cwd=conformance.ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_a_cell_names_clients_and_refusals_only_where_nothing_else_was_shown() -> None:
    endpoint = "GET /v1/models"
    seen = [
        Cell(endpoint, "npm", "any", False),
        Cell(endpoint, "python", "chat", False),
        Cell(endpoint, "http", "chat", True),
        Cell("GET /v1/files", "http", "chat", True),
    ]
    text = conformance.tables(seen)
    assert "| `GET /v1/models` | *N* | *N* | S*N* | *N* |" in text
    assert "| `GET /v1/files` | – | – | 400 (H) | – |" in text
