"""The specification tests leave no custom error out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nvm_chain.abi import CONTRACTS, Abi

HERE = Path(__file__).parent
ERRORS = sorted({signature.split("(")[0] for name in CONTRACTS for signature in Abi.of(name).errors})
TESTS = "\n".join(path.read_text() for path in HERE.glob("test_*.py"))
EXPECTED = set(re.findall(r'refused\(\s*"(\w+)"|keccak\(text="(\w+)\(\)"\)', TESTS))


@pytest.mark.parametrize("error", ERRORS)
def test_some_test_provokes_the_error(error: str) -> None:
    assert any(error in names for names in EXPECTED)
