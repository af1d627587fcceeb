"""How providers are spoken to.

Inside the node there is one language, OpenAI's Responses API: whatever a surface is asked becomes a Responses request,
and a dialect turns that into what the builder's provider speaks, and its answer back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from node_proxy.dialects import assistants, chat, responses
from node_proxy.dialects.base import Answer, Json
from node_proxy.errors import AssetUnusable
from node_proxy.relay.provider import ProviderClient
from nvm_chain.definition import Definition

__all__ = ["Answer", "Json", "ask"]

_Ask = Callable[[ProviderClient, Definition, Json, frozenset[str]], AbstractAsyncContextManager[Answer]]

_DIALECTS: dict[str, _Ask] = {
    "responses": responses.ask,
    "responses-stateless": responses.ask_stateless,
    "chat": chat.ask,
    "assistants": assistants.ask,
}


def ask(
    client: ProviderClient, definition: Definition, body: Json, *, caller_params: frozenset[str]
) -> AbstractAsyncContextManager[Answer]:
    """Asks the definition's provider; the answer is read inside the block.

    body: a Responses request as the provider is to get it: model, instructions, tools and settings are the builder's
    already; `stream` in it says how the answer is read. caller_params: names in it whose faults are the caller's.
    Raises BadRequest (the dialect can't say a parameter, which is named), AssetUnusable (it can't say what the builder
    set up), and ProviderError in all its kinds; some of them only on entering the block.
    """
    dialect = _DIALECTS.get(definition.dialect)
    if dialect is None:
        raise AssetUnusable(
            f"This assistant's provider speaks {definition.dialect}, which this node doesn't relay yet."
        )
    return dialect(client, definition, body, caller_params)
