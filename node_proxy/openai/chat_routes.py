"""Where Chat Completions answer, and what is said at the addresses of older surfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_proxy.asgi import Exchange, Handler, Router
from node_proxy.errors import RouteNotFound
from node_proxy.openai.assistants_api.standing import Members
from node_proxy.openai.chat import ChatCompletions
from node_proxy.openai.chat_store import ChatStore
from node_proxy.openai.room import Room

if TYPE_CHECKING:
    from node_proxy.services import Services

_INSTEAD = {
    "/v1/completions": "Legacy completions take a bare prompt, and an assistant takes messages: use "
    "POST /v1/chat/completions or POST /v1/responses",
    "/v1/embeddings": "An assistant gives answers, no embeddings: use POST /v1/responses",
    "/v1/moderations": "The assistant's provider moderates by itself: use POST /v1/responses",
    "/v1/images/generations": "Images come from an assistant whose builder gave it the tool: use POST /v1/responses",
    "/v1/audio/speech": "This node relays text: use POST /v1/responses",
    "/v1/audio/transcriptions": "This node relays text: use POST /v1/responses",
    "/v1/audio/translations": "This node relays text: use POST /v1/responses",
}


def add_chat(router: Router, services: Services) -> None:
    """Adds `/v1/chat/completions` and what belongs to it."""
    calls, objects, history = services.calls, services.objects, services.history
    members = Members(services.view, services.ledger, services.assets)
    store = ChatStore(calls, members, objects, Room(objects, services.settings.max_kept_bytes), history.keep_seconds)
    one = "/v1/chat/completions/{id}"
    router.add("POST", "/v1/chat/completions", ChatCompletions(calls, store, history.files).create)
    router.add("GET", "/v1/chat/completions", store.list)
    router.add("GET", one, store.retrieve)
    router.add("POST", one, store.update)
    router.add("DELETE", one, store.delete)
    router.add("GET", f"{one}/messages", store.messages)
    for path, instead in _INSTEAD.items():
        router.add("POST", path, _gone(services, instead))


def _gone(services: Services, instead: str) -> Handler:
    async def handler(exchange: Exchange) -> None:
        """Says what to do instead, to those who hold a key."""
        await services.calls.key(exchange)
        raise RouteNotFound(f"{instead}. The API's base URL ends in /v1.")

    return handler
