"""Requests that come again: the same answer and one charge, over a real database and a real ledger, in both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from node_proxy import kept as kept_module
from node_proxy.access.keys import Keys
from node_proxy.access.store import AccessStore
from node_proxy.answers import AnswerLost, Answers, NameReused, StillRunning
from node_proxy.asgi import Exchange, Headers
from node_proxy.config import Settings
from node_proxy.errors import InvalidValue, ProviderUnreachable
from node_proxy.kept import Answer, Kept
from node_proxy.ledger import open_ledger
from node_proxy.ledger.base import AccountId, Checkpoint, Ledger, Snapshot
from node_proxy.relay import sse
from node_proxy.storage import Database, open_database
from tests.postgres import Postgres, postgres
from tests.world import until

pytestmark = pytest.mark.slow

SECRET = b"s" * 32
SUBSCRIBER = "0x" + "11" * 20
ACCOUNT = AccountId(b"\x02" * 32, b"\x11" * 20)
BALANCE = 100


@dataclass
class Client:
    """The other end of one request. left: it has closed the connection."""

    body: bytes
    headers: dict[str, str]
    path: str = "/v1/responses"
    left: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0
    got: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    _asked: bool = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.got = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.data += message["body"]

    def exchange(self) -> Exchange:
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        scope = {"method": "POST", "path": self.path, "query_string": b"", "headers": headers}
        return Exchange(scope, self.receive, self.send)


class Surface:
    """A handler that charges 3 credits, as the real ones do. It goes on when `go` is set."""

    def __init__(self, ledger: Ledger, key_id: str) -> None:
        self.ledger = ledger
        self.key_id = key_id
        self.go = asyncio.Event()
        self.go.set()
        self.runs = 0
        self.fail: Exception | None = None

    async def whole(self, exchange: Exchange) -> None:
        shown = await self._answer(exchange)
        await exchange.promise(shown)
        await self._charge(exchange)
        await exchange.respond(200, shown, headers=[(b"x-nvm-credits-charged", b"3")])

    async def stream(self, exchange: Exchange) -> None:
        shown = await self._answer(exchange)
        await exchange.start_stream(sse.CONTENT_TYPE)
        await exchange.write(b"data: begin\n\n")
        await self.go.wait()
        await exchange.promise(b"data: %b\n\n" % shown)
        await self._charge(exchange)
        await exchange.write(b": charged\n\ndata: %b\n\n" % shown)
        await exchange.finish()

    async def _answer(self, exchange: Exchange) -> bytes:
        self.runs += 1
        exchange.facts["key"] = self.key_id
        request = await exchange.json(10_000, 5)
        self.hold = await self.ledger.reserve(
            ACCOUNT, b"\x01" * 32, 3, key_id="key", key_budget=None, request_id=exchange.id
        )
        if not request.get("stream"):
            await self.go.wait()
        if self.fail is not None:
            await self.ledger.release(self.hold)
            raise self.fail
        return orjson.dumps({"number": self.runs, "input": request["input"]})

    async def _charge(self, exchange: Exchange) -> None:
        exchange.facts["charge"] = (await self.ledger.capture(self.hold, 3, None)).id


@dataclass
class Node:
    """One process's part. text: an API key."""

    answers: Answers
    kept: Kept
    surface: Surface
    text: str
    database: Database

    async def post(self, value: object, handler: str = "whole", client: Client | None = None, **headers: str) -> Client:
        client = client or self.client(value, **headers)
        exchange = client.exchange()
        try:
            await self.answers.once(getattr(self.surface, handler))(exchange)
        finally:
            exchange.close()
        return client

    def client(self, value: object, **headers: str) -> Client:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return Client(orjson.dumps(value), {"authorization": f"Bearer {self.text}", **named})

    async def charged(self) -> int:
        return (await self.surface.ledger.standing(ACCOUNT)).captured


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Of the ledger and of the database."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db"), str(tmp_path / "access.db")
    url: str = request.getfixturevalue("server").database()
    return url, url


async def start(stack: AsyncExitStack, urls: tuple[str, str], text: str = "", **settings: Any) -> Node:
    ledger = await stack.enter_async_context(open_ledger(urls[0], serving=True))
    database = await stack.enter_async_context(open_database(urls[1]))
    await ledger.advance(Checkpoint(1, bytes(32), 0.0), [Snapshot(ACCOUNT, 1, BALANCE, 0, 0, 0, 1)])
    keys, kept = Keys(AccessStore(database), SECRET), Kept(database, SECRET)
    if not text:
        text, _ = await keys.issue(SUBSCRIBER, name="one")
    answers = Answers(kept, keys, ledger, Settings(rpc_url="http://localhost", **settings))
    surface = Surface(ledger, (await keys.verify(text)).id)
    return Node(answers, kept, surface, text, database)


