"""What a caller of `POST /v1/responses` may say, and the request that goes to the builder's provider instead.

Model, instructions, tools and settings are the builder's. The builder's policy says what a caller may add; anything
else is refused with the parameter's name, as OpenAI does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from node_proxy.dialects.base import FOREIGN
from node_proxy.errors import BadRequest, InvalidValue, UnsupportedParameter
from node_proxy.openai.inputs import MAX_ITEMS, check_items
from nvm_chain.definition import Definition
from nvm_chain.text import show

Json = dict[str, Any]

MAX_FUNCTIONS = 128
_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BUILDERS = "The builder of this assistant"


class UnknownParameter(BadRequest):
    """A parameter that the Responses API doesn't have, or that the builder doesn't allow (HTTP 400)."""

    code = "unknown_parameter"


class MutuallyExclusive(BadRequest):
    """Two parameters that can't be given together (HTTP 400)."""

    code = "mutually_exclusive_parameters"


@dataclass(slots=True)
class Prepared:
    """A request that has been checked.

    body: for the provider. stream: whether the caller wants events. echo: members of the response that repeat what the
    caller asked for. caller_params: names in `body` whose faults are the caller's. items: the input, item by item, with
    the caller's own file ids and references to items still in it. store: whether the response is to be kept.
    previous, conversation: ids (ours) of what comes before; empty for nothing.
    """

    body: Json
    stream: bool = False
    items: list[Json] = field(default_factory=list)
    store: bool = True
    background: bool = False
    previous: str = ""
    conversation: str = ""
    echo: Json = field(default_factory=dict)
    caller_params: set[str] = field(default_factory=lambda: {"input"})


def prepare(request: Mapping[str, Any], definition: Definition, *, name: str, safety_identifier: str) -> Prepared:
    """Raises BadRequest in its kinds, with the parameter's name. name: how the assistant is called in `model`."""
    prepared = Prepared(
        body={
            **definition.settings,
            "model": definition.model,
            "store": False,
            "safety_identifier": safety_identifier,
        }
    )
    if definition.instructions:
        prepared.body["instructions"] = definition.instructions
    if definition.tools:
        prepared.body["tools"] = list(definition.tools)
    get = request.get
    if get("input") is None and get("previous_response_id") is None and get("conversation") is None:
        raise InvalidValue("`input` is missing: give a text, or a list of input items.", param="input")
    for parameter, value in request.items():
        if value is None or parameter == "model":
            continue
        rule = _RULES.get(parameter)
        if rule is not None:
            rule(parameter, value, definition, prepared)
        elif definition.policy.unknown_fields and parameter not in prepared.body and parameter not in FOREIGN:
            prepared.body[parameter] = value
            prepared.caller_params.add(parameter)
        else:
            raise UnknownParameter(f"Unknown parameter: {show(parameter)}.", param=parameter[:100])
    most = definition.policy.max_output_tokens
    if most is not None and "max_output_tokens" not in prepared.body and definition.settings.keys().isdisjoint(LIMITS):
        prepared.body["max_output_tokens"] = most  # who asks for no number gets no more than who asks for the most
    if prepared.stream:
        prepared.body["stream"] = True
    _check_state(prepared)
    prepared.echo["model"] = name
    return prepared


def _check_state(prepared: Prepared) -> None:
    """What one of the parameters about state forbids another."""
    if prepared.previous and prepared.conversation:
        raise MutuallyExclusive("Give `previous_response_id` or `conversation`, not both.")
    if prepared.background and not prepared.store:
        raise InvalidValue(
            "`background` needs `store`: a response that isn't kept can't be fetched.", param="background"
        )
    if prepared.store:
        prepared.echo["store"] = True


# -------------------------------------------------------------------------------------------------------------- rules
# rule(parameter, value, definition, prepared): checks the value and puts it where it belongs. Null never gets here.

Rule = Callable[[str, Any, Definition, Prepared], None]


def _not_allowed(parameter: str, what: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"{_BUILDERS} doesn't allow callers to set {what}: leave `{parameter}` out.", param=parameter
    )


