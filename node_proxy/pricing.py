"""What one answer costs, in whole credits. Integers only; a fraction of a credit is rounded up, once, at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

MICRO = 1_000_000
"""Micro-credits per credit: the unit of weights."""

USAGE_MISSING = "usage_missing"
"""Flag of a charge whose provider didn't say what was used: it costs the offer's minimum."""

_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Usage:
    """What the provider counted for one answer, over all its provider calls.

    input_tokens includes cached_tokens, output_tokens includes reasoning_tokens, as in OpenAI's usage object.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    tool_calls: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int or not 0 <= value < _LIMIT:
                raise ValueError(f"usage.{name} is {value!r}: a count is a whole number from 0 to 2^63 - 1")

    def __add__(self, other: Usage) -> Usage:
        """The usage of two provider calls that gave one answer."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.tool_calls + other.tool_calls,
        )

    def counts(self) -> dict[str, int]:
        """The counts by name, as the ledger keeps them."""
        return {
            "input_tokens": self.input_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "tool_calls": self.tool_calls,
        }


@dataclass(frozen=True, slots=True)
class Weights:
    """The builder's prices in micro-credits: per answer, per token of each kind, per tool call.

    Source: `pricing` of the sealed definition. A kind of token that isn't named costs what its wider kind costs: cached
    like input, reasoning like output.
    """

    answer: int = 0
    input: int = 0
    cached: int | None = None
    output: int = 0
    reasoning: int | None = None
    tool_call: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None and name in ("cached", "reasoning"):
                continue
            if type(value) is not int or not 0 <= value < _LIMIT:
                raise ValueError(f"pricing.{name} is {value!r}: a weight is a whole number of micro-credits, 0 or more")

    @classmethod
    def parse(cls, pricing: Mapping[str, object] | None) -> Weights | None:
        """Weights from a definition's `pricing` object; None = fixed price. Raises ValueError that names the field."""
        if not pricing:
            return None
        unknown = sorted(pricing.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"pricing.{unknown[0]} is not a weight; the weights are {known}")
        return cls(**pricing)  # type: ignore[arg-type]  # __post_init__ checks every value

    def micro_credits(self, usage: Usage) -> int:
        """The exact price before rounding. Counts that contradict each other (more cached than input) are capped."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        reasoning = min(usage.reasoning_tokens, usage.output_tokens)
        return (
            self.answer
            + (usage.input_tokens - cached) * self.input
            + cached * (self.input if self.cached is None else self.cached)
            + (usage.output_tokens - reasoning) * self.output
            + reasoning * (self.output if self.reasoning is None else self.reasoning)
            + usage.tool_calls * self.tool_call
        )


def price(
    usage: Usage | None, weights: Weights | None, min_credits: int, max_credits: int
) -> tuple[int, frozenset[str]]:
    """Credits for one answer, within [min_credits, max_credits] of the offer, and flags for the charge.

    Fixed price (min = max, or no weights): the minimum. Otherwise ceil(micro-credits / 1,000,000), clamped. Usage
    missing where weights need it: the minimum, flagged.
    """
    if min_credits > max_credits:
        raise ValueError(f"the offer's minimum {min_credits} is above its maximum {max_credits}")
    if weights is None or min_credits == max_credits:
        return min_credits, frozenset()
    if usage is None:
        return min_credits, frozenset({USAGE_MISSING})
    credits = -(-weights.micro_credits(usage) // MICRO)
    return min(max(credits, min_credits), max_credits), frozenset()