@pytest.fixture
async def node(urls: tuple[str, str]) -> AsyncIterator[Node]:
    async with AsyncExitStack() as stack:
        yield await start(stack, urls)


async def begun(node: Node, runs: int = 1) -> None:
    async def there() -> bool:
        return node.surface.runs >= runs

    await until(there, "the call to begin")


ASK = {"input": "hello"}


# ------------------------------------------------------------------------------------------------- Idempotency-Key


async def test_the_same_request_gets_the_same_answer_and_one_charge(node: Node) -> None:
    first = await node.post(ASK, idempotency_key="one")
    second = await node.post(ASK, idempotency_key="one")
    assert (second.status, second.data) == (first.status, first.data) == (200, b'{"number":1,"input":"hello"}')
    assert second.got["x-nvm-credits-charged"] == "3"
    assert second.got["idempotent-replayed"] == "true"
    assert second.got["x-nvm-first-request-id"] == first.got["x-request-id"] != second.got["x-request-id"]
    assert "idempotent-replayed" not in first.got
    assert await node.charged() == 3


async def test_without_the_header_every_request_is_one_of_its_own(node: Node) -> None:
    answers = [(await node.post(ASK)).data for _ in range(2)]
    assert answers[0] != answers[1]
    assert await node.charged() == 6


async def test_a_stream_is_sent_again_as_it_was(node: Node) -> None:
    first = await node.post({**ASK, "stream": True}, "stream", idempotency_key="one")
    second = await node.post({"stream": True, "input": "hello"}, "stream", idempotency_key="one")
    assert second.data == first.data
    assert b"data: begin\n\n: charged\n\n" in first.data
    assert second.got["content-type"] == "text/event-stream; charset=utf-8"
    assert await node.charged() == 3


async def test_another_request_under_the_same_key_is_refused(node: Node) -> None:
    await node.post(ASK, idempotency_key="one")
    with pytest.raises(NameReused, match="another body") as caught:
        await node.post({"input": "bye"}, idempotency_key="one")
    assert caught.value.status == 422
    elsewhere = node.client(ASK, idempotency_key="one")
    elsewhere.path = "/v1/chat/completions"
    with pytest.raises(NameReused):
        await node.post(ASK, client=elsewhere)
    assert await node.charged() == 3


async def test_while_the_first_runs_the_second_is_told_to_wait(node: Node) -> None:
    node.surface.go.clear()
    first = asyncio.create_task(node.post(ASK, idempotency_key="one"))
    await begun(node)
    for _ in range(3):
        with pytest.raises(StillRunning) as caught:
            await node.post(ASK, idempotency_key="one")
    assert (b"retry-after", b"2") in caught.value.headers()
    assert caught.value.status == 409
    node.surface.go.set()
    assert (await first).status == 200
    assert (await node.post(ASK, idempotency_key="one")).data == (await first).data
    assert node.surface.runs == 1


async def test_many_at_once_are_one_call(node: Node) -> None:
    async def ask() -> Client | None:
        with suppress(StillRunning):
            return await node.post(ASK, idempotency_key="one")
        return None

    answers = [answer for answer in await asyncio.gather(*(ask() for _ in range(50))) if answer is not None]
    assert {answer.data for answer in answers} == {b'{"number":1,"input":"hello"}'}
    assert (node.surface.runs, await node.charged()) == (1, 3)


async def test_a_call_that_was_not_charged_is_made_again(node: Node) -> None:
    node.surface.fail = ProviderUnreachable("The provider doesn't answer.")
    with pytest.raises(ProviderUnreachable):
        await node.post(ASK, idempotency_key="one")
    node.surface.fail = None
    assert (await node.post(ASK, idempotency_key="one")).status == 200
    assert await node.charged() == 3


async def test_keys_of_two_callers_have_nothing_to_do_with_each_other(node: Node) -> None:
    first = await node.post(ASK, idempotency_key="one")
    node.text, _ = await Keys(AccessStore(node.database), SECRET).issue(SUBSCRIBER, name="two")
    assert (await node.post(ASK, idempotency_key="one")).data != first.data


@pytest.mark.parametrize("name", ["", "x" * 256, "a\x07"])
async def test_a_key_that_is_none_is_refused(node: Node, name: str) -> None:
    with pytest.raises(InvalidValue, match="printable"):
        await node.post(ASK, idempotency_key=name)
    assert node.surface.runs == 0


async def test_after_its_time_the_key_is_new(urls: tuple[str, str]) -> None:
    async with AsyncExitStack() as stack:
        node = await start(stack, urls, answer_keep=1)
        await node.post(ASK, idempotency_key="one")
        await asyncio.sleep(2.1)
        assert (await node.post(ASK, idempotency_key="one")).data == b'{"number":2,"input":"hello"}'
        await asyncio.sleep(2.1)
        assert await node.answers.sweep() == 1


