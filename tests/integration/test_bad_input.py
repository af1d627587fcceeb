"""Bad input, the whole way through: a clear error that names the value and the way out, and nothing is charged."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from nvm_chain.assets import OfferInput
from nvm_chain.cid import Cid
from nvm_chain.contract_errors import (
    NodeNotAuthorised,
    NoPlan,
    PlanNotOnSale,
    PlanNotUsable,
    PlanUnknown,
    PriceAboveMaximum,
    SoldOut,
    WrongPayment,
)
from nvm_chain.definition import Definition
from nvm_chain.did import Did
from nvm_chain.entries import Entry
from nvm_chain.errors import AssistantsShutDown, InvalidInput, SealBroken
from nvm_chain.metadata import Metadata
from nvm_chain.plans import PlanId
from nvm_chain.registration import Registration, named_salt, pin
from nvm_chain.sealing import Binding
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.processes import ProcessFailed, child
from tests.world import ROOT, NodeProcess, World, free_port, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Sold:
    """A plan of 100 credits, an assistant at 1 credit a call, and somebody who holds the plan."""

    world: World
    plan: PlanId
    assistant: Registration
    subscriber: LocalWallet
    key: str

    async def call(self, text: str = "hello", *, key: str | None = None, node: NodeProcess | None = None) -> Any:
        """One plain call; the official client's errors."""
        async with self.world.async_openai(key or self.key, node=node) as client:
            return await client.responses.create(model=str(self.assistant.did), input=text, timeout=30)

    async def spent(self, node: NodeProcess | None = None) -> int:
        """Credits charged through the API key, as the node has written them down."""
        headers, url = {"authorization": f"Bearer {self.key}"}, f"{(node or self.world.node).url}/v1/account"
        async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as http, http.get(url) as answer:
            return int((await answer.json())["key"]["spent"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sold(world: World) -> Sold:
    return await sell(world)


async def sell(world: World, node: NodeProcess | None = None, **fields: Any) -> Sold:
    """A plan, an assistant and a purchase. fields: of the definition."""
    plan = (await world.create_plan(credits=100, price=10**15)).plan_id
    assistant = await world.register(plan, node=node, definition=world.definition(**fields))
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    return Sold(world, plan, assistant, subscriber, await world.login(subscriber, node=node))


# ------------------------------------------------------------------------------------------------------------ the chain


async def test_a_wrong_price_is_refused_and_names_what_was_paid_and_what_is_due(sold: Sold) -> None:
    plans, wallet, chain = sold.world.deployment.plans, sold.subscriber, sold.world.chain
    for paid in (10**15 - 1, 10**15 + 1, 0):
        with pytest.raises(WrongPayment, match=rf"(?s){paid}.*{10**15}"):
            await chain.send(plans.purchase(sold.plan, wallet.address, 1, 10**15, value=paid), wallet)
    with pytest.raises(PriceAboveMaximum, match=rf"(?s){10**15}.*{10**15 - 1}"):
        await chain.send(plans.purchase(sold.plan, wallet.address, 1, 10**15 - 1, value=10**15), wallet)
    assert await sold.world.credits(sold.plan, wallet) == 100


async def test_a_plan_that_is_unknown_paused_or_sold_out_says_which(world: World) -> None:
    wallet = await world.wallet()
    unknown = PlanId(bytes(31) + b"\x07")
    with pytest.raises(PlanUnknown, match=str(unknown)):
        await world.buy(unknown, wallet)
    plan = (await world.create_plan(supply=1)).plan_id
    await world.buy(plan, wallet)
    with pytest.raises(SoldOut, match=str(plan)):
        await world.buy(plan, wallet)
    await world.chain.send(world.deployment.plans.set_paused(plan, True), world.builder)
    with pytest.raises(PlanNotOnSale, match="paused"):
        await world.buy(plan, wallet)
    assert await world.credits(plan, wallet) == 100


async def test_an_assistant_without_a_plan_of_its_owner_is_not_registered(world: World) -> None:
    with pytest.raises(NoPlan):
        await world.register()
    plan = (await world.create_plan()).plan_id
    with pytest.raises(PlanNotUsable, match=str(plan)):
        await world.register(plan, owner=await world.wallet())


async def test_a_node_that_is_not_the_assistants_neither_serves_nor_settles(sold: Sold) -> None:
    world = sold.world
    other = await world.add_node()
    try:
        key = await world.login(sold.subscriber, node=other)
        with pytest.raises(openai.NotFoundError, match=str(sold.assistant.did)):
            await sold.call(key=key, node=other)
        entry = Entry(sold.subscriber.address, 1, 1)
        with pytest.raises(NodeNotAuthorised, match=other.account):
            await world.chain.send(
                world.deployment.plans.settle(sold.assistant.did, sold.plan, 1, [entry]), other.wallet
            )
    finally:
        await other.stop()
    assert await world.consumed(sold.plan, sold.subscriber) == 0


# --------------------------------------------------------------------------------------------------------- the builder


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "asst_m3hDiBSEScF4vTyeGGJ8JI8T"},
        {"model": "gpt-5.4-mini", "assistant_id": "asst_m3hDiBSEScF4vTyeGGJ8JI8T"},
        {"model": "", "assistant_id": "asst_m3hDiBSEScF4vTyeGGJ8JI8T", "dialect": "assistants"},
    ],
)
async def test_an_assistant_id_at_openai_is_told_about_the_shutdown_and_what_to_do(fields: dict[str, Any]) -> None:
    with pytest.raises(AssistantsShutDown) as caught:
        Definition(base_url="https://api.openai.com/v1", api_key=Secret("sk-secret-0123456789"), **fields)
    said = str(caught.value)
    assert all(word in said for word in ("asst_m3hDiBSEScF4vTyeGGJ8JI8T", "2026-08-26", "dialect responses"))
    assert "sk-secret" not in said


