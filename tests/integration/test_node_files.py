"""Files of subscribers: kept with the node, read by assistants whose builder allows it, at whatever provider."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from openai.types import FileDeleted, FileObject

from nvm_chain.policy import Policy
from nvm_chain.secret import Secret
from tests.openai_clients import Refused, open_client
from tests.provider.conforms import assert_conforms
from tests.selling import Market
from tests.shop import DIALECTS, Shop
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT = bytes(range(256)) * 5000 + b"\r\n--no boundary\r\n"
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(world: World) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        yield Shop(Market(world, stack=stack))


@pytest.mark.conformance(
    "POST /v1/files",
    "GET /v1/files",
    "GET /v1/files/{id}",
    "GET /v1/files/{id}/content",
    "DELETE /v1/files/{id}",
    client=("python", "python-async"),
)
async def test_a_file_from_its_beginning_to_its_end(shop: Shop) -> None:
    """Some pieces long, with every byte in it."""
    sold = await shop.sold("responses")
    with openai.OpenAI(base_url=sold.url, api_key=sold.key, max_retries=0) as sync:
        made = sync.files.create(file=('na"me.bin', CONTENT), purpose="user_data")
        assert_conforms(FileObject, made.to_dict())
        assert (made.bytes, made.filename, made.purpose, made.status) == (
            len(CONTENT),
            'na"me.bin',
            "user_data",
            "processed",
        )
        assert sync.files.content(made.id).read() == CONTENT
    async with openai.AsyncOpenAI(base_url=sold.url, api_key=sold.key, max_retries=0) as client:
        after: Json = {"anchor": "created_at", "seconds": 3600}
        other = await client.files.create(file=("b.txt", b"text"), purpose="vision", expires_after=after)  # type: ignore[arg-type]
        assert other.expires_at == other.created_at + 3600
        assert [file.id async for file in client.files.list()] == [other.id, made.id]
        assert [file.id async for file in client.files.list(limit=1, order="asc")] == [made.id, other.id]
        assert [file.id async for file in client.files.list(purpose="vision")] == [other.id]
        assert (await client.files.retrieve(made.id)).id == made.id
        answer = await client.files.content(made.id)
        assert answer.content == CONTENT
        assert answer.response.headers["content-disposition"] == "attachment"
        for id in (made.id, other.id):
            assert_conforms(FileDeleted, (await client.files.delete(id)).to_dict())
            with pytest.raises(openai.NotFoundError):
                await client.files.content(id)
        assert (await client.files.list()).data == []


@pytest.mark.conformance(
    "POST /v1/files",
    "GET /v1/files",
    "GET /v1/files/{id}",
    "GET /v1/files/{id}/content",
    "DELETE /v1/files/{id}",
    client="npm",
)
async def test_npms_client_sends_files_too(shop: Shop) -> None:
    api, did = await shop.client("npm", "responses-stateless")
    file = {"$file": {"name": "hello.txt", "base64": base64.b64encode(CONTENT).decode()}}
    made = await api.call("files.create", file=file, purpose="user_data")
    assert (made["filename"], made["bytes"]) == ("hello.txt", len(CONTENT))
    assert [one["id"] for one in await api.events("files.list", limit=1)] == [made["id"]]
    assert (await api.call("files.retrieve", made["id"]))["id"] == made["id"]
    assert await api.call("files.content", made["id"]) == {"base64": base64.b64encode(CONTENT).decode()}
    await api.call("responses.create", model=did, input=asking(made["id"]))
    await api.call("files.delete", made["id"])


async def uploaded(shop: Shop, dialect: str, name: str, content: bytes) -> str:
    sold = await shop.sold(dialect)
    async with openai.AsyncOpenAI(base_url=sold.url, api_key=sold.key, max_retries=0) as client:
        return (await client.files.create(file=(name, content), purpose="user_data")).id


def asking(id: str, kind: str = "input_file") -> list[Json]:
    content = [{"type": "input_text", "text": "read"}, {"type": kind, "file_id": id}]
    return [{"role": "user", "content": content}]


@pytest.mark.conformance("POST /v1/responses", client="python-async", dialect="responses")
async def test_a_provider_that_keeps_state_gets_it_once_and_forgets_it_with_us(shop: Shop, world: World) -> None:
    api, did = await shop.client("python-async", "responses")
    id = await uploaded(shop, "responses", "secret-plan.txt", b"the plan")
    await world.provider.forget()
    first = await api.call("responses.create", model=did, input=asking(id))
    await api.call("responses.create", model=did, input=asking(id), store=False)
    await api.call("responses.create", model=did, input="and", previous_response_id=first["id"])
    requests = await world.provider.requests()
    assert [request["path"] for request in requests].count("/v1/files") == 1
    parts = [request["body"]["input"][0]["content"][1] for request in requests[1:3]]
    assert parts[0] == parts[1]
    theirs = parts[0]["file_id"]
    assert theirs != id
    (item,) = await api.events("responses.input_items.list", first["id"])
    assert item["content"][1]["file_id"] == id
    assert theirs not in str([first, item])
    await api.call("files.delete", id)
    last = (await world.provider.requests())[-1]
    assert (last["method"], last["path"], last["status"]) == ("DELETE", f"/v1/files/{theirs}", 200)


@pytest.mark.parametrize("dialect", ["responses-stateless", "chat"])
@pytest.mark.conformance("POST /v1/responses", client="python-async")
async def test_a_provider_that_keeps_nothing_gets_its_content(shop: Shop, world: World, dialect: str) -> None:
    api, did = await shop.client("python-async", dialect)
    picture, document = b"\x89PNG not really", b"%PDF-1.4 not really"
    for name, content, kind in (("a.png", picture, "input_image"), ("b.pdf", document, "input_file")):
        id = await uploaded(shop, dialect, name, content)
        await world.provider.forget()
        first = await api.call("responses.create", model=did, input=asking(id, kind))
        await api.call("responses.create", model=did, input="and", previous_response_id=first["id"])
        requests = await world.provider.requests()
        assert len(requests) == 2
        for request in requests:
            assert base64.b64encode(content).decode() in str(request["body"])
            assert id not in str(request["body"])


async def test_two_builders_have_a_copy_each(shop: Shop, world: World) -> None:
    """A provider's ids are worth nothing in another account."""
    here = world.node.settings["allow_local_providers"]
    there = here.replace("127.0.0.1", "localhost")
    await world.node.restart(allow_local_providers=f"{here},{there}")
    first = await shop.market.sell("responses")
    same, other = await shop.market.sell("responses"), await shop.market.sell("responses", **account(world, there))
    for sold in (same, other):
        await world.buy(sold.plan, first.wallet)
    async with open_client("python-async", first.url, first.key) as api:
        with openai.OpenAI(base_url=first.url, api_key=first.key, max_retries=0) as client:
            id = client.files.create(file=("a.txt", b"shared"), purpose="user_data").id
        await world.provider.forget()
        for sold in (first, same, other, first):
            await api.call("responses.create", model=str(sold.did), input=asking(id))
        await api.call("files.delete", id)
    requests = await world.provider.requests()
    assert [request["path"] for request in requests].count("/v1/files") == 2
    asked = [
        request["body"]["input"][0]["content"][1]["file_id"]
        for request in requests
        if request["path"] == "/v1/responses"
    ]
    assert asked[0] == asked[1] == asked[3] != asked[2]
    gone = [request["path"] for request in requests if request["method"] == "DELETE" and request["status"] == 200]
    assert sorted(gone) == sorted(f"/v1/files/{one}" for one in {*asked})


