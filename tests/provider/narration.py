"""A response as it grows: the server-sent events of Responses, in OpenAI's order."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.provider import tokens
from tests.provider.model import Answer, Json
from tests.provider.script import Script


def narrate(response: Json, answer: Answer, script: Script) -> Iterator[Json]:
    """Yields the events while it completes `response`, each with its `sequence_number`.

    After `script.fail_after` events the response fails, after `script.error_after` the stream ends with an error.
    """
    for number, event in enumerate(_events(response, answer, script)):
        if script.fail_after and number == script.fail_after[0]:
            fail(response, script.fail_after[1])
            event = {"type": "response.failed", "response": dict(response)}
        if script.error_after and number == script.error_after[0]:
            text = "The server had an error while processing your request. Sorry about that!"
            event = {"type": "error", "code": script.error_after[1], "message": text, "param": None}
        yield {**event, "sequence_number": number}
        if event["type"] in ("response.failed", "error"):
            return


def fail(response: Json, code: str) -> None:
    """Makes a response a failed one."""
    response["status"] = "failed"
    response["error"] = {
        "code": code,
        "message": "The server had an error while processing your request. Sorry about that!",
    }


def finish(response: Json, answer: Answer, script: Script) -> None:
    """Puts the answer and its usage into the response."""
    response["output"] = answer.items
    response["status"] = "incomplete" if answer.truncated else "completed"
    if answer.truncated:
        response["incomplete_details"] = {"reason": "max_output_tokens"}
    else:
        response["completed_at"] = int(time.time())
    if not script.no_usage:
        response["usage"] = {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        }


def _events(response: Json, answer: Answer, script: Script) -> Iterator[Json]:
    response["status"] = "queued" if response["background"] else "in_progress"
    yield {"type": "response.created", "response": dict(response)}
    if response["background"]:
        yield {"type": "response.queued", "response": dict(response)}
    response["status"] = "in_progress"
    yield {"type": "response.in_progress", "response": dict(response)}
    for index, item in enumerate(answer.items):
        yield from _ITEMS[item["type"]](index, item)
    finish(response, answer, script)
    yield {"type": f"response.{response['status']}", "response": dict(response)}


def _message(index: int, item: Json) -> Iterator[Json]:
    part = item["content"][0]
    refusal = part["type"] == "refusal"
    key, stem = ("refusal", "response.refusal") if refusal else ("text", "response.output_text")
    extra: Json = {} if refusal else {"logprobs": []}
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    started = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": index, "item": started}
    yield {"type": "response.content_part.added", **at, "part": {**part, key: ""}}
    for token in tokens.split(part[key]):
        yield {"type": f"{stem}.delta", **at, "delta": token, **extra}
    yield {"type": f"{stem}.done", **at, key: part[key], **extra}
    yield {"type": "response.content_part.done", **at, "part": part}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _function_call(index: int, item: Json) -> Iterator[Json]:
    at = {"item_id": item["id"], "output_index": index}
    stem = "response.function_call_arguments"
    started = {**item, "status": "in_progress", "arguments": ""}
    yield {"type": "response.output_item.added", "output_index": index, "item": started}
    for token in tokens.split(item["arguments"]):
        yield {"type": f"{stem}.delta", **at, "delta": token}
    yield {"type": f"{stem}.done", **at, "arguments": item["arguments"]}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _reasoning(index: int, item: Json) -> Iterator[Json]:
    text = item["summary"][0]["text"]
    at = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    stem = "response.reasoning_summary"
    yield {"type": "response.output_item.added", "output_index": index, "item": {**item, "summary": []}}
    yield {"type": f"{stem}_part.added", **at, "part": {"type": "summary_text", "text": ""}}
    for token in tokens.split(text):
        yield {"type": f"{stem}_text.delta", **at, "delta": token}
    yield {"type": f"{stem}_text.done", **at, "text": text}
    yield {"type": f"{stem}_part.done", **at, "part": {"type": "summary_text", "text": text}}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


_ITEMS = {"message": _message, "function_call": _function_call, "reasoning": _reasoning}