async def test_a_malformed_did_cid_or_key_is_named_and_a_key_is_not_repeated(sold: Sold) -> None:
    for did in ("did:nv:12", "did:web:example.org", "did:nv:" + "g" * 64, "x"):
        with pytest.raises(InvalidInput, match=re.escape(did)):
            Did.parse(did)
    for cid in ("bafkrei", "Qm" + "1" * 44, "bafkrei" + "!" * 52):
        with pytest.raises(InvalidInput, match=re.escape(cid)):
            Cid.parse(cid)
    for key in ("0x12", "zz" * 32, "00" * 32, "f" * 64):
        with pytest.raises(InvalidInput, match="private key") as caught:
            LocalWallet(Secret(key))
        assert key not in str(caught.value)
    async with sold.world.async_openai(sold.key) as client:
        for model in ("did:nv:12", "gpt-5.4-mini", "asst_nope"):
            with pytest.raises(openai.APIStatusError, match=re.escape(model)) as refused:
                await client.responses.create(model=model, input="hello")
            assert refused.value.status_code in (400, 404)


async def test_metadata_whose_bytes_are_not_its_cids_is_not_believed_and_costs_nothing(sold: Sold) -> None:
    world = sold.world
    fresh = await sell(world)
    (file,) = [path for path in (world.folder / "blocks").rglob("*") if path.is_file() and _is(path, fresh.assistant)]
    block = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(block.replace(b"Assistant", b"Assassins"))
    with pytest.raises(openai.InternalServerError) as caught:
        await fresh.call()
    assert caught.value.status_code == 503
    assert caught.value.code == "assistant_unavailable"
    assert "metadata" in str(caught.value)
    assert await fresh.spent() == 0
    file.write_bytes(block)

    async def answered() -> bool:
        try:
            return bool((await fresh.call()).output_text)
        except openai.InternalServerError:
            return False

    await until(answered, "the node to read the right bytes again")
    assert await fresh.spent() == 1


def _is(path: Path, assistant: Registration) -> bool:
    return Cid.of(path.read_bytes()) == assistant.cid


async def test_a_ciphertext_of_another_asset_opens_nothing(world: World) -> None:
    one, other = await sell(world), await sell(world)
    metadata = Metadata.from_block(await world.store.get(one.assistant.cid))
    (sealed,) = metadata.sealed
    key = Secret(world.node.settings["encryption_key"])

    def binding(did: Did) -> Binding:
        return Binding(did, metadata.owner, metadata.chain_id, metadata.registry, sealed.node, sealed.key_version, 0)

    assert sealed.open(key, binding(one.assistant.did)).definition.model == "stand-in"
    with pytest.raises(SealBroken, match="did") as caught:
        sealed.open(key, binding(other.assistant.did))
    assert "sk-" not in str(caught.value)


