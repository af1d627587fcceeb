"""What every dialect gives back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

from node_proxy.relay import sse

Json = dict[str, Any]

FOREIGN = frozenset(
    {
        *("messages", "n", "best_of", "functions", "function_call", "audio", "modalities", "prediction", "logprobs"),
        *("max_tokens", "max_completion_tokens", "response_format", "reasoning_effort", "verbosity"),
        *("web_search_options", "tool_resources", "user", "metadata"),
    }
)
"""What a Responses request is checked for, in other dialects' words. No field that the node doesn't know may be one of
these: it would change what was checked.
"""


class Answer(Protocol):
    """A provider's answer as the Responses API would give it; `ProviderAnswer` is one as it stands.

    headers: the provider's, as far as they may pass on. request_id: the provider's, for the log.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    request_id: str

    async def json(self) -> Json:
        """The finished Response. Raises ProviderError in its kinds."""

    def events(self, again: sse.Again = sse.nothing_known) -> AsyncIterator[Iterable[sse.Event]]:
        """Events of the Responses API, in groups that arrived together. Raises ProviderError in its kinds.

        again: see `sse.Parser`; a dialect that makes the events itself may leave it unasked.
        """
