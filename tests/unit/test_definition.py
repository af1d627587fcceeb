from __future__ import annotations

import copy
import dataclasses
import json
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvm_chain.definition import DIALECTS, Definition
from nvm_chain.errors import AssistantsShutDown, DefinitionInvalid, InvalidInput
from nvm_chain.policy import Policy
from nvm_chain.pricing import Pricing
from nvm_chain.secret import Secret
from nvm_chain.settings import KNOWN
from tests.unit.sample import API_KEY, INSTRUCTIONS, definition

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def test_a_definition_reads_back_from_its_json() -> None:
    full = definition(
        policy=Policy(images=True, max_output_tokens=4000),
        pricing=Pricing.tokens(15, 60, cached_input=1, call=1000, tool_calls={"web_search_call": 2}),
    )
    data = json.loads(json.dumps(full.reveal_json()))
    assert Definition.from_json(data) == full


def test_only_the_address_is_needed_besides_key_and_model() -> None:
    small = Definition.from_json({"base_url": "http://127.0.0.1:11434/v1/", "model": "llama"}, Secret("ollama"))
    assert small == Definition("http://127.0.0.1:11434/v1", Secret("ollama"), "llama")
    assert small.dialect == "responses"
    assert small.policy == Policy()
    assert small.pricing.mode == "fixed"


def test_neither_key_nor_private_parts_show_in_its_repr() -> None:
    made = definition(policy=Policy(files=True), pricing=Pricing(mode="tokens", call=987_654))
    shown = repr(made) + str(made) + f"{made}"
    private = (API_KEY, INSTRUCTIONS, "gpt-5-mini", "web_search", "0.7", "api.openai.com", "files", "987")
    assert [word for word in private if word in shown] == []


def test_it_keeps_copies_of_what_it_is_given() -> None:
    settings: dict[str, Any] = {"text": {"format": {"type": "text"}}}
    tools = [{"type": "function", "name": "f"}]
    made = definition(settings=settings, tools=tools)
    settings["text"]["format"]["type"] = "json_object"
    tools[0]["name"] = "g"
    assert made.settings["text"]["format"]["type"] == "text"
    assert made.tools[0]["name"] == "f"
    made.reveal_json()["settings"]["text"].clear()
    assert made.settings["text"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.model = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        copy.deepcopy(made)


# ------------------------------------------------------------------------------------------------- assistants' end


@pytest.mark.parametrize(
    "changes",
    [
        {"assistant_id": "asst_m3hDiBSEScF4vTyeGGJ8JI8T"},
        {"assistant_id": "asst_m3hDiBSEScF4vTyeGGJ8JI8T", "dialect": "assistants"},
        {"dialect": "assistants"},
        {"model": "asst_m3hDiBSEScF4vTyeGGJ8JI8T"},
        {"assistant_id": "asst_1", "dialect": "assistants", "base_url": "https://eu.api.openai.com/v1"},
        {"assistant_id": "asst_1", "dialect": "assistants", "base_url": "https://api.openai.com./v1"},
        {"assistant_id": "asst_1", "dialect": "assistants", "base_url": "https://me.openai.azure.com/openai"},
    ],
)
def test_an_assistant_of_openai_itself_gets_told_of_the_shutdown_and_the_way_out(changes: dict[str, Any]) -> None:
    with pytest.raises(AssistantsShutDown) as caught:
        definition(**changes)
    message = str(caught.value)
    assert "2026-08-26" in message
    assert "model and instructions with dialect responses" in message
    assert "base_url" in message
    if "assistant_id" in changes:
        assert changes["assistant_id"] in message


def test_an_assistant_on_a_server_that_still_speaks_assistants_is_fine() -> None:
    made = definition(
        base_url="https://astra.example/v1", dialect="assistants", assistant_id="asst_1", model="", settings={}
    )
    assert Definition.from_json(made.reveal_json()) == made


def test_assistant_id_and_dialect_belong_together() -> None:
    other = {"base_url": "https://astra.example/v1", "settings": {}}
    with pytest.raises(DefinitionInvalid, match="needs the asst_"):
        definition(dialect="assistants", **other)
    with pytest.raises(DefinitionInvalid, match="dialect is chat"):
        definition(dialect="chat", assistant_id="asst_1", **other)
    with pytest.raises(DefinitionInvalid, match="put it into assistant_id"):
        definition(model="asst_1", **other)


# ------------------------------------------------------------------------------------------------------------ fields


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "empty"),
        (API_KEY + "\n", "newline"),
        (" " + API_KEY, "white space"),
        ("Bearer " + API_KEY, "without Bearer"),
        ("Authorization: Bearer " + API_KEY, "header"),
        (f'"{API_KEY}"', "quotes"),
        (f"'{API_KEY}'", "quotes"),
        (f"“{API_KEY}”", "quotes"),
        (f"OPENAI_API_KEY={API_KEY}", "after ="),
        (f"export {API_KEY}", "spaces"),
        ("$OPENAI_API_KEY", "placeholder"),
        ("<your key>", "placeholder"),
        (API_KEY + "…", "outside of printable ASCII"),
        (API_KEY[:8] + "\r" + API_KEY[8:], "spaces"),
        (API_KEY * 200, "at most 4096"),
        (b"\xff\xfe" + API_KEY.encode(), "outside of printable ASCII"),
    ],
)
def test_a_key_that_can_t_be_one_is_refused_and_not_echoed(key: str | bytes, problem: str) -> None:
    with pytest.raises(DefinitionInvalid, match=problem) as caught:
        definition(api_key=Secret(key))
    assert caught.value.field == "api_key"
    text = "".join(traceback.format_exception(caught.value))
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        if frame.f_globals["__name__"].startswith("nvm_chain."):
            text += repr(frame.f_locals)
    assert API_KEY not in text
    assert "4f9Q2vXc" not in text


