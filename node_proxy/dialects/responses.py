"""The Responses API itself, at a provider that keeps state (OpenAI) or doesn't (vLLM, Ollama, LM Studio…)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import orjson

from node_proxy.dialects.base import Answer, Json
from node_proxy.errors import UnsupportedParameter
from node_proxy.relay.provider import ProviderCall, ProviderClient
from nvm_chain.definition import Definition

STATE = ("conversation", "previous_response_id", "background")
"""Parameters that only a provider which keeps state understands."""


def ask(
    client: ProviderClient, definition: Definition, body: Json, caller_params: frozenset[str]
) -> AbstractAsyncContextManager[Answer]:
    """POST /responses, as it is."""
    return client.post(
        ProviderCall(
            base_url=definition.base_url,
            path="/responses",
            key=definition.api_key,
            body=orjson.dumps(body),
            caller_params=caller_params,
        )
    )


def ask_stateless(
    client: ProviderClient, definition: Definition, body: Json, caller_params: frozenset[str]
) -> AbstractAsyncContextManager[Answer]:
    """The same with nothing to be kept there. Raises UnsupportedParameter for what needs the provider's memory."""
    refuse_state(body)
    return ask(client, definition, {**body, "store": False}, caller_params)


def refuse_state(body: Json) -> None:
    """Raises UnsupportedParameter, naming it, if a parameter needs a provider that keeps state."""
    for name in STATE:
        if body.get(name):
            raise UnsupportedParameter(
                f"This assistant's provider keeps no state, so it can't be given `{name}`: leave it out.", param=name
            )