def account(world: World, host: str) -> Json:
    """The stand-in under another name: another account as far as anybody can tell."""
    base_url = f"http://{host}/v1"
    return {"base_url": base_url, "api_key": Secret(world.provider.key), "model": "stand-in", "allow_http": True}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_only_ones_own_files_are_read(shop: Shop, world: World, dialect: str) -> None:
    """Somebody else's, the provider's own and one that doesn't exist give the same answer."""
    api, did = await shop.client("python-async", dialect)
    stranger = await shop.market.sell("responses")
    with openai.OpenAI(base_url=stranger.url, api_key=stranger.key, max_retries=0) as client:
        foreign = client.files.create(file=("a.txt", b"theirs"), purpose="user_data").id
    async with openai.AsyncOpenAI(base_url=world.provider.url, api_key=world.provider.key) as builder:
        builders = (await builder.files.create(file=("a.txt", b"builder's"), purpose="user_data")).id
    for id in (foreign, builders, "file-none"):
        with pytest.raises(Refused) as caught:
            await api.call("responses.create", model=did, input=asking(id))
        assert (caught.value.status, caught.value.code, caught.value.param) == (404, "not_found", "input")


async def test_a_builder_who_allows_no_files_gets_none(shop: Shop) -> None:
    sold = await shop.market.sell("responses", policy=Policy())
    async with open_client("python-async", sold.url, sold.key) as api:
        with openai.OpenAI(base_url=sold.url, api_key=sold.key, max_retries=0) as client:
            id = client.files.create(file=("a.txt", b"mine"), purpose="user_data").id
        for kind in ("input_file", "input_image"):
            with pytest.raises(Refused) as caught:
                await api.call("responses.create", model=str(sold.did), input=asking(id, kind))
            assert (caught.value.status, caught.value.param) == (400, "input[0].content[1]")


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"purpose": "user_data"}, "file"),
        ({"purpose": "user_data", "file": "not a file"}, "file"),
        ({"file": b"x"}, "purpose"),
        ({"file": b"x", "purpose": "batch"}, "purpose"),
        ({"file": b"", "purpose": "user_data"}, "file"),
        ({"file": b"x", "purpose": "user_data", "evil": "1"}, "evil"),
        ({"file": b"x", "purpose": "user_data", "expires_after[anchor]": "now"}, "expires_after"),
        (
            {
                "file": b"x",
                "purpose": "user_data",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "5",
            },
            "expires_after",
        ),
    ],
)
async def test_a_form_with_a_mistake_is_told_which(shop: Shop, form: Json, param: str) -> None:
    sold = await shop.sold("responses")
    data = aiohttp.FormData()
    for name, value in form.items():
        data.add_field(name, value, filename="x.txt" if isinstance(value, bytes) else None)
    if not any(isinstance(value, bytes) for value in form.values()):
        data.add_field("purpose", "user_data", content_type="text/plain")  # makes it multipart
    async with sold.http() as http, http.post(f"{sold.url}/files", data=data) as answer:
        assert answer.status == 400, await answer.text()
        assert (await answer.json())["error"]["param"] == param


