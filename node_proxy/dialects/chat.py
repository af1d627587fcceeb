"""Chat Completions: any server that has `/chat/completions` serves the node's surfaces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import orjson

from node_proxy.dialects import chat_answer, chat_request
from node_proxy.dialects.base import Answer, Json
from node_proxy.errors import ProviderRejected
from node_proxy.relay import sse
from node_proxy.relay.provider import ProviderAnswer, ProviderCall, ProviderClient
from nvm_chain.definition import Definition


def ask(
    client: ProviderClient, definition: Definition, body: Json, caller_params: frozenset[str]
) -> AbstractAsyncContextManager[Answer]:
    """POST /chat/completions. Raises BadRequest, AssetUnusable."""
    request, params = chat_request.translate(definition, body, caller_params)
    return _ask(
        client,
        ProviderCall(
            base_url=definition.base_url,
            path="/chat/completions",
            key=definition.api_key,
            body=orjson.dumps(request),
            caller_params=params,
        ),
        definition.model,
    )


@asynccontextmanager
async def _ask(client: ProviderClient, call: ProviderCall, model: str) -> AsyncIterator[Answer]:
    try:
        async with client.post(call) as answer:
            yield ChatAnswer(answer, model)
    except ProviderRejected as error:
        error.param = chat_request.name_in_responses(error.param)
        raise


@dataclass(slots=True)
class ChatAnswer:
    """A chat completion read as a Response. model: as the provider names it."""

    _answer: ProviderAnswer = field(repr=False)
    _model: str = field(repr=False)
    status: int = field(init=False)
    headers: list[tuple[bytes, bytes]] = field(init=False)
    request_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.status, self.headers = self._answer.status, self._answer.headers
        self.request_id = self._answer.request_id

    async def json(self) -> Json:
        return chat_answer.response(await self._answer.json(), self._model)

    def events(self, again: sse.Again = sse.nothing_known) -> AsyncIterator[Iterable[sse.Event]]:
        return chat_answer.events(self._answer.events(), self._model)
