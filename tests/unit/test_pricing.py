from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.pricing import USAGE_MISSING, Usage, micro_credits, price
from nvm_chain.pricing import MICRO, Pricing

FIXED = Pricing()
TOKENS = Pricing.tokens(100, 400, cached_input=10, reasoning=200, call=7, tool_calls={"web_search_call": 2})


def test_a_fixed_price_is_the_minimum_whatever_was_used() -> None:
    assert price(Usage(10**9, 0, 10**9), FIXED, 3, 9) == (3, frozenset())
    assert price(None, FIXED, 3, 9) == (3, frozenset())


def test_each_kind_of_token_is_counted_once_and_at_its_own_weight() -> None:
    usage = Usage(1_000, 400, 500, 200, {"web_search_call": 3, "code_interpreter_call": 9})
    expected = 7 + 600 * 100 + 400 * 10 + 300 * 400 + 200 * 200 + 3 * 2 * MICRO
    assert micro_credits(usage, TOKENS) == expected


@pytest.mark.parametrize(("micro", "credits"), [(1, 1), (MICRO, 1), (MICRO + 1, 2), (5 * MICRO, 5)])
def test_a_fraction_of_a_credit_is_rounded_up_once(micro: int, credits: int) -> None:
    assert price(Usage(input_tokens=micro), Pricing.tokens(1, 0), 0, 100)[0] == credits


def test_the_offer_bounds_the_price_on_both_sides() -> None:
    pricing = Pricing.tokens(MICRO, 0)
    assert [price(Usage(n), pricing, 2, 5)[0] for n in (0, 1, 2, 4, 5, 6, 10**12)] == [2, 2, 2, 4, 5, 5, 5]


def test_missing_usage_costs_the_minimum_and_says_so() -> None:
    assert price(None, TOKENS, 2, 5) == (2, frozenset({USAGE_MISSING}))


def test_counts_that_contradict_each_other_never_make_a_negative_price() -> None:
    usage = Usage(input_tokens=10, cached_tokens=50, output_tokens=5, reasoning_tokens=90)
    assert micro_credits(usage, TOKENS) == 7 + 10 * 10 + 5 * 200


@pytest.mark.parametrize("value", [-1, 1.5, True, "3", 2**63])
def test_a_count_that_is_no_whole_number_is_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match=r"usage\.output_tokens is .*: a count is a whole number"):
        Usage(output_tokens=value)  # type: ignore[arg-type]


def test_an_offer_turned_around_is_refused() -> None:
    with pytest.raises(ValueError, match="5 to 2 credits are no offer"):
        price(None, FIXED, 5, 2)


counts = st.integers(0, 10**9)
usages = st.builds(
    lambda i, c, o, r, tools: Usage(i + c, c, o + r, r, tools),
    *(counts, counts, counts, counts, st.dictionaries(st.sampled_from(["a", "b"]), counts)),
)
pricings = st.builds(Pricing, st.just("tokens"), *[st.integers(0, 10**7)] * 5, st.just({"a": 3}))


@given(usages, usages, pricings)
def test_two_provider_calls_of_one_answer_never_cost_more_than_they_would_apart(a: Usage, b: Usage, p: Pricing) -> None:
    whole = price(a + b, p, 0, 2**62)[0]
    assert whole <= price(a, p, 0, 2**62)[0] + price(b, p, 0, 2**62)[0]


@given(usages, pricings, st.integers(0, 100), st.integers(0, 10**6))
def test_a_price_is_always_within_the_offer(usage: Usage, pricing: Pricing, low: int, more: int) -> None:
    assert low <= price(usage, pricing, low, low + more)[0] <= low + more
