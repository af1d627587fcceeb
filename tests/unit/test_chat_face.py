"""Chunks of a chat completion: all of an answer, once, whichever events its provider tells it by."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.openai.chat_face import DONE, Chunks
from node_proxy.openai.face import Face
from node_proxy.openai.ids import IdMap

Json = dict[str, Any]
PART = {"type": "output_text", "text": "hello you", "annotations": []}
REFUSAL = {"type": "refusal", "refusal": "never"}
ITEMS: list[Json] = [
    {"type": "message", "id": "msg_1", "role": "assistant", "content": [PART, REFUSAL]},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'},
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "g", "input": "as it is"},
]
RESPONSE: Json = {"id": "resp_1", "status": "completed", "created_at": 1, "output": ITEMS}


def events() -> list[Json]:
    """All that a provider with every event would send between the first and the last."""
    told: list[Json] = []
    for index, item in enumerate(ITEMS):
        at = {"output_index": index, "item_id": item["id"]}
        empty: Json = (
            {"content": []} if "content" in item else {name: "" for name in ("arguments", "input") if name in item}
        )
        told.append({"type": "response.output_item.added", "item": {**item, **empty}, **at})
        kinds: list[tuple[str, str, str]] = []
        if "content" in item:
            kinds = [("output_text", "text", "hello you"), ("refusal", "refusal", "never")]
        elif "arguments" in item:
            kinds = [("function_call_arguments", "arguments", item["arguments"])]
        else:
            kinds = [("custom_tool_call_input", "input", item["input"])]
        for part, (kind, name, text) in enumerate(kinds):
            at["content_index"] = part
            told += [{"type": f"response.{kind}.delta", "delta": one, **at} for one in (text[:3], text[3:])]
            told.append({"type": f"response.{kind}.done", name: text, **at})
        told.append({"type": "response.output_item.done", "item": item, **at})
    return told


def heard(told: list[Json]) -> Json:
    """What a client makes of the chunks."""
    face, chunks = Face(IdMap(b"k" * 32, "0x1", "0x2"), "did", {}), Chunks("did", False)
    first = {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}}
    sent = b""
    for event in (first, *told):
        shown = face.event(event)
        sent += b"" if shown is None else chunks.event(shown)
    sent += chunks.end(face.response(RESPONSE))
    assert sent.endswith(DONE)
    message: Json = {"content": "", "refusal": "", "calls": {}}
    for line in sent.removesuffix(DONE).split(b"\n\n")[:-1]:
        (choice,) = orjson.loads(line.removeprefix(b"data: "))["choices"]
        for name in ("content", "refusal"):
            message[name] += choice["delta"].get(name) or ""
        for call in choice["delta"].get("tool_calls", ()):
            known = message["calls"].setdefault(call["index"], ["", ""])
            inner = call.get("function") or call["custom"]
            known[0] += inner.get("name", "")
            known[1] += inner.get("arguments", inner.get("input"))
    return message


WHOLE: Json = {
    "content": "hello you",
    "refusal": "never",
    "calls": {0: ["f", '{"a": 1}'], 1: ["g", "as it is"]},
}


INNER = ("text.done", "refusal.done", "arguments.done", "input.done")


def is_kind(event: Json, *ends: str) -> bool:
    return bool(event["type"].endswith(ends))


@pytest.mark.parametrize("left_out", [(), (".delta",), (".done",), (".added", ".delta"), (".delta", *INNER)])
def test_an_answer_is_told_whole_and_once(left_out: tuple[str, ...]) -> None:
    assert heard([event for event in events() if not is_kind(event, *left_out)]) == WHOLE


def test_a_provider_that_sends_nothing_but_the_end_is_understood() -> None:
    assert heard([]) == WHOLE


@given(st.sets(st.integers(0, 40)))
def test_no_event_that_is_left_out_makes_a_text_come_twice(left_out: set[int]) -> None:
    got = heard([event for number, event in enumerate(events()) if number not in left_out])
    assert len(got["content"]) <= len(WHOLE["content"])
    assert len(got["calls"]) <= 2
