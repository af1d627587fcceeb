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

from node_proxy.errors import BadRequest, InvalidValue, UnsupportedParameter
from nvm_chain.definition import Definition
from nvm_chain.text import show

Json = dict[str, Any]

MAX_ITEMS = 2_000
MAX_FUNCTIONS = 128
_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BUILDERS = "The builder of this assistant"


class UnknownParameter(BadRequest):
    """A parameter that the Responses API doesn't have, or that the builder doesn't allow (HTTP 400)."""

    code = "unknown_parameter"


@dataclass(slots=True)
class Prepared:
    """A request that has been checked.

    body: for the provider. stream: whether the caller wants events. echo: members of the response that repeat what the
    caller asked for. caller_params: names in `body` whose faults are the caller's.
    """

    body: Json
    stream: bool = False
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
    if request.get("input") is None:
        raise InvalidValue("`input` is missing: give a text, or a list of input items.", param="input")
    for parameter, value in request.items():
        if value is None or parameter == "model":
            continue
        rule = _RULES.get(parameter)
        if rule is not None:
            rule(parameter, value, definition, prepared)
        elif definition.policy.unknown_fields and parameter not in prepared.body:
            prepared.body[parameter] = value
            prepared.caller_params.add(parameter)
        else:
            raise UnknownParameter(f"Unknown parameter: {show(parameter)}.", param=parameter[:100])
    if prepared.stream:
        prepared.body["stream"] = True
    prepared.echo["model"] = name
    return prepared


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
        return
    if not isinstance(value, list) or not value:
        raise InvalidValue("`input` must be a text or a list of at least one input item.", param=parameter)
    if len(value) > MAX_ITEMS:
        raise InvalidValue(f"`input` has {len(value)} items, at most {MAX_ITEMS} are taken.", param=parameter)
    items = [_item(f"input[{number}]", item, definition) for number, item in enumerate(value)]
    prepared.body["input"] = [item for item in items if item is not None]


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


_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
"""The setting that bounds an answer, in the words of every dialect."""


def _max_output_tokens(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if type(value) is not int or value < 1:
        raise InvalidValue(f"`{parameter}` must be a whole number of at least 1.", param=parameter)
    fixed = next((definition.settings[name] for name in _LIMITS if name in definition.settings), None)
    limit = definition.policy.max_output_tokens or (fixed if type(fixed) is int else None)
    if limit is not None and value > limit:
        raise InvalidValue(f"{_BUILDERS} allows `{parameter}` up to {limit}, not {value}.", param=parameter)
    prepared.body[parameter] = prepared.echo[parameter] = value
    prepared.caller_params.add(parameter)


def _metadata(parameter: str, value: Any, definition: Definition, prepared: Prepared) -> None:
    if not isinstance(value, dict) or len(value) > 16:
        raise InvalidValue("`metadata` must be an object of at most 16 pairs.", param=parameter)
    for key, text in value.items():
        if len(key) > 64 or not isinstance(text, str) or len(text) > 512:
            raise InvalidValue(
                f"`metadata` takes keys of at most 64 and texts of at most 512 characters; {show(key)} is neither.",
                param=parameter,
            )
    if value and not definition.policy.metadata:
        raise _not_allowed(parameter, "metadata")
    prepared.echo[parameter] = dict(value)  # stays with us: the provider belongs to the builder


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


def _include(parameter: str, value: Any, _: Definition, __: Prepared) -> None:
    if value != []:
        raise UnsupportedParameter("This node doesn't take `include` yet: leave it out.", param=parameter)


def _flag(parameter: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"`{parameter}` must be true or false.", param=parameter)
    return value


_NO_STATE = "This node keeps no responses and conversations yet; send the whole history in `input`"
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
    "store": _not_yet(_NO_STATE, False),
    "previous_response_id": _not_yet(_NO_STATE),
    "conversation": _not_yet(_NO_STATE),
    "background": _not_yet("This node doesn't run responses in the background yet", False),
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
    "background_options": _not_yet("This node doesn't run responses in the background yet"),
    "image": _not_yet(f"{_BUILDERS} decides on images"),
}


# -------------------------------------------------------------------------------------------------------- input items