async def test_an_answer_that_is_too_long_to_keep_is_charged_once_and_said_to_be_lost(urls: tuple[str, str]) -> None:
    async with AsyncExitStack() as stack:
        node = await start(stack, urls, answer_bytes=1_024)
        long = {"input": "x" * 2_000}
        assert (await node.post(long, idempotency_key="one")).status == 200
        with pytest.raises(AnswerLost) as caught:
            await node.post(long, idempotency_key="one")
        assert (b"x-should-retry", b"false") in caught.value.headers()
        assert await node.charged() == 3


async def test_who_hangs_up_on_a_stream_gets_all_of_it_later(node: Node) -> None:
    node.surface.go.clear()
    client = node.client({**ASK, "stream": True}, idempotency_key="one")
    first = asyncio.create_task(node.post(ASK, "stream", client))
    await begun(node)
    client.left.set()
    await asyncio.sleep(0)
    node.surface.go.set()
    await first
    second = await node.post({**ASK, "stream": True}, "stream", idempotency_key="one")
    assert second.data == b'data: begin\n\n: charged\n\ndata: {"number":1,"input":"hello"}\n\n'
    assert await node.charged() == 3


async def test_nothing_of_an_answer_is_in_the_clear_on_disk(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        node = await start(stack, (str(tmp_path / "ledger.db"), str(tmp_path / "access.db")))
        await node.post({"input": "a very private question"}, idempotency_key="my-order-4711")
        data = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # noqa: ASYNC240
        assert b"answers" in data
        assert b"private question" not in data
        assert b"order-4711" not in data


# ------------------------------------------------------------------------------------------------------------- faults


async def crash(node: Node, urls: tuple[str, str], state: str, charge: bool, *, stream: bool = False) -> None:
    """Leaves behind what a process leaves that is killed: its claim, and maybe a charge."""
    async with AsyncExitStack() as stack:
        if node.database.dialect == "sqlite":
            ledger, database = node.surface.ledger, await stack.enter_async_context(open_database(urls[1]))
        else:
            ledger = await stack.enter_async_context(open_ledger(urls[0], serving=True))
            database = await stack.enter_async_context(open_database(urls[1]))
        kept = Kept(database, SECRET)
        key = await Keys(AccessStore(database), SECRET).verify(node.text)
        exchange = node.client(ASK).exchange()
        body = orjson.dumps(ASK, option=orjson.OPT_SORT_KEYS)
        name = kept.hash(b"name", key.id.encode(), b"one")
        mark = kept.hash(exchange.method.encode(), exchange.path.encode(), b"", body)
        assert await kept.claim(name, mark, exchange.id, 1_000) is None
        if state == "ready":
            headers: Headers = [(b"content-type", sse.CONTENT_TYPE if stream else b"application/json")]
            await kept.note(name, kept.owner, exchange.id, "ready", Answer(200, tuple(headers), b"the first answer"))
        if charge:
            hold = await ledger.reserve(ACCOUNT, bytes(32), 3, key_id="k", key_budget=None, request_id=exchange.id)
            await ledger.capture(hold, 3, None)

    async def over() -> bool:
        return kept.owner in await node.database.gone({kept.owner})

    await until(over, "the end of that process")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "GONE_SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("state", ["running", "ready"])
async def test_a_claim_of_a_dead_process_that_charged_nothing_is_free(
    node: Node, urls: tuple[str, str], state: str
) -> None:
    await crash(node, urls, state, charge=False)
    assert (await node.post(ASK, idempotency_key="one")).data == b'{"number":1,"input":"hello"}'
    assert await node.charged() == 3


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_was_charged_when_its_process_died_is_given(
    node: Node, urls: tuple[str, str], stream: bool
) -> None:
    await crash(node, urls, "ready", charge=True, stream=stream)
    for _ in range(2):
        again = await node.post(ASK, idempotency_key="one")
        assert again.data == b"the first answer"
        assert stream or again.got["x-nvm-credits-charged"] == "3"
    assert (node.surface.runs, await node.charged()) == (0, 3)


@pytest.mark.usefixtures("at_once")
async def test_a_charge_whose_answer_died_with_its_process_is_not_made_twice(node: Node, urls: tuple[str, str]) -> None:
    await crash(node, urls, "running", charge=True)
    for _ in range(2):
        with pytest.raises(AnswerLost, match="charged"):
            await node.post(ASK, idempotency_key="one")
    assert await node.charged() == 3


async def test_a_process_that_lost_its_lock_a_moment_ago_is_not_taken_for_dead(server: Postgres) -> None:
    url = server.database()
    async with AsyncExitStack() as stack:
        node = await start(stack, (url, url))
        await crash(node, (url, url), "running", charge=False)
        with pytest.raises(StillRunning):
            await node.post(ASK, idempotency_key="one")


async def test_replicas_make_one_call_of_it(server: Postgres) -> None:
    url = server.database()
    async with AsyncExitStack() as stack:
        one = await start(stack, (url, url))
        two = await start(stack, (url, url), one.text)
        one.surface.go.clear()
        first = asyncio.create_task(one.post(ASK, idempotency_key="one"))
        await begun(one)
        with pytest.raises(StillRunning):
            await two.post(ASK, idempotency_key="one")
        one.surface.go.set()
        assert (await patiently(two)).data == (await first).data
        assert (two.surface.runs, await one.charged()) == (0, 3)


async def patiently(node: Node) -> Client:
    found: list[Client] = []

    async def there() -> bool:
        with suppress(StillRunning):
            found.append(await node.post(ASK, idempotency_key="one"))
        return bool(found)

    await until(there, "the answer")
    return found[0]


@pytest.mark.usefixtures("at_once")
async def test_who_was_taken_for_dead_and_is_not_charges_nothing_more(node: Node, urls: tuple[str, str]) -> None:
    """Its claim was taken over while it ran: the answer and the charge are the other's."""
    node.surface.go.clear()
    first = asyncio.create_task(node.post(ASK, idempotency_key="one"))
    await begun(node)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(urls[1]))
        other = Kept(database, SECRET)
        key = await Keys(AccessStore(database), SECRET).verify(node.text)
        claim = await other.find(other.hash(b"name", key.id.encode(), b"one"))
        assert claim is not None
        assert await other.take_over(claim, "req_other", 1_000)
        node.surface.go.set()
        with pytest.raises(StillRunning):
            await first
        assert await node.charged() == 0
        taken = await other.find(claim.id)
        assert taken is not None
        assert (taken.state, taken.request_id) == ("running", "req_other")


