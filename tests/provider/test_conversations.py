"""Conversations and their items, against the real client and its types."""

from __future__ import annotations

import asyncio

import aiohttp
import openai
import pytest
from openai.types.conversations import Conversation, ConversationDeletedResource, ConversationItemList

from tests.provider import Provider
from tests.provider.conforms import assert_conforms


async def test_a_conversation_gathers_what_was_said(client: openai.AsyncOpenAI) -> None:
    conversation = await client.conversations.create(metadata={"topic": "numbers"})
    for text in ("one", "two"):
        await client.responses.create(model="stand-in", input=text, conversation=conversation.id)
    last = await client.responses.create(model="stand-in", input="[[history]]three", conversation=conversation.id)
    assert last.output_text.endswith(
        "user: one | assistant: You said: one | user: two | assistant: You said: two | user: three"
    )
    assert last.conversation is not None
    assert last.conversation.id == conversation.id
    listed = [item async for item in await client.conversations.items.list(conversation.id, order="asc", limit=2)]
    assert [item.role for item in listed if item.type == "message"] == ["user", "assistant"] * 3


async def test_objects_conform(http: aiohttp.ClientSession) -> None:
    body = {"items": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}]}
    async with http.post("/v1/conversations", json=body) as answer:
        conversation = await answer.json()
    assert_conforms(Conversation, conversation)
    path = f"/v1/conversations/{conversation['id']}"
    body = {
        "items": [
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        ]
    }
    async with http.post(path + "/items", json=body) as answer:
        assert_conforms(ConversationItemList, await answer.json())
    async with http.get(path + "/items") as answer:
        page = await answer.json()
    assert_conforms(ConversationItemList, page)
    assert [item["type"] for item in page["data"]] == ["function_call_output", "function_call", "message", "message"]
    async with http.delete(path) as answer:
        assert_conforms(ConversationDeletedResource, await answer.json())


async def test_items_can_be_read_and_removed(client: openai.AsyncOpenAI) -> None:
    conversation = await client.conversations.create(items=[{"type": "message", "role": "user", "content": "hello"}])
    added = await client.conversations.items.create(
        conversation.id, items=[{"type": "message", "role": "user", "content": "again"}]
    )
    item = await client.conversations.items.retrieve(added.data[0].id or "", conversation_id=conversation.id)
    assert item.type == "message"
    await client.conversations.items.delete(item.id, conversation_id=conversation.id)
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.retrieve(item.id, conversation_id=conversation.id)
    updated = await client.conversations.update(conversation.id, metadata={"a": "b"})
    assert updated.metadata == {"a": "b"}
    await client.conversations.delete(conversation.id)
    with pytest.raises(openai.NotFoundError):
        await client.conversations.retrieve(conversation.id)


async def test_one_response_at_a_time(client: openai.AsyncOpenAI, provider: Provider) -> None:
    conversation = await client.conversations.create()
    slow = asyncio.create_task(
        client.responses.create(model="stand-in", input="[[wait 0.3]]slow", conversation=conversation.id)
    )
    stored = provider.state.conversations[conversation.id]
    for _ in range(500):
        if stored.busy:
            break
        await asyncio.sleep(0.005)
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="stand-in", input="fast", conversation=conversation.id)
    assert caught.value.code == "conversation_locked"
    await slow
    assert (await client.responses.create(model="stand-in", input="fast", conversation=conversation.id)).output_text


async def test_a_response_that_is_broken_off_leaves_the_conversation_free_and_unchanged(
    client: openai.AsyncOpenAI, provider: Provider
) -> None:
    conversation = await client.conversations.create()
    stream = await client.responses.create(
        model="stand-in", input="[[delay 0.02]][[tokens 500]]", conversation=conversation.id, stream=True
    )
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    stored = provider.state.conversations[conversation.id]
    for _ in range(500):
        if not stored.busy:
            break
        await asyncio.sleep(0.01)
    assert not stored.busy
    assert not stored.items


async def test_at_most_twenty_items_at_once(client: openai.AsyncOpenAI) -> None:
    conversation = await client.conversations.create()
    with pytest.raises(openai.BadRequestError, match="array too long") as caught:
        await client.conversations.items.create(
            conversation.id, items=[{"type": "message", "role": "user", "content": str(n)} for n in range(21)]
        )
    assert caught.value.param == "items"
