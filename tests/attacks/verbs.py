"""Every verb that takes an object's id, for the attempts of test_cross_tenant.py. A new surface adds its own here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verb:
    """One way to name an object. Where `{kind}` stands, in path or body, an id of that kind is put.

    The last kind is the one that is attacked; those before it are tried with the attacker's own ids too.
    `{did}` is the assistant, which both may use.
    """

    method: str
    path: str
    body: Json | None = None


_RESPONSE = {"model": "{did}", "input": "hello"}
_FILE = [{"role": "user", "content": [{"type": "input_file", "file_id": "{file}"}]}]
_PICTURE = [{"role": "user", "content": [{"type": "input_image", "file_id": "{file}"}]}]
_USER = {"role": "user", "content": "hello"}
_SHOWN = {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "{file}"}}]}
_CHAT_FILE = {"role": "user", "content": [{"type": "file", "file": {"file_id": "{file}"}}]}
_ATTACHED = {**_USER, "attachments": [{"file_id": "{file}", "tools": [{"type": "file_search"}]}]}

WITH_FILES = [_SHOWN, _ATTACHED]
"""Messages that name a file. A thread takes them as they are: whose file it is counts when a run looks at it."""

VERBS = [
    # responses
    Verb("GET", "/v1/responses/{response}"),
    Verb("GET", "/v1/responses/{response}?stream=true"),
    Verb("GET", "/v1/responses/{response}/input_items"),
    Verb("POST", "/v1/responses/{response}/cancel"),
    Verb("DELETE", "/v1/responses/{response}"),
    Verb("POST", "/v1/responses", {**_RESPONSE, "previous_response_id": "{response}"}),
    Verb("POST", "/v1/responses", {**_RESPONSE, "previous_response_id": "{response}", "background": True}),
    Verb("POST", "/v1/responses", {**_RESPONSE, "conversation": "{conversation}"}),
    Verb("POST", "/v1/responses", {**_RESPONSE, "conversation": {"id": "{conversation}"}, "stream": True}),
    Verb("POST", "/v1/responses", {**_RESPONSE, "input": [{"type": "item_reference", "id": "{item}"}]}),
    Verb("POST", "/v1/responses", {**_RESPONSE, "input": [{"type": "item_reference", "id": "{output}"}]}),
    Verb("POST", "/v1/responses", {**_RESPONSE, "input": _FILE}),
    Verb("POST", "/v1/responses", {**_RESPONSE, "input": _PICTURE, "store": False}),
    Verb("POST", "/v1/responses/input_tokens", {**_RESPONSE, "previous_response_id": "{response}"}),
    Verb("POST", "/v1/responses/input_tokens", {**_RESPONSE, "conversation": "{conversation}"}),
    Verb("POST", "/v1/responses/input_tokens", {**_RESPONSE, "input": _FILE}),
    Verb("GET", "/v1/responses/{response}/input_items?after={item}"),
    # conversations
    Verb("GET", "/v1/conversations/{conversation}"),
    Verb("POST", "/v1/conversations/{conversation}", {"metadata": {"owned": "yes"}}),
    Verb("DELETE", "/v1/conversations/{conversation}"),
    Verb("GET", "/v1/conversations/{conversation}/items"),
    Verb("POST", "/v1/conversations/{conversation}/items", {"items": [_USER]}),
    Verb("POST", "/v1/conversations", {"items": _FILE}),
    Verb("POST", "/v1/conversations/{conversation}/items", {"items": _PICTURE}),
    Verb("GET", "/v1/conversations/{conversation}/items/{item}"),
    Verb("DELETE", "/v1/conversations/{conversation}/items/{item}"),
    Verb("GET", "/v1/conversations/{conversation}/items?after={item}"),
    Verb("POST", "/v1/conversations/{conversation}/items", {"items": _FILE}),
    # files
    Verb("GET", "/v1/files/{file}"),
    Verb("GET", "/v1/files/{file}/content"),
    Verb("DELETE", "/v1/files/{file}"),
    Verb("GET", "/v1/files?after={file}"),
    # chat completions
    Verb("GET", "/v1/chat/completions/{completion}"),
    Verb("POST", "/v1/chat/completions/{completion}", {"metadata": {"owned": "yes"}}),
    Verb("DELETE", "/v1/chat/completions/{completion}"),
    Verb("GET", "/v1/chat/completions/{completion}/messages"),
    Verb("GET", "/v1/chat/completions?after={completion}"),
    Verb("POST", "/v1/chat/completions", {"model": "{did}", "messages": [_CHAT_FILE]}),
    Verb("POST", "/v1/chat/completions", {"model": "{did}", "messages": [_CHAT_FILE], "stream": True, "store": True}),
    # the Assistants API
    Verb("GET", "/v1/threads/{thread}"),
    Verb("POST", "/v1/threads/{thread}", {"metadata": {"owned": "yes"}}),
    Verb("DELETE", "/v1/threads/{thread}"),
    Verb("GET", "/v1/threads/{thread}/messages"),
    Verb("POST", "/v1/threads/{thread}/messages", _USER),
    Verb("GET", "/v1/threads/{thread}/messages/{message}"),
    Verb("POST", "/v1/threads/{thread}/messages/{message}", {"metadata": {"owned": "yes"}}),
    Verb("DELETE", "/v1/threads/{thread}/messages/{message}"),
    Verb("GET", "/v1/threads/{thread}/messages?after={message}"),
    Verb("GET", "/v1/threads/{thread}/runs"),
    Verb("POST", "/v1/threads/{thread}/runs", {"assistant_id": "{did}"}),
    Verb("GET", "/v1/threads/{thread}/runs/{run}"),
    Verb("POST", "/v1/threads/{thread}/runs/{run}", {"metadata": {"owned": "yes"}}),
    Verb("POST", "/v1/threads/{thread}/runs/{run}/cancel"),
    Verb(
        "POST",
        "/v1/threads/{thread}/runs/{run}/submit_tool_outputs",
        {"tool_outputs": [{"tool_call_id": "call_1", "output": "x"}]},
    ),
    Verb("GET", "/v1/threads/{thread}/runs/{run}/steps"),
    Verb("GET", "/v1/threads/{thread}/runs/{run}/steps/{step}"),
    Verb("POST", "/v1/threads/{thread}/runs", {"assistant_id": "{did}", "additional_messages": [_ATTACHED]}),
    Verb("GET", "/v1/threads/{thread}/messages?run_id={run}"),
    Verb("GET", "/v1/threads/{thread}/messages?before={message}"),
    Verb("GET", "/v1/threads/{thread}/runs?after={run}"),
    Verb("GET", "/v1/threads/{thread}/runs?before={run}"),
    Verb("GET", "/v1/threads/{thread}/runs/{run}/steps?after={step}"),
    Verb("GET", "/v1/threads/{thread}/runs/{run}/steps?before={step}"),
    Verb("POST", "/v1/threads/runs", {"assistant_id": "{did}", "thread": {"messages": [_SHOWN]}}),
    Verb("POST", "/v1/threads/runs", {"assistant_id": "{did}", "thread": {"messages": [_ATTACHED]}}),
    # the node's own
    Verb("GET", "/v1/receipts/{charge}"),
    Verb("GET", "/v1/receipts/{charge}/proof"),
    Verb("GET", "/auth/keys/{key}"),
    Verb("DELETE", "/auth/keys/{key}"),
]
