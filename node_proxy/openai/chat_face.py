"""A response as a chat completion, or its events as chunks. It is made from the public face, never the provider's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

Json = dict[str, Any]

DONE = b"data: [DONE]\n\n"
_TEXTS = {
    "response.output_text.delta": ("delta", "content"),
    "response.output_text.done": ("text", "content"),
    "response.refusal.delta": ("delta", "refusal"),
    "response.refusal.done": ("refusal", "refusal"),
}
_INPUTS = {
    "response.function_call_arguments.delta": ("delta", "function", "arguments"),
    "response.function_call_arguments.done": ("arguments", "function", "arguments"),
    "response.custom_tool_call_input.delta": ("delta", "custom", "input"),
    "response.custom_tool_call_input.done": ("input", "custom", "input"),
}
"""Events, the member with the text in them, and where it goes."""
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
        self._told: dict[tuple[int, int], int] = {}

    def event(self, shown: Mapping[str, Any]) -> bytes:
        """The chunks for one event of the public face; nothing for most kinds."""
        kind = shown["type"]
        if kind in _TEXTS:
            name, member = _TEXTS[kind]
            return self._say(shown["output_index"], shown["content_index"], member, shown[name], shown)
        if kind in _INPUTS:
            name, tool, member = _INPUTS[kind]
            return self._argue(shown["output_index"], tool, member, shown[name], shown)
        if kind == "response.created":
            self._name(shown["response"])
        elif kind == "response.output_item.added" and (call := _call(shown["item"])):
            return self._call(shown["output_index"], call)
        elif kind == "response.output_item.done":
            return self._item(shown["output_index"], shown["item"])
        return b""

    def end(self, response: Mapping[str, Any]) -> bytes:
        """The last chunks, for the finished response as the public face shows it."""
        told = b""
        if not self._head["id"]:
            self._name(response)
        if not self._begun:  # by a provider that sends nothing but the end
            told = b"".join(self._item(index, item) for index, item in enumerate(response["output"]))
        told += self._begin("") + self._chunk({}, reason=_reason(response))
        if self._usage:
            told += _data({**self._head, "choices": [], "usage": usage(response["usage"])})
        return told + DONE

    def _name(self, response: Mapping[str, Any]) -> None:
        self._head |= {"id": completion_id(response["id"]), "created": int(response["created_at"])}

    # Some providers leave out deltas, or every event but the last. Whatever a text is told by, it is told once.

    def _fresh(self, index: int, part: int, text: str, shown: Mapping[str, Any] | None) -> str:
        """What of a text wasn't told before: all of a delta, and the rest of what comes whole."""
        before = self._told.get((index, part), 0)
        fresh = text if shown is not None and "delta" in shown else text[before:]
        self._told[index, part] = before + len(fresh)
        return fresh

    def _say(self, index: int, part: int, member: str, text: str, shown: Mapping[str, Any] | None = None) -> bytes:
        fresh = self._fresh(index, part, text, shown)
        if not fresh and (shown is None or "delta" not in shown):
            return b""
        return self._begin("") + self._chunk({member: fresh}, shown)

    def _call(self, index: int, call: Json) -> bytes:
        number = self._calls[index] = len(self._calls)
        self._fresh(index, 0, call["function"]["arguments"] if "function" in call else call["custom"]["input"], None)
        return self._begin(None) + self._chunk({"tool_calls": [{"index": number, **call}]})

    def _argue(self, index: int, tool: str, member: str, text: str, shown: Mapping[str, Any] | None = None) -> bytes:
        number = self._calls.get(index)
        if number is None:
            return b""  # it comes whole, with its name
        fresh = self._fresh(index, 0, text, shown)
        if not fresh and (shown is None or "delta" not in shown):
            return b""
        return self._chunk({"tool_calls": [{"index": number, tool: {member: fresh}}]}, shown)

    def _item(self, index: int, item: Mapping[str, Any]) -> bytes:
        """What nothing was told of."""
        if call := _call(item):
            if index not in self._calls:
                return self._call(index, call)
            tool, member = ("function", "arguments") if "function" in call else ("custom", "input")
            return self._argue(index, tool, member, call[tool][member])
        if item["type"] != "message" or any(told == index for told, _ in self._told):
            return b""
        told = b""
        for number, part in enumerate(item["content"]):
            member, name = ("refusal", "refusal") if part["type"] == "refusal" else ("content", "text")
            told += self._say(index, number, member, part[name])
        return told

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
