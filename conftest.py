"""Ape's pytest plugin under `ape test`, and nothing of Ape otherwise.

Ape registers itself with pytest wherever it is installed. Its plugin costs two seconds of imports, starts a chain for
every run and takes a snapshot of it around every test, also where no test looks at a chain. So pyproject.toml blocks
it, and this lets it in for `ape test`. Fixtures that work either way are in tests/contracts/conftest.py.
"""

from __future__ import annotations

import sys

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if "ape_test._cli" in sys.modules:  # its command line options are there already; being blocked stopped the rest
        from ape.pytest import plugin

        plugin.pytest_configure(config)
