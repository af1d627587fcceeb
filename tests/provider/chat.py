"""Chat Completions: plain and streamed. Usage comes in a stream's last chunk, only when asked for."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from tests.provider import items, tokens
from tests.provider.bounds import check_bounds
from tests.provider.errors import invalid, scripted
from tests.provider.model import Answer, Json, Turn, answer, known, new_id, script_of
from tests.provider.script import Script
from tests.provider.shape import check
from tests.provider.wire import QUEUED, frame, pause, read_json, send_events, send_json


class _Create(CompletionCreateParamsBase, total=False):
    stream: bool | None


def add_routes(app: web.Application) -> None:
    """Adds the surface's routes."""
    app.router.add_post("/v1/chat/completions", _create)


async def _create(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    # Answers come back as they were sent, or as the client's helpers show them: OpenAI takes fields that its own types
    # don't know for input.
    for message in body["messages"] if isinstance(body.get("messages"), list) else ():
        if isinstance(message, dict) and message.get("role") == "assistant":
            message.pop("annotations", None)
            message.pop("parsed", None)
            for call in message.get("tool_calls") or ():
                call.pop("index", None)
                call["function"].pop("parsed_arguments", None)
    check(body, _Create)
    check_bounds(body)
    _check_rules(body)
    turn = _turn(body)
    script = script_of(turn, request[QUEUED])
    if failure := script.failure():
        raise failure
    answers = [answer(turn, script) for _ in range(body.get("n") or 1)]
    head: Json = {
        "id": new_id("chatcmpl", 30).replace("_", "-"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_stand_in",
    }
    if body.get("stream"):
        include = bool((body.get("stream_options") or {}).get("include_usage"))
        return await send_events(request, _chunks(head, answers, script, include), script)
    if failing := script.fail_after or script.error_after:
        await pause(script.wait)
        raise scripted(500, failing[1])
    choices = [
        {"index": index, "message": _message(one), "logprobs": None, "finish_reason": _reason(one)}
        for index, one in enumerate(answers)
    ]
    usage = None if script.no_usage else _usage(answers)
    return await send_json(request, {**head, "choices": choices, "usage": usage}, script)


async def _chunks(head: Json, answers: list[Answer], script: Script, include_usage: bool) -> AsyncIterator[bytes]:
    head = {**head, "object": "chat.completion.chunk"}
    usage: Json = {"usage": None} if include_usage else {}
    failing = script.fail_after or script.error_after
    sent = 0
    for index, one in enumerate(answers):
        for delta, reason in _deltas(one):
            if failing and sent == failing[0]:
                yield frame(scripted(500, failing[1]).envelope())
                return
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
            yield frame({**head, "choices": [choice], **usage})
            sent += 1
    if include_usage and not script.no_usage:
        yield frame({**head, "choices": [], "usage": _usage(answers)})
    yield frame(b"[DONE]")


def _deltas(one: Answer) -> list[tuple[Json, str | None]]:
    """The deltas of one choice; the last carries the finish reason."""
    deltas: list[tuple[Json, str | None]] = []
    message = _message(one)
    calls = message.get("tool_calls") or []
    content = None if calls else ""
    deltas.append(({"role": "assistant", "content": content, "refusal": None}, None))
    for key in ("content", "refusal"):
        deltas += [({key: token}, None) for token in tokens.split(message[key] or "")]
    for index, call in enumerate(calls):
        name = {"name": call["function"]["name"], "arguments": ""}
        deltas.append(
            ({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": name}]}, None)
        )
        for token in tokens.split(call["function"]["arguments"]):
            deltas.append(({"tool_calls": [{"index": index, "function": {"arguments": token}}]}, None))
    return [*deltas, ({}, _reason(one))]


def _message(one: Answer) -> Json:
    message: Json = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    calls = []
    for item in one.items:
        if item["type"] == "message":
            part = item["content"][0]
            message["refusal" if part["type"] == "refusal" else "content"] = part.get("text", part.get("refusal"))
        elif item["type"] == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            calls.append({"id": item["call_id"], "type": "function", "function": function})
    return {**message, "tool_calls": calls} if calls else message


def _reason(one: Answer) -> str:
    if any(item["type"] == "function_call" for item in one.items):
        return "tool_calls"
    return "length" if one.truncated else "stop"


def _usage(answers: list[Answer]) -> Json:
    prompt, completion = answers[0].input_tokens, sum(one.output_tokens for one in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(one.reasoning_tokens for one in answers),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _check_rules(body: Json) -> None:
    known(body["model"])
    if not body["messages"]:
        text = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        )
        raise invalid(text, "messages", "empty_array")
    if body.get("stream_options") and not body.get("stream"):
        raise invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", "max_tokens"
        )
    open_calls: list[str] = []
    for index, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                raise invalid(f"Invalid parameter: {text}", f"messages[{index}].role")
            open_calls.remove(message["tool_call_id"])
        elif open_calls:
            break
        else:
            open_calls = [call["id"] for call in message.get("tool_calls") or ()]
    if open_calls:
        raise invalid(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
            "messages",
        )


def _turn(body: Json) -> Turn:
    """The messages as the model sees them: system messages are instructions, tool messages are outputs."""
    instructions: list[str] = []
    history: list[Json] = []
    for message in body["messages"]:
        text = _text(message.get("content"))
        if message["role"] in ("system", "developer"):
            instructions.append(text)
        elif message["role"] == "tool":
            history.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": text})
        else:
            if message.get("content"):
                content = [_part(part) for part in _parts(message["content"])]
                history.append({"type": "message", "role": message["role"], "content": content})
            for call in message.get("tool_calls") or ():
                history.append({"type": "function_call", "call_id": call["id"], **call["function"]})
    items.check_calls(history)
    choice: Any = body.get("tool_choice") or "auto"
    choice = choice["function"] if isinstance(choice, dict) and "function" in choice else choice
    tools = [{"type": "function", **tool["function"]} for tool in body.get("tools") or () if "function" in tool]
    return Turn(
        model=body["model"],
        items=history,
        instructions="\n".join(instructions) or None,
        tools=tools,
        tool_choice=choice,
        text_format=_text_format(body.get("response_format")),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
    )


def _text_format(response_format: Json | None) -> Json | None:
    if response_format and response_format["type"] == "json_schema":
        return {"type": "json_schema", **response_format["json_schema"]}
    return response_format


def _parts(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _part(part: Json) -> Json:
    kinds = {"image_url": "input_image", "file": "input_file"}
    kind = kinds.get(part["type"])
    return {"type": kind} if kind else {"type": "input_text", "text": part.get("text") or part.get("refusal") or ""}


def _text(content: Any) -> str:
    return "\n".join(part.get("text", "") for part in _parts(content)) if content else ""
