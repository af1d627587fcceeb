"""How the usage of a call becomes credits. Integers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nvm_chain.canonical import MAX_SAFE, JsonObject
from nvm_chain.errors import DefinitionInvalid
from nvm_chain.text import show

MICRO = 1_000_000
"""Micro-credits in a credit."""

_WEIGHTS = ("call", "input", "cached_input", "output", "reasoning")
_FIELDS = ("mode", *_WEIGHTS, "tool_calls")


@dataclass(frozen=True, slots=True)
class Pricing:
    """Weights of usage. What is charged in the end stays within the offer's min and max, whatever the weights say.

    mode: `fixed` = every call costs the offer's minimum, all weights are 0; `tokens` = the weights' sum, rounded up.
    call: micro-credits for each call.
    input, cached_input, output, reasoning: micro-credits for each token. Cached tokens are counted by `cached_input`
        and not by `input`; reasoning tokens by `reasoning` and not by `output`.
    tool_calls: credits for each call of a hosted tool, by the type of the output item (`web_search_call`, …); other
        types cost nothing by themselves.
    """

    mode: Literal["fixed", "tokens"] = "fixed"
    call: int = 0
    input: int = 0
    cached_input: int = 0
    output: int = 0
    reasoning: int = 0
    tool_calls: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in ("fixed", "tokens"):
            raise DefinitionInvalid("pricing.mode", f"{show(self.mode)} is not fixed or tokens")
        for name in _WEIGHTS:
            _check_amount(f"pricing.{name}", getattr(self, name), "micro-credits")
        if not isinstance(self.tool_calls, Mapping):
            raise DefinitionInvalid("pricing.tool_calls", "must map the type of an output item to credits")
        for kind, credits in self.tool_calls.items():
            if not isinstance(kind, str) or not kind or not kind.isascii():
                raise DefinitionInvalid("pricing.tool_calls", f"{show(kind)} is not the type of an output item")
            _check_amount("pricing.tool_calls", credits, "credits")
        weighted = any(getattr(self, name) for name in _WEIGHTS) or any(self.tool_calls.values())
        if self.mode == "fixed" and weighted:
            raise DefinitionInvalid("pricing.mode", "fixed takes no weights; use tokens")
        if self.mode == "tokens" and not weighted:
            raise DefinitionInvalid("pricing.mode", "tokens needs at least one weight above 0; or use fixed")
        object.__setattr__(self, "tool_calls", dict(self.tool_calls))

    @classmethod
    def tokens(
        cls,
        input: int,
        output: int,
        *,
        cached_input: int | None = None,
        reasoning: int | None = None,
        call: int = 0,
        tool_calls: Mapping[str, int] | None = None,
    ) -> Pricing:
        """Pricing by tokens; cached input costs as input and reasoning as output unless said otherwise."""
        return cls(
            "tokens",
            call,
            input,
            input if cached_input is None else cached_input,
            output,
            output if reasoning is None else reasoning,
            tool_calls or {},
        )

    @classmethod
    def from_json(cls, data: object) -> Pricing:
        """Reads a JSON object. With mode tokens, cached_input and reasoning left out are as input and output."""
        if not isinstance(data, dict):
            raise DefinitionInvalid("pricing", f"must be a JSON object, not {type(data).__name__}")
        if unknown := sorted(k for k in data if k not in _FIELDS):
            raise DefinitionInvalid("pricing", f"unknown field {show(unknown[0])}; known: {', '.join(_FIELDS)}")
        values = dict(data)
        if values.get("mode") == "tokens":
            values.setdefault("cached_input", values.get("input", 0))
            values.setdefault("reasoning", values.get("output", 0))
        return cls(**values)

    def to_json(self) -> JsonObject:
        """All fields as a JSON object."""
        return {name: getattr(self, name) for name in _FIELDS[:-1]} | {"tool_calls": dict(self.tool_calls)}


def _check_amount(name: str, value: object, unit: str) -> None:
    if type(value) is not int or not 0 <= value <= MAX_SAFE:
        raise DefinitionInvalid(name, f"{show(value)} is not a whole number of {unit} from 0 to 2**53 - 1")