def _not_yet(why: str, *harmless: Any) -> Rule:
    """Refused, unless the value changes nothing."""

    def rule(parameter: str, value: Any, _: Definition, __: Prepared) -> None:
        if not any(value == one and type(value) is type(one) for one in harmless):
            raise UnsupportedParameter(f"{why}: leave `{parameter}` out.", param=parameter)

    return rule


def _ignored(parameter: str, value: Any, _: Definition, __: Prepared) -> None:
    """Names the caller's own users. Towards the provider the node speaks for its subscriber: checked, not passed on."""
    if not isinstance(value, str) or len(value) > 512:
        raise InvalidValue(f"`{parameter}` must be a text of at most 512 characters.", param=parameter)


def _stream(parameter: str, value: Any, _: Definition, prepared: Prepared) -> None:
    prepared.stream = _flag(parameter, value)


def _stream_options(parameter: str, value: Any, _: Definition, prepared: Prepared) -> None:
    if not isinstance(value, dict) or value.keys() - {"include_obfuscation"}:
        raise InvalidValue("`stream_options` takes `include_obfuscation` only.", param=parameter)
    if "include_obfuscation" in value:
        wanted = _flag("stream_options.include_obfuscation", value["include_obfuscation"])
        prepared.body["stream_options"] = {"include_obfuscation": wanted}


