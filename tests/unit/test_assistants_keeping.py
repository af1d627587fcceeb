"""What outlives a run's process: writes behind, the record that several may change, and what usage comes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from node_proxy.access.keys import ApiKey
from node_proxy.errors import ObjectNotFound
from node_proxy.openai.assistants_api import paging, shapes
from node_proxy.openai.assistants_api.progress import Progress, tokens
from node_proxy.openai.assistants_api.record import NotWaiting, Record, TakenOver
from node_proxy.openai.assistants_api.runner import new_message
from node_proxy.openai.assistants_api.running import Running
from node_proxy.openai.assistants_api.saving import Saver
from node_proxy.openai.assistants_api.shelf import Shelf, new_id
from node_proxy.openai.objects import Objects, Stored
from node_proxy.pricing import Usage
from node_proxy.storage import open_database
from nvm_chain.did import Did

ALICE = "0x" + "a1" * 20


def key(*dids: Did) -> ApiKey:
    return ApiKey("key_1", ALICE, "k", None, None, frozenset(dids) or None, False, 0)


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with open_database(str(tmp_path / "objects.db")) as database:
        yield Shelf(Objects(database, b"s" * 32), key(), 3600)


async def thread(shelf: Shelf, *texts: str) -> Stored:
    made = shelf.new("thread", shapes.thread(new_id("thread_"), 1, {}), active="")
    said = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in texts]
    await shelf.objects.put(made, *(new_message(shelf, made.id, one) for one in said))
    return await shelf.thread(made.id)


async def run(shelf: Shelf, parent: Stored) -> Stored:
    value = shapes.run(new_id("run_"), parent.id, 1, 600, "asst_1", "did:nv:1", {})
    progress = Progress({}).json()
    await shelf.add(parent.id, shelf.new("run", value, parent.id, owner=shelf.objects.owner, progress=progress))
    return await shelf.run(parent.id, value["id"])


def texts(messages: list[Stored]) -> list[str]:
    return [one.data["message"]["content"][0]["text"]["value"] for one in messages]


# ------------------------------------------------------------------------------------------------------------- shelf


async def test_the_newest_messages_are_found_over_pages(shelf: Shelf) -> None:
    made = await thread(shelf, *(str(number) for number in range(250)))
    assert texts(await shelf.newest("message", made.id, 3)) == ["247", "248", "249"]
    assert texts(await shelf.newest("message", made.id, 230)) == [str(number) for number in range(20, 250)]
    assert len([one async for one in shelf.all("message", made.id)]) == 250


async def test_an_object_is_found_under_its_own_parent_only(shelf: Shelf) -> None:
    one, other = await thread(shelf, "mine"), await thread(shelf)
    (message,) = await shelf.newest("message", one.id, 9)
    assert (await shelf.message(one.id, message.id)).id == message.id
    with pytest.raises(ObjectNotFound, match="No message found with id"):
        await shelf.message(other.id, message.id)
    with pytest.raises(ObjectNotFound, match="No thread found with id"):
        await shelf.thread(message.id)


async def test_a_narrow_key_sees_no_thread_of_another_assistant(shelf: Shelf) -> None:
    mine, others = Did(b"\1" * 32), Did(b"\2" * 32)
    made = await thread(shelf)
    narrow = Shelf(shelf.objects, key(mine), 3600)
    assert (await narrow.thread(made.id)).id == made.id
    answered = await shelf.objects.update(replace(made, did=str(others)))
    assert answered is not None
    with pytest.raises(ObjectNotFound):
        await narrow.thread(made.id)
    assert (await shelf.thread(made.id)).did == str(others)


async def test_changes_at_once_are_all_kept(shelf: Shelf) -> None:
    made = await thread(shelf)

    async def note(name: str) -> None:
        await shelf.change(made, lambda data: data["thread"].update(metadata={**data["thread"]["metadata"], name: "x"}))

    await asyncio.gather(*(note(name) for name in "abcdef"))
    assert sorted((await shelf.thread(made.id)).data["thread"]["metadata"]) == list("abcdef")


async def test_the_messages_of_a_run_are_those_that_its_steps_name(shelf: Shelf) -> None:
    made = await thread(shelf, "asked")
    started = await run(shelf, made)
    answers = [shapes.message(new_id("msg_"), made.id, 1, "assistant", [], run_id=started.id) for _ in range(3)]
    for answer in answers:
        details = {"type": "message_creation", "message_creation": {"message_id": answer["id"]}}
        step = shapes.step(new_id("step_"), started.data["run"], 1, details)
        await shelf.objects.put(shelf.new("message", answer, made.id), shelf.new("step", step, started.id))
    page = await shelf.messages_of_run(started.id, paging.window({"limit": "2"}))
    assert [one["id"] for one in page["data"]] == [answers[2]["id"], answers[1]["id"]]
    assert page["has_more"] is True


# ---------------------------------------------------------------------------------------------------- writes behind


async def test_writes_behind_keep_the_newest_state_in_the_order_of_making(shelf: Shelf) -> None:
    made = await thread(shelf)
    saver = Saver(shelf.objects)
    written = [new_message(shelf, made.id, {"role": "user", "content": []}) for _ in range(20)]
    for number in range(3):
        for one in written:
            saver.later(replace(one, data={"message": {**one.data["message"], "metadata": {"n": str(number)}}}))
            await asyncio.sleep(0)
    await saver.flush()
    found = [one async for one in shelf.all("message", made.id)]
    assert [one.id for one in found] == [one.id for one in written]
    assert {one.data["message"]["metadata"]["n"] for one in found} == {"2"}


# ------------------------------------------------------------------------------------------------------------ record


async def test_a_record_works_in_what_others_change(shelf: Shelf) -> None:
    stored = await run(shelf, await thread(shelf))
    cancelled: list[bool] = []
    mine = stored.data["run"]
    record = Record(shelf, stored, mine, Progress({}), lambda: cancelled.append(True))
    await shelf.change(stored, lambda data: data["run"].update(metadata={"a": "b"}))
    mine["status"] = "in_progress"
    await record.save()
    kept = await shelf.run(stored.parent, stored.id)
    assert (kept.data["run"]["status"], kept.data["run"]["metadata"]) == ("in_progress", {"a": "b"})
    await shelf.change(kept, lambda data: data["run"].update(status="cancelling"))
    await record.look()
    assert cancelled == [True]


async def test_a_record_that_another_process_owns_is_let_go(shelf: Shelf) -> None:
    stored = await run(shelf, await thread(shelf))
    record = Record(shelf, stored, stored.data["run"], Progress({}), lambda: None)
    await shelf.change(stored, lambda data: data.update(owner=1 << 30))
    with pytest.raises(TakenOver):
        await record.save()
    with pytest.raises(TakenOver):
        await record.look()
    assert (await shelf.run(stored.parent, stored.id)).data["owner"] == 1 << 30


async def test_outputs_for_a_run_that_another_process_has_just_taken_are_refused(shelf: Shelf) -> None:
    stored = await run(shelf, await thread(shelf))
    value = stored.data["run"] | {"status": "requires_action", "required_action": {"type": "submit_tool_outputs"}}
    running = Running.__new__(Running)
    running.run, running._outputs = value, None
    running._record = Record(shelf, stored, value, Progress({}), lambda: None)
    await shelf.change(stored, lambda data: data.update(owner=1 << 30))
    with pytest.raises(NotWaiting, match="Somebody else goes on"):
        await running.submit({"call_1": "sun"})
    assert (value["status"], value["required_action"]) == ("requires_action", {"type": "submit_tool_outputs"})


async def test_a_run_of_a_deleted_thread_leaves_nothing_behind(shelf: Shelf) -> None:
    made = await thread(shelf, "hello")
    stored = await run(shelf, made)
    cancelled: list[bool] = []
    record = Record(shelf, stored, stored.data["run"], Progress({}), lambda: cancelled.append(True))
    await shelf.objects.delete(ALICE, "thread", made.id)
    await shelf.objects.put(new_message(shelf, made.id, {"role": "user", "content": []}))
    await record.save()
    assert cancelled == [True]
    assert [one async for one in shelf.all("message", made.id)] == []


async def test_a_run_that_is_being_kept_just_now_does_not_count_as_deleted(shelf: Shelf) -> None:
    """Somebody looks whether it was deleted before it is there: its thread went with it once."""
    made = await thread(shelf, "hello")
    value = shapes.run(new_id("run_"), made.id, 1, 600, "asst_1", "did:nv:1", {})
    new = shelf.new("run", value, made.id, owner=shelf.objects.owner, progress=Progress({}).json())
    cancelled: list[bool] = []
    record = Record(shelf, new, value, Progress({}), lambda: cancelled.append(True))
    await record.look()
    await shelf.add(made.id, new)
    record.goes_on_from(replace(new, version=1))
    value["status"] = "in_progress"
    await record.save()
    await record.look()
    assert cancelled == []
    assert (await shelf.run(made.id, new.id)).data["run"]["status"] == "in_progress"


async def test_a_run_that_is_missing_takes_no_thread_along(shelf: Shelf) -> None:
    made = await thread(shelf, "hello")
    stored = await run(shelf, made)
    record = Record(shelf, stored, stored.data["run"], Progress({}), lambda: None)
    await shelf.objects.delete(ALICE, "run", stored.id)
    await record.save()
    assert texts([one async for one in shelf.all("message", made.id)]) == ["hello"]


# ------------------------------------------------------------------------------------------------------------- usage


def test_usage_adds_up_over_rounds_and_survives_being_kept() -> None:
    progress = Progress({"assistant_id": "asst_1"})
    assert tokens(progress.usage) is None
    progress.add(Usage(10, 4, 5, 2, {"file_search_call": 1}))
    progress.add(None)  # a round whose provider didn't say
    progress.add(Usage(1, 0, 2, 0, {"file_search_call": 2}))
    again = Progress(**progress.json())
    assert again.usage == Usage(11, 4, 7, 2, {"file_search_call": 3})
    assert again.rounds == 3
    assert tokens(again.usage) == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
