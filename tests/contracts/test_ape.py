"""The arrangement that the tests of this folder stand on: Ape, anvil and one chain that each test finds clean."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts import compile_contracts, setup

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "nvm_chain" / "artifacts"
FOUNDRY = tomllib.loads((ROOT / "foundry.toml").read_text())


def test_ape_forge_and_our_own_script_compile_alike() -> None:
    import ape

    ours, forge = compile_contracts.SETTINGS, FOUNDRY["profile"]["default"]
    solidity = ape.project.config.solidity
    npm = json.loads((ROOT / "package.json").read_text())["devDependencies"]["solc"]
    assert solidity.version == npm == setup.SOLC == compile_contracts.VERSION
    assert solidity.evm_version == forge["evm_version"] == ours["evmVersion"]
    assert (solidity.optimize, solidity.optimization_runs) == tuple(ours["optimizer"].values())
    assert solidity.via_ir is ours["viaIR"] is True
    for restriction in forge["compilation_restrictions"]:
        assert (restriction["via_ir"], restriction["optimizer_runs"]) == (True, ours["optimizer"]["runs"])
    assert {Path(restriction["paths"]).stem for restriction in forge["compilation_restrictions"]} == set(
        compile_contracts.CONTRACTS
    )


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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ape_compiles_the_contracts_to_the_shipped_interface(project: Any) -> None:
    for artifact in sorted(ARTIFACTS.glob("*.json")):
        shipped = json.loads(artifact.read_bytes())
        compiled = project.contracts[shipped["contractName"]].model_dump(mode="json", by_alias=True)["abi"]
        assert signatures(compiled) == signatures(shipped["abi"]), artifact.name


def signatures(abi: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    """Returns (kind, name, argument types …) of every entry."""
    return {(entry["type"], entry.get("name", ""), *(i["type"] for i in entry.get("inputs", []))) for entry in abi}
