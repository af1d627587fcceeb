"""Ape's pytest plugin under `ape test`, and nothing of Ape otherwise.

Ape registers itself with pytest wherever it is installed. Its plugin costs two seconds of imports, starts a chain for
every run and takes a snapshot of it around every test, also where no test looks at a chain. So pyproject.toml blocks
it, and this lets it in for `ape test`. Fixtures that work either way are in tests/contracts/conftest.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

WITH_APE = Path(__file__).parent / "tests" / "contracts"
LONGEST_ID = 48


def pytest_configure(config: pytest.Config) -> None:
    if "ape_test._cli" in sys.modules:  # its command line options are there already; being blocked stopped the rest
        from ape.pytest import plugin

        plugin.pytest_configure(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs what imports Ape last: Ape makes eth_abi lenient and raises the recursion limit for the whole process."""
    items.sort(key=lambda item: item.path.is_relative_to(WITH_APE))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names a long parameter by its length; otherwise pytest prints all of it."""
    return f"{argname}-of-{len(val)}" if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None
