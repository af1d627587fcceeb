"""A chat completion as a caller asks for it, in the words of the Responses API, where the builder's policy is applied.

Complaints name the parameter that the caller sent, not the one that it became.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from node_proxy.errors import InvalidValue, NodeError, UnsupportedParameter
from node_proxy.openai import chat_messages
from node_proxy.openai.assistants_api import checks
from node_proxy.openai.assistants_api.checks import flag, record
from node_proxy.openai.request import UnknownParameter
from nvm_chain.definition import Definition
from nvm_chain.text import show

Json = dict[str, Any]

_POSITION = re.compile(r"input\[(\d+)\](.*)", re.DOTALL)


@dataclass(slots=True)
class Asked:
    """A request in the words of Responses, still the caller's: nothing of the builder's is in it.

    stream, include_usage: how the answer is wanted. store: whether it is to be kept. messages: as they were sent, for
    what is kept. names: Responses parameter → the caller's, where they differ; positions: input item → message.
    """

    body: Json
    stream: bool = False
    include_usage: bool = False
    store: bool = False
    messages: list[Json] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    positions: list[int] = field(default_factory=list)

    @contextmanager
    def renamed(self) -> Iterator[None]:
        """Errors leave with the caller's names in them."""
        try:
            yield
        except NodeError as error:
            if error.param:
                name = self._name(error.param)
                error.message = error.message.replace(f"`{error.param}`", f"`{name}`")
                error.message = error.message.replace(f"'{error.param}'", f"'{name}'")
                for there, here in self.names.items():
                    error.message = error.message.replace(f"`{there}`", f"`{here}`")
                error.param, error.args = name, (error.message,)
            raise

    def _name(self, param: str) -> str:
        if (found := _POSITION.fullmatch(param)) and int(found[1]) < len(self.positions):
            return f"messages[{self.positions[int(found[1])]}]{found[2]}"
        for there, here in self.names.items():
            if param == there or param.startswith((f"{there}.", f"{there}[")):
                return here
        return re.sub(r"^(tools\[\d+\])\.(?!type)", r"\1.function.", param)


def translate(request: Mapping[str, Any], definition: Definition) -> Asked:
    """Raises BadRequest in its kinds, with the parameter's name."""
    asked = Asked({}, names={"input": "messages"})
    if request.get("messages") is None:
        raise checks.MissingParameter("Missing required parameter: 'messages'.", param="messages")
    for name, value in request.items():
        if value is None or name == "model":
            continue
        rule = _RULES.get(name)
        if rule is not None:
            rule(name, value, definition, asked)
        elif definition.policy.unknown_fields and _may_pass(name, definition):
            asked.body[name] = value
        elif name in _CHAT_ONLY:
            raise UnsupportedParameter(
                f"The builder of this assistant doesn't allow `{name}`: leave it out.", param=name
            )
        else:
            raise UnknownParameter(f"Unknown parameter: {show(name)}.", param=name[:100])
    return asked


def _may_pass(name: str, definition: Definition) -> bool:
    """Whether a field that the node doesn't know would reach the provider as what it is."""
    return name not in _RESPONSES_ONLY and (name not in _CHAT_ONLY or definition.dialect == "chat")


# ---------------------------------------------------------------------------------------------------------- parameters

Rule = Callable[[str, Any, Definition, Asked], None]


def _messages(_: str, value: Any, definition: Definition, asked: Asked) -> None:
    items, instructions, asked.positions = chat_messages.read(value, definition.policy)
    asked.body["input"] = items
    if instructions:
        asked.body["instructions"] = instructions
    asked.messages = [dict(message) for message in value]


def _as(there: str) -> Rule:
    """The same thing under another name."""

    def rule(name: str, value: Any, _: Definition, asked: Asked) -> None:
        asked.body[there] = value

    return rule


def _limit(name: str, value: Any, _: Definition, asked: Asked) -> None:
    if "max_output_tokens" in asked.body:
        raise InvalidValue("Give `max_completion_tokens` or `max_tokens`, not both.", param=name)
    asked.body["max_output_tokens"] = value
    asked.names["max_output_tokens"] = name


