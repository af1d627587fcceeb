"""Plans' values: what does not fit is refused where it comes in, with its name and the limit."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from nvm_chain.abi import ZERO_ADDRESS
from nvm_chain.assets import Offer, OfferInput
from nvm_chain.entries import Entry
from nvm_chain.errors import InvalidInput
from nvm_chain.plans import Payee, Plan, PlanId, PlanRegistry, Terms, check_split

REGISTRY = "0x" + "33" * 20
PLAN = PlanId(b"\x07" * 32)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())


def test_a_plan_id_reads_and_writes_its_text() -> None:
    assert PlanId.parse(str(PLAN)) == PLAN
    assert PLAN.token_id == int.from_bytes(PLAN.value, "big")
    assert bytes(PLAN) == PLAN.value


@pytest.mark.parametrize("text", ["", "0x", "07" * 32, "0x" + "07" * 31, "0x" + "0g" * 32, "did:nv:" + "07" * 32])
def test_other_texts_are_no_plan_ids(text: str) -> None:
    with pytest.raises(InvalidInput, match="write 0x and 64 hex digits"):
        PlanId.parse(text)


def test_a_plan_id_is_derived_as_the_contract_does() -> None:
    owner, salt = "0x" + "44" * 20, b"\x01" * 32
    expected = keccak(encode(["uint256", "address", "address", "bytes32"], [8453, REGISTRY, owner, salt]))
    assert PlanId.derive(8453, REGISTRY, owner, salt).value == expected


@pytest.mark.parametrize(
    ("field", "bits"),
    [
        ("price", 96),
        ("credits_per_unit", 64),
        ("duration", 32),
        ("purchase_limit", 24),
        ("supply", 32),
        ("refund_cooldown", 24),
    ],
)
def test_terms_that_the_contract_has_no_room_for_are_refused(field: str, bits: int) -> None:
    assert getattr(Terms(**{field: 2**bits - 1}), field) == 2**bits - 1
    for wrong in (2**bits, -1, 1.0, True):
        with pytest.raises(InvalidInput, match=rf"{field} .*2\^{bits}"):
            Terms(**{field: wrong})  # type: ignore[arg-type]


def test_the_price_of_many_units_is_exact() -> None:
    assert Terms(price=2**96 - 1).due(2**32 - 1) == (2**96 - 1) * (2**32 - 1)


@pytest.mark.parametrize(
    ("payees", "says"),
    [
        ([Payee("0x" + "01" * 20, 9_999)], "9999 basis points"),
        ([Payee("0x" + "01" * 20, 5_000), Payee("0x" + "01" * 20, 5_000)], "distinct"),
        ([Payee(ZERO_ADDRESS, 10_000)], "zero address"),
        ([Payee(f"0x{i:040x}", 1_111) for i in range(1, 10)], "at most 8"),
    ],
)
def test_splits_that_do_not_add_up_are_refused(payees: list[Payee], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_split(payees)


@pytest.mark.parametrize("share", [0, -1, 10_001])
def test_a_share_is_more_than_nothing_and_at_most_everything(share: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 10000"):
        Payee("0x" + "01" * 20, share)


@pytest.mark.parametrize(
    ("paused", "retired", "supply", "sold", "on_sale"),
    [
        (False, False, 0, 99, True),
        (False, False, 100, 99, True),
        (False, False, 100, 100, False),
        (True, False, 0, 0, False),
        (False, True, 0, 0, False),
    ],
)
def test_a_plan_is_on_sale_unless_paused_retired_or_sold_out(
    paused: bool, retired: bool, supply: int, sold: int, on_sale: bool
) -> None:
    plan = Plan(PLAN, REGISTRY, None, paused, retired, sold, None, 0, Terms(supply=supply))
    assert plan.on_sale is on_sale


@given(subscriber=addresses, calls=st.integers(0, 2**32 - 1), credits=st.integers(0, 2**64 - 1))
def test_an_entry_is_one_word_and_back(subscriber: str, calls: int, credits: int) -> None:
    entry = Entry(subscriber, calls, credits)
    assert int.from_bytes(entry.word, "big") == (int(subscriber, 16) << 96) + (calls << 64) + credits
    assert Entry.unpack(entry.word) == entry


@pytest.mark.parametrize(("calls", "credits"), [(2**32, 0), (0, 2**64), (-1, 0), (0, -1)])
def test_an_entry_that_does_not_fit_is_refused_instead_of_spilling_over(calls: int, credits: int) -> None:
    with pytest.raises(InvalidInput, match="several batches"):
        Entry("0x" + "01" * 20, calls, credits)


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (0, 2**64)])
def test_an_offer_has_a_minimum_that_is_not_above_its_maximum(low: int, high: int) -> None:
    with pytest.raises(InvalidInput, match="credits per access"):
        OfferInput(PLAN, low, high)


def test_an_offers_rule_changes_and_ends_at_the_second_that_the_chain_says() -> None:
    offer = Offer(PLAN, 1, 5, next_min=2, next_max=9, effective_at=100, closes_at=200)
    assert offer.rule_at(99) == (1, 5)
    assert offer.rule_at(100) == (2, 9)
    assert offer.rule_at(199) == (2, 9)
    assert offer.rule_at(200) is None


def test_a_call_shows_what_it_does() -> None:
    call = PlanRegistry(REGISTRY).purchase(PLAN, "0x" + "01" * 20, 2, 50, 50)
    assert (call.value, call.to) == (50, REGISTRY)
    assert str(call) == f"PlanRegistry.purchase(planId={PLAN}, subscriber=0x{'01' * 20}, units=2, maxPrice=50)"


@pytest.mark.parametrize("units", [-1, 2**32, 1.5])
def test_units_that_do_not_fit_are_refused(units: int) -> None:
    with pytest.raises(InvalidInput, match="units"):
        PlanRegistry(REGISTRY).purchase(PLAN, "0x" + "01" * 20, units, 0)
