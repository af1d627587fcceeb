from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvm_chain.address import address
from nvm_chain.errors import InvalidInput

CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # EIP-55's own example


def test_lower_upper_and_checksummed_are_one_address() -> None:
    digits = CHECKSUMMED[2:]
    for text in (CHECKSUMMED, "0x" + digits.lower(), "0x" + digits.upper()):
        assert address(text) == CHECKSUMMED


@given(st.binary(min_size=20, max_size=20))
def test_every_address_keeps_its_checksum(raw: bytes) -> None:
    checksummed = address("0x" + raw.hex())
    assert checksummed.lower() == "0x" + raw.hex()
    assert address(checksummed) == checksummed


def test_a_mistyped_checksum_is_noticed() -> None:
    with pytest.raises(InvalidInput, match=f"wrong checksum.*{CHECKSUMMED}"):
        address(CHECKSUMMED.replace("aA", "Aa"), "owner")


@pytest.mark.parametrize(
    "text", ["", "0x", CHECKSUMMED[2:], CHECKSUMMED[:-1], CHECKSUMMED + "0", "0X" + "1" * 40, "0x" + "g" * 40]
)
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"owner .* is not 0x followed by 40 hex digits"):
        address(text, "owner")


@pytest.mark.parametrize("value", [None, 5, b"\x01" * 20, CHECKSUMMED + "\n"])
def test_only_text_is_an_address(value: Any) -> None:
    with pytest.raises(InvalidInput):
        address(value)
