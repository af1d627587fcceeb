"""One answer told as the old API told it: order, deltas, usage, citations, and what is left out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming._assistants import accumulate_event, accumulate_run_step
from openai.types.beta import AssistantStreamEvent
from openai.types.beta.threads import Message
from openai.types.beta.threads.runs import RunStep
from pydantic import TypeAdapter

from node_proxy.openai.assistants_api import narration, shapes
from node_proxy.openai.assistants_api.narration import Event, Narration, Unable
from node_proxy.openai.ids import IdMap
from tests.provider.conforms import assert_conforms
from tests.provider.model import Answer, Json, new_id
from tests.provider.narration import narrate
from tests.provider.script import Script

EVENT: TypeAdapter[Any] = TypeAdapter(AssistantStreamEvent)
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def _text(text: str, status: str = "completed", **part: Any) -> Json:
    content = {"type": "output_text", "text": text, "annotations": [], **part}
    return {"id": new_id("msg"), "type": "message", "role": "assistant", "status": status, "content": [content]}


def _call(name: str, arguments: str) -> Json:
    ids = {"id": new_id("fc"), "call_id": new_id("call", 24)}
    return {**ids, "type": "function_call", "status": "completed", "name": name, "arguments": arguments}


def _narration() -> Narration:
    counter = itertools.count()
    run = shapes.run("run_1", "thread_1", 100, 700, "asst_1", "did:nv:1", {})
    return Narration(run, IdMap(b"s" * 32, "0xb", "0xs"), lambda prefix: f"{prefix}{next(counter)}", lambda: 101.5)


def _frozen(events: Iterable[Event]) -> list[Event]:
    """As they stand on the wire: each is written before the next is asked for."""
    return [(name, orjson.loads(orjson.dumps(value))) for name, value in events]


def _tell(told: Narration, *items: Json, truncated: bool = False) -> list[Event]:
    response: Json = {"background": False, "status": "in_progress"}
    answer = Answer(list(items), truncated, 5, 3, 0)
    events: list[Event] = []
    for value in narrate(response, answer, Script()):
        events += _frozen(told.tell(value))
    events += _frozen(told.end(USAGE, "max_tokens" if truncated else None))
    for name, value in events:
        assert_conforms(AssistantStreamEvent, {"event": name, "data": value})
    return events


def _names(events: Iterable[Event]) -> str:
    return " ".join(name.removeprefix("thread.").removeprefix("run.") for name, _ in events)


def test_a_text_is_told_in_the_old_order() -> None:
    told = _narration()
    events = _tell(told, _text("hello you"))
    assert _names(events) == (
        "step.created step.in_progress message.created message.in_progress message.delta message.delta "
        "message.completed step.completed"
    )
    deltas = [value["delta"]["content"][0] for name, value in events if name == "thread.message.delta"]
    assert deltas[0]["text"] == {"value": "hello", "annotations": []}
    assert deltas[1]["text"] == {"value": " you"}
    completed = dict(events)["thread.message.completed"]
    assert completed["content"] == [{"type": "text", "text": {"value": "hello you", "annotations": []}}]
    assert dict(events)["thread.run.step.completed"]["usage"] == USAGE
    assert told.items == [{"type": "message", "role": "assistant", "content": "hello you"}]
    assert not told.said


def test_functions_called_at_once_are_one_step_that_waits() -> None:
    told = _narration()
    first, second = _call("weather", '{"city": "Oslo"}'), _call("time", "{}")
    events = _tell(told, first, second)
    assert _names(events).startswith("step.created step.in_progress step.delta step.delta")
    assert "step.completed" not in _names(events)
    (step,) = told.steps
    shown = [call["function"] for call in step["step_details"]["tool_calls"]]
    assert [call["arguments"] for call in shown] == ['{"city": "Oslo"}', "{}"]
    assert [call["call_id"] for call in told.calls] == [first["call_id"], second["call_id"]]
    assert first["call_id"] not in orjson.dumps(events).decode()
    assert [item["call_id"] for item in told.items] == [first["call_id"], second["call_id"]]
    asked = narration.required_action(told.calls)["submit_tool_outputs"]["tool_calls"]
    assert [call["id"] for call in asked] == [call["id"] for call in told.calls]


def test_the_clients_own_snapshots_come_to_the_final_objects() -> None:
    told = _narration()
    events = _tell(told, _text("one two"), _call("weather", '{"a": 1}'))
    steps: dict[str, RunStep] = {}
    message: Message | None = None
    for name, value in events:
        event = EVENT.validate_python({"event": name, "data": value})
        if name.startswith("thread.message.") and name not in ("thread.message.completed",):
            message, _ = accumulate_event(event=event, current_message_snapshot=message)
        accumulate_run_step(event=event, run_step_snapshots=steps)
    assert message is not None
    assert message.content[0].type == "text"
    assert message.content[0].text.value == "one two"
    details = list(steps.values())[-1].step_details
    assert details.type == "tool_calls"
    assert details.tool_calls[0].type == "function"
    assert details.tool_calls[0].function.arguments == '{"a": 1}'


def test_the_usage_of_an_answer_is_shown_once_over_its_steps() -> None:
    events = _tell(_narration(), _text("one"), _text("two"))
    shares = [value["usage"] for name, value in events if name == "thread.run.step.completed"]
    assert [share["total_tokens"] for share in shares] == [0, 8]


def test_an_answer_that_was_cut_off_says_why() -> None:
    events = _tell(_narration(), _text("one two", status="incomplete"), truncated=True)
    assert _names(events).endswith("message.delta message.incomplete step.completed")
    message = dict(events)["thread.message.incomplete"]
    assert message["incomplete_details"] == {"reason": "max_tokens"}


def test_a_refusal_is_a_block_of_its_own() -> None:
    item = _text("")
    item["content"] = [{"type": "refusal", "refusal": "I can't say"}]
    told = _narration()
    _tell(told, item)
    assert told.messages[0]["content"] == [{"type": "refusal", "refusal": "I can't say"}]


def test_reasoning_and_searches_are_left_out() -> None:
    told = _narration()
    for item in ({"type": "reasoning", "id": "rs_1", "summary": []}, {"type": "web_search_call", "id": "ws_1"}):
        for kind in ("added", "done"):
            event = {"type": f"response.output_item.{kind}", "output_index": 0, "item": item}
            assert list(told.tell(event)) == []
    assert list(told.end(USAGE)) == []
    assert not told.items


def test_what_only_a_newer_client_could_answer_ends_the_run() -> None:
    with pytest.raises(Unable):
        list(_narration().tell({"type": "response.output_item.added", "item": {"type": "custom_tool_call"}}))


def test_a_citation_is_marked_in_the_text_as_clients_of_the_old_api_expect() -> None:
    told = _narration()
    item = _text("As the report says. So it is.")
    at = {"output_index": 0, "content_index": 0}
    cited = {"type": "file_citation", "file_id": "file-provider", "filename": "report.pdf", "index": 19}
    events = [{"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}}]
    events += [{"type": "response.output_text.delta", **at, "delta": "As the report says."}]
    events += [{"type": "response.output_text.annotation.added", **at, "annotation_index": 0, "annotation": cited}]
    events += [{"type": "response.output_text.delta", **at, "delta": " So it is."}]
    events += [{"type": "response.output_item.done", "output_index": 0, "item": item}]
    shown = [event for value in events for event in _frozen(told.tell(value))] + _frozen(told.end(USAGE))
    for name, value in shown:
        assert_conforms(AssistantStreamEvent, {"event": name, "data": value})
    text = told.messages[0]["content"][0]["text"]
    (annotation,) = text["annotations"]
    assert text["value"] == "As the report says.【0:0†report.pdf】 So it is."
    assert text["value"][annotation["start_index"] : annotation["end_index"]] == annotation["text"]
    assert text["value"].replace(annotation["text"], "[1]") == "As the report says.[1] So it is."
    assert annotation["file_citation"]["file_id"].startswith("file-")
    assert "file-provider" not in orjson.dumps(shown).decode()
    # The model is given back what it wrote.
    assert told.items[0]["content"] == told.said[told.messages[0]["id"]] == "As the report says. So it is."
    pieces = [value["delta"]["content"][0]["text"]["value"] for name, value in shown if name == "thread.message.delta"]
    assert "".join(pieces) == text["value"]


def test_hosted_tools_are_steps_that_complete() -> None:
    told = _narration()
    code = {"id": "ci_1", "type": "code_interpreter_call", "code": "1 + 1", "container_id": "cntr_1", "outputs": None}
    search = {"id": "fs_1", "type": "file_search_call", "queries": ["x"], "results": [{"text": "the builder's"}]}
    events = [
        {"type": "response.output_item.added", "output_index": 0, "item": {**code, "code": ""}},
        {"type": "response.code_interpreter_call_code.delta", "output_index": 0, "delta": "1 + 1"},
        {"type": "response.output_item.done", "output_index": 0, "item": code},
        {"type": "response.output_item.added", "output_index": 1, "item": search},
        {"type": "response.output_item.done", "output_index": 1, "item": search},
    ]
    shown = [event for value in events for event in _frozen(told.tell(value))] + _frozen(told.end(USAGE))
    for name, value in shown:
        assert_conforms(AssistantStreamEvent, {"event": name, "data": value})
    assert _names(shown) == (
        "step.created step.in_progress step.delta step.delta step.completed "
        "step.created step.in_progress step.delta step.completed"
    )
    calls = [step["step_details"]["tool_calls"][0] for step in told.steps]
    assert calls[0]["code_interpreter"] == {"input": "1 + 1", "outputs": []}
    assert calls[1]["file_search"] == {}
    assert "builder" not in orjson.dumps(shown).decode()


def test_a_server_that_sends_no_deltas_is_told_all_the_same() -> None:
    told = _narration()
    item, call = _text("all at once"), _call("weather", "{}")
    shown = _frozen(told.tell({"type": "response.output_item.done", "output_index": 0, "item": item}))
    shown += _frozen(told.tell({"type": "response.output_item.done", "output_index": 1, "item": call}))
    shown += _frozen(told.end(USAGE))
    assert told.messages[0]["content"][0]["text"]["value"] == "all at once"
    assert told.calls[0]["arguments"] == "{}"
    assert _names(shown).startswith("step.created step.in_progress message.created message.in_progress message.delta")


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_what_is_under_way_ends_with_its_run(status: str) -> None:
    told = _narration()
    begun = {"type": "response.output_item.added", "output_index": 0, "item": _text("")}
    _frozen(told.tell(begun))
    _frozen(told.tell({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "so "}))
    shown = _frozen(told.stop(status))
    for name, value in shown:
        assert_conforms(AssistantStreamEvent, {"event": name, "data": value})
    assert _names(shown) == f"message.incomplete step.{status}"
    assert told.messages[0]["incomplete_details"] == {"reason": f"run_{status}"}
    assert told.messages[0]["content"][0]["text"]["value"] == "so "


JUNK = st.none() | st.integers(-1, 3) | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
TEXT = st.text(max_size=6) | JUNK
PART = (
    st.fixed_dictionaries({"type": st.sampled_from(["output_text", "refusal"]), "text": TEXT, "refusal": TEXT}) | JUNK
)
ITEM = (
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                ["message", "function_call", "code_interpreter_call", "file_search_call", "reasoning"]
            ),
            "status": st.sampled_from(["completed", "incomplete", "in_progress"]) | JUNK,
            "content": st.lists(PART, max_size=2) | JUNK,
            "call_id": TEXT,
            "name": TEXT,
            "arguments": TEXT,
            "code": TEXT,
        }
    )
    | JUNK
)
ANNOTATION = (
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["file_citation", "container_file_citation", "url_citation"]),
            "file_id": TEXT,
            "filename": TEXT,
            "start_index": JUNK,
            "end_index": JUNK,
        }
    )
    | JUNK
)
SENT = st.fixed_dictionaries(
    {
        "type": st.sampled_from(sorted(narration._RULES)),
        "output_index": st.integers(0, 2) | JUNK,
        "content_index": st.integers(0, 1) | JUNK,
        "delta": TEXT,
        "text": TEXT,
        "refusal": TEXT,
        "item": ITEM,
        "annotation": ANNOTATION,
    }
)


def test_a_message_that_is_announced_twice_is_one() -> None:
    told = _narration()
    added = {"type": "response.output_item.added", "output_index": 2, "item": {"type": "message"}}
    shown = [event for value in (added, added) for event in _frozen(told.tell(value))] + list(told.end(USAGE, None))
    assert [name for name, _ in shown].count("thread.message.created") == 1
    assert [message["status"] for message in told.messages] == ["completed"]


@given(sent=st.lists(SENT, max_size=14), end=st.sampled_from(["completed", "max_tokens", "cancelled"]))
@settings(deadline=None, max_examples=150)
def test_whatever_a_provider_sends_is_told_in_the_old_apis_form(sent: list[Json], end: str) -> None:
    told = _narration()
    shown = [event for value in sent for event in _frozen(told.tell(value))]
    if end == "cancelled":
        shown += _frozen(told.stop(end))
    else:
        shown += _frozen(told.end(USAGE, None if end == "completed" else end))
    for name, value in shown:
        assert_conforms(AssistantStreamEvent, {"event": name, "data": value})
    created = [value["id"] for name, value in shown if name.endswith(".created")]
    assert len(created) == len(set(created))
    for message in told.messages:
        assert message["status"] in ("completed", "incomplete")
        assert end == "completed" or message["incomplete_details"] or message["status"] == "completed"
    waiting = {id(step) for step in told.steps if step["status"] == "in_progress"}
    assert not waiting or (end != "cancelled" and any(step["type"] == "tool_calls" for step in told.steps))