async def test_an_assistant_with_another_ones_ciphertext_is_not_served_and_costs_nothing(world: World) -> None:
    """A thief registers somebody else's sealed definition as an assistant of its own, and sells access to it."""
    theirs = await sell(world)
    metadata = Metadata.from_block(await world.store.get(theirs.assistant.cid))
    thief = await world.wallet()
    plan = (await world.create_plan(owner=thief)).plan_id
    salt = named_salt("stolen")
    did = Did.derive(world.chain.chain_id, world.deployment.asset_registry, thief.address, salt)
    stolen = replace(metadata, did=did, owner=thief.address, offers=())
    cid = await pin(world.store, stolen.to_block())
    call = world.deployment.assets.register(salt, cid, [OfferInput(plan, 1, 1)], [world.node.account])
    await world.chain.send(call, thief)
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    bought = Sold(world, plan, Registration(did, cid), subscriber, await world.login(subscriber))
    with pytest.raises(openai.InternalServerError) as caught:
        await bought.call()
    assert (caught.value.status_code, caught.value.code) == (503, "assistant_unavailable")
    assert "stand-in" not in str(caught.value)
    assert "sk-" not in str(caught.value)
    assert await bought.spent() == 0
    assert await world.consumed(plan, subscriber) == 0
    assert (await theirs.call()).output_text  # whose it is still serves


# ------------------------------------------------------------------------------------------------------------ API keys


async def test_a_key_that_is_garbled_expired_or_revoked_gets_401_and_says_which(sold: Sold) -> None:
    world = sold.world
    for garbled in (
        "nvm_",
        "nvm_garbled",
        sold.key[:-1] + ("a" if sold.key[-1] != "a" else "b"),
        "sk-proj-x",
        "x" * 500,
    ):
        with pytest.raises(openai.AuthenticationError) as caught:
            await sold.call(key=garbled)
        assert caught.value.code == "invalid_api_key"
        assert garbled not in str(caught.value)
    brief = await world.login(sold.subscriber, expires_in=1)
    await asyncio.sleep(1.5)
    with pytest.raises(openai.AuthenticationError) as caught:
        await sold.call(key=brief)
    assert caught.value.code == "api_key_expired"
    await _revoke(world, gone := await world.login(sold.subscriber))
    with pytest.raises(openai.AuthenticationError) as caught:
        await sold.call(key=gone)
    assert caught.value.code == "api_key_revoked"
    assert (await sold.call()).output_text == "You said: hello"


async def _revoke(world: World, key: str) -> None:
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}, raise_for_status=True) as http:
        async with http.get(f"{world.node.url}/auth/keys") as answer:
            keys = (await answer.json())["data"]
        newest = max(keys, key=lambda one: (one["created_at"], one["id"]))
        mine = [one for one in keys if key.startswith(one.get("prefix") or "\0")] or [newest]
        async with http.delete(f"{world.node.url}/auth/keys/{mine[0]['id']}"):
            pass


@pytest.mark.parametrize("levels", [125, 160, 400])
@pytest.mark.parametrize("path", ["/responses", "/chat/completions", "/threads/runs"])
async def test_a_body_that_is_nested_too_deep_is_refused_and_costs_nothing(sold: Sold, path: str, levels: int) -> None:
    schema: dict[str, Any] = {}
    for _ in range(levels // 2):
        schema = {"properties": {"a": schema}}
    tool: dict[str, Any] = {"name": "f", "parameters": schema}
    message = {"role": "user", "content": "hello"}
    body: dict[str, Any] = {"assistant_id": str(sold.assistant.did), "thread": {"messages": [message]}}
    if path != "/threads/runs":
        body = {"model": str(sold.assistant.did), "input" if path == "/responses" else "messages": [message]}
    body["tools"] = [{"type": "function", **tool} if path == "/responses" else {"type": "function", "function": tool}]
    before, url = await sold.spent(), f"{sold.world.node.url}/v1{path}"
    headers = {"authorization": f"Bearer {sold.key}"}
    async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json=body) as answer:
        assert answer.status == 400
        assert "nested too deep" in (await answer.json())["error"]["message"]
    assert await sold.spent() == before


# ------------------------------------------------------------------------------------------------------- the provider


async def test_a_provider_that_is_down_slow_or_broken_is_told_and_costs_nothing(world: World) -> None:
    closed = free_port()
    allowed = f"{world.node.settings['allow_local_providers']},127.0.0.1:{closed}"
    node = await world.add_node({"allow_local_providers": allowed, "provider_idle_timeout": "1"})
    try:
        up = await sell(world, node)
        for directive, status in (("[[html]]", 502), ("[[garbage]]", 502), ("[[hang]]", 504), ("[[cut 0]]", 502)):
            with pytest.raises(openai.APIStatusError) as caught:
                await up.call(directive, node=node)
            assert caught.value.status_code == status, directive
        async with world.async_openai(up.key, node=node) as client:
            stream = await client.responses.create(
                model=str(up.assistant.did), input="[[cut 6]][[tokens 20]]", stream=True
            )
            events = [event async for event in stream]
        assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
        assert events[-1].type == "error"
        assert await up.spent(node) == 0
        down = await sell(
            world, node, base_url=f"http://127.0.0.1:{closed}/v1", api_key=Secret("sk-x"), model="stand-in"
        )
        with pytest.raises(openai.APIStatusError) as caught:
            await down.call(node=node)
        assert caught.value.status_code == 502
        assert await down.spent(node) == 0
    finally:
        await node.stop()


