"""What is typed as an argument or handed over as a file: refused with a sentence before anything is connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from nvm_chain.assets import OfferInput
from nvm_chain.cli.definition import read_definition
from nvm_chain.cli.types import DURATION, OFFER, PAYEE
from nvm_chain.errors import InvalidInput
from nvm_chain.plans import PlanId
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet

PLAN = PlanId(b"\x07" * 32)
NESTED = "[" * 100_000


@pytest.mark.parametrize(
    ("rule", "low", "high"), [("", 1, 1), ("=3", 3, 3), ("=1-5", 1, 5), ("=0-0", 0, 0), ("=", 1, 1)]
)
def test_an_offer_is_a_plan_with_a_fixed_price_or_a_range(rule: str, low: int, high: int) -> None:
    assert OFFER.convert(f"{PLAN}{rule}", None, None) == OfferInput(PLAN, low, high)


@pytest.mark.parametrize("rule", ["=1-", "=-5", "=-", "=1-2-3", "=x", "=1-x", "=1.5", "=١", "=5-1"])
def test_half_a_range_and_everything_else_is_no_offer(rule: str) -> None:
    with pytest.raises(click.UsageError, match=r"is not an offer|are not valid"):
        OFFER.convert(f"{PLAN}{rule}", None, None)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (OFFER, f"{PLAN}={'9' * 5_000}"),
        (OFFER, f"{PLAN}=1-{'9' * 5_000}"),
        (DURATION, f"{'9' * 5_000}d"),
        (PAYEE, f"0x{'11' * 20}={'9' * 5_000}%"),
    ],
)
def test_a_number_of_any_length_ends_in_a_sentence(kind: Any, text: str) -> None:
    with pytest.raises(click.UsageError, match="digits"):
        kind.convert(text, None, None)


@pytest.mark.parametrize("option", ["file", "tools_file"])
def test_a_deeply_nested_file_is_named(tmp_path: Path, option: str) -> None:
    path = tmp_path / "nested.json"
    path.write_text(NESTED)
    given: dict[str, Any] = dict.fromkeys(
        ("file", "base_url", "model", "instructions", "instructions_file", "tools_file", "dialect", "assistant_id")
    )
    given |= {"allow_http": False, "api_key_env": "OPENAI_API_KEY", "api_key_file": None, option: path}
    with pytest.raises(InvalidInput, match=r"nested\.json is nested too deeply"):
        read_definition(**given)


def test_a_deeply_nested_keystore_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    path.write_text(NESTED)
    with pytest.raises(InvalidInput, match=r"wallet\.json can't be read as a keystore"):
        LocalWallet.from_keystore(path, Secret("correct horse"))
