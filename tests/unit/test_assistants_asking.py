"""What a caller of the Assistants API may say: refused by name, or said to the assistant in Responses' words."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_proxy.errors import BadRequest, InvalidValue, UnsupportedParameter
from node_proxy.openai.assistants_api import asking, content, paging, shapes
from node_proxy.openai.assistants_api.checks import Json
from nvm_chain.definition import Definition
from nvm_chain.secret import Secret


def _definition(**members: Any) -> Definition:
    return Definition(base_url="https://api.example/v1", api_key=Secret("sk-x"), model="m", **members)


@pytest.mark.parametrize(
    ("check", "body", "param"),
    [
        (asking.run_create, {"surprise": 1}, "surprise"),
        (asking.run_create, {"temperature": 3}, "temperature"),
        (asking.run_create, {"temperature": True}, "temperature"),
        (asking.run_create, {"max_prompt_tokens": 255}, "max_prompt_tokens"),
        (asking.run_create, {"max_completion_tokens": 15}, "max_completion_tokens"),
        (asking.run_create, {"stream": "yes"}, "stream"),
        (asking.run_create, {"reasoning_effort": "most"}, "reasoning_effort"),
        (asking.run_create, {"metadata": {"a": 1}}, "metadata.a"),
        (asking.run_create, {"truncation_strategy": {"type": "last_messages"}}, "truncation_strategy.last_messages"),
        (asking.run_create, {"truncation_strategy": {"type": "none"}}, "truncation_strategy.type"),
        (asking.run_create, {"tools": [{"type": "web_search"}]}, "tools[0].type"),
        (asking.run_create, {"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (asking.run_create, {"tool_choice": {"type": "file_search"}}, "tool_choice"),
        (asking.run_create, {"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (asking.run_create, {"additional_messages": [{"role": "user"}]}, "additional_messages[0].content"),
        (asking.thread_and_run, {"thread": {"messages": [{"role": "x", "content": "a"}]}}, "thread.messages[0].role"),
        (asking.thread_and_run, {"additional_instructions": "x"}, "additional_instructions"),
        (asking.thread_create, {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}},
         "tool_resources.file_search"),
        (asking.tool_outputs, {}, "tool_outputs"),
        (asking.tool_outputs, {"tool_outputs": [{"output": "x"}]}, "tool_outputs[0].tool_call_id"),
        (content.message, {"role": "system", "content": "x"}, "role"),
        (content.message, {"role": "user", "content": " "}, "content"),
        (content.message, {"role": "user", "content": []}, "content"),
        (content.message, {"role": "user", "content": [{"type": "input_text", "text": "x"}]}, "content[0].type"),
        (content.message, {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
         "content[0].image_url.url"),
        (content.message, {"role": "user", "content": "x", "file_ids": []}, "file_ids"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_name(check: Callable[[str, Any], Json], body: Json, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check("", body)
    assert caught.value.param == param
    assert param.split(".")[-1].split("[")[0] in caught.value.message


def test_null_counts_as_left_out() -> None:
    names = ("instructions", "temperature", "tools", "metadata", "max_prompt_tokens", "response_format", "stream")
    assert asking.run_create("", {"assistant_id": "asst_1", **dict.fromkeys(names)}) == {"assistant_id": "asst_1"}


def test_a_run_is_said_in_responses_words() -> None:
    function = {"name": "weather", "description": "d", "parameters": {"type": "object"}, "strict": True}
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    body = {
        "assistant_id": "asst_1",
        "instructions": "Be kind.",
        "additional_instructions": "Be brief.",
        "temperature": 0.5,
        "top_p": 1,
        "max_completion_tokens": 100,
        "tools": [{"type": "function", "function": function}, {"type": "file_search"}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": schema},
        "reasoning_effort": "low",
    }
    asked = asking.run_create("", body)
    hosted = _definition(tools=({"type": "file_search", "vector_store_ids": ["vs_builder"]},))
    assert asking.responses_request(asked, hosted) == {
        "instructions": "Be kind.\nBe brief.",
        "temperature": 0.5,
        "top_p": 1,
        "max_output_tokens": 100,
        "tools": [{"type": "function", **function}],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", **schema}},
        "reasoning": {"effort": "low"},
    }
    with pytest.raises(UnsupportedParameter) as caught:
        asking.responses_request(asked, _definition())
    assert caught.value.param == "tools[1].type"


def test_the_model_is_the_builders() -> None:
    asking.check_model(None, "did:nv:1")
    asking.check_model("did:nv:1", "did:nv:1", "asst_1")
    with pytest.raises(UnsupportedParameter, match="gpt-4o"):
        asking.check_model("gpt-4o", "did:nv:1", "asst_1")


def test_complaints_use_the_old_names() -> None:
    told = asking.in_old_words(InvalidValue("`max_output_tokens` is too large.", param="max_output_tokens"))
    assert (told.param, told.message) == ("max_completion_tokens", "`max_completion_tokens` is too large.")
    assert asking.in_old_words(InvalidValue("no images", param="input[2].content[0]")).param == "thread"
    assert asking.in_old_words(InvalidValue("x", param="temperature")).param == "temperature"
    assert asking.in_old_words(InvalidValue("x", param="tools[0].type"), []).param == "tools[0].type"
    tools: list[Json] = [{"type": "file_search"}, {"type": "function", "function": {"name": "f"}}]
    told = asking.in_old_words(InvalidValue("`tools[0].name` is taken.", param="tools[0].name"), tools)
    assert (told.param, told.message) == ("tools[1].function.name", "`tools[1].function.name` is taken.")


def test_messages_become_input_items() -> None:
    asked = content.message(
        "",
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "image_file", "image_file": {"file_id": "file-1", "detail": "low"}},
            ],
            "attachments": [{"file_id": "file-2", "tools": [{"type": "file_search"}]}],
        },
    )
    blocks = content.shown(asked["content"])
    message = shapes.message("msg_1", "thread_1", 1, "user", blocks, attachments=asked["attachments"])
    assert content.item(message)["content"] == [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
        {"type": "input_image", "file_id": "file-1", "detail": "low"},
        {"type": "input_file", "file_id": "file-2"},
    ]
    said = shapes.message("msg_2", "thread_1", 1, "assistant", content.shown([{"type": "text", "text": "a【1】"}]))
    assert content.item(said, "a") == {"type": "message", "role": "assistant", "content": "a"}
    assert content.item(said)["content"] == "a【1】"


def test_the_oldest_messages_are_dropped_until_the_prompt_may_fit() -> None:
    items = [{"role": "user", "content": "x" * 400} for _ in range(5)]
    assert asking.fit(items, [], "", None) == items
    assert asking.fit(items, [], "", 256) == items[-2:]  # 1,024 bytes at 4 a token
    assert asking.fit(items, [], "y" * 500, 256) == items[-1:]
    assert asking.fit(items, [], "y" * 1000, 256) is None
    assert asking.last_messages({}, 50) == 50
    assert asking.last_messages({"truncation_strategy": {"type": "last_messages", "last_messages": 2}}, 50) == 2


def test_lists_are_cut_as_asked() -> None:
    objects = [{"id": str(number)} for number in range(10)]

    def ids(query: dict[str, str]) -> tuple[list[int], bool]:
        page = paging.cut(objects, paging.window(query))
        return [int(one["id"]) for one in page["data"]], page["has_more"]

    assert ids({}) == ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], False)
    assert ids({"limit": "3"}) == ([9, 8, 7], True)
    assert ids({"limit": "3", "after": "7"}) == ([6, 5, 4], True)
    assert ids({"limit": "3", "order": "asc", "after": "7"}) == ([8, 9], False)
    assert ids({"limit": "2", "order": "asc", "before": "7"}) == ([5, 6], True)
    assert ids({"limit": "9", "order": "asc", "after": "2", "before": "5"}) == ([3, 4], False)
    assert paging.cut([], paging.window({}))["first_id"] is None


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"order": "up"}, {"page": "1"}])
def test_wrong_lists_are_refused_by_name(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as caught:
        paging.window(query)
    assert caught.value.param in query


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = st.sampled_from(
    [
        "messages",
        "role",
        "user",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "file_search",
        "function",
        "name",
        "thread",
        "tools",
        "tool_choice",
        "metadata",
        "truncation_strategy",
        "last_messages",
        "response_format",
        "json_schema",
        "attachments",
        "file_id",
        "tool_outputs",
        "tool_call_id",
        "output",
        "assistant_id",
        "additional_messages",
    ]
)
BODIES = st.dictionaries(
    WORDS,
    st.recursive(
        SCALARS | WORDS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=6,
)


@pytest.mark.parametrize(
    "check",
    [asking.run_create, asking.thread_and_run, asking.thread_create, asking.tool_outputs, content.message],
)
@given(body=BODIES)
@settings(deadline=None)
def test_whatever_is_sent_is_taken_or_refused_by_name(check: Callable[[str, Any], Json], body: Json) -> None:
    asked: Json | None = None
    with suppress(NamedRefusal):
        asked = named(check, body)
    if asked is None:
        return
    assert asked.keys() <= body.keys()
    if check is asking.run_create:
        with suppress(BadRequest):
            asking.responses_request(asked, _definition())
        asking.echo(asked)


class NamedRefusal(Exception):
    """A refusal that says what it is about."""


def named(check: Callable[[str, Any], Json], body: Json) -> Json:
    try:
        return check("", body)
    except BadRequest as error:
        if error.param and error.message:
            raise NamedRefusal from error
        raise
