"""What one answer costs, in whole credits. Integers only; a fraction of a credit is rounded up, once, at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from nvm_chain.pricing import MICRO, Pricing

USAGE_MISSING = "usage_missing"
"""Flag of a charge whose provider didn't say what was used: it costs the offer's minimum."""

_COUNTS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Usage:
    """What the provider counted for one answer, over all its provider calls.

    input_tokens includes cached_tokens, output_tokens includes reasoning_tokens, as in OpenAI's usage object.
    tool_calls: calls of hosted tools by the type of their output item (`web_search_call`, …).
    Raises ValueError for anything that isn't a whole number from 0 to 2^63 - 1.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    tool_calls: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = self._counts
        if {*map(type, counts)} != {int} or min(counts) < 0 or max(counts) >= _LIMIT:
            for name, value in zip(_COUNTS, counts, strict=True):
                _check(name, value)
        for kind, calls in self.tool_calls.items():
            _check(f"tool_calls.{kind}", calls)

    def __add__(self, other: Usage) -> Usage:
        """The usage of two provider calls that gave one answer."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            dict(Counter(self.tool_calls) + Counter(other.tool_calls)),
        )

    def counts(self) -> dict[str, int]:
        """The counts that aren't zero, by name, as the ledger keeps them; tool calls as `tool_calls.<type>`."""
        counts = {name: value for name, value in zip(_COUNTS, self._counts, strict=True) if value}
        return counts | {f"tool_calls.{kind}": calls for kind, calls in self.tool_calls.items() if calls}

    @property
    def _counts(self) -> tuple[int, ...]:
        return self.input_tokens, self.cached_tokens, self.output_tokens, self.reasoning_tokens


def micro_credits(usage: Usage, pricing: Pricing) -> int:
    """The exact price before rounding and clamping. Counts that contradict each other (cached > input) are capped."""
    cached = min(usage.cached_tokens, usage.input_tokens)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    tools = sum(calls * pricing.tool_calls.get(kind, 0) for kind, calls in usage.tool_calls.items())
    return (
        pricing.call
        + (usage.input_tokens - cached) * pricing.input
        + cached * pricing.cached_input
        + (usage.output_tokens - reasoning) * pricing.output
        + reasoning * pricing.reasoning
        + tools * MICRO
    )


def price(usage: Usage | None, pricing: Pricing, min_credits: int, max_credits: int) -> tuple[int, frozenset[str]]:
    """Credits for one answer, within [min_credits, max_credits] of the offer, and flags for the charge.

    Pricing `fixed`: the minimum. Pricing `tokens`: ceil(micro-credits / 1,000,000), clamped; where the usage is missing
    the minimum, flagged. Raises ValueError for an offer whose minimum is above its maximum.
    """
    if not 0 <= min_credits <= max_credits:
        raise ValueError(f"{min_credits} to {max_credits} credits are no offer")
    if pricing.mode == "fixed":
        return min_credits, frozenset()
    if usage is None:
        return min_credits, frozenset({USAGE_MISSING})
    credits = -(-micro_credits(usage, pricing) // MICRO)
    return min(max(credits, min_credits), max_credits), frozenset()


def _check(name: str, value: object) -> None:
    if type(value) is not int or not 0 <= value < _LIMIT:
        raise ValueError(f"usage.{name} is {value!r}: a count is a whole number from 0 to 2^63 - 1")