async def test_all_answers_whose_time_is_over_are_swept(node: Node) -> None:
    rows = [n.to_bytes(32) for n in range(450)]
    for row in rows:
        await node.kept.put(row, row, "req_old", Answer(200, (), b"old"), 0)
    assert await node.answers.sweep() == 450
    assert await node.answers.sweep() == 0


# ------------------------------------------------------------------------------------------------------ SDKs' retries

FIRST: dict[str, Any] = {"x_stainless_retry_count": "0"}
RETRY: dict[str, Any] = {"x_stainless_retry_count": "1"}


async def test_a_retry_of_a_call_that_still_runs_is_told_to_wait(node: Node) -> None:
    node.surface.go.clear()
    first = asyncio.create_task(node.post(ASK, **FIRST))
    await begun(node)
    with pytest.raises(StillRunning):
        await node.post(ASK, **RETRY)
    node.surface.go.set()
    await first
    assert await node.charged() == 3


async def test_a_retry_after_the_client_hung_up_gets_the_answer_that_was_charged(node: Node) -> None:
    node.surface.go.clear()
    client = node.client(ASK, **FIRST)
    first = asyncio.create_task(node.post(ASK, client=client))
    await begun(node)
    client.left.set()
    node.surface.go.set()
    await first
    again = await node.post(ASK, **RETRY)
    assert again.data == b'{"number":1,"input":"hello"}'
    assert again.got["idempotent-replayed"] == "true"
    assert (node.surface.runs, await node.charged()) == (1, 3)
    assert (await node.post(ASK, **FIRST)).data != again.data, "a first try is never a repetition"


async def test_a_retry_after_the_client_hung_up_on_a_stream_that_had_not_begun_gets_it(node: Node) -> None:
    asked = {**ASK, "stream": True}
    client = node.client(asked, **FIRST)
    client.left.set()
    await node.post(asked, "stream", client)
    again = await node.post(asked, "stream", **RETRY)
    assert again.data.startswith(b"data: begin\n\n")
    assert (node.surface.runs, await node.charged()) == (1, 3)


async def test_a_retry_of_a_call_that_failed_or_of_another_one_is_made(node: Node) -> None:
    node.surface.fail = ProviderUnreachable("The provider doesn't answer.")
    with pytest.raises(ProviderUnreachable):
        await node.post(ASK, **FIRST)
    node.surface.fail = None
    assert (await node.post(ASK, **RETRY)).data == b'{"number":2,"input":"hello"}'
    node.surface.go.clear()
    running = asyncio.create_task(node.post(ASK, **FIRST))
    await begun(node, 3)
    node.surface.go.set()
    assert (await node.post({"input": "other"}, **RETRY)).status == 200
    await running


async def test_an_answer_that_arrived_is_not_kept(node: Node) -> None:
    await node.post(ASK, **FIRST)
    again = await node.post(ASK, **RETRY)
    assert "idempotent-replayed" not in again.got