def _instructions(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if not isinstance(value, str):
        raise InvalidValue("`instructions` must be a text.", param=parameter)
    if not value:
        return
    if not definition.policy.extra_instructions:
        raise _not_allowed(parameter, "or add to its instructions")
    prepared.body["instructions"] = "\n\n".join(text for text in (definition.instructions, value) if text)


def _input(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if isinstance(value, str):
        prepared.body["input"] = value
        prepared.items = [{"type": "message", "role": "user", "content": value}]
        return
    if not isinstance(value, list) or not value:
        raise InvalidValue("`input` must be a text or a list of at least one input item.", param=parameter)
    prepared.body["input"] = prepared.items = check_items("input", value, definition.policy, MAX_ITEMS)


def _tools(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if not isinstance(value, list):
        raise InvalidValue("`tools` must be a list.", param=parameter)
    if not value:
        return
    if not definition.policy.function_tools:
        raise _not_allowed(parameter, "tools")
    if len(value) > MAX_FUNCTIONS:
        raise InvalidValue(f"`tools` has {len(value)} tools, at most {MAX_FUNCTIONS} are taken.", param=parameter)
    taken = {str(tool.get("name")) for tool in definition.tools if tool.get("type") in ("function", "custom")}
    own = []
    for number, tool in enumerate(value):
        function = _function(f"tools[{number}]", tool)
        if function["name"] in taken:
            raise InvalidValue(
                f"`tools[{number}].name` {show(function['name'])} is taken: choose another name.",
                param=f"tools[{number}].name",
            )
        taken.add(function["name"])
        own.append(function)
    prepared.body["tools"] = [*definition.tools, *own]
    prepared.caller_params.add(parameter)
    prepared.echo["tools"] = own


def _function(where: str, tool: Any) -> Json:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise UnsupportedParameter(
            f"`{where}.type` must be function: callers can add functions only.", param=f"{where}.type"
        )
    unknown = sorted(tool.keys() - {"type", "name", "description", "parameters", "strict"})
    if unknown:
        raise UnknownParameter(f"Unknown parameter: `{where}.{unknown[0][:100]}`.", param=f"{where}.{unknown[0][:100]}")
    if not isinstance(tool.get("name"), str) or not _FUNCTION_NAME.fullmatch(tool["name"]):
        raise InvalidValue(f"`{where}.name` must be 1 to 64 letters, digits, _ or -.", param=f"{where}.name")
    if not isinstance(tool.get("description"), str | None):
        raise InvalidValue(f"`{where}.description` must be a text.", param=f"{where}.description")
    if not isinstance(tool.get("parameters"), dict | None):
        raise InvalidValue(f"`{where}.parameters` must be a JSON schema.", param=f"{where}.parameters")
    if not isinstance(tool.get("strict"), bool | None):
        raise InvalidValue(f"`{where}.strict` must be true or false.", param=f"{where}.strict")
    return {
        "type": "function",
        "name": tool["name"],
        "description": tool.get("description"),
        "parameters": tool.get("parameters"),
        "strict": tool.get("strict"),
    }


def _tool_choice(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if value == "auto" and "tool_choice" not in definition.settings:
        return
    if not definition.policy.function_tools:
        raise _not_allowed(parameter, "how tools are chosen")
    named = isinstance(value, dict) and value.get("type") == "function" and isinstance(value.get("name"), str)
    if value not in ("auto", "none", "required") and not named:
        raise InvalidValue("`tool_choice` must be auto, none, required or {type: function, name: …}.", param=parameter)
    choice = {"type": "function", "name": value["name"]} if named else value
    prepared.body[parameter] = prepared.echo[parameter] = choice
    prepared.caller_params.add(parameter)


def _parallel(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    wanted = _flag(parameter, value)
    if wanted and parameter not in definition.settings:
        return
    if not definition.policy.function_tools:
        raise _not_allowed(parameter, "how tools are called")
    prepared.body[parameter] = prepared.echo[parameter] = wanted


def _sampling(low: float, high: float) -> Rule:
    def rule(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
        if not getattr(definition.policy, parameter):
            raise _not_allowed(parameter, f"the {parameter}")
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            raise InvalidValue(f"`{parameter}` must be a number from {low:g} to {high:g}.", param=parameter)
        prepared.body[parameter] = prepared.echo[parameter] = value
        prepared.caller_params.add(parameter)

    return rule


LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
"""The setting that bounds an answer, in the words of every dialect."""


def _max_output_tokens(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if type(value) is not int or value < 1:
        raise InvalidValue(f"`{parameter}` must be a whole number of at least 1.", param=parameter)
    fixed = next((definition.settings[name] for name in LIMITS if name in definition.settings), None)
    limit = definition.policy.max_output_tokens or (fixed if type(fixed) is int else None)
    if limit is not None and value > limit:
        raise InvalidValue(f"{_BUILDERS} allows `{parameter}` up to {limit}, not {value}.", param=parameter)
    prepared.body[parameter] = prepared.echo[parameter] = value
    prepared.caller_params.add(parameter)


def check_metadata(parameter: str, value: Any) -> dict[str, str]:
    """A caller's own pairs. Raises InvalidValue."""
    if not isinstance(value, dict) or len(value) > 16:
        raise InvalidValue("`metadata` must be an object of at most 16 pairs.", param=parameter)
    for key, text in value.items():
        if len(key) > 64 or not isinstance(text, str) or len(text) > 512:
            raise InvalidValue(
                f"`metadata` takes keys of at most 64 and texts of at most 512 characters; {show(key)} is neither.",
                param=parameter,
            )
    return dict(value)


def _metadata(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    metadata = check_metadata(parameter, value)
    if metadata and not definition.policy.metadata:
        raise _not_allowed(parameter, "metadata")
    prepared.echo[parameter] = metadata  # stays with us: the provider belongs to the builder


def _text(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if not isinstance(value, dict):
        raise InvalidValue("`text` must be an object.", param=parameter)
    unknown = sorted(value.keys() - {"format"})
    if unknown and not (unknown == ["verbosity"] and value["verbosity"] in (None, "medium")):
        raise UnsupportedParameter(
            f"`text.{unknown[0][:100]}` can't be set: leave it out.", param=f"text.{unknown[0][:100]}"
        )
    form = value.get("format")
    if form is None or (form == {"type": "text"} and "text" not in definition.settings):
        return
    if not isinstance(form, dict) or form.get("type") not in ("text", "json_object", "json_schema"):
        raise InvalidValue("`text.format.type` must be text, json_object or json_schema.", param="text.format")
    if not definition.policy.structured_output:
        raise _not_allowed("text.format", "the output format")
    kept = definition.settings.get("text")
    prepared.body["text"] = {**(kept if isinstance(kept, dict) else {}), "format": form}
    prepared.echo["text"] = {"format": form}
    prepared.caller_params.add(parameter)


def _reasoning(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if not isinstance(value, dict) or value.keys() - {"effort", "summary", "generate_summary"}:
        raise InvalidValue("`reasoning` takes `effort` and `summary` only.", param=parameter)
    if not any(value.values()):
        return
    if not definition.policy.reasoning:
        raise _not_allowed(parameter, "the reasoning")
    if not all(isinstance(one, str | None) and len(one or "") <= 20 for one in value.values()):
        raise InvalidValue("`reasoning.effort` and `reasoning.summary` must be short texts.", param=parameter)
    kept = definition.settings.get(parameter)
    prepared.body[parameter] = {**(kept if isinstance(kept, dict) else {}), **value}
    prepared.echo[parameter] = {"effort": value.get("effort"), "summary": value.get("summary")}
    prepared.caller_params.add(parameter)


_INCLUDED = frozenset({"web_search_call.action.sources"})
_NOTHING_TO_ADD = frozenset(
    {"reasoning.encrypted_content", "message.input_image.image_url", "computer_call_output.output.image_url"}
)
"""Taken because clients always send them. Reasoning stays with the provider; images are repeated as they were given."""


def _include(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if not isinstance(value, list):
        raise InvalidValue("`include` must be a list.", param=parameter)
    for one in value:
        if one not in (*_INCLUDED, *_NOTHING_TO_ADD):
            raise UnsupportedParameter(f"`include` {show(one)} isn't given out: leave it out.", param=parameter)
    if wanted := sorted(_INCLUDED.intersection(value)):
        kept = definition.settings.get(parameter)
        prepared.body[parameter] = [*(kept if isinstance(kept, list) else []), *wanted]
        prepared.caller_params.add(parameter)


def _store(parameter: str, value: Any, _: Definition, prepared: Prepared) -> None:
    prepared.store = _flag(parameter, value)


def _background(parameter: str, value: Any, _: Definition, prepared: Prepared) -> None:
    prepared.background = prepared.echo[parameter] = _flag(parameter, value)


def _previous(parameter: str, value: Any, _: Definition, prepared: Prepared) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidValue("`previous_response_id` must be the id of a response.", param=parameter)
    prepared.previous = prepared.echo[parameter] = value


def _conversation(parameter: str, value: Any, _: Definition, prepared: Prepared) -> None:
    found = value.get("id") if isinstance(value, dict) else value
    if not isinstance(found, str) or not found:
        raise InvalidValue("`conversation` must be the id of a conversation, or {id: …}.", param=parameter)
    prepared.conversation = found
    prepared.echo[parameter] = {"id": found}


def _flag(parameter: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"`{parameter}` must be true or false.", param=parameter)
    return value


_RULES: dict[str, Rule] = {
    "input": _input,
    "stream": _stream,
    "stream_options": _stream_options,
    "instructions": _instructions,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": _parallel,
    "temperature": _sampling(0, 2),
    "top_p": _sampling(0, 1),
    "max_output_tokens": _max_output_tokens,
    "metadata": _metadata,
    "text": _text,
    "reasoning": _reasoning,
    "include": _include,
    "user": _ignored,
    "safety_identifier": _ignored,
    "prompt_cache_key": _ignored,
    "store": _store,
    "previous_response_id": _previous,
    "conversation": _conversation,
    "background": _background,
    "truncation": _not_yet(f"{_BUILDERS} decides on truncation", "disabled"),
    "service_tier": _not_yet(f"{_BUILDERS} decides on the service tier", "auto", "default"),
    "top_logprobs": _not_yet("This node doesn't hand out log probabilities yet", 0),
    "max_tool_calls": _not_yet(f"{_BUILDERS} decides on tool calls"),
    "prompt": _not_yet(f"{_BUILDERS} decides on the prompt"),
    "prompt_cache_retention": _not_yet(f"{_BUILDERS} decides on caching"),
    "prompt_cache_options": _not_yet(f"{_BUILDERS} decides on caching"),
    "context_management": _not_yet(f"{_BUILDERS} decides on the context", []),
    "moderation": _not_yet(f"{_BUILDERS} decides on moderation"),
    "access_programs": _not_yet(f"{_BUILDERS} decides on access programmes"),
    "background_options": _not_yet("This node decides how background responses run"),
    "image": _not_yet(f"{_BUILDERS} decides on images"),
}