async def test_what_is_no_form_is_refused(shop: Shop) -> None:
    sold = await shop.sold("responses")
    async with sold.http() as http:
        async with http.post(f"{sold.url}/files", json={"purpose": "user_data"}) as answer:
            assert answer.status == 415
        headers = {"content-type": "multipart/form-data; boundary=x"}
        for body in (b"", b"--x--", b"--x\r\nno header", b"--x\r\n\r\nno name\r\n--x--", b"--y\r\n\r\n--y--"):
            async with http.post(f"{sold.url}/files", data=body, headers=headers) as answer:
                assert answer.status == 400, body


async def test_size_and_room_are_bounded(world: World, shop: Shop) -> None:
    sold = await shop.sold("responses")
    settings = {"max_file_bytes": "100000", "max_kept_bytes": "250000"}
    await world.node.restart(**settings)
    try:
        async with openai.AsyncOpenAI(base_url=sold.url, api_key=sold.key, max_retries=0) as client:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.files.create(file=("a", b"x" * 100_001), purpose="user_data")
            assert caught.value.status_code == 413
            for number in range(2):
                await client.files.create(file=(f"{number}", b"x" * 100_000), purpose="user_data")
            with pytest.raises(openai.BadRequestError, match="more would be above the 250,000") as refused:
                await client.files.create(file=("c", b"x" * 100_000), purpose="user_data")
            assert refused.value.code == "storage_limit_reached"
    finally:
        for name in settings:
            del world.node.settings[name]
        await world.node.restart()