_HOSTED = frozenset(
    {
        *("reasoning", "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
        *("compaction", "mcp_call", "mcp_list_tools"),
    }
)
"""Items of an earlier output that the provider can't be given back, since their ids are ours: left out."""


def _item(where: str, item: Any, definition: Definition) -> Json | None:
    if not isinstance(item, dict):
        raise InvalidValue(f"`{where}` must be an object.", param=where)
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "message":
        return _message(where, item, definition)
    if kind == "function_call":
        return {
            "type": kind,
            **{name: _need_text(where, item, name) for name in ("call_id", "name", "arguments")},
        }
    if kind == "function_call_output":
        return {"type": kind, "call_id": _need_text(where, item, "call_id"), "output": _output(where, item, definition)}
    if kind == "custom_tool_call":
        return {"type": kind, **{name: _need_text(where, item, name) for name in ("call_id", "name", "input")}}
    if kind == "custom_tool_call_output":
        return {"type": kind, "call_id": _need_text(where, item, "call_id"), "output": _output(where, item, definition)}
    if isinstance(kind, str) and kind in _HOSTED:
        return None
    if kind == "item_reference":
        raise UnsupportedParameter(f"{_NO_STATE}: `{where}` is a reference to an item.", param=where)
    raise InvalidValue(f"`{where}.type` {show(kind)} is not an input item that this node takes.", param=f"{where}.type")


def _message(where: str, item: Json, definition: Definition) -> Json:
    role, content = item.get("role"), item.get("content")
    if role in ("system", "developer") and not definition.policy.extra_instructions:
        raise UnsupportedParameter(
            f"{_BUILDERS} doesn't allow callers to add instructions: `{where}.role` can't be {role}.",
            param=f"{where}.role",
        )
    if role not in ("user", "assistant", "system", "developer"):
        raise InvalidValue(f"`{where}.role` {show(role)} is not user or assistant.", param=f"{where}.role")
    if isinstance(content, str):
        return {"type": "message", "role": role, "content": content}
    if not isinstance(content, list):
        raise InvalidValue(f"`{where}.content` must be a text or a list.", param=f"{where}.content")
    if role == "assistant":
        return {"type": "message", "role": role, "content": _said(where, content)}
    parts = [_part(f"{where}.content[{number}]", part, definition) for number, part in enumerate(content)]
    return {"type": "message", "role": role, "content": parts}


def _said(where: str, content: list[Any]) -> str:
    """An earlier answer as plain text: its ids, annotations and status are ours and mean nothing to the provider."""
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else None
        if kind not in ("output_text", "input_text", "refusal") or not isinstance(text, str):
            at = f"{where}.content[{number}]"
            raise InvalidValue(f"`{at}` must be an output_text or a refusal.", param=at)
        texts.append(text)
    return "\n".join(texts)


def _part(where: str, part: Any, definition: Definition) -> Json:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "input_text":
        return {"type": kind, "text": _need_text(where, part, "text")}
    if kind not in ("input_image", "input_file"):
        raise InvalidValue(
            f"`{where}.type` {show(kind)} is not input_text, input_image or input_file.", param=f"{where}.type"
        )
    if not (definition.policy.images if kind == "input_image" else definition.policy.files):
        raise UnsupportedParameter(
            f"{_BUILDERS} doesn't allow {'images' if kind == 'input_image' else 'files'} in the input.", param=where
        )
    if part.get("file_id") is not None:
        raise UnsupportedParameter(
            f"This node keeps no files yet: give `{where}` inline or by URL instead of `file_id`.",
            param=f"{where}.file_id",
        )
    names = ("image_url", "detail") if kind == "input_image" else ("file_data", "file_url", "filename")
    kept = {name: _need_text(where, part, name) for name in names if part.get(name) is not None}
    for name in ("image_url", "file_url"):
        if name in kept and not kept[name].startswith(("https://", "data:") if name == "image_url" else "https://"):
            raise InvalidValue(f"`{where}.{name}` must start with https://.", param=f"{where}.{name}")
    return {"type": kind, **kept}


def _output(where: str, item: Json, definition: Definition) -> str | list[Json]:
    output = item.get("output")
    if isinstance(output, str):
        return output
    if not isinstance(output, list):
        raise InvalidValue(f"`{where}.output` must be a text or a list.", param=f"{where}.output")
    return [_part(f"{where}.output[{number}]", part, definition) for number, part in enumerate(output)]


def _need_text(where: str, item: Json, name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidValue(f"`{where}.{name}` must be a text.", param=f"{where}.{name}")
    return value