def test_a_key_is_a_secret() -> None:
    with pytest.raises(DefinitionInvalid, match="must be a Secret") as caught:
        definition(api_key=API_KEY)
    assert API_KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://api.openai.com/v1", "use https, or allow_http"),
        ("http://10.0.0.7:8000/v1", "allow_http"),
        ("http://127.0.0.1.example.com/v1", "allow_http"),
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("https://me:hunter2@api.example.com/v1", "credentials"),
        ("https://api.example.com/v1?key=hunter2", "query"),
        ("https://api.example.com/v1#x", "fragment"),
        ("https://ex ample.com/v1", "spaces"),
        ("https://api.example.com\\@evil.example/v1", "credentials"),
        ("https://api.example.com\\v1", "backslashes"),
        ("https://\u0430pi.example.com/v1", "xn--"),
        ("https://api.example.com:port/v1", "is not a URL"),
        ("https://api.example.com:99999/v1", "is not a URL"),
        ("https://[::1/v1", "is not a URL"),
        ("https:///v1", "name a host"),
        ("ftp://api.example.com", "https://"),
        ("unix:///run/llm.sock", "https://"),
        ("api.openai.com/v1", "https://"),
        ("HTTPS://api.example.com/v1", "lower case"),
        ("https://" + "a" * 600, "at most 500"),
        ("", "not a URL"),
        (None, "not a URL"),
    ],
)
def test_a_base_url_of_another_form_is_refused(url: object, problem: str) -> None:
    with pytest.raises(DefinitionInvalid, match=problem) as caught:
        definition(base_url=url)
    assert caught.value.field == "base_url"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://localhost:1234/v1", "http://[::1]:8000/v1"])
def test_http_is_fine_on_this_machine_and_where_the_builder_allows_it(url: str) -> None:
    assert definition(base_url=url).base_url == url
    assert definition(base_url=url + "/").base_url == url
    allowed = definition(base_url="http://llm.internal:8000/v1", allow_http=True)
    assert Definition.from_json(allowed.reveal_json()) == allowed


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"dialect": "completions"}, "dialect", "responses, responses-stateless, chat, assistants"),
        ({"model": ""}, "model", "not a model's name"),
        ({"model": "gpt 5"}, "model", "without spaces"),
        ({"model": None}, "model", "not a model's name"),
        ({"instructions": 5}, "instructions", "must be text"),
        ({"instructions": "\ud800"}, "instructions", "lone surrogate"),
        ({"tools": {"type": "x"}}, "tools", "list"),
        ({"tools": ["web_search"]}, "tools[0]", "must be a JSON object"),
        ({"tools": [{}]}, "tools[0].type", "is missing"),
        ({"tools": [{"type": "web_search"}] * 129}, "tools", "at most 128"),
        ({"tools": [{"type": "f", "x": {1}}]}, "tools[0]", "not a JSON value"),
        ({"settings": []}, "settings", "JSON object"),
        ({"settings": {"temperature": 3}}, "settings.temperature", "3 is not a number from 0 to 2"),
        ({"settings": {"temperature": "hot"}}, "settings.temperature", "hot"),
        ({"settings": {"temperature": True}}, "settings.temperature", "True"),
        ({"settings": {"top_p": float("nan")}}, "settings.top_p", "nan"),
        ({"settings": {"max_output_tokens": 0}}, "settings.max_output_tokens", "at least 1"),
        ({"settings": {"max_output_tokens": 1.5}}, "settings.max_output_tokens", "whole"),
        ({"settings": {"max_tokens": 5}}, "settings", "did you mean max_output_tokens"),
        ({"settings": {"model": "gpt-4"}}, "settings", "can't be fixed"),
        ({"settings": {"stream": True}}, "settings", "can't be fixed"),
        ({"settings": {"text": {"format": float("inf")}}}, "settings", "NaN or Infinity"),
        ({"allow_http": "yes"}, "allow_http", "true or false"),
        ({"policy": {}}, "policy", "Policy"),
        ({"pricing": None}, "pricing", "Pricing"),
    ],
)
def test_a_field_of_the_wrong_form_is_named(changes: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(DefinitionInvalid, match=problem) as caught:
        definition(**changes)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


def test_a_deep_tool_is_refused_rather_than_overflowing() -> None:
    deep: dict[str, Any] = {"type": "function"}
    for _ in range(5000):
        deep = {"type": "function", "parameters": deep}
    with pytest.raises(DefinitionInvalid, match="nested too deeply"):
        definition(tools=[deep])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_dialect_lets_a_builder_fix_what_is_the_node_s(dialect: str) -> None:
    node_s = {"model", "input", "messages", "instructions", "stream", "stream_options", "store", "previous_response_id"}
    node_s |= {"conversation", "background", "user", "safety_identifier", "metadata", "tools", "n", "api_key"}
    assert not node_s & set(KNOWN[dialect])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([], "JSON object"),
        ({"base_url": "https://a.example", "api_key": "k", "model": "m", "modle": "m"}, '"modle"'),
        ({"api_key": "k", "model": "m"}, "base_url: is missing"),
        ({"base_url": "https://a.example", "model": "m"}, "api_key: is missing"),
        ({"base_url": "https://a.example", "api_key": "k"}, "model: "),
        ({"base_url": "https://a.example", "api_key": 5, "model": "m"}, "api_key: must be a Secret"),
        ({"base_url": "https://a.example", "api_key": "k", "model": "m", "policy": {"image": True}}, '"image"'),
        ({"base_url": "https://a.example", "api_key": "k", "model": "m", "policy": {"images": 1}}, "policy.images"),
        ({"base_url": "https://a.example", "api_key": "k", "model": "m", "pricing": []}, "pricing"),
        ({"base_url": "https://a.example", "api_key": "k", "model": "m", "tools": {}}, "tools"),
    ],
)
def test_json_of_another_form_is_refused(data: object, problem: str) -> None:
    with pytest.raises(DefinitionInvalid, match=problem):
        Definition.from_json(data)


