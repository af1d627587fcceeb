"""A Responses request in the words of Chat Completions. What these can't say is refused with the parameter's name."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from node_proxy.dialects.base import FOREIGN, Json
from node_proxy.errors import AssetUnusable, InvalidValue, UnsupportedParameter
from nvm_chain.definition import Definition
from nvm_chain.text import show

_SAME = frozenset({"temperature", "top_p", "service_tier", "prompt_cache_key"})
_HANDLED = frozenset(
    {
        *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning"),
        *("max_output_tokens", "stream", "stream_options", "safety_identifier"),
    }
)

_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text",
    "reasoning_effort": "reasoning",
}
_BACK = {there: here for here, there in _NAMES.items()}


def name_in_responses(param: str | None) -> str | None:
    """The Responses parameter that a chat parameter came from. Positions in `messages` mean nothing to the caller."""
    first = (param or "").split(".")[0].split("[")[0]
    return _NAMES.get(first, param)


def translate(definition: Definition, body: Json, caller_params: frozenset[str]) -> tuple[Json, frozenset[str]]:
    """The request for `/chat/completions`, and the names in it whose faults are the caller's.

    Raises InvalidValue, UnsupportedParameter (the caller's fault) and AssetUnusable (the builder's).
    """
    openai = _is_openai(definition.base_url)
    settings = definition.settings
    request: Json = {**settings, "model": body["model"], "messages": _messages(body)}
    for name, value in body.items():
        if name in _HANDLED or name in settings:
            if name in _SAME:
                request[name] = value
        elif name in _SAME or (name in caller_params and name not in FOREIGN):
            request[name] = value
        elif value:
            raise UnsupportedParameter(
                f"This assistant's provider speaks Chat Completions, which has no `{name}`: leave it out.", param=name
            )
    limit = "max_completion_tokens" if openai else "max_tokens"
    for known in ("max_completion_tokens", "max_tokens"):
        limit = known if known in settings else limit
    if body.get("max_output_tokens") is not None:
        request[limit] = body["max_output_tokens"]
    _tools(body, request)
    text_format(body, request)
    if isinstance(body.get("text"), dict) and body["text"].get("verbosity") is not None:
        request["verbosity"] = body["text"]["verbosity"]
    reasoning_effort(body, request)
    if body.get("safety_identifier"):
        request["safety_identifier" if openai else "user"] = body["safety_identifier"]
    if body.get("stream"):
        request["stream"], request["stream_options"] = True, {"include_usage": True}
    names = {_BACK.get(name, name) for name in caller_params}
    return request, frozenset(names | {limit} if "max_output_tokens" in caller_params else names)


def _is_openai(base_url: str) -> bool:
    """OpenAI and Azure renamed `max_tokens` and `user`; most other servers know the old names only."""
    host = urlsplit(base_url).hostname or ""
    return any(host == name or host.endswith("." + name) for name in ("openai.com", "azure.com"))


# ----------------------------------------------------------------------------------------------------------- messages


def _messages(body: Json) -> list[Json]:
    messages: list[Json] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    given = body.get("input")
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    return [*messages, *_from_items(given if isinstance(given, list) else [])]


def _from_items(items: list[Json]) -> Iterator[Json]:
    """Messages; calls that stand together become one message, and their outputs follow it at once, as chat wants."""
    outputs = _outputs(items)
    said: Json | None = None
    called: list[str] = []

    def flush() -> Iterator[Json]:
        nonlocal said
        if said is not None:
            yield said
            said = None
        for call_id in called:
            yield _answered(call_id, outputs)
        called.clear()

    for number, item in enumerate(items):
        kind = item.get("type") or "message"
        if kind == "message" and item.get("role") == "assistant":
            yield from flush()
            said = {"role": "assistant", "content": said_text(item.get("content"))}
        elif kind == "message":
            yield from flush()
            yield _message(f"input[{number}]", item)
        elif kind in ("function_call", "custom_tool_call"):
            if called and _after_output(items, number):
                yield from flush()
            said = said or {"role": "assistant", "content": None}
            said.setdefault("tool_calls", []).append(_call(item))
            called.append(str(item.get("call_id")))
        elif kind == "item_reference":
            raise UnsupportedParameter(
                f"This assistant's provider keeps no items: `input[{number}]` can't be a reference.",
                param=f"input[{number}]",
            )
    yield from flush()
    for call_id, left in outputs.items():
        if left:
            text = f"No tool call found for function call output with call_id {show(call_id)}."
            raise InvalidValue(text, param="input")


def _after_output(items: list[Json], number: int) -> bool:
    """Whether an output stands right before this call: then the model had seen it when it called."""
    return str(items[number - 1].get("type")).endswith("_output")


def _outputs(items: list[Json]) -> dict[str, deque[str]]:
    """The outputs by call id, in order."""
    outputs: dict[str, deque[str]] = defaultdict(deque)
    for number, item in enumerate(items):
        if item.get("type") in ("function_call_output", "custom_tool_call_output"):
            outputs[str(item.get("call_id"))].append(output_text(f"input[{number}].output", item.get("output")))
    return outputs


def _answered(call_id: str, outputs: dict[str, deque[str]]) -> Json:
    if not outputs[call_id]:
        raise InvalidValue(f"No tool output found for function call {show(call_id)}.", param="input")
    return {"role": "tool", "tool_call_id": _short(call_id), "content": outputs[call_id].popleft()}


def _call(item: Json) -> Json:
    id = _short(str(item.get("call_id")))
    if item["type"] == "custom_tool_call":
        return {"id": id, "type": "custom", "custom": {"name": item.get("name"), "input": item.get("input")}}
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": id, "type": "function", "function": function}


def _short(call_id: str) -> str:
    """A call id that every server takes: OpenAI's chat bounds them to 40 characters, Mistral's wants exactly 9."""
    return base64.b32encode(hashlib.blake2b(call_id.encode("utf-8", "replace"), digest_size=6).digest())[:9].decode()


def _message(where: str, item: Json) -> Json:
    role = "system" if item.get("role") == "developer" else item.get("role")
    content = item.get("content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    parts = [_part(f"{where}.content[{number}]", part) for number, part in enumerate(content or ())]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return {"role": role, "content": parts[0]["text"]}
    return {"role": role, "content": parts}


def _part(where: str, part: Json) -> Json:
    kind = part.get("type")
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text")}
    if kind == "input_image" and part.get("image_url"):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_file" and part.get("file_data"):
        return {"type": "file", "file": {name: part[name] for name in ("file_data", "filename") if part.get(name)}}
    name = "file_id" if part.get("file_id") else "file_url" if part.get("file_url") else "type"
    raise UnsupportedParameter(
        f"This assistant's provider speaks Chat Completions, which takes files as `file_data` and images as "
        f"`image_url` only: not `{where}.{name}`.",
        param=f"{where}.{name}",
    )


def said_text(content: object) -> str:
    """What the assistant said earlier: its texts and refusals."""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "\n".join(str(part.get("text", part.get("refusal", ""))) for part in parts)


def output_text(where: str, output: object) -> str:
    """A tool's output as text. Raises UnsupportedParameter for images and files."""
    if isinstance(output, str):
        return output
    texts = []
    for number, part in enumerate(output if isinstance(output, list) else ()):
        if not isinstance(part, dict) or part.get("type") != "input_text":
            raise UnsupportedParameter(
                f"This assistant's provider lets a tool give back text only: not `{where}[{number}]`.",
                param=f"{where}[{number}]",
            )
        texts.append(str(part.get("text")))
    return "\n".join(texts)


