"""Items as they are kept: in OpenAI's own form, and with every call of a tool answered before anything else is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.conversations import ConversationItem
from openai.types.responses import ResponseItem

from node_proxy.errors import InvalidValue
from node_proxy.openai.inputs import check_items
from node_proxy.openai.kept_items import check_answered, listed
from nvm_chain.policy import Policy
from tests.provider.conforms import assert_conforms

ANYTHING = Policy(images=True, files=True, extra_instructions=True)
Json = dict[str, Any]


def call(id: str, kind: str = "function_call") -> Json:
    return {
        "type": kind,
        "call_id": id,
        "name": "f",
        **({"arguments": "{}"} if kind == "function_call" else {"input": ""}),
    }


def output(id: str, kind: str = "function_call_output") -> Json:
    return {"type": kind, "call_id": id, "output": "x"}


@given(st.lists(st.text(max_size=5), unique=True, max_size=6), st.data())
def test_calls_and_outputs_go_together_in_this_order(ids: list[str], data: st.DataObject) -> None:
    answered = data.draw(st.permutations(ids))
    split = data.draw(st.integers(0, 2 * len(ids)))
    items = [call(id) for id in ids] + [output(id) for id in answered]
    check_answered(items[:split], items[split:])
    for missing in ids:
        for kind, what in (("function_call", "call found"), ("function_call_output", "output found")):
            rest = [item for item in items if (item["type"], item["call_id"]) != (kind, missing)]
            with pytest.raises(InvalidValue, match=f"No tool {what}"):
                check_answered([], rest)


def test_an_answer_before_its_call_answers_nothing() -> None:
    with pytest.raises(InvalidValue, match="No tool call found"):
        check_answered([], [output("a"), call("a")])
    check_answered([], [output("a")], strict=False)


def test_an_answer_given_earlier_may_answer_a_call_from_before_what_is_looked_at() -> None:
    check_answered([output("a")], [])
    check_answered([output("a"), call("b")], [output("b")])
    with pytest.raises(InvalidValue, match="No tool call found"):
        check_answered([output("a")], [output("a")])


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_part = st.one_of(
    st.builds(lambda text: {"type": "input_text", "text": text}, _text),
    st.just({"type": "input_image", "image_url": "https://example.org/a.png"}),
    st.just({"type": "input_image", "file_id": "file-1", "detail": "low"}),
    st.just({"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}),
)
_said = st.one_of(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "assistant"]), _text),
    st.builds(lambda parts: {"role": "user", "content": parts}, st.lists(_part, min_size=1, max_size=3)),
    st.builds(lambda text: {"role": "assistant", "content": [{"type": "output_text", "text": text}]}, _text),
    st.builds(call, _text),
    st.builds(output, _text),
    st.builds(lambda id, parts: {**output(id), "output": parts}, _text, st.lists(_part, min_size=1, max_size=2)),
)


@given(st.lists(_said, min_size=1, max_size=5))
def test_what_is_kept_has_openais_form_and_says_the_same_when_it_is_given_back(said: list[Json]) -> None:
    checked = check_items("input", said, ANYTHING, 10)
    kept = listed(checked)
    for item in kept:
        assert_conforms(ConversationItem, item)
        assert_conforms(ResponseItem, item)
    assert len({item["id"] for item in kept}) == len(kept)
    again = check_items("input", kept, ANYTHING, 10)
    assert listed_texts(again) == listed_texts(checked)


def listed_texts(items: list[Json]) -> list[Any]:
    """What is said, whichever of OpenAI's two ways a text is written in."""
    found = []
    for item in items:
        content = item.get("content")
        if isinstance(content, list) and len(content) == 1 and content[0]["type"] == "input_text":
            content = content[0]["text"]
        found.append({**item, "content": content})
    return found


def test_custom_calls_are_kept_too() -> None:
    items = [call("a", "custom_tool_call"), output("a", "custom_tool_call_output")]
    checked = check_items("input", items, ANYTHING, 10)
    for item in listed(checked):
        assert_conforms(ResponseItem, item)
    check_answered([], checked)
