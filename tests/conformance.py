"""What the tests show about the OpenAI API, endpoint by endpoint: the source of docs/openai-compatibility.md.

    @pytest.mark.conformance("POST /v1/chat/completions", client="python", dialect="chat")

says that the test drives this endpoint with this client over this dialect. Several endpoints may be given. `client` is
one of CLIENTS and `dialect` one of DIALECTS, or a tuple of them; where left out, the test's parameters of these names
count, and without one a dialect is "any" (it makes no difference). `refused=True`: a clear 400 is what the test shows.
`python scripts/conformance.py` writes the page from the tests that passed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from nvm_chain import definition

CLIENTS = ("python", "python-async", "npm", "http")
DIALECTS = (*definition.DIALECTS, "any")
RECORDS = Path(__file__).resolve().parent.parent / "build" / "conformance"


class Cell(NamedTuple):
    """One thing shown. endpoint: `POST /v1/responses`, with `{id}` as in the route's template."""

    endpoint: str
    client: str
    dialect: str
    refused: bool


def cells(item: pytest.Item) -> Iterator[Cell]:
    """What a test's markers say that it shows. Raises pytest.UsageError for names that don't exist."""
    callspec = getattr(item, "callspec", None)
    parameters = callspec.params if callspec is not None else {}
    for mark in item.iter_markers("conformance"):
        unknown = mark.kwargs.keys() - {"client", "dialect", "refused"}
        clients = _names(mark.kwargs.get("client", parameters.get("client")), CLIENTS)
        dialects = _names(mark.kwargs.get("dialect", parameters.get("dialect", "any")), DIALECTS)
        if unknown or not mark.args or not clients or not dialects:
            raise pytest.UsageError(f"{item.nodeid}: {mark} is not as tests/conformance.py wants it")
        for endpoint in mark.args:
            for client in clients:
                for dialect in dialects:
                    yield Cell(endpoint, client, dialect, bool(mark.kwargs.get("refused")))


def _names(given: object, known: Iterable[str]) -> list[str]:
    """The names, or none if one of them isn't known."""
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, tuple | list) else []
    return names if all(name in known for name in names) else []


class Recorder:
    """Notes what tests showed, in a file of its process below build/conformance/."""

    def __init__(self) -> None:
        self._path = RECORDS / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}.jsonl"

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """A marker with a mistake stops the run before it starts."""
        for item in items:
            list(cells(item))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:  # pluggy sends the outcome into the yield
        outcome = yield
        report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
        if report.when == "call" and report.passed and (shown := list(cells(item))):
            RECORDS.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.writelines(orjson.dumps(cell._asdict()) + b"\n" for cell in shown)
