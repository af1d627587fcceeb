"""Every object that the node hands out is what OpenAI's own types say, strictly, whatever it was made from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from openai.pagination import SyncConversationCursorPage, SyncCursorPage, SyncPage
from openai.types import FileDeleted, FileObject, Model
from openai.types.beta import Assistant, Thread, ThreadDeleted
from openai.types.beta.threads import Message, MessageDeleted, Run
from openai.types.beta.threads.runs import RunStep
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionDeleted, ChatCompletionStoreMessage
from openai.types.conversations import (
    Conversation,
    ConversationDeletedResource,
    ConversationItem,
    ConversationItemList,
)
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent

from node_proxy.errors import BadRequest
from node_proxy.openai.chat_face import Chunks, completion
from node_proxy.openai.conversations import _shown_item
from node_proxy.openai.face import _EVENTS, _ITEMS, TERMINAL, Face
from node_proxy.openai.ids import IdMap
from node_proxy.openai.inputs import check_items
from node_proxy.openai.kept_items import listed
from node_proxy.openai.objects import Objects, Stored
from node_proxy.openai.paging import cut
from node_proxy.storage import open_database
from nvm_chain.policy import Policy
from tests.provider.conforms import assert_round_trips
from tests.unit import sample
from tests.unit.desk import Desk

Json = dict[str, Any]
KEPT = settings(max_examples=15, deadline=None)
"""Of tests that write to a database."""


class Node:
    """A desk and the loop that its pages run in."""

    def __init__(self, runner: asyncio.Runner, desk: Desk) -> None:
        self.desk = desk
        self.run = runner.run

    def ask(self, *page: Any, **asked: Any) -> Any:
        """As `Desk.ask`."""
        return self.run(self.desk.ask(*page, **asked))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    path, stack = tmp_path_factory.mktemp("objects") / "objects.db", AsyncExitStack()
    with asyncio.Runner() as runner:
        database = runner.run(stack.enter_async_context(open_database(str(path))))
        desk = Desk(Objects(database, b"s" * 32))
        yield Node(runner, desk)
        runner.run(desk.runner.stop())
        runner.run(stack.aclose())


def assert_is_page(page: type[Any], payload: Json) -> None:
    """The package's pages type what its iterators need; the ids and `object` are sent besides."""
    assert payload.keys() >= {"object", "data"}
    assert payload["object"] == "list"
    assert_round_trips(page, {name: one for name, one in payload.items() if name in page.model_fields})
    if "has_more" in payload:
        ids = [one["id"] for one in payload["data"]]
        assert not ids or [payload["first_id"], payload["last_id"]] == [ids[0], ids[-1]]


# ------------------------------------------------------------------------------------------------ what a provider says

