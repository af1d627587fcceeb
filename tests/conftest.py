"""What every test may use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance import Recorder
from tests.world import World


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    """One world for a module's tests; they run in its loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`."""
    async with World() as world:
        yield world
