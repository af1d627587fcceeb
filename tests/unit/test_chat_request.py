"""What a caller of Chat Completions may send: whatever it is, it is understood, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.dialects import assistants_request, chat_request
from node_proxy.errors import BadRequest
from node_proxy.openai.chat_request import translate
from node_proxy.openai.request import prepare
from nvm_chain.definition import Definition
from nvm_chain.policy import Policy
from nvm_chain.secret import Secret

Json = dict[str, Any]
OPEN = Policy(
    function_tools=True,
    temperature=True,
    top_p=True,
    reasoning=True,
    max_output_tokens=500,
    extra_instructions=True,
    images=True,
    files=True,
    structured_output=True,
    unknown_fields=True,
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
WORDS = ("text", "image_url", "file", "refusal", "function", "auto", "user", "assistant", "system", "tool", "low", "a")
TEXT = st.sampled_from(WORDS) | st.text(max_size=6)
CONTENT = TEXT | st.lists(
    st.fixed_dictionaries(
        {"type": TEXT},
        optional={
            "text": TEXT,
            "refusal": TEXT,
            "image_url": st.fixed_dictionaries({"url": st.just("https://x/y") | TEXT}) | VALUES,
            "file": st.fixed_dictionaries({}, optional={"file_data": TEXT, "file_id": TEXT, "filename": TEXT}) | VALUES,
        },
    ),
    max_size=3,
)
CALL = st.fixed_dictionaries(
    {"id": TEXT, "type": st.just("function"), "function": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT})}
)
MESSAGE = (
    st.fixed_dictionaries(
        {"role": TEXT},
        optional={"content": CONTENT | VALUES, "tool_calls": st.lists(CALL, max_size=2), "tool_call_id": TEXT},
    )
    | VALUES
)
TOOL = st.fixed_dictionaries({"type": st.just("function"), "function": st.fixed_dictionaries({"name": TEXT})}) | VALUES
NAMES = (
    *("model", "max_tokens", "max_completion_tokens", "response_format", "verbosity", "reasoning_effort", "stream"),
    *("stream_options", "store", "tool_choice", "temperature", "top_p", "parallel_tool_calls", "metadata", "user", "n"),
    *("stop", "seed", "logit_bias", "logprobs", "functions", "modalities", "service_tier", "conversation", "input"),
)
MESSAGES = st.lists(MESSAGE, max_size=4) | VALUES
REQUESTS = st.builds(
    lambda known, rest: {**rest, **known},
    st.fixed_dictionaries({"messages": MESSAGES}, optional={"tools": st.lists(TOOL, max_size=2)}),
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), VALUES, max_size=4),
)


def definition(dialect: str, policy: Policy = OPEN) -> Definition:
    stored = {"assistant_id": "asst_x"} if dialect == "assistants" else {}
    given: Json = {"base_url": "https://x.example/v1", "api_key": Secret("k"), "model": "m", **stored}
    return Definition(**given, dialect=dialect, policy=policy, instructions="Be brief.")  # type: ignore[arg-type]


def sent(request: Json, dialect: str, policy: Policy = OPEN) -> Json:
    """The request for the provider, all the way. Raises BadRequest."""
    there = definition(dialect, policy)
    asked = translate(request, there)
    with asked.renamed():
        body = {**asked.body, "stream": asked.stream, "store": False}
        prepared = prepare(body, there, name="did:nv:x", safety_identifier="nvm-someone")
        prepared.body["input"] = prepared.items
        params = frozenset(prepared.caller_params)
        if dialect == "chat":
            return chat_request.translate(there, prepared.body, params)[0]
        if dialect == "assistants":
            return assistants_request.translate(there, prepared.body, params).body
        return prepared.body


@pytest.mark.parametrize("dialect", ["responses", "chat", "assistants"])
@given(request=REQUESTS)
def test_any_request_is_understood_or_refused(dialect: str, request: Json) -> None:
    for policy in (OPEN, Policy()):
        try:
            body = sent(request, dialect, policy)
        except BadRequest:
            continue
        assert body.get("model", "m") == "m"
        told = str(body.get("instructions") or body.get("messages"))
        assert "Be brief." in told
        assert body.get("n") in (None, 1)


HI = {"role": "user", "content": "hi"}
FILE = {"type": "file", "file": {"file_url": "x"}}


def test_unknown_fields_pass_where_the_builder_lets_them() -> None:
    for name, value in (("stop", ["."]), ("seed", 7), ("top_k", 3), ("presence_penalty", 0.5)):
        request = {"messages": [HI], name: value}
        assert sent(request, "chat")[name] == value
        with pytest.raises(BadRequest) as caught:
            sent(request, "chat", Policy())
        assert caught.value.param == name
    for name in ("stop", "seed"):  # Responses have no words for them
        with pytest.raises(BadRequest) as caught:
            sent({"messages": [HI], name: 1}, "responses")
        assert caught.value.param == name


@pytest.mark.parametrize(
    "name", ["input", "instructions", "conversation", "previous_response_id", "background", "text"]
)
def test_parameters_of_responses_are_unknown_here(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent({"messages": [HI], name: "x"}, "chat")
    assert (caught.value.param, caught.value.code) == (name, "unknown_parameter")


def test_leading_system_messages_are_instructions_and_later_ones_stay_where_they_are() -> None:
    asked = [
        {"role": "system", "content": "A."},
        {"role": "developer", "content": [{"type": "text", "text": "B."}]},
        HI,
    ]
    body = sent({"messages": [*asked, {"role": "system", "content": "C."}]}, "responses")
    assert body["instructions"] == "Be brief.\n\nA.\n\nB."
    assert [(item["role"], item["content"]) for item in body["input"]] == [("user", "hi"), ("system", "C.")]
    messages = sent({"messages": [*asked, {"role": "system", "content": "C."}]}, "chat")["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "system"]


def test_an_answer_goes_back_as_the_client_got_it() -> None:
    call: Json = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "audio": None,
        "parsed": None,
        "tool_calls": [{**call, "index": 0, "function": {**call["function"], "parsed_arguments": {}}}],
    }
    told = {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sun"}]}
    body = sent({"messages": [HI, answer, told]}, "responses")
    assert body["input"][1:] == [
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sun"},
    ]


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "no good"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"temperature": 3}, "temperature"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"max_tokens": 501}, "max_tokens"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
        ({"messages": [HI, {"role": "assistant", "content": "x", "audio": {"id": "a"}}]}, "messages[1].audio"),
        ({"messages": [{"role": "system", "content": "Only this."}]}, "messages"),
        ({"messages": [{"role": "user", "content": [FILE]}]}, "messages[0].content[0].file.file_url"),
    ],
)  # fmt: skip
def test_complaints_name_what_the_caller_sent(request_: Json, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent({"messages": [HI], **request_}, "responses")
    assert caught.value.param == param