# ------------------------------------------------------------------------------------------------------------ the RPC


@dataclass(slots=True)
class Wire:
    """A TCP connection to the chain that can be cut."""

    url: str
    whole: asyncio.Event
    open: set[asyncio.StreamWriter]

    def cut(self) -> None:
        """Drops all connections and takes no new ones."""
        self.whole.clear()
        for writer in self.open:
            writer.transport.abort()


@asynccontextmanager
async def wire(target: str) -> AsyncIterator[Wire]:
    """Forwards a free port to `target`, host:port."""
    host, _, port = target.rpartition(":")
    wired = Wire("", asyncio.Event(), set())
    wired.whole.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not wired.whole.is_set():
            writer.transport.abort()
            return
        there_reader, there = await asyncio.open_connection(host, int(port))
        wired.open |= {writer, there}
        await asyncio.gather(_pipe(reader, there), _pipe(there_reader, writer))
        wired.open -= {writer, there}

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    wired.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wired
    finally:
        wired.cut()
        server.close()
        await server.wait_closed()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()


async def test_a_node_does_not_start_without_its_chain_and_says_why(world: World, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ProcessFailed, match=re.escape(nowhere)):
        await world.add_node({"rpc_url": nowhere})


async def test_calls_go_on_from_fresh_state_while_the_chain_is_away_then_wait_and_nothing_is_lost(world: World) -> None:
    async with wire(world.rpc_url.removeprefix("http://")) as wired:
        settings = {"rpc_url": wired.url, "max_chain_age": "3", "settle_min_calls": "1000", "settle_max_age": "3600"}
        node = await world.add_node(settings)
        try:
            sold = await sell(world, node)
            assert (await sold.call(node=node)).output_text == "You said: hello"
            wired.cut()
            assert (await sold.call(node=node)).output_text == "You said: hello", "fresh enough to go on"

            statuses: list[tuple[int, bool]] = []

            async def refused() -> bool:
                try:
                    await sold.call(node=node)
                except openai.APIStatusError as error:
                    statuses.append((error.status_code, "retry-after" in error.response.headers))
                    return True
                return False

            await until(refused, "the node to notice that its view is too old")
            wired.whole.set()

            async def answered() -> bool:
                return not await refused()

            await until(answered, "the node to see the chain again")
            assert set(statuses) == {(503, True)}
            charged = await sold.spent(node)
            assert charged >= 3
            await node.run("settle")
            assert await world.consumed(sold.plan, sold.subscriber) == charged
        finally:
            await node.stop()


# ---------------------------------------------------------------------------------------------------------- processes


async def test_a_taken_port_is_named_with_the_way_out(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ProcessFailed, match=rf"(?s){re.escape(bind)}.*NVM_NODE_BIND"):
            await world.add_node({"bind": bind})


def marked(mark: str) -> list[int]:
    """Processes that inherited NVM_TEST_MARK."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "after",
    [None, "start the chain", "deploy the contracts", "start the node", "create a plan", "buy the plan", "settle 5"],
)
async def test_ctrl_c_during_any_step_leaves_no_process(tmp_path: Path, after: str | None) -> None:
    mark = uuid.uuid4().hex
    env = {**os.environ, "NVM_TEST_MARK": mark, "OPENAI_API_KEY": ""}
    command = (sys.executable, str(ROOT / "scripts" / "demo.py"), "--json", str(tmp_path / "demo.json"))
    ready = rf"✓ {after}" if after else "brings up a chain"
    async with child("demo", *command, ready=ready, log=tmp_path / "log", env=env, cwd=ROOT, seconds=150) as demo:
        if after is None:
            # Into the middle of starting the chain and the stand-in.
            await until(_some(mark, besides=demo.pid), "the first process", seconds=60)
        assert marked(mark)
        began = time.monotonic()
        demo.process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(demo.process.wait(), 60) in (130, 0)
        assert time.monotonic() - began < 30
        assert not marked(mark)
    assert "Traceback" not in demo.output


def _some(mark: str, besides: int) -> Any:
    async def there() -> bool:
        return bool(set(marked(mark)) - {besides})

    return there
