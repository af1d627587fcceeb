"""A Responses request as a thread and a run of Assistants v2, for providers that still speak it.

The run is of the builder's stored assistant. Only what the sealed definition says is put over it, and what callers may
add is added: their instructions beside the assistant's, their functions beside its tools.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from node_proxy.dialects.base import Json
from node_proxy.dialects.chat_request import (
    check_names,
    nested,
    nested_choice,
    output_text,
    reasoning_effort,
    said_text,
    text_format,
)
from node_proxy.errors import InvalidValue, UnsupportedParameter
from nvm_chain.definition import Definition
from nvm_chain.text import show

_SAME = ("temperature", "top_p", "parallel_tool_calls")
_HANDLED = frozenset(
    {
        *("model", "input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens"),
        *("stream", "stream_options", "safety_identifier", *_SAME),
    }
)
_MOST_CALLS = 64
_CALLS = frozenset({"function_call", "custom_tool_call"})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to ask for. body: of `POST /threads/runs`. outputs: of the calls that the input ends with, in order.

    extra_instructions, extra_tools: a caller's, that go beside those of the stored assistant, which the definition
    doesn't hold.
    before: keys of the runs that the last of these outputs may belong to: the last one, two, … input, salt: what the
    next key is made of.
    """

    body: Json
    outputs: tuple[str, ...]
    extra_instructions: str
    extra_tools: tuple[Json, ...]
    before: tuple[bytes, ...]
    input: tuple[Json, ...]
    salt: bytes

    def key(self, output: list[Json]) -> bytes:
        """Names a run that waits for outputs by all that was said up to there, so that only its own caller finds it."""
        return _key(self.salt, [*self.input, *output])


def translate(definition: Definition, body: Json, caller_params: frozenset[str]) -> RunRequest:
    """Raises InvalidValue and UnsupportedParameter."""
    settings = definition.settings
    for name, value in body.items():
        if name not in _HANDLED and name not in settings and value:
            raise UnsupportedParameter(
                f"This assistant's provider speaks the Assistants API, which has no `{name}`: leave it out.", param=name
            )
    given = body.get("input")
    items = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else list(given or ())
    run: Json = {**settings, "assistant_id": definition.assistant_id, "stream": True}
    run |= {name: body[name] for name in _SAME if body.get(name) is not None}
    if definition.model:
        run["model"] = definition.model
    messages, told = _messages(items)
    run["thread"] = {"messages": messages}
    extra = "\n\n".join(text for text in (body.get("instructions"), *told) if text)
    if definition.instructions:
        run["instructions"], extra = extra, ""
    tools = _tools(definition, body, run)
    if body.get("max_output_tokens") is not None:
        run["max_completion_tokens"] = body["max_output_tokens"]
    text_format(body, run)
    reasoning_effort(body, run)
    if body.get("safety_identifier"):
        run["metadata"] = {"safety_identifier": body["safety_identifier"]}
    salt = _salt(definition, body)
    outputs, before = _tail(salt, items)
    return RunRequest(run, outputs, extra, tools, before, tuple(items), salt)


def _tools(definition: Definition, body: Json, run: Json) -> tuple[Json, ...]:
    """Puts tools into the run; gives back those that need the stored assistant's own beside them."""
    tools = [nested(tool) for tool in body.get("tools") or ()]
    check_names(tools)
    if body.get("tool_choice") not in (None, "auto"):
        run["tool_choice"] = nested_choice(body["tool_choice"])
    if tools and not definition.tools:
        return tuple(tools)
    if tools:
        run["tools"] = tools
    return ()


# ----------------------------------------------------------------------------------------------------------- messages


