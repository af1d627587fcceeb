"""What of a run has to outlive the process that holds it, besides the run object; and what its usage comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.pricing import Usage

_COUNTS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


@dataclass(slots=True)
class Progress:
    """How far a run is.

    asked: its checked request. items: what the next round is given back. calls: function calls that wait for the
    caller. steps: ids of the steps that wait with them. share: usage that the last of these will show.
    used: the members of a Usage, over all rounds that told theirs; None before the first. rounds: answers so far.
    """

    asked: Json
    items: list[Json] = field(default_factory=list)
    calls: list[Json] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    share: Json | None = None
    used: Json | None = None
    rounds: int = 0

    def json(self) -> Json:
        """As it is kept."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def usage(self) -> Usage | None:
        """The usage as the price is made from it."""
        return None if self.used is None else Usage(**self.used)

    def add(self, usage: Usage | None) -> None:
        """Counts another round."""
        self.rounds += 1
        if usage is not None:
            total = usage if self.used is None else Usage(**self.used) + usage
            self.used = {name: getattr(total, name) for name in _COUNTS} | {"tool_calls": dict(total.tool_calls)}


def tokens(usage: Usage | None) -> Json | None:
    """Usage as runs and steps show it."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