WORD = st.text(max_size=4)
JUNK = st.none() | st.booleans() | st.integers(-1, 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | WORD
STATUS = st.sampled_from(
    ["completed", "in_progress", "incomplete", "searching", "interpreting", "generating", "failed"]
)


def loose(*kinds: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Objects of these types. Any member may be missing, or be what it never should be."""
    optional = {name: one | JUNK for name, one in members.items()}
    return st.fixed_dictionaries({"type": st.sampled_from(kinds)}, optional=optional)


ANNOTATION = loose(
    *("url_citation", "file_citation", "file_path", "container_file_citation", "new"),
    **dict.fromkeys(("title", "url", "file_id", "filename"), WORD),
    **dict.fromkeys(("start_index", "end_index", "index"), st.integers(0, 9)),
)
PART = loose("output_text", "refusal", "new", text=WORD, refusal=WORD, annotations=st.lists(ANNOTATION, max_size=2))
ACTION = loose(
    *("search", "open_page", "find_in_page", "new"),
    queries=st.lists(JUNK, max_size=2),
    sources=st.lists(loose("url", "new", url=WORD), max_size=2),
    **dict.fromkeys(("query", "url", "pattern"), WORD),
)
ITEM = loose(
    *(*_ITEMS, "new"),
    status=STATUS,
    phase=st.sampled_from(["commentary", "final_answer"]),
    content=st.lists(PART | JUNK, max_size=3),
    summary=st.lists(loose("summary_text", "new", text=WORD), max_size=2),
    action=ACTION,
    queries=st.lists(JUNK, max_size=2),
    **dict.fromkeys(("id", "call_id", "name", "arguments", "input", "code", "result"), WORD),
)
COUNT = st.integers(0, 999) | JUNK
USAGE = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("input_tokens", "output_tokens"), COUNT),
        "input_tokens_details": st.fixed_dictionaries({"cached_tokens": COUNT}) | JUNK,
        "output_tokens_details": st.fixed_dictionaries({"reasoning_tokens": COUNT}) | JUNK,
    },
)
RESPONSE = st.fixed_dictionaries(
    {"object": st.just("response"), "status": st.sampled_from(["completed", "incomplete"])},
    optional={
        "id": WORD | JUNK,
        "created_at": st.integers(0, 2**40) | JUNK,
        "completed_at": st.integers(0, 2**40) | JUNK,
        "output": st.lists(ITEM | JUNK, max_size=4) | JUNK,
        "usage": USAGE | JUNK,
        "incomplete_details": st.fixed_dictionaries({"reason": st.just("content_filter") | JUNK}) | JUNK,
    },
)
EVENT = loose(
    *sorted(_EVENTS.keys() - TERMINAL),
    item=ITEM,
    part=PART,
    annotation=ANNOTATION,
    response=RESPONSE,
    **dict.fromkeys(("item_id", "delta", "text", "refusal", "arguments", "input", "obfuscation"), WORD),
    **dict.fromkeys(("output_index", "content_index"), st.integers(0, 2)),
)
ANSWER = st.builds(
    lambda events, last: [*events, {"type": f"response.{last['status']}", "response": last}],
    st.lists(EVENT, max_size=8),
    RESPONSE,
)
METADATA = st.dictionaries(WORD, WORD, max_size=3)


def face() -> Face:
    return Face(IdMap(b"k" * 32, "0x1", "0x2"), "did:nv:1", {})


@given(RESPONSE)
def test_a_response_is_one_whatever_a_provider_says(said: Json) -> None:
    assert_round_trips(Response, face().response(said))


@given(ANSWER)
def test_an_event_is_one_whatever_a_provider_says(said: list[Json]) -> None:
    shower = face()
    for shown in filter(None, map(shower.event, said)):
        shown.pop("obfuscation", None)  # sent though not typed in every event
        assert_round_trips(ResponseStreamEvent, shown)


@given(ITEM)
def test_an_item_that_an_answer_adds_to_a_conversation_is_one(said: Json) -> None:
    for item in face().response({"output": [said]})["output"]:
        shown = _shown_item(Stored(item["id"], "item", "0x2", {"item": item}))
        assert_round_trips(ConversationItem, shown)


@given(RESPONSE, st.none() | METADATA)
def test_a_chat_completion_is_one_whatever_a_provider_says(said: Json, metadata: dict[str, str] | None) -> None:
    shown = completion(face().response(said), metadata)
    shown.pop("metadata", None)  # of kept ones, which the type doesn't have
    assert_round_trips(ChatCompletion, shown)


def without_custom(answer: list[Json]) -> bool:
    """The type of chunks has no custom tools, which a caller of chat completions can't add either."""
    return "custom_tool_call" not in str(answer)


@given(ANSWER.filter(without_custom), st.booleans())
def test_a_chunk_of_a_chat_completion_is_one_whatever_a_provider_says(said: list[Json], include_usage: bool) -> None:
    shower, chunks = face(), Chunks("did:nv:1", include_usage)
    sent = b"".join(map(chunks.event, filter(None, map(shower.event, said[:-1]))))
    sent += chunks.end(shower.response(said[-1]["response"]))
    for data in sent.split(b"\n\n")[:-2]:
        chunk = orjson.loads(data.removeprefix(b"data: "))
        chunk.pop("obfuscation", None)  # sent though not typed
        assert_round_trips(ChatCompletionChunk, chunk)


# --------------------------------------------------------------------------------------------------- what a caller says


def maybe(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Any of these members."""
    return st.fixed_dictionaries({}, optional=members)


def exactly(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """All of these members."""
    return st.fixed_dictionaries(members)


SAID = st.text(min_size=1, max_size=4).filter(str.strip)
NAME = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
IMAGE = st.just("https://example.org/a.png")
DETAIL = st.sampled_from(["auto", "low", "high"])
INPUT_PART = st.one_of(
    exactly(type=st.just("input_text"), text=WORD),
    exactly(type=st.just("input_image"), image_url=IMAGE, detail=DETAIL),
    exactly(type=st.just("input_file"), file_data=WORD, filename=WORD),
)
INPUT = st.one_of(
    exactly(role=st.sampled_from(["user", "system", "developer"]), content=WORD | st.lists(INPUT_PART, max_size=2)),
    exactly(role=st.just("assistant"), content=WORD),
    exactly(type=st.just("function_call"), call_id=WORD, name=NAME, arguments=WORD),
    exactly(type=st.just("custom_tool_call"), call_id=WORD, name=NAME, input=WORD),
    exactly(
        type=st.sampled_from(["function_call_output", "custom_tool_call_output"]),
        call_id=WORD,
        output=WORD | st.lists(INPUT_PART, max_size=2),
    ),
)


@given(st.lists(INPUT, max_size=4), st.sampled_from(["asc", "desc"]), st.integers(1, 4))
def test_a_page_of_a_responses_input_is_one(given_items: list[Json], order: str, limit: int) -> None:
    taken = check_items("input", given_items, Policy(images=True, files=True, extra_instructions=True), 9)
    page = cut(listed(taken), {"order": order, "limit": str(limit)})
    assert_round_trips(ResponseItemList, page)


@given(st.lists(INPUT, max_size=3), st.lists(INPUT, min_size=1, max_size=3), METADATA)
@KEPT
def test_a_conversation_and_its_items_are_ones(node: Node, first: list[Json], more: list[Json], metadata: Json) -> None:
    pages, ask = node.desk.conversations, node.ask
    made = ask(pages.create, body={"items": first, "metadata": metadata})
    id = made["id"]
    added = ask(pages.add_items, id, body={"items": more})
    kept = ask(pages.list_items, id, order="asc")
    assert len(kept["data"]) == len(first + more)
    for page in (added, kept):
        assert_round_trips(ConversationItemList, page)
        assert_is_page(SyncConversationCursorPage[ConversationItem], page)
    item = added["data"][0]["id"]
    assert_round_trips(ConversationItem, ask(pages.retrieve_item, id, item))
    changed = ask(pages.update, id, body={"metadata": {}})
    for shown in (made, changed, ask(pages.retrieve, id), ask(pages.delete_item, id, item)):
        assert_round_trips(Conversation, shown)
    assert_round_trips(ConversationDeletedResource, ask(pages.delete, id))


@given(
    st.text(max_size=9).map(lambda text: text.encode()) | st.binary(min_size=1, max_size=9),
    st.from_regex(r"[^\"\\\r\n]{1,9}", fullmatch=True),
    st.sampled_from(["assistants", "user_data", "vision"]),
    st.none() | st.integers(3_600, 99_999),
)
@KEPT
def test_a_file_is_one(node: Node, content: bytes, name: str, purpose: str, seconds: int | None) -> None:
    assume(content)
    fields = {"purpose": purpose}
    if seconds is not None:
        fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(seconds)}
    parts = [f'name="{one}"\r\n\r\n{value}'.encode() for one, value in fields.items()]
    parts.append(f'name="file"; filename="{name}"\r\n\r\n'.encode() + content)
    head = b"--x\r\ncontent-disposition: form-data; "
    form = b"".join(head + part + b"\r\n" for part in parts) + b"--x--\r\n"
    pages, ask = node.desk.files, node.ask
    made = ask(pages.create, form=form)
    for shown in (made, ask(pages.retrieve, made["id"])):
        assert_round_trips(FileObject, shown)
    assert_is_page(SyncCursorPage[FileObject], ask(pages.list))
    assert_round_trips(FileDeleted, ask(pages.delete, made["id"]))


@given(
    NAME.map("Tutor ".__add__),
    st.text(st.characters(categories=["L", "N"]), max_size=600),
    st.lists(NAME, max_size=3, unique=True),
    st.integers(0, 2**40 - 1),
)
def test_a_model_and_an_assistant_are_ones(node: Node, title: str, text: str, tags: list[str], made: int) -> None:
    node.desk.about = sample.metadata(title=title, description=text, tags=tuple(tags), created=made, updated=made)
    models, assistants = node.desk.models, node.desk.assistants
    listed_models, model = node.ask(models.list), node.ask(models.retrieve, str(sample.DID))
    for shown in (model, *listed_models["data"]):
        for extra in ("assistant_id", "title", "description", "tags"):  # ours: docs/openai-compatibility.md
            del shown[extra]
        assert_round_trips(Model, shown)
    assert_is_page(SyncPage[Model], listed_models)
    assert_round_trips(Assistant, node.ask(assistants.retrieve, sample.DID.assistant_id))
    assert_is_page(SyncCursorPage[Assistant], node.ask(assistants.list))


FUNCTION = exactly(name=NAME) | exactly(
    name=NAME, description=WORD, parameters=st.just({"type": "object"}), strict=st.booleans()
)
TOOL_CALL = exactly(id=SAID, type=st.just("function"), function=exactly(name=NAME, arguments=WORD))
CHAT_PART = exactly(type=st.just("text"), text=WORD) | exactly(
    type=st.just("image_url"), image_url=exactly(url=IMAGE) | exactly(url=IMAGE, detail=DETAIL)
)
CHAT_MESSAGE = st.one_of(
    exactly(role=st.just("user"), content=WORD | st.lists(CHAT_PART, min_size=1, max_size=2)),
    exactly(role=st.sampled_from(["system", "developer"]), content=WORD),
    exactly(role=st.just("assistant"), content=WORD),
    exactly(role=st.just("assistant"), refusal=WORD),
    exactly(role=st.just("tool"), tool_call_id=SAID, content=WORD),
    exactly(
        role=st.just("assistant"),
        content=st.none(),
        tool_calls=st.lists(TOOL_CALL, min_size=1, max_size=2),
        annotations=JUNK,
        parsed=JUNK,
    ),
)
USER_MESSAGE = exactly(role=st.just("user"), content=SAID)


@given(st.lists(CHAT_MESSAGE, max_size=3), USER_MESSAGE, ANSWER, st.booleans(), METADATA)
@KEPT
def test_a_kept_chat_completion_and_its_messages_are_ones(
    node: Node, messages: list[Json], last: Json, said: list[Json], stream: bool, metadata: Json
) -> None:
    node.desk.said[:] = [said]
    body = {"messages": [*messages, last], "stream": stream, "store": True, "metadata": metadata}
    made = node.ask(node.desk.chat.create, body=body)
    if stream:
        made = made[-1]
    pages, id = node.desk.chat_store, made["id"]
    found = node.ask(pages.list)
    changed = node.ask(pages.update, id, body={"metadata": {"a": "b"}})
    for shown in (changed, node.ask(pages.retrieve, id), *found["data"]):
        del shown["metadata"]  # sent though not typed
        assert_round_trips(ChatCompletion, shown)
    assert_is_page(SyncCursorPage[ChatCompletion], found)
    kept = node.ask(pages.messages, id)
    assert [message["role"] for message in kept["data"]] == [message["role"] for message in [*messages, last]]
    for message in kept["data"]:
        message["role"] = "assistant"  # the only one that the type has
        message.pop("tool_call_id", None)
        assert_round_trips(ChatCompletionStoreMessage, message)
    assert_is_page(SyncCursorPage[ChatCompletionStoreMessage], kept)
    assert_round_trips(ChatCompletionDeleted, node.ask(pages.delete, id))


NAMED = exactly(type=st.sampled_from(["file_search", "code_interpreter"]))
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant"]),
        "content": SAID
        | st.lists(
            exactly(type=st.just("text"), text=SAID)
            | exactly(type=st.just("image_url"), image_url=exactly(url=IMAGE) | exactly(url=IMAGE, detail=DETAIL))
            | exactly(type=st.just("image_file"), image_file=exactly(file_id=SAID)),
            min_size=1,
            max_size=2,
        ),
    },
    optional={
        "metadata": METADATA,
        "attachments": st.lists(
            exactly(
                file_id=SAID,
                tools=st.lists(NAMED, max_size=2),
            ),
            max_size=1,
        ),
    },
)
RUN = maybe(
    instructions=WORD,
    additional_instructions=WORD,
    additional_messages=st.lists(MESSAGE, max_size=2),
    metadata=METADATA,
    temperature=st.floats(0, 2) | st.integers(0, 2),
    top_p=st.floats(0, 1),
    max_prompt_tokens=st.integers(256, 999),
    max_completion_tokens=st.integers(16, 999),
    truncation_strategy=exactly(type=st.just("auto"))
    | exactly(type=st.just("last_messages"), last_messages=st.integers(1, 9)),
    tools=st.lists(
        exactly(type=st.just("function"), function=FUNCTION)
        | exactly(type=st.just("file_search"))
        | exactly(type=st.just("file_search"), file_search=maybe(max_num_results=JUNK, ranking_options=JUNK)),
        max_size=2,
    ),
    tool_choice=st.sampled_from(["auto", "none"]),
    parallel_tool_calls=st.booleans(),
    response_format=st.sampled_from(["auto", {"type": "text"}, {"type": "json_object"}])
    | exactly(type=st.just("json_schema"), json_schema=exactly(name=NAME, schema=st.just({"type": "object"}))),
)
FAILED = st.just([{"type": "error", "code": "server_error", "message": "x"}])
CALLING = st.builds(
    lambda ids, name, last: [
        *(
            {
                "type": "response.output_item.done",
                "output_index": at,
                "item": {"type": "function_call", "call_id": id, "name": name, "arguments": "{}"},
            }
            for at, id in enumerate(ids)
        ),
        {"type": "response.completed", "response": {**last, "status": "completed"}},
    ],
    st.lists(SAID, min_size=1, max_size=3, unique=True),
    NAME,
    RESPONSE,
)


@given(st.lists(MESSAGE, max_size=3), METADATA, MESSAGE)
@KEPT
def test_a_thread_and_its_messages_are_ones(node: Node, first: list[Json], metadata: Json, more: Json) -> None:
    threads, messages, ask = node.desk.threads, node.desk.messages, node.ask
    made = ask(threads.create, body={"messages": first, "metadata": metadata, "tool_resources": {}})
    id = made["id"]
    for shown in (made, ask(threads.update, id, body={"metadata": {"a": "b"}}), ask(threads.retrieve, id)):
        assert_round_trips(Thread, shown)
    added = ask(messages.create, id, body=more)
    one = added["id"]
    for shown in (added, ask(messages.update, id, one, body={"metadata": metadata}), ask(messages.retrieve, id, one)):
        assert_round_trips(Message, shown)
    page = ask(messages.list, id)
    assert len(page["data"]) == len(first) + 1
    assert_is_page(SyncCursorPage[Message], page)
    assert_round_trips(MessageDeleted, ask(messages.delete, id, one))
    assert_round_trips(ThreadDeleted, ask(threads.delete, id))


@given(RUN, CALLING | ANSWER | FAILED, ANSWER, st.booleans())
@KEPT
def test_a_run_its_steps_and_its_messages_are_ones(
    node: Node, asked: Json, said: list[Json], then: list[Json], cancels: bool
) -> None:
    runs, ask = node.desk.runs, node.ask
    thread = ask(node.desk.threads.create, body={"messages": [{"role": "user", "content": "hello"}]})["id"]
    node.desk.said[:] = [said, then]
    try:
        shown = [ask(runs.create, thread, body=asked)]
    except BadRequest:  # of two functions with one name, say
        assume(False)
    id = shown[0]["id"]
    shown.append(proceeded(node, thread, id))
    if shown[-1]["status"] == "requires_action" and cancels:
        shown += [ask(runs.cancel, thread, id), proceeded(node, thread, id)]
    elif shown[-1]["status"] == "requires_action":
        calls = shown[-1]["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = [{"tool_call_id": one, "output": "x"} for one in {call["id"] for call in calls}]
        shown += [ask(runs.submit, thread, id, body={"tool_outputs": outputs}), proceeded(node, thread, id)]
    shown.append(ask(runs.update, thread, id, body={"metadata": {"a": "b"}}))
    assert shown[-1]["status"] in ("completed", "incomplete", "failed", "cancelled", "requires_action")
    for run in shown:
        assert_round_trips(Run, run)
    assert_is_page(SyncCursorPage[Run], ask(runs.list, thread))
    assert_is_page(SyncCursorPage[Message], ask(node.desk.messages.list, thread))
    assert_is_page(SyncCursorPage[Message], ask(node.desk.messages.list, thread, run_id=id))
    steps = ask(runs.list_steps, thread, id)
    assert_is_page(SyncCursorPage[RunStep], steps)
    for step in steps["data"][:1]:
        assert_round_trips(RunStep, ask(runs.retrieve_step, thread, id, step["id"]))
    assert_round_trips(ThreadDeleted, ask(node.desk.threads.delete, thread))


def proceeded(node: Node, thread: str, id: str) -> Json:
    """The run once it has ended, or waits."""

    async def over() -> None:
        while (running := node.desk.runner.held(id)) is not None and not running.waits:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    node.run(over())
    found: Json = node.ask(node.desk.runs.retrieve, thread, id)
    return found
