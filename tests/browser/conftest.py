"""One Chromium for a module's tests; every test that has a page runs in every look."""

from __future__ import annotations

from collections.abc import AsyncIterator

import playwright.async_api
import pytest
import pytest_asyncio

from tests.browser.console import LOOKS, Browser, Look, chromium, open_browser


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The first look always; the others with `long`, or always where a test is marked `looks`."""
    if "look" in metafunc.fixturenames:
        always = metafunc.definition.get_closest_marker("looks") is not None
        rest = [] if always else [pytest.mark.long]
        looks = [pytest.param(look, id=str(look), marks=rest if look != LOOKS[0] else []) for look in LOOKS]
        metafunc.parametrize("look", looks)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser there is nothing to test; the reason is shown."""
    if chromium() is None:
        skip = pytest.mark.skip(reason="no Chromium: apt-get install chromium, or name one in CHROMIUM")
        for item in items:
            if item.path.is_relative_to(__file__.rpartition("/")[0]):
                item.add_marker(skip)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process() -> AsyncIterator[playwright.async_api.Browser]:
    """Chromium."""
    async with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(process: playwright.async_api.Browser, look: Look) -> Browser:
    """Chromium, on a screen of this look."""
    return Browser(process, look)
