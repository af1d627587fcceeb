"""The public face of a Response: valid for OpenAI's own types, and nothing of the builder's in it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from node_proxy.openai.face import (
    _EVENTS,
    Face,
    _delta,
    _id,
    _list,
    _message,
    _object,
    _one_of,
    _Optional,
    _part,
    _phase,
)
from node_proxy.openai.ids import IdMap, safety_identifier
from node_proxy.openai.metering import read_usage
from node_proxy.relay import sse

DID = "did:nv:" + "ab" * 32
OWNER, SUBSCRIBER, OTHER = "0x" + "1" * 40, "0x" + "2" * 40, "0x" + "3" * 40
SECRET = b"k" * 32
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

PRIVATE = {
    "instructions": "PRIVATE instructions",
    "model": "PRIVATE-model",
    "tools": [
        {"type": "file_search", "vector_store_ids": ["vs_PRIVATE"]},
        {"type": "mcp", "server_url": "https://PRIVATE"},
    ],
    "tool_choice": {"type": "file_search", "PRIVATE": 1},
    "prompt": {"id": "pmpt_PRIVATE"},
    "metadata": {"PRIVATE": "PRIVATE"},
    "user": "PRIVATE",
    "safety_identifier": "PRIVATE",
    "prompt_cache_key": "PRIVATE",
    "service_tier": "PRIVATE",
    "reasoning": {"effort": "PRIVATE"},
    "text": {"format": {"type": "json_schema", "name": "PRIVATE", "schema": {}}},
    "conversation": {"id": "conv_PRIVATE"},
    "previous_response_id": "resp_PRIVATE",
    "billing": {"payer": "PRIVATE"},
    "something_new": {"deep": ["PRIVATE"]},
}
USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 3, "PRIVATE": 1},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 16,
}
ITEMS: list[dict[str, Any]] = [
    {
        "id": "rs_PRIVATE1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "thought"}],
        "content": [{"type": "reasoning_text", "text": "My instructions are: PRIVATE"}],
        "encrypted_content": "PRIVATE",
    },
    {"id": "mcpl_PRIVATE", "type": "mcp_list_tools", "server_label": "PRIVATE", "tools": [{"name": "PRIVATE"}]},
    {
        "id": "fs_PRIVATE",
        "type": "file_search_call",
        "status": "completed",
        "queries": ["q"],
        "results": [{"text": "PRIVATE", "file_id": "file-PRIVATE"}],
    },
    {
        "id": "ws_PRIVATE",
        "type": "web_search_call",
        "status": "completed",
        "action": {
            "type": "search",
            "query": "q",
            "PRIVATE": 1,
            "sources": [{"type": "url", "url": "https://example.org/a", "PRIVATE": 1}, {"type": "PRIVATE"}],
        },
    },
    {
        "id": "ci_PRIVATE",
        "type": "code_interpreter_call",
        "status": "completed",
        "code": "1",
        "container_id": "cntr_PRIVATE",
        "outputs": [{"type": "logs", "logs": "PRIVATE"}],
    },
    {
        "id": "fc_PRIVATE",
        "type": "function_call",
        "call_id": "call_PRIVATE",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    },
    {
        "id": "msg_PRIVATE",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [
            {
                "type": "output_text",
                "text": "hello",
                "annotations": [
                    {"type": "file_citation", "file_id": "file-PRIVATE", "filename": "handbook.pdf", "index": 1},
                    {"type": "url_citation", "url": "https://a", "title": "t", "start_index": 0, "end_index": 1},
                    {"type": "new_citation", "secret": "PRIVATE"},
                ],
                "logprobs": [{"token": "PRIVATE"}],
            },
            {"type": "refusal", "refusal": "no"},
            {"type": "new_part", "secret": "PRIVATE"},
        ],
    },
    {"id": "x_PRIVATE", "type": "brand_new_call", "secret": "PRIVATE"},
]
RESPONSE = {
    "id": "resp_PRIVATE",
    "object": "response",
    "created_at": 1.5,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "output": ITEMS,
    "parallel_tool_calls": False,
    "temperature": 0.123,
    "top_p": 0.456,
    "max_output_tokens": 789,
    "usage": USAGE,
    **PRIVATE,
}


def face(subscriber: str = SUBSCRIBER, **echo: Any) -> Face:
    return Face(IdMap(SECRET, OWNER, subscriber), DID, echo)


def strictly(value: dict[str, Any]) -> Response:
    return Response.model_validate_json(orjson.dumps(value), strict=True)


def test_a_response_is_valid_for_openais_types_and_holds_nothing_private() -> None:
    shown = face().response(RESPONSE)
    assert b"PRIVATE" not in orjson.dumps(shown)
    assert b"789" not in orjson.dumps(shown)
    parsed = strictly(shown)
    assert parsed.model == DID
    assert parsed.instructions is None
    assert parsed.tools == []
    assert parsed.temperature is None
    assert parsed.output_text == "hello"
    assert [item.type for item in parsed.output] == [
        *("reasoning", "file_search_call", "web_search_call", "code_interpreter_call", "function_call", "message")
    ]
    (search,) = (item for item in shown["output"] if item["type"] == "web_search_call")
    assert search["action"]["sources"] == [{"type": "url", "url": "https://example.org/a"}]
    assert parsed.usage is not None
    assert parsed.usage.total_tokens == 16
    assert parsed.usage.input_tokens_details.cached_tokens == 3


def test_what_the_caller_asked_for_is_repeated() -> None:
    shown = strictly(face(temperature=0.5, metadata={"a": "b"}).response(RESPONSE))
    assert shown.temperature == 0.5
    assert shown.metadata == {"a": "b"}


def test_a_poor_response_of_a_small_server_becomes_a_valid_one() -> None:
    shown = strictly(
        face().response({"id": "7", "output": [{"type": "message", "content": []}], "usage": {"input_tokens": 1}})
    )
    assert shown.id.startswith("resp_")
    assert shown.output[0].type == "message"


def called(id: str | None, number: int) -> dict[str, Any]:
    given = {"type": "function_call", "call_id": f"call_{number}", "name": "f", "arguments": "{}"}
    return given if id is None else {"id": id, **given}


@given(st.lists(st.sampled_from([None, "", "msg_0", "fc_0", "1", "#0"]), min_size=1, max_size=5))
def test_items_of_one_answer_have_ids_of_their_own_in_the_stream_and_at_its_end(given_ids: list[str | None]) -> None:
    shower = face()
    response = {"id": "resp_1", "status": "in_progress", "output": []}
    shower.event({"type": "response.created", "response": response})
    added, told, items = [], [], [called(id, number) for number, id in enumerate(given_ids)]
    for number, item in enumerate(items):
        at = {"output_index": number, "item_id": item.get("id")}
        added.append(shower.event({"type": "response.output_item.added", "item": item, **at}))
        told.append(shower.event({"type": "response.function_call_arguments.delta", "delta": "{}", **at}))
    shown = [item["id"] for item in shower.response({**response, "output": items})["output"]]
    assert len(set(shown)) == len(items)
    assert [event and event["item"]["id"] for event in added] == shown
    assert [event and event["item_id"] for event in told] == shown
    other = face().response({"id": "resp_2", "output": [called(None, 0)]})
    assert other["output"][0]["id"] not in shown


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(allow_nan=False),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "id",
                        "output",
                        "usage",
                        "content",
                        "type",
                        "error",
                        "text",
                        "code",
                        "reason",
                        "incomplete_details",
                        "status",
                        "summary",
                        "action",
                    ]
                ),
                x,
            )
        ),
    )
)
def test_no_garbage_makes_the_face_fail(garbage: Any) -> None:
    value = garbage if isinstance(garbage, dict) else {"output": garbage, "usage": garbage, "error": garbage}
    strictly(face().response(value))
    for kind in ("response.output_item.added", "response.content_part.done", "response.output_text.delta"):
        face().event({"type": kind, "item": garbage, "part": garbage, "output_index": garbage, "delta": garbage})
    read_usage(value)


def test_a_failure_is_told_without_the_providers_words() -> None:
    error = {"code": "server_error", "message": "key sk-PRIVATE of org PRIVATE"}
    shown = strictly(face().response({**RESPONSE, "status": "failed", "error": error}))
    assert shown.error is not None
    assert shown.error.code == "server_error"
    assert "PRIVATE" not in shown.error.message


def events() -> list[dict[str, Any]]:
    at = {"item_id": "msg_PRIVATE", "output_index": 2, "content_index": 0}
    thought = {"item_id": "rs_PRIVATE1", "output_index": 0, "summary_index": 0}
    aloud = {"item_id": "rs_PRIVATE1", "output_index": 0, "content_index": 0}
    bare = {**RESPONSE, "output": [], "usage": None, "status": "in_progress"}
    plain: list[dict[str, Any]] = [
        {"type": "response.created", "response": bare},
        {"type": "response.in_progress", "response": bare},
        {"type": "response.output_item.added", "output_index": 0, "item": ITEMS[0]},
        {"type": "response.reasoning_summary_part.added", **thought, "part": {"type": "summary_text", "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **thought, "delta": "t"},
        {"type": "response.content_part.added", **aloud, "part": {"type": "reasoning_text", "text": ""}},
        {"type": "response.reasoning_text.delta", **aloud, "delta": "My instructions are: PRIVATE"},
        {"type": "response.reasoning_text.done", **aloud, "text": "My instructions are: PRIVATE"},
        {"type": "response.content_part.done", **aloud, "part": ITEMS[0]["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": ITEMS[0]},
        {"type": "response.output_item.added", "output_index": 1, "item": ITEMS[1]},
        {"type": "response.mcp_list_tools.in_progress", "item_id": "mcpl_PRIVATE", "output_index": 1},
        {"type": "response.output_item.done", "output_index": 1, "item": ITEMS[1]},
        {"type": "response.output_item.added", "output_index": 2, "item": {**ITEMS[6], "content": []}},
        {"type": "response.content_part.added", **at, "part": {"type": "output_text", "text": "", "annotations": []}},
        {"type": "response.output_text.delta", **at, "delta": "hello", "logprobs": [], "obfuscation": "xx"},
        {"type": "response.output_text.annotation.added", **at, "annotation_index": 0,
         "annotation": ITEMS[6]["content"][0]["annotations"][0]},
        {"type": "response.output_text.done", **at, "text": "hello", "logprobs": []},
        {"type": "response.content_part.done", **at, "part": ITEMS[6]["content"][0]},
        {"type": "response.output_item.done", "output_index": 2, "item": ITEMS[6]},
        {"type": "response.brand_new.event", "secret": "PRIVATE"},
        {"type": "response.completed", "response": RESPONSE},
    ]  # fmt: skip
    return [{**event, "sequence_number": number} for number, event in enumerate(plain)]


def test_events_are_valid_for_openais_types_numbered_without_gaps_and_hold_nothing_private() -> None:
    shower = face()
    shown = [one for event in events() if (one := shower.event(event)) is not None]
    assert b"PRIVATE" not in orjson.dumps(shown)
    parsed = [EVENT.validate_json(orjson.dumps(one), strict=True) for one in shown]
    assert [event.sequence_number for event in parsed] == list(range(len(parsed)))
    hidden = {"response.mcp_list_tools.in_progress", "response.brand_new.event"}
    hidden |= {"response.reasoning_text.delta", "response.reasoning_text.done"}
    assert [event.type for event in parsed] == [
        event["type"]
        for event in events()
        if event["type"] not in hidden
        and event.get("item") is not ITEMS[1]
        and event.get("part", {}).get("type") != "reasoning_text"
    ]


def test_positions_close_up_behind_a_hidden_item() -> None:
    shower = face()
    shown = [one for event in events() if (one := shower.event(event)) is not None]
    message = [one for one in shown if one.get("item_id", "").startswith("msg_")]
    assert {one["output_index"] for one in message} == {1}
    last = shown[-1]["response"]["output"]
    assert last[1]["type"] == "file_search_call"
    assert shown[4]["output_index"] == 0


def test_ids_agree_between_events_and_the_whole() -> None:
    shower = face()
    shown = [one for event in events() if (one := shower.event(event)) is not None]
    whole = shown[-1]["response"]
    assert shown[0]["response"]["id"] == whole["id"]
    assert {one["item_id"] for one in shown if one.get("item_id", "").startswith("msg_")} == {whole["output"][-1]["id"]}


# ---------------------------------------------------------------------------------------------------------------- ids


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_ids_are_the_same_every_time_and_differ_between_objects_and_subscribers(one: str, two: str) -> None:
    mine, yours = IdMap(SECRET, OWNER, SUBSCRIBER), IdMap(SECRET, OWNER, OTHER)
    assert mine.public(one) == IdMap(SECRET, OWNER, SUBSCRIBER).public(one)
    assert mine.public(one) != yours.public(one)
    assert (mine.public(one) == mine.public(two)) == (one == two)


def test_ids_of_a_provider_that_keeps_nothing_are_of_one_answer() -> None:
    one, two = (IdMap(SECRET, OWNER, SUBSCRIBER, forgetful=True) for _ in range(2))
    assert one.public("resp_1") == one.public("resp_1") != one.public("resp_2")
    assert one.public("resp_1") != two.public("resp_1")


@pytest.mark.parametrize(
    ("theirs", "prefix"),
    [("resp_abc", "resp_"), ("file-abc", "file-"), ("7f3a", "msg_"), ("", "msg_"), ("MSG_x", "msg_"), (None, "msg_")],
)
def test_ids_keep_their_kind_and_nothing_else(theirs: object, prefix: str) -> None:
    ours = IdMap(SECRET, OWNER, SUBSCRIBER).public(theirs, "msg_")
    assert ours.startswith(prefix)
    assert len(ours) == len(prefix) + 48


def test_the_safety_identifier_names_the_subscriber_to_one_builder_only() -> None:
    mine = safety_identifier(SECRET, OWNER, SUBSCRIBER)
    assert mine == safety_identifier(SECRET, OWNER, SUBSCRIBER.upper().replace("0X", "0x"))
    assert len({mine, safety_identifier(SECRET, OTHER, SUBSCRIBER), safety_identifier(SECRET, OWNER, OTHER)}) == 3
    assert SUBSCRIBER[2:] not in mine
    assert len(mine) <= 64


# -------------------------------------------------------------------------------------------------------------- usage


def test_usage_counts_tokens_and_hosted_tools_but_not_the_callers_functions() -> None:
    usage = read_usage(RESPONSE)
    assert usage is not None
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens) == (11, 3, 5, 2)
    assert usage.tool_calls == {
        "file_search_call": 1,
        "web_search_call": 1,
        "code_interpreter_call": 1,
        "brand_new_call": 1,
    }


@pytest.mark.parametrize(
    "usage",
    [
        None,
        5,
        {},
        {"input_tokens": 1},
        *({"input_tokens": count, "output_tokens": 1} for count in (-1, 1.5, True, "1")),
    ],
)
def test_usage_that_can_not_be_is_no_usage(usage: object) -> None:
    assert read_usage({"usage": usage, "output": []}) is None


# ---------------------------------------------------------------------------------------------- the way of the deltas

DELTA_KINDS = [kind for kind in _EVENTS if kind.endswith(".delta")]
SMALL = st.integers(-2, 4)
STRANGE: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), SMALL, st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=4),
    st.just({"PRIVATE": "PRIVATE"}), st.just(["PRIVATE"]),
)  # fmt: skip


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(usual, usual, usual, usual, STRANGE)


DELTAS = st.fixed_dictionaries(
    {"type": st.sampled_from([*DELTA_KINDS[:2], *DELTA_KINDS]), "delta": mostly(st.text(max_size=12))},
    optional={
        "item_id": mostly(st.sampled_from(["msg_PRIVATE", "fc_PRIVATE", "%b%d", "", 'x"y'])),
        "output_index": mostly(SMALL),
        "content_index": mostly(SMALL),
        "summary_index": mostly(SMALL),
        "logprobs": st.just([{"token": "PRIVATE"}]),
        "obfuscation": mostly(st.text(max_size=4)),
        "sequence_number": STRANGE,
        "instructions": st.just("PRIVATE"),
        "": STRANGE,
    },
)
ADDED = st.fixed_dictionaries(
    {
        "type": st.just("response.output_item.added"),
        "output_index": SMALL,
        "item": st.fixed_dictionaries(
            {"type": st.sampled_from(["message", "mcp_call", "reasoning"]), "id": st.just("msg_PRIVATE")}
        ),
    }
)
KEYS = ("type", "delta", "item_id", "output_index", "content_index", "obfuscation")


def write(value: dict[str, Any], again: list[tuple[str, Any]], escape: bool, tight: bool) -> bytes:
    """The event as a provider might write it: with members given twice, escapes in their names, spaces or none."""
    members = [*again, *value.items()]
    names = [json.dumps(name) for name, _ in members]
    if escape:
        names = ['"' + "".join(f"\\u{ord(char):04x}" for char in name) + '"' for name, _ in members]
    colon = ":" if tight else ": "
    body = ",".join(f"{name}{colon}{json.dumps(one)}" for name, (_, one) in zip(names, members, strict=True))
    return f"{{{body}}}".encode("utf-8", "replace")


def on_the_wire(data: bytes) -> bytes:
    return b"event: response.output_text.delta\ndata: %b\n\n" % data


@given(
    st.lists(
        st.tuples(
            st.one_of(DELTAS, DELTAS, DELTAS, ADDED),
            st.lists(st.tuples(st.sampled_from(KEYS), STRANGE), max_size=2),
            st.booleans(),
            st.sampled_from([True, True, True, False]),
            st.lists(st.text(max_size=12), min_size=1, max_size=3),
        ),
        max_size=12,
    )
)
def test_a_delta_on_the_short_way_is_the_same_to_the_byte(
    events: list[tuple[dict[str, Any], list[tuple[str, Any]], bool, bool, list[str]]],
) -> None:
    quick, slow = face(), face()
    for value, again, escape, tight, texts in events:
        for number, text in enumerate(texts):
            if number and isinstance(value.get("delta"), str):
                value = {**value, "delta": text, "sequence_number": number}
            data = write(value, again, escape, tight)
            try:
                parsed = orjson.loads(data)
            except orjson.JSONDecodeError:  # half of a surrogate pair
                assert quick.again(on_the_wire(data), 0) is None
                continue
            shown = slow.event(parsed)
            wanted = None if shown is None else sse.event(shown["type"], shown)
            known = quick.again(on_the_wire(data), 0)
            got = quick.wire(parsed, data) if known is None else known[0]
            assert got == wanted
            assert b"PRIVATE" not in (got or b"")


DELTA = {
    "type": "response.output_text.delta",
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "a",
    "logprobs": [],
    "obfuscation": "xyz",
    "sequence_number": 4,
}


@pytest.mark.parametrize(
    "order", [list(DELTA), list(reversed(DELTA)), [name for name in DELTA if name != "obfuscation"]]
)
def test_most_deltas_take_the_short_way(order: list[str]) -> None:
    quick, slow, value = face(), face(), {"output_index": 0} | {name: DELTA[name] for name in order}
    assert quick.wire(value, orjson.dumps(value)) == slow.wire(value, b"")
    for number, text in enumerate(["b", 'two "words" %b', "a\nline", "Zürich", "\u2028", "", "\\", "\x7f"], start=5):
        following = {**value, "delta": text, "sequence_number": number}
        for data in (orjson.dumps(following), json.dumps(following, separators=(",", ":")).encode()):
            event = on_the_wire(data)
            assert quick.again(b"before" + event, 6) == (slow.wire(following, b""), 6 + len(event))


@pytest.mark.parametrize(
    "data",
    [
        orjson.dumps({**DELTA, "delta": "b", "item_id": "msg_2"}),
        orjson.dumps({**DELTA, "delta": "b", "output_index": 1}),
        orjson.dumps({**DELTA, "delta": "b", "PRIVATE": "PRIVATE"}),
        orjson.dumps({**DELTA, "delta": "b"})[:-1] + b',"delta":"c"}',
        orjson.dumps({**DELTA, "delta": "b"}) + b" ",
        orjson.dumps({**DELTA, "delta": "b"}).replace(b'"b"', b'"\\x"'),
        orjson.dumps({**DELTA, "delta": "b"}).replace(b'"b"', b'"\\ud800"'),
        orjson.dumps({**DELTA, "delta": "b"}).replace(b'"b"', b'"\xff"'),
        orjson.dumps({**DELTA, "delta": "b"}).replace(b'"b"', b'"\n"'),
        orjson.dumps({**DELTA, "delta": "b"}).replace(b":4", b":04"),
        orjson.dumps({**DELTA, "delta": "b"}).replace(b":4", b":4e2"),
    ],
)
def test_what_differs_in_anything_else_is_looked_at(data: bytes) -> None:
    shower = face()
    shower.wire(DELTA, orjson.dumps(DELTA))
    assert shower.again(on_the_wire(orjson.dumps(DELTA)), 0) is not None
    assert shower.again(on_the_wire(data), 0) is None


@pytest.mark.timeout(20)
def test_long_deltas_that_differ_each_time_keep_nobody_waiting() -> None:
    """A pattern of each would take seconds to make."""
    shower = face()
    for number in range(40):
        value = {**DELTA, "extra": f"{number}" + "x" * 500_000}
        assert shower.wire(value, orjson.dumps(value)) is not None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["\\", '"delta":', '\\"', "a", '{"delta":"'])
def test_a_delta_made_to_measure_keeps_nobody_waiting(piece: str) -> None:
    """A megabyte, in any time that isn't linear, would take hours."""
    shower = face()
    shower.wire(DELTA, orjson.dumps(DELTA))
    for value in ({**DELTA, "delta": piece * 200_000}, {**DELTA, piece * 200_000: 1}):
        data = orjson.dumps(value)
        for raw in (data, data[:-30], data.replace(b"\\", b"")):
            shower.again(on_the_wire(raw), 0)
            shower.again(raw, 0)
            _delta(value, raw, {"type": DELTA["type"]})


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("completed"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "annotations", "refusal", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["output_text", "refusal", "PRIVATE"])}, optional={"text": _VALUES, "annotations": _VALUES}
)
_MESSAGES = st.dictionaries(
    st.sampled_from(["id", "content", "role", "status", "phase", "PRIVATE"]), _VALUES, max_size=6
)


@given(_MESSAGES, st.none() | st.lists(_PARTS | _VALUES, max_size=3))
def test_a_message_written_out_is_what_its_rules_say(value: dict[str, Any], parts: list[Any] | None) -> None:
    if parts is not None:
        value["content"] = parts
    rules = _object(
        id=_id("msg_"),
        content=_list(_part),
        role=_one_of("assistant"),
        status=_one_of("completed", "in_progress", "incomplete"),
        phase=_Optional(_phase),
    )
    face = Face(IdMap(SECRET, OWNER, SUBSCRIBER), DID, {})
    assert orjson.dumps(_message(face, value)) == orjson.dumps(rules(face, value))
