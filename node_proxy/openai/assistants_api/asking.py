"""What a caller of a run may say, and the Responses request that it comes to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from node_proxy.errors import BadRequest, InvalidValue, UnsupportedParameter
from node_proxy.openai.assistants_api import checks
from node_proxy.openai.assistants_api.checks import (
    Check,
    Json,
    flag,
    listed,
    number,
    one_of,
    record,
    tagged,
    text,
    whole,
)
from node_proxy.openai.assistants_api.content import message
from nvm_chain.definition import Definition
from nvm_chain.text import show

MAX_MESSAGES = 100
"""Messages that one request may add, at the making of a thread or of a run."""

_BYTES_PER_TOKEN = 4
_FEWEST_PROMPT, _FEWEST_OUTPUT = 256, 16
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

# ------------------------------------------------------------------------------------------------------------ requests


def _no_tool_resources(path: str, value: Any) -> Json:
    """Empty resources are harmless; there are no vector stores here to name."""
    if not isinstance(value, dict):
        raise InvalidValue(f"`{path}` must be an object.", param=path)
    for name, one in value.items():
        if one and any(one.values() if isinstance(one, dict) else [one]):
            raise UnsupportedParameter(
                f"This node keeps no vector stores and containers for callers: leave `{path}.{name}` out. "
                "Files that the assistant searches are its builder's.",
                param=f"{path}.{name}"[:100],
            )
    return {}


def _response_format(path: str, value: Any) -> Any:
    if value == "auto":
        return value
    if not isinstance(value, dict) or value.get("type") not in ("text", "json_object", "json_schema"):
        raise InvalidValue(f"`{path}` must be auto, or an object of type text, json_object or json_schema.", param=path)
    if value["type"] == "json_schema":
        return _schema(path, value)
    return _typed(path, value)


_typed = record({"type": checks.anything}, "type")
_schema = record(
    {
        "type": checks.anything,
        "json_schema": record(
            {"name": text(64, least=1), "description": text(), "schema": checks.mapping, "strict": flag}, "name"
        ),
    },
    "json_schema",
)
_function = record(
    {"name": text(64, least=1), "description": text(), "parameters": checks.mapping, "strict": flag}, "name"
)
_ranking = record({"score_threshold": number(0, 1), "ranker": one_of("auto", "default_2024_08_21")}, "score_threshold")
_file_search = record({"max_num_results": whole(1, 50), "ranking_options": _ranking})
_tool = tagged(
    function=record({"type": checks.anything, "function": _function}, "function"),
    code_interpreter=record({"type": checks.anything}),
    file_search=record({"type": checks.anything, "file_search": _file_search}),
)
_named = tagged(
    function=record({"type": checks.anything, "function": record({"name": text(64, least=1)}, "name")}, "function")
)


def _tool_choice(path: str, value: Any) -> Any:
    if value in ("none", "auto", "required"):
        return value
    if isinstance(value, dict) and value.get("type") in ("code_interpreter", "file_search"):
        raise UnsupportedParameter(f"Callers can choose functions only: leave `{path}` out.", param=path)
    return _named(path, value)


def _truncation(path: str, value: Any) -> Json:
    kept: Json = _truncation_shape(path, value)
    if kept["type"] == "last_messages" and "last_messages" not in kept:
        raise checks.MissingParameter(
            f"Missing required parameter: '{path}.last_messages'.", param=f"{path}.last_messages"
        )
    return kept


_truncation_shape = record({"type": one_of("auto", "last_messages"), "last_messages": whole(1)}, "type")
_messages = listed(message, MAX_MESSAGES)
_thread: dict[str, Check] = {
    "messages": _messages,
    "metadata": checks.metadata,
    "tool_resources": _no_tool_resources,
}
_run: dict[str, Check] = {
    "assistant_id": text(200),
    "model": text(200),
    "instructions": text(),
    "tools": listed(_tool, 128),
    "metadata": checks.metadata,
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "max_prompt_tokens": whole(_FEWEST_PROMPT),
    "max_completion_tokens": whole(_FEWEST_OUTPUT),
    "truncation_strategy": _truncation,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": flag,
    "response_format": _response_format,
    "stream": flag,
}
thread_create = record(_thread)
thread_update = record({"metadata": checks.metadata, "tool_resources": _no_tool_resources})
metadata_update = record({"metadata": checks.metadata})
run_create = record(
    {
        **_run,
        "additional_instructions": text(),
        "additional_messages": _messages,
        "reasoning_effort": one_of(*_EFFORTS),
    }
)
thread_and_run = record({**_run, "thread": record(_thread), "tool_resources": _no_tool_resources})
_output = record({"tool_call_id": text(200), "output": text(2**20)}, "tool_call_id")
tool_outputs = record({"tool_outputs": listed(_output, 512), "stream": flag}, "tool_outputs")


_REPEATED = (
    *("temperature", "top_p", "max_prompt_tokens", "max_completion_tokens", "metadata", "response_format"),
    *("tools", "tool_choice", "parallel_tool_calls"),
)


def check_model(model: str | None, *names: str) -> None:
    """A run's `model` may repeat the assistant's name; another one isn't the caller's to choose."""
    if model is not None and model not in names:
        raise UnsupportedParameter(
            f"The builder of this assistant chose its model: leave `model` out, instead of {show(model)}.",
            param="model",
        )


def echo(asked: Json) -> Json:
    """The members of a run object that repeat what its caller asked for."""
    strategy = asked.get("truncation_strategy")
    also: Json = {"instructions": own_instructions(asked)}
    if strategy:
        also["truncation_strategy"] = {"last_messages": None, **strategy}
    names = ("temperature", "top_p", "max_prompt_tokens", "max_completion_tokens", "metadata", "response_format")
    return also | {
        name: asked[name] for name in (*names, "tools", "tool_choice", "parallel_tool_calls") if name in asked
    }


def own_instructions(asked: Json) -> str:
    """What the caller adds to the assistant's instructions. The old API put `instructions` in their place."""
    return "\n".join(one for name in ("instructions", "additional_instructions") if (one := asked.get(name)))


