"""Amounts: exact in both directions, and what could be misread is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvm_chain.amounts import Currency, format_duration, format_units, parse_duration, parse_share, parse_units
from nvm_chain.errors import InvalidInput

ETH = Currency("ETH", 18)
USDC = Currency("USDC", 6, "0x036CbD53842c5426634e7929541eC2318f3dCF7e")


@pytest.mark.parametrize(
    ("text", "wei"),
    [
        ("0.1 ETH", 10**17),
        ("0.1eth", 10**17),
        ("1 ether", 10**18),
        ("5 gwei", 5 * 10**9),
        ("100 wei", 100),
        ("1_000.5 ETH", 1_000_500_000_000_000_000_000),
        ("0.000000000000000001 ETH", 1),
        ("0.10000000000000000000000000 ETH", 10**17),
        ("0", 0),
        ("79228162514.264337593543950335 ETH", 2**96 - 1),
    ],
)
def test_native_amounts_are_exact(text: str, wei: int) -> None:
    assert ETH.parse(text) == wei


def test_token_amounts_use_the_tokens_decimals() -> None:
    assert USDC.parse("5 USDC") == 5_000_000
    assert USDC.parse("5 base") == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5", "has no unit"),
        ("", "has no unit"),
        ("5 EUR", "not a unit of ETH"),
        ("-1 ETH", "not a decimal number"),
        ("1e18 wei", "not a decimal number"),
        (".5 ETH", "not a decimal number"),
        ("0.0000000000000000001 ETH", "more than 18 decimal places"),
        ("1.5 wei", "more than 0 decimal places"),
        ("1,5 ETH", "no commas"),
        ("١ ETH", "not a decimal number"),
    ],
)
def test_ambiguous_or_inexact_amounts_are_refused_with_an_example(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ETH.parse(text)


@pytest.mark.parametrize("digits", ["9" * 79, "9" * 5_000])
def test_a_number_that_no_contract_holds_is_refused_whatever_its_length(digits: str) -> None:
    """Python refuses to read more than 4,300 digits."""
    for parse, text in (
        (ETH.parse, f"{digits} wei"),
        (ETH.parse, f"{digits}.5 ETH"),
        (parse_duration, f"{digits}d"),
        (parse_share, f"{digits}%"),
        (parse_share, f"{digits}bp"),
    ):
        with pytest.raises(InvalidInput, match="digits: the contracts hold at most 78") as caught:
            parse(text)
        assert len(str(caught.value)) < 200


def test_leading_and_closing_zeros_are_no_digits_of_a_number() -> None:
    assert ETH.parse("0" * 5_000 + "1 wei") == 1
    assert ETH.parse("1." + "0" * 5_000 + " ETH") == 10**18


def test_a_token_has_no_wei() -> None:
    with pytest.raises(InvalidInput, match=r"write 0\.1 USDC or 100 base"):
        USDC.parse("5 wei")


@given(amount=st.integers(0, 2**256 - 1), decimals=st.integers(0, 77))
def test_formatting_and_parsing_lose_nothing(amount: int, decimals: int) -> None:
    assert parse_units(format_units(amount, decimals), decimals) == amount


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30d", 2_592_000),
        ("12 hours", 43_200),
        ("90 min", 5_400),
        ("90m", 5_400),
        ("2w", 1_209_600),
        ("5s", 5),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "1.5d", "d", "-1d", "3 months", ""])
def test_durations_without_a_clear_unit_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="like 30d"):
        parse_duration(text)


@given(seconds=st.integers(0, 2**32))
def test_a_formatted_duration_is_the_same_duration(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(("text", "points"), [("100%", 10_000), ("12.5%", 1_250), ("0.01 %", 1), ("1250bp", 1_250)])
def test_shares(text: str, points: int) -> None:
    assert parse_share(text) == points


@pytest.mark.parametrize("text", ["30", "0.001%", "half"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_share(text)
