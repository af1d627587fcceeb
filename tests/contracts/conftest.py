"""Ape's objects as fixtures, by the names that Ape gives them; the chain is started when the first test asks for it.

With `ape test --network …` they are on that network, otherwise on an anvil of their own, on a free port.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def networks() -> Iterator[Any]:
    import ape
    from ape.logging import logger

    if ape.networks.active_provider is not None:
        yield ape.networks
        return
    logger.set_level("WARNING")  # or it says "Stopping 'anvil'" after pytest's last line
    with ape.networks.parse_network_choice("ethereum:local:foundry"):
        yield ape.networks


@pytest.fixture(scope="session")
def _chain(networks: Any) -> Any:
    import ape

    return ape.chain


@pytest.fixture
def chain(_chain: Any) -> Iterator[Any]:
    """The chain as the session found it: what a test did to it is undone afterwards."""
    with _chain.isolate():
        yield _chain


@pytest.fixture
def accounts(chain: Any) -> Any:
    """Funded accounts that can sign."""
    import ape

    return ape.accounts.test_accounts


@pytest.fixture
def project(networks: Any) -> Any:
    """The contracts of contracts/, compiled."""
    import ape

    return ape.project
