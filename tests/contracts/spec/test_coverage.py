"""The specification tests leave no function and no custom error out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nvm_chain.abi import CONTRACTS, Abi, artifact

HERE = Path(__file__).parent
ERRORS = sorted({signature.split("(")[0] for name in CONTRACTS for signature in Abi.of(name).errors})
TESTS = "\n".join(path.read_text() for path in [*HERE.glob("test_*.py"), HERE / "conftest.py"])
EXPECTED = set(re.findall(r'refused\(\s*"(\w+)"|keccak\(text="(\w+)\(\)"\)', TESTS))
FUNCTIONS = [
    (name, entry["name"]) for name in CONTRACTS for entry in artifact(name)["abi"] if entry["type"] == "function"
]
HOLDERS = {
    "PlanRegistry": "plans",
    "AssetRegistry": "assets",
    "NodeRegistry": "nodes",
    "Lens": "lens",
    "SignatureValidator": "validator",
}
"""What `World` calls each contract."""


@pytest.mark.parametrize(("contract", "function"), FUNCTIONS, ids=lambda name: str(name))
def test_some_test_calls_the_function(contract: str, function: str) -> None:
    holder = HOLDERS[contract]
    assert re.search(rf"\b{holder}\.{function}(\.call)?\(", TESTS)


@pytest.mark.parametrize("error", ERRORS)
def test_some_test_provokes_the_error(error: str) -> None:
    assert any(error in names for names in EXPECTED)
