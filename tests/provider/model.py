"""The model: from what it is given to the items that it answers with, always the same for the same input."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.provider import sums, tokens
from tests.provider.errors import unknown_model
from tests.provider.script import Script, without_directives

Json = dict[str, Any]

MODELS: dict[str, str | None] = {
    "stand-in": None,
    "stand-in-reasoning": None,
    "stand-in-retiring": "2026-12-31",
}
"""Model → shutdown_date. `stand-in-reasoning` spends 8 reasoning tokens on each answer."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Everything the model is given. `items`: Responses items, oldest first, the new input last."""

    model: str
    items: list[Json]
    instructions: str | None = None
    tools: list[Json] = field(default_factory=list)
    tool_choice: Any = "auto"
    text_format: Json | None = None
    max_tokens: int | None = None

    @property
    def input_tokens(self) -> int:
        """Tokens of the instructions, the tools and all items."""
        return (
            tokens.count(self.instructions) + tokens.count_tools(self.tools) + sum(map(tokens.count_item, self.items))
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """Finished output items and what they cost. `truncated`: max_tokens was reached."""

    items: list[Json]
    truncated: bool
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int

    @property
    def text(self) -> str:
        """The text of the messages."""
        return "".join(p.get("text", "") for i in self.items if i["type"] == "message" for p in i["content"])


def known(model: str) -> str:
    """The model's name. Raises ApiError (404) for one that doesn't exist."""
    if model not in MODELS and not model.startswith("fault:"):
        raise unknown_model(model)
    return model


def script_of(turn: Turn, queued: Script) -> Script:
    """The directives that hold for a turn: queued ones, the model's, then the last user message's."""
    last = turn.items[-1] if turn.items else {}
    script = queued.with_model(turn.model)
    return script.with_text(_text(last)) if last.get("type") == "message" and last.get("role") == "user" else script


def answer(turn: Turn, script: Script) -> Answer:
    """Answers. Tool calls come first, once: after their outputs the model tells them."""
    outputs: list[Json] = []
    spent = script.reason or (8 if turn.model == "stand-in-reasoning" else 0)
    budget = turn.max_tokens if turn.max_tokens is not None else 1 << 40
    reasoning = min(spent, budget)
    if reasoning:
        thought = " ".join(f"thought-{n}" for n in range(1, reasoning + 1))
        outputs.append(
            {"id": new_id("rs"), "type": "reasoning", "summary": [{"type": "summary_text", "text": thought}]}
        )
    output_tokens = reasoning
    for name, arguments in _calls(turn, script):
        outputs.append(
            {
                "id": new_id("fc"),
                "type": "function_call",
                "status": "completed",
                "call_id": new_id("call", 24),
                "name": name,
                "arguments": arguments,
            }
        )
        output_tokens += tokens.count(name) + tokens.count(arguments)
    truncated = False
    if not any(item["type"] == "function_call" for item in outputs):
        pieces = tokens.split(_reply(turn, script))
        kept = pieces[: max(budget - output_tokens, 0)]
        truncated = len(kept) < len(pieces)
        output_tokens += len(kept)
        if kept or not truncated:
            outputs.append(_message("".join(kept), script.refuse is not None, truncated))
    return Answer(outputs, truncated, turn.input_tokens, output_tokens, reasoning)


def new_id(prefix: str, length: int = 48) -> str:
    """A new id in OpenAI's form, `resp_…`."""
    return f"{prefix}_{secrets.token_hex(length // 2)}"


def _message(text: str, refusal: bool, truncated: bool) -> Json:
    part: Json = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    if refusal:
        part = {"type": "refusal", "refusal": text}
    status = "incomplete" if truncated else "completed"
    return {"id": new_id("msg"), "type": "message", "status": status, "role": "assistant", "content": [part]}


def _calls(turn: Turn, script: Script) -> list[tuple[str, str]]:
    names = [tool["name"] for tool in turn.tools if tool.get("type") == "function"]
    if turn.tool_choice == "none" or not names:
        return []
    wanted = [call for call in script.calls if call[0] in names]
    if wanted:
        return wanted
    forced = turn.tool_choice == "required" or (isinstance(turn.tool_choice, dict) and "name" in turn.tool_choice)
    answered = bool(turn.items) and turn.items[-1].get("type") == "function_call_output"
    if forced and not answered:
        return [(turn.tool_choice["name"] if isinstance(turn.tool_choice, dict) else names[0], "{}")]
    return []


def _reply(turn: Turn, script: Script) -> str:
    if script.refuse is not None:
        return script.refuse
    if script.say is not None:
        return script.say
    if script.huge:
        return "x" * script.huge
    if script.tokens is not None:
        return " ".join(f"token-{n}" for n in range(1, script.tokens + 1))
    last = turn.items[-1] if turn.items else {}
    if last.get("type") == "function_call_output":
        return _told_outputs(turn)
    question = without_directives(_text(last))
    if turn.text_format and turn.text_format.get("type") in ("json_schema", "json_object"):
        return orjson.dumps(_instance(turn.text_format.get("schema") or {"type": "object"}, question)).decode()
    if script.tell:
        return "; ".join(_tell(turn, what) for what in script.tell)
    return sums.solve(question) or f"You said: {question}"


def _told_outputs(turn: Turn) -> str:
    names = {item["call_id"]: item["name"] for item in turn.items if item.get("type") == "function_call"}
    told: list[str] = []
    for item in reversed(turn.items):
        if item.get("type") != "function_call_output":
            break
        output = item["output"] if isinstance(item["output"], str) else _text({"content": item["output"]})
        told.append(f"{names.get(item['call_id'], 'tool')} returned {output}")
    return ". ".join(reversed(told))


def _tell(turn: Turn, what: str) -> str:
    if what == "instructions":
        return "instructions sha-256 " + hashlib.sha256((turn.instructions or "").encode()).hexdigest()
    if what == "tools":
        return "tools: " + ", ".join(str(tool.get("name", tool["type"])) for tool in turn.tools)
    texts = [f"{item['role']}: {without_directives(_text(item))}" for item in turn.items if item["type"] == "message"]
    return f"history of {len(turn.items)}: " + " | ".join(texts)


def _text(item: Json) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in content or () if isinstance(part.get("text"), str))


def _instance(schema: Json, text: str) -> Any:
    """The smallest value that fits the schema: strings repeat the question, integers count its tokens."""
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return _instance(schema[union][0], text)
    match schema["type"][0] if isinstance(schema.get("type"), list) else schema.get("type"):
        case "object":
            properties = schema.get("properties") or (
                {} if schema.get("required") is not None else {"answer": {"type": "string"}}
            )
            return {name: _instance(inner, text) for name, inner in properties.items()}
        case "array":
            return [_instance(schema.get("items", {"type": "string"}), text)]
        case "integer" | "number":
            return tokens.count(text)
        case "boolean":
            return True
        case "null":
            return None
    return text
