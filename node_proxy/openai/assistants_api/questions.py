"""What the assistant is asked in each round of a run, as far as the run's own limits go."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from node_proxy.dialects import Answer
from node_proxy.openai.assistants_api import asking
from node_proxy.openai.assistants_api.progress import Progress
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.calls import Access
from node_proxy.openai.request import LIMITS
from node_proxy.pricing import Usage

Question = AbstractAsyncContextManager[Answer]

_FEWEST_TOKENS = 16
"""Providers take no smaller limit on the tokens of an answer."""

MOST_ROUNDS = 32
"""Answers of one run at most: it is one access, and its caller says how often it goes on."""


class Questions:
    """body: the Responses request without its input; params: names in it whose faults are the caller's.

    history: the thread's messages as input items, oldest first.
    """

    def __init__(
        self, access: Access, progress: Progress, body: Json, params: frozenset[str], history: list[Json]
    ) -> None:
        self._access = access
        self._progress = progress
        self._body = body
        self._params = params
        self._history = history
        self._most = next((body[name] for name in LIMITS if type(body.get(name)) is int), None)

    def limit(self) -> str | None:
        """Which of its own limits the run has reached before this round."""
        asked, used = self._progress.asked, self._progress.usage or Usage()
        left = (1 << 62 if self._most is None else self._most) - used.output_tokens
        rounds = self._progress.rounds
        if rounds and (left < _FEWEST_TOKENS or rounds >= MOST_ROUNDS or self._access.used_up(used)):
            return "max_completion_tokens"
        most = asked.get("max_prompt_tokens")
        room = None if most is None else max(0, most - used.input_tokens)
        instructions = str(self._body.get("instructions", ""))
        fitting = asking.fit(self._history, self._progress.items, instructions, room)
        if fitting is None:
            return "max_prompt_tokens"
        self._history = fitting
        return None

    def next(self) -> Question:
        """The next question in the dialect's words, asked once it is entered. Raises BadRequest, AssetUnusable."""
        body: Json = {**self._body, "input": [*self._history, *self._progress.items]}
        if self._progress.rounds:
            if self._most is not None:  # the caller's number or the builder's: it holds for all rounds together
                body["max_output_tokens"] = self._most - (self._progress.usage or Usage()).output_tokens
            if body.get("tool_choice") not in (None, "auto", "none"):
                body["tool_choice"] = "auto"  # the choice was made; forced again, it would never end
        return self._access.ask(body, caller_params=self._params)
