"""Ape's pytest plugin under `ape test`, and nothing of Ape otherwise.

Ape registers itself with pytest wherever it is installed. Its plugin costs two seconds of imports, starts a chain for every
run and takes a snapshot of it around every test, also where no test looks at a chain. pyproject.toml blocks it; this lets it
in when pytest was started by `ape test`. Fixtures that work either way are in tests/contracts/conftest.py.
"""

from __future__ import annotations

import sys
from types import ModuleType

import pytest


def _ape() -> ModuleType | None:
    """Returns Ape's plugin if `ape test` started this process."""
    if "ape_test._cli" not in sys.modules:
        return None
    from ape.pytest import plugin

    return plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    if plugin := _ape():
        plugin.pytest_addoption(parser)


def pytest_configure(config: pytest.Config) -> None:
    if plugin := _ape():
        plugin.pytest_configure(config)
