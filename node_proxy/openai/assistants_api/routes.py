"""Every address of the Assistants API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_proxy.asgi import Router
from node_proxy.openai.assistants_api.assistants import AssistantPages
from node_proxy.openai.assistants_api.messages import MessagePages
from node_proxy.openai.assistants_api.runs import RunPages
from node_proxy.openai.assistants_api.standing import Members
from node_proxy.openai.assistants_api.surface import Surface
from node_proxy.openai.assistants_api.threads import ThreadPages
from node_proxy.openai.room import Room

if TYPE_CHECKING:
    from node_proxy.services import Services


def add_assistants(router: Router, services: Services) -> None:
    """Adds `/v1/assistants` and `/v1/threads`, with all below them."""
    surface = Surface(
        services.calls,
        services.objects,
        services.assets,
        Members(services.view, services.ledger, services.assets),
        services.runner,
        Room(services.objects, services.settings.max_kept_bytes),
        services.history.keep_seconds,
    )
    assistants, threads = AssistantPages(surface), ThreadPages(surface)
    messages, runs = MessagePages(surface), RunPages(surface)
    router.add("GET", "/v1/assistants", assistants.list)
    router.add("POST", "/v1/assistants", assistants.refuse)
    router.add("GET", "/v1/assistants/{id}", assistants.retrieve)
    router.add("POST", "/v1/assistants/{id}", assistants.refuse)
    router.add("DELETE", "/v1/assistants/{id}", assistants.refuse)
    router.add("POST", "/v1/threads", threads.create)
    router.add("POST", "/v1/threads/runs", runs.create_with_thread)
    thread = "/v1/threads/{id}"
    router.add("GET", thread, threads.retrieve)
    router.add("POST", thread, threads.update)
    router.add("DELETE", thread, threads.delete)
    router.add("GET", f"{thread}/messages", messages.list)
    router.add("POST", f"{thread}/messages", messages.create)
    message = f"{thread}/messages/{{message}}"
    router.add("GET", message, messages.retrieve)
    router.add("POST", message, messages.update)
    router.add("DELETE", message, messages.delete)
    router.add("GET", f"{thread}/runs", runs.list)
    router.add("POST", f"{thread}/runs", runs.create)
    run = f"{thread}/runs/{{run}}"
    router.add("GET", run, runs.retrieve)
    router.add("POST", run, runs.update)
    router.add("POST", f"{run}/cancel", runs.cancel)
    router.add("POST", f"{run}/submit_tool_outputs", runs.submit)
    router.add("GET", f"{run}/steps", runs.list_steps)
    router.add("GET", f"{run}/steps/{{step}}", runs.retrieve_step)
