"""A response as a chat completion, or its events as chunks. It is made from the public face, never the provider's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

Json = dict[str, Any]

DONE = b"data: [DONE]\n\n"
_NOTHING: Json = {"audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}


def completion_id(response_id: str) -> str:
    """`chatcmpl-…` for a response's public id."""
    return "chatcmpl-" + response_id.rpartition("_")[2]


def completion(response: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Json:
    """A chat completion. response: as the public face shows it, completed or incomplete."""
    texts: list[str] = []
    refusals: list[str] = []
    annotations: list[Json] = []
    calls: list[Json] = []
    for item in response["output"]:
        if item["type"] == "message":
            for part in item["content"]:
                if part["type"] == "refusal":
                    refusals.append(part["refusal"])
                elif part["type"] == "output_text":
                    offset = sum(map(len, texts))
                    annotations += [_cited(one, offset) for one in part["annotations"] if one["type"] == "url_citation"]
                    texts.append(part["text"])
        elif call := _call(item):
            calls.append(call)
    message: Json = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
        "annotations": annotations,
    }
    if calls:
        message["tool_calls"] = calls
    shown: Json = {
        "id": completion_id(response["id"]),
        "object": "chat.completion",
        "created": int(response["created_at"]),
        "model": response["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(response)}],
        "usage": usage(response["usage"]),
        "system_fingerprint": None,
    }
    if metadata is not None:
        shown["metadata"] = dict(metadata)
    return shown


def usage(value: Mapping[str, Any] | None) -> Json | None:
    """Usage in the words of Chat Completions."""
    if value is None:
        return None
    return {
        "prompt_tokens": value["input_tokens"],
        "completion_tokens": value["output_tokens"],
        "total_tokens": value["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": value["input_tokens_details"]["cached_tokens"], "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": value["output_tokens_details"]["reasoning_tokens"],
            **_NOTHING,
        },
    }


class Chunks:
    """A stream of chunks. include_usage: the caller asked for usage in the last one."""

    def __init__(self, name: str, include_usage: bool) -> None:
        self._head: Json = {
            "id": "",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": name,
            "system_fingerprint": None,
        }
        self._usage: Json = {"usage": None} if include_usage else {}
        self._begun = False
        self._calls: dict[int, int] = {}

    def event(self, shown: Mapping[str, Any]) -> bytes:
        """The chunks for one event of the public face; nothing for most kinds."""
        kind = shown["type"]
        if kind == "response.created":
            response = shown["response"]
            self._head |= {"id": completion_id(response["id"]), "created": int(response["created_at"])}
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            member = "content" if kind == "response.output_text.delta" else "refusal"
            return self._begin("") + self._chunk({member: shown["delta"]}, shown)
        elif kind == "response.output_item.added" and (call := _call(shown["item"])):
            number = self._calls[shown["output_index"]] = len(self._calls)
            return self._begin(None) + self._chunk({"tool_calls": [{"index": number, **call}]})
        elif kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            more = {"function": {"arguments": shown["delta"]}}
            if kind == "response.custom_tool_call_input.delta":
                more = {"custom": {"input": shown["delta"]}}
            number = self._calls.get(shown["output_index"], 0)
            return self._chunk({"tool_calls": [{"index": number, **more}]}, shown)
        return b""

    def end(self, response: Mapping[str, Any]) -> bytes:
        """The last chunks, for the finished response as the public face shows it."""
        told = self._begin("") + self._chunk({}, reason=_reason(response))
        if self._usage:
            told += _data({**self._head, "choices": [], "usage": usage(response["usage"])})
        return told + DONE

    def _begin(self, content: str | None) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return self._chunk({"role": "assistant", "content": content, "refusal": None})

    def _chunk(self, delta: Json, shown: Mapping[str, Any] | None = None, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk: Json = {**self._head, "choices": [choice], **self._usage}
        if shown is not None and "obfuscation" in shown:
            chunk["obfuscation"] = shown["obfuscation"]
        return _data(chunk)


def _data(value: object) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(value)


def _call(item: Mapping[str, Any]) -> Json | None:
    if item["type"] == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        return {"id": item["call_id"], "type": "function", "function": function}
    if item["type"] == "custom_tool_call":
        return {"id": item["call_id"], "type": "custom", "custom": {"name": item["name"], "input": item["input"]}}
    return None


def _cited(annotation: Mapping[str, Any], offset: int) -> Json:
    cited = {name: annotation[name] for name in ("title", "url")}
    start, end = annotation["start_index"] + offset, annotation["end_index"] + offset
    return {"type": "url_citation", "url_citation": {**cited, "start_index": start, "end_index": end}}


def _reason(response: Mapping[str, Any]) -> str:
    if response["status"] == "incomplete":
        details = response["incomplete_details"] or {}
        return "content_filter" if details.get("reason") == "content_filter" else "length"
    return "tool_calls" if any(_call(item) for item in response["output"]) else "stop"