def _messages(items: list[Json]) -> tuple[list[Json], list[str]]:
    """Messages of the thread, and what system messages said. Earlier calls are told in words: threads know none."""
    messages: list[Json] = []
    told: list[str] = []
    names: dict[str, str] = {}
    for number, item in enumerate(items):
        where, kind = f"input[{number}]", item.get("type") or "message"
        if kind in _CALLS:
            names[str(item.get("call_id"))] = str(item.get("name"))
            given = item.get("arguments", item.get("input"))
            messages.append({"role": "assistant", "content": f"[called {item.get('name')} with {given}]"})
        elif kind in _OUTPUTS:
            call_id = str(item.get("call_id"))
            if call_id not in names:
                text = f"No tool call found for function call output with call_id {show(call_id)}."
                raise InvalidValue(text, param="input")
            output = output_text(f"{where}.output", item.get("output"))
            messages.append({"role": "user", "content": f"[{names[call_id]} returned {output}]"})
        elif kind == "item_reference":
            raise UnsupportedParameter(
                f"This assistant's provider keeps no items: `{where}` can't be a reference.", param=where
            )
        elif kind == "message" and item.get("role") in ("system", "developer"):
            told.append(said_text(item.get("content")))
        elif kind == "message" and (content := _content(where, item)):
            messages.append({"role": item["role"], "content": content})
    return messages, told


def _content(where: str, item: Json) -> Any:
    content = item.get("content")
    if item.get("role") == "assistant" or isinstance(content, str):
        return said_text(content)
    return [_part(f"{where}.content[{number}]", part) for number, part in enumerate(content or ())]


def _part(where: str, part: Json) -> Json:
    kind = part.get("type")
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text")}
    if kind == "input_image" and part.get("image_url"):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    raise UnsupportedParameter(
        f"This assistant's provider speaks the Assistants API, which takes texts and images by URL: not `{where}`.",
        param=where,
    )


# ------------------------------------------------------------------------------------------------------- continuation


def _tail(salt: bytes, items: list[Json]) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
    """The outputs that the input ends with, in their calls' order, and keys of the runs that may want the last of them.

    How many calls the last round had isn't said: the first key is of a round of one. Outputs may stand behind all calls
    of a round, or each behind its own. Raises InvalidValue for a call without output.
    """
    outputs: dict[str, str] = {}
    for number, item in enumerate(items):
        if item.get("type") in _OUTPUTS:
            outputs[str(item.get("call_id"))] = output_text(f"input[{number}].output", item.get("output"))
    for item in items:
        if item.get("type") in _CALLS and str(item.get("call_id")) not in outputs:
            raise InvalidValue(f"No tool output found for function call {show(item.get('call_id'))}.", param="input")
    if not items or items[-1].get("type") not in _OUTPUTS:
        return (), ()
    calls: list[Json] = []
    keys: list[bytes] = []
    for position in range(len(items) - 1, -1, -1):
        if items[position].get("type") in _CALLS and len(calls) < _MOST_CALLS:
            calls.insert(0, items[position])
            keys.append(_key(salt, [*items[:position], *calls]))
        elif items[position].get("type") not in _OUTPUTS:
            break
    return tuple(outputs[str(call.get("call_id"))] for call in calls), tuple(keys)


def _salt(definition: Definition, body: Json) -> bytes:
    """What has to be the same for a run to go on: whose it is, of which assistant, with which tools."""
    key = hashlib.blake2b(definition.api_key.reveal().encode(), digest_size=16).hexdigest()
    about = [definition.base_url, key, definition.assistant_id]
    return orjson.dumps([*about, *(body.get(name) for name in ("safety_identifier", "instructions", "tools", "text"))])


def _key(salt: bytes, items: list[Json]) -> bytes:
    said: list[list[Any]] = []
    for item in items:
        kind = item.get("type") or "message"
        if kind == "message":
            said.append([item.get("role"), said_text(item.get("content"))])
        elif kind in _CALLS:
            said.append([kind, item.get("name"), item.get("arguments", item.get("input"))])
        elif kind in _OUTPUTS:
            said.append([kind, said_text(item.get("output"))])
    return hashlib.blake2b(salt + orjson.dumps(said), digest_size=32).digest()