# ----------------------------------------------------------------------------------------------------------- settings


def _tools(body: Json, request: Json) -> None:
    tools = [nested(tool) for tool in body.get("tools") or ()]
    for tool in tools:
        if tool["type"] not in ("function", "custom"):
            raise AssetUnusable(
                "The assistant can't run now: its builder gave it a tool that its provider's Chat Completions don't "
                "have. Nothing was charged; only the builder can repair it."
            )
    check_names(tools)
    choice = body.get("tool_choice")
    if tools:
        request["tools"] = tools
        if choice is not None:
            request["tool_choice"] = nested_choice(choice)
        if body.get("parallel_tool_calls") is not None:
            request["parallel_tool_calls"] = body["parallel_tool_calls"]
        return
    request.pop("parallel_tool_calls", None)
    if request.pop("tool_choice", None) is None and choice not in (None, "auto", "none"):
        raise InvalidValue("`tool_choice` asks for a tool, and there is none.", param="tool_choice")


def nested(tool: Json) -> Json:
    """The builder's tools are in the provider's words already, the callers' in those of the Responses API."""
    kind: Any = tool.get("type")
    if kind not in ("function", "custom") or isinstance(tool.get(kind), dict):
        return tool
    return {"type": kind, kind: {name: v for name, v in tool.items() if name != "type" and v is not None}}


def nested_choice(choice: Any) -> Any:
    """A tool choice with the name one level down."""
    if isinstance(choice, dict) and choice.get("type") in ("function", "custom") and "name" in choice:
        return {"type": choice["type"], choice["type"]: {"name": choice["name"]}}
    return choice


def check_names(tools: list[Json]) -> None:
    """Raises InvalidValue where a caller's function has the name of another one."""
    names = [inner["name"] for tool in tools if isinstance(inner := tool.get(tool["type"]), dict) and "name" in inner]
    for name in names:
        if names.count(name) > 1:
            raise InvalidValue(f"`tools` has two of the name {show(name)}: choose another.", param="tools")


def text_format(body: Json, request: Json) -> None:
    """`text.format` as `response_format`; plain text only where the builder's setting says otherwise."""
    text = body.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    if isinstance(form, dict):
        if form.get("type") == "json_schema":
            schema = {name: v for name, v in form.items() if name != "type" and v is not None}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif form.get("type") == "json_object" or "response_format" in request:
            request["response_format"] = {"type": form.get("type")}


def reasoning_effort(body: Json, request: Json) -> None:
    """`reasoning.effort` as `reasoning_effort`. Raises UnsupportedParameter for a summary."""
    reasoning = body.get("reasoning")
    if not isinstance(reasoning, dict):
        return
    if reasoning.get("effort") is not None:
        request["reasoning_effort"] = reasoning["effort"]
    for name in ("summary", "generate_summary"):
        if reasoning.get(name) is not None:
            raise UnsupportedParameter(
                f"This assistant's provider gives no summary of reasoning: leave `reasoning.{name}` out.",
                param=f"reasoning.{name}",
            )