# ----------------------------------------------------------------------------------------------------------- responses

_OLD_NAMES = {
    "max_output_tokens": "max_completion_tokens",
    "text.format": "response_format",
    "text": "response_format",
    "reasoning": "reasoning_effort",
}
_TOOL = re.compile(r"tools\[(\d+)\]\.(?!type)(.+)")


def responses_request(asked: Json, definition: Definition) -> Json:
    """The run's parameters in Responses' words, still to be checked against the builder's policy."""
    request: Json = {name: asked[name] for name in ("temperature", "top_p", "parallel_tool_calls") if name in asked}
    if instructions := own_instructions(asked):
        request["instructions"] = instructions
    if "max_completion_tokens" in asked:
        request["max_output_tokens"] = asked["max_completion_tokens"]
    if "reasoning_effort" in asked:
        request["reasoning"] = {"effort": asked["reasoning_effort"]}
    if asked.get("metadata"):
        request["metadata"] = asked["metadata"]
    if "tools" in asked:
        request["tools"] = _own_functions(asked["tools"], definition)
    if "tool_choice" in asked:
        choice = asked["tool_choice"]
        named = isinstance(choice, dict)
        request["tool_choice"] = {"type": "function", "name": choice["function"]["name"]} if named else choice
    form = asked.get("response_format", "auto")
    if form != "auto":
        request["text"] = {"format": {"type": form["type"], **form.get("json_schema", {})}}
    return request


def _own_functions(tools: Sequence[Json], definition: Definition) -> list[Json]:
    """Functions of the caller's. A hosted tool may be named where the assistant has it anyway."""
    hosted = {tool.get("type") for tool in definition.tools}
    own = []
    for position, tool in enumerate(tools):
        if tool["type"] == "function":
            own.append({"type": "function", **tool["function"]})
        elif tool["type"] not in hosted:
            raise UnsupportedParameter(
                f"This assistant has no {tool['type']}, and callers can add functions only.",
                param=f"tools[{position}].type",
            )
    return own


def in_old_words(error: BadRequest, tools: Sequence[Json] = ()) -> BadRequest:
    """The same complaint with this API's names for what Responses calls otherwise. tools: as the caller gave them."""
    param = error.param or ""
    if found := _TOOL.fullmatch(param):
        places = [number for number, tool in enumerate(tools) if tool["type"] == "function"]
        where = f"tools[{places[int(found[1])]}].function.{found[2]}"
        return type(error)(error.message.replace(param, where), param=where, extras=error.extras)
    if param.startswith("input"):
        return type(error)(f"The thread's messages: {error.message}", param="thread", extras=error.extras)
    for new, old in _OLD_NAMES.items():
        if param == new or param.startswith((f"{new}.", f"{new}[")):
            return type(error)(error.message.replace(new, old), param=old, extras=error.extras)
    return error


# -------------------------------------------------------------------------------------------------------- the history


def last_messages(asked: Mapping[str, Any], most: int) -> int:
    """How many of the thread's messages the run looks at, at most `most`."""
    wanted: int = (asked.get("truncation_strategy") or {}).get("last_messages", most)
    return min(wanted, most)


def fit(items: list[Json], own: list[Json], instructions: str, max_prompt_tokens: int | None) -> list[Json] | None:
    """Drops the oldest messages until what is left may have `max_prompt_tokens`, at an estimate of 4 bytes a token.

    None if not even the newest fits. The exact number is known only when the provider has counted.
    """
    if max_prompt_tokens is None:
        return items
    room = max_prompt_tokens * _BYTES_PER_TOKEN - len(instructions.encode()) - sum(map(_size, own))
    kept: list[Json] = []
    for one in reversed(items):
        room -= _size(one)
        if room < 0:
            break
        kept.append(one)
    if room < 0 and not kept:
        return None
    return list(reversed(kept))


def _size(item: Json) -> int:
    content = item.get("content")
    if isinstance(content, str):
        return len(content.encode())
    if isinstance(content, list):
        texts = [str(part.get("text", "")) for part in content]
        return sum(len(one.encode()) for one in texts)
    return len(orjson.dumps(item))