def _response_format(name: str, value: Any, _: Definition, asked: Asked) -> None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise InvalidValue("`response_format.type` must be text, json_object or json_schema.", param=f"{name}.type")
    form: Json = {"type": kind}
    if kind == "json_schema":
        schema = value.get("json_schema")
        if not isinstance(schema, dict) or not isinstance(schema.get("name"), str):
            raise InvalidValue("`response_format.json_schema` needs a `name`.", param=f"{name}.json_schema")
        known = ("name", "description", "schema", "strict")
        if unknown := sorted(schema.keys() - set(known)):
            where = f"{name}.json_schema.{unknown[0]}"[:100]
            raise UnknownParameter(f"Unknown parameter: {show(where)}.", param=where)
        form |= {one: schema[one] for one in known if schema.get(one) is not None}
    asked.body.setdefault("text", {})["format"] = form
    asked.names["text.format"] = name


def _verbosity(name: str, value: Any, _: Definition, asked: Asked) -> None:
    asked.body.setdefault("text", {})["verbosity"] = value
    asked.names["text.verbosity"] = name


def _effort(name: str, value: Any, _: Definition, asked: Asked) -> None:
    asked.body["reasoning"] = {"effort": value}
    asked.names["reasoning"] = asked.names["reasoning.effort"] = name


def _stream(name: str, value: Any, _: Definition, asked: Asked) -> None:
    asked.stream = flag(name, value)


_options = record({"include_usage": flag, "include_obfuscation": flag})


def _stream_options(name: str, value: Any, _: Definition, asked: Asked) -> None:
    asked.include_usage = bool(_options(name, value).get("include_usage"))


def _store(name: str, value: Any, _: Definition, asked: Asked) -> None:
    asked.store = flag(name, value)


def _tools(name: str, value: Any, _: Definition, asked: Asked) -> None:
    if not isinstance(value, list):
        raise InvalidValue("`tools` must be a list.", param=name)
    tools = []
    for number, tool in enumerate(value):
        where = f"tools[{number}]"
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function" or not isinstance(tool.get("function"), dict):
            raise UnsupportedParameter(
                f"`{where}.type` must be function: callers can add functions only.", param=f"{where}.type"
            )
        tools.append({"type": "function", **{key: one for key, one in tool["function"].items() if key != "type"}})
    asked.body["tools"] = tools


def _tool_choice(name: str, value: Any, _: Definition, asked: Asked) -> None:
    if isinstance(value, dict):
        function = value.get("function")
        if value.get("type") != "function" or not isinstance(function, dict):
            raise InvalidValue(
                "`tool_choice` must be auto, none, required or {type: function, function: {name: …}}.", param=name
            )
        value = {"type": "function", "name": function.get("name")}
    asked.body["tool_choice"] = value


def _only(why: str, *harmless: Any) -> Rule:
    """Refused, unless the value changes nothing."""

    def rule(name: str, value: Any, _: Definition, __: Asked) -> None:
        if not any(value == one and type(value) is type(one) for one in harmless):
            raise UnsupportedParameter(f"{why}: leave `{name}` out.", param=name)

    return rule


_RULES: dict[str, Rule] = {
    "messages": _messages,
    "max_tokens": _limit,
    "max_completion_tokens": _limit,
    "response_format": _response_format,
    "verbosity": _verbosity,
    "reasoning_effort": _effort,
    "stream": _stream,
    "stream_options": _stream_options,
    "store": _store,
    "tools": _tools,
    "tool_choice": _tool_choice,
    **{
        name: _as(name)
        for name in (
            *("temperature", "top_p", "parallel_tool_calls", "metadata", "user", "safety_identifier"),
            *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "service_tier", "moderation"),
        )
    },
    "n": _only("This node gives one choice", 1),
    "logprobs": _only("This node doesn't hand out log probabilities", False),
    "top_logprobs": _only("This node doesn't hand out log probabilities", 0),
    "modalities": _only("This node relays text", ["text"]),
    "audio": _only("This node relays text"),
    "functions": _only("`functions` is a thing of the past, use `tools`", []),
    "function_call": _only("`function_call` is a thing of the past, use `tool_choice`", "none", "auto"),
    "prediction": _only("This node doesn't take predicted output"),
    "web_search_options": _only("The builder of this assistant decides on its tools"),
}
_RESPONSES_ONLY = frozenset(
    {
        *("input", "instructions", "conversation", "previous_response_id", "background", "include", "text"),
        *("max_output_tokens", "max_tool_calls", "reasoning", "truncation", "prompt", "context_management"),
    }
)
"""What Responses have and Chat Completions don't: it would be taken for what the messages became."""
_CHAT_ONLY = frozenset({"stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias"})
"""What Chat Completions have and Responses don't: for a provider of dialect chat, if the builder lets fields pass."""
