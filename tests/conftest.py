"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests import leaks
from tests.conformance import Recorder
from tests.world import World


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder())
    os.environ.setdefault(leaks.DEBUG, "debug")
    leaks.watch()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    """One world for a module's tests; they run in its loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`."""
    async with World() as world:
        yield world
