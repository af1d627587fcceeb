"""Where Responses, Conversations and Files answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_proxy.asgi import Router
from node_proxy.openai.assistants_api.standing import Members
from node_proxy.openai.conversations import Conversations
from node_proxy.openai.file_pages import FilePages
from node_proxy.openai.room import Room
from node_proxy.openai.stored import StoredResponses

if TYPE_CHECKING:
    from node_proxy.services import Services


def add_responses(router: Router, services: Services) -> None:
    """Adds `/v1/responses`, `/v1/conversations` and `/v1/files`, with all below them."""
    calls, objects, history = services.calls, services.objects, services.history
    members = Members(services.view, services.ledger, services.assets)
    room = Room(objects, services.settings.max_kept_bytes)
    stored = StoredResponses(calls, members, objects, history, services.background)
    conversations = Conversations(calls, members, objects, history, room)
    files = FilePages(calls, members, objects, history.files, room, history.keep_seconds)

    router.add("POST", "/v1/responses", services.responses.create)
    router.add("POST", "/v1/responses/input_tokens", stored.input_tokens)
    response = "/v1/responses/{id}"
    router.add("GET", response, stored.retrieve)
    router.add("DELETE", response, stored.delete)
    router.add("POST", f"{response}/cancel", stored.cancel)
    router.add("GET", f"{response}/input_items", stored.input_items)

    conversation = "/v1/conversations/{id}"
    router.add("POST", "/v1/conversations", conversations.create)
    router.add("GET", conversation, conversations.retrieve)
    router.add("POST", conversation, conversations.update)
    router.add("DELETE", conversation, conversations.delete)
    router.add("GET", f"{conversation}/items", conversations.list_items)
    router.add("POST", f"{conversation}/items", conversations.add_items)
    router.add("GET", f"{conversation}/items/{{item}}", conversations.retrieve_item)
    router.add("DELETE", f"{conversation}/items/{{item}}", conversations.delete_item)

    router.add("POST", "/v1/files", files.create)
    router.add("GET", "/v1/files", files.list)
    router.add("GET", "/v1/files/{id}", files.retrieve)
    router.add("GET", "/v1/files/{id}/content", files.content)
    router.add("DELETE", "/v1/files/{id}", files.delete)