def test_a_key_is_given_once() -> None:
    with pytest.raises(DefinitionInvalid, match="given twice"):
        Definition.from_json(definition().reveal_json(), Secret("another"))


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Definition)] + ["x"]), JSON, max_size=8))
def test_any_json_is_a_definition_or_refused_with_a_field(changes: dict[str, Any]) -> None:
    try:
        made = Definition.from_json(definition().reveal_json() | changes)
    except DefinitionInvalid as error:
        assert error.field  # noqa: PT017
        assert API_KEY not in str(error)  # noqa: PT017
    else:
        assert Definition.from_json(made.reveal_json()) == made


# ------------------------------------------------------------------------------------------------ policy and pricing


def test_a_policy_allows_nothing_but_metadata_until_told() -> None:
    allowed = [name for name, value in Policy().to_json().items() if value]
    assert allowed == ["metadata"]
    assert Policy.from_json(Policy(files=True, max_output_tokens=9).to_json()) == Policy(
        files=True, max_output_tokens=9
    )


@pytest.mark.parametrize("cap", [0, -1, 1.0, True, "100", 2**60])
def test_a_cap_is_a_positive_whole_number(cap: Any) -> None:
    with pytest.raises(DefinitionInvalid, match=r"policy\.max_output_tokens"):
        Policy(max_output_tokens=cap)


def test_token_prices_fall_back_to_input_and_output() -> None:
    assert Pricing.tokens(3, 9) == Pricing("tokens", 0, 3, 3, 9, 9)
    assert Pricing.from_json({"mode": "tokens", "input": 3, "output": 9}) == Pricing.tokens(3, 9)
    assert Pricing.from_json({"mode": "tokens", "input": 3, "cached_input": 0}) == Pricing.tokens(3, 0, cached_input=0)
    assert Pricing.from_json({}) == Pricing()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"mode": "seconds"}, "pricing.mode"),
        ({"mode": "fixed", "input": 1}, "fixed takes no weights"),
        ({"mode": "tokens"}, "at least one weight"),
        ({"mode": "tokens", "input": 0.5}, "pricing.input: 0.5 is not a whole number"),
        ({"mode": "tokens", "input": -1}, "pricing.input"),
        ({"mode": "tokens", "output": True}, "pricing.output"),
        ({"mode": "tokens", "output": 2**53}, "pricing.output"),
        ({"mode": "tokens", "input": "1"}, "pricing.input"),
        ({"mode": "tokens", "tool_calls": {"web_search_call": 0.1}}, "pricing.tool_calls"),
        ({"mode": "tokens", "tool_calls": ["web_search_call"]}, "pricing.tool_calls"),
        ({"mode": "tokens", "tool_calls": {"": 1}}, "pricing.tool_calls"),
        ({"mode": "tokens", "price": 1}, '"price"'),
    ],
)
def test_prices_are_whole_numbers_of_known_names(data: object, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        Pricing.from_json(data)
