"""The arrangement that the tests of this folder stand on: Ape, anvil and one chain that each test finds clean."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_chain_is_anvil(networks: Any) -> None:
    assert networks.active_provider.client_version.startswith("anvil/")


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_starts_from_the_same_chain(chain: Any, accounts: Any, turn: int) -> None:
    sender, receiver = accounts[0], accounts[1]
    assert (chain.blocks.height, receiver.nonce) == (0, 0)
    before = receiver.balance
    receipt = sender.transfer(receiver, turn)
    assert (chain.blocks.height, receipt.gas_used) == (1, 21_000)
    assert receiver.balance == before + turn


def test_contracts_have_the_committed_interface(project: Any) -> None:
    assert {"IPlanRegistry", "IAssetRegistry", "INodeRegistry"} <= set(project.contracts)
