"""Whole nodes, as an operator runs them: killed, crowded, out of disk, with a clock that jumps, among rude clients."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import re
import resource
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from node_proxy.ledger import open_ledger
from nvm_chain.plans import PlanId
from nvm_chain.wallet import LocalWallet
from tests.postgres import postgres
from tests.processes import child
from tests.world import NODE, NODE_READY, ROOT, NodeProcess, World, free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Shop:
    """One assistant for sale, and a subscriber with a key."""

    world: World
    plan: PlanId
    did: str
    wallet: LocalWallet
    key: str

    def http(self) -> aiohttp.ClientSession:
        headers = {"authorization": f"Bearer {self.key}"}
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        return aiohttp.ClientSession(headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(60))

    async def ask(
        self, http: aiohttp.ClientSession, text: str = "hello", *, url: str = "", stream: bool = False
    ) -> str:
        """The request's id once the whole answer is here. Raises aiohttp.ClientError where it isn't, or is an error."""
        body = {"model": self.did, "input": text, "stream": stream}
        async with http.post(f"{url or self.world.node.url}/v1/responses", json=body) as answer:
            answer.raise_for_status()
            content = await answer.read()
        if stream:
            if b"event: response.completed\n" not in content or not content.endswith(b"\n\n"):
                raise aiohttp.ClientPayloadError("the stream has no end")
        elif json.loads(content)["status"] != "completed":
            raise aiohttp.ClientPayloadError("no answer")
        return answer.headers["x-request-id"]


async def open_shop(world: World, credits: int = 1_000_000, duration: int = 0) -> Shop:
    plan = (await world.create_plan(price=1, credits=credits, duration=duration)).plan_id
    did = str((await world.register(plan)).did)
    wallet = await world.wallet()
    await world.buy(plan, wallet)
    return Shop(world, plan, did, wallet, await world.login(wallet))


async def charged(node: NodeProcess) -> Counter[str]:
    """How many charges each request has."""
    found: Counter[str] = Counter()
    async with open_ledger(node.settings["ledger"], serving=False) as ledger:
        after = ""
        while page := await ledger.charges(after=after, limit=5_000):
            found.update(one.request_id for one in page)
            after = page[-1].id
        audit = await ledger.audit()
        assert audit.clean, audit.imbalances
    return found


async def settled_exactly(shop: Shop, calls: int) -> None:
    """Settles, and compares the chain with the ledger, call by call."""
    await shop.world.node.run("settle")
    assert await shop.world.consumed(shop.plan, shop.wallet) == calls
    assert "the ledger and the chain agree" in await shop.world.node.run("reconcile")


# ---------------------------------------------------------------------------------------------------------------- kills


@dataclass
class Crowd:
    """Clients that call without a pause until they are told to stop. delivered: ids of the answers that came whole."""

    shop: Shop
    clients: int = 12
    delivered: list[str] = field(default_factory=list)
    stopped: bool = False

    async def _client(self, number: int) -> None:
        async with self.shop.http() as http:
            while not self.stopped:
                text = f"hello [[delay 0.0{number % 4}]]"
                try:
                    self.delivered.append(await self.shop.ask(http, text, stream=number % 2 == 0))
                except (aiohttp.ClientError, ConnectionError, TimeoutError):
                    await asyncio.sleep(0.05)

    async def more_than(self, answers: int) -> None:
        async def there() -> bool:
            return len(self.delivered) > answers

        await until(there, "an answer", seconds=60, every=0.02)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for number in range(self.clients):
                group.create_task(self._client(number))
            try:
                yield
            finally:
                self.stopped = True


@pytest.mark.parametrize(
    "kills", [50, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(3_600)])], ids=["50", "500"]
)
async def test_a_node_killed_under_load_charges_every_answer_that_it_gave_and_none_twice(kills: int) -> None:
    chance = random.Random(kills)
    async with World(node={"settle_min_calls": "20", "settle_interval": "0.2", "log_level": "warning"}) as world:
        shop = await open_shop(world)
        crowd = Crowd(shop)
        async with crowd.calling():
            for _ in range(kills):
                before = len(crowd.delivered)
                if chance.random() < 0.7:  # else it may be in the middle of its start
                    await crowd.more_than(before)
                await asyncio.sleep(chance.random() * 0.3)
                assert world.node.process is not None
                world.node.process.process.kill()
                await world.node.stop()
                await world.node.start()
        charges = await charged(world.node)
        assert len(crowd.delivered) > kills / 2
        assert [one for one in crowd.delivered if not charges[one]] == [], "delivered, not charged"
        assert [one for one, times in charges.items() if times > 1] == [], "charged twice"
        await settled_exactly(shop, charges.total())


# ---------------------------------------------------------------------------------------------------------------- crowd


@pytest.mark.parametrize("processes", [1, 4])
async def test_500_calls_at_once_against_a_balance_of_100_get_exactly_100_answers(processes: int) -> None:
    async with AsyncExitStack() as stack:
        ledger = {} if processes == 1 else {"ledger": stack.enter_context(postgres()).database()}
        common = {"max_calls_per_key": "1000", "log_level": "warning", **ledger}
        world = await stack.enter_async_context(World(node=common))
        urls = [world.node.url]
        for _ in range(processes - 1):
            url = f"http://127.0.0.1:{free_port()}"
            settings = {**world.node.settings, "bind": urlsplit(url).netloc}
            other = NodeProcess(url, world.node.wallet, world.node.registered, settings, world.node.on_start)
            await other.start()
            stack.push_async_callback(other.stop)
            urls.append(url)
        shop = await open_shop(world, credits=100)
        http = await stack.enter_async_context(shop.http())

        async def call(number: int) -> int:
            try:
                await shop.ask(http, url=urls[number % processes], stream=number % 3 == 0)
            except aiohttp.ClientResponseError as error:
                return error.status
            return 200

        seen = Counter(await asyncio.gather(*(call(number) for number in range(500))))
        # A call refused while others still held credits may try again: in the end all 100 are used, and no more.
        while seen[200] < 100 and seen[402]:
            again = Counter(await asyncio.gather(*(call(number) for number in range(20))))
            assert again[200] or seen[200] == 100, again
            seen += again
        assert seen[200] == 100, seen
        assert set(seen) <= {200, 402, 429}, seen
        assert (await charged(world.node)).total() == 100
        await settled_exactly(shop, 100)


@pytest.mark.long
async def test_ten_thousand_idle_connections_keep_nobody_from_calling() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(10_000, hard - 1_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, wanted + 1_000)), hard))
    idle: list[socket.socket] = []
    try:
        async with World(node={"log_level": "warning"}) as world:
            shop = await open_shop(world)
            assert world.node.process is not None
            resource.prlimit(world.node.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
            host, port = urlsplit(world.node.url).hostname, urlsplit(world.node.url).port
            for number in range(wanted):
                one = socket.create_connection((str(host), int(str(port))), timeout=10)
                if number % 2:
                    one.sendall(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\n")  # and never the rest
                idle.append(one)
                if number % 500 == 0:
                    await asyncio.sleep(0)
            async with shop.http() as http:
                for stream in (False, True):
                    await shop.ask(http, stream=stream)
    finally:
        for one in idle:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_a_node_whose_log_nobody_reads_answers_all_the_same(unbuffered: str) -> None:
    async with World() as world:
        shop = await open_shop(world)
        await world.node.stop()
        nobody, log = os.pipe()
        fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, 4096)
        environ = {**world.node.environ, "PYTHONUNBUFFERED": unbuffered}
        try:
            process = await asyncio.create_subprocess_exec(
                *NODE, "serve", env=environ, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log
            )
            try:
                assert process.stdout is not None
                assert b"listening" in await asyncio.wait_for(process.stdout.readline(), 30)
                async with asyncio.timeout(60), shop.http() as http:
                    for _ in range(5):
                        await asyncio.gather(*(shop.ask(http) for _ in range(20)))
                        await asyncio.sleep(0.1)
            finally:
                process.terminate()
            assert await asyncio.wait_for(process.wait(), 30) == 0
            assert (await charged(world.node)).total() == 100
        finally:
            os.close(nobody)
            os.close(log)


# --------------------------------------------------------------------------------------------------------- rude clients


def _request(shop: Shop, text: str) -> bytes:
    body = json.dumps({"model": shop.did, "input": text, "stream": True}).encode()
    head = (
        f"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {shop.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def test_clients_that_dawdle_half_close_and_break_off_cost_what_they_used() -> None:
    async with World(node={"log_level": "warning", "body_timeout": "2"}) as world:
        shop = await open_shop(world)
        host, port = str(urlsplit(world.node.url).hostname), int(str(urlsplit(world.node.url).port))

        async def has_charged(calls: int) -> bool:
            return (await charged(world.node)).total() == calls

        async def has_ended(requests: int) -> bool:
            async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/metrics") as answer:
                counts = re.findall(r'nvm_http_requests_total\{route="/v1/responses".*\} (\d+)', await answer.text())
            return sum(map(int, counts)) == requests

        # Half-closed: it has said all that it wants to say, and reads the answer.
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(_request(shop, "one two [[delay 0.05]]"))
        writer.write_eof()
        half = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        await until(lambda: has_ended(1), "the node to be done with it", seconds=60)
        worked = sum(one["path"].endswith("/responses") for one in await world.provider.requests())
        assert worked <= 1
        await until(lambda: has_charged(worked), "the charge, if the provider worked for it", seconds=60)
        assert half == b"" or half.startswith(b"HTTP/1.1 200")

        # Slow: takes its request apart into bytes, and its answer too.
        reader, writer = await asyncio.open_connection(host, port)
        for at in range(0, len(request := _request(shop, "three four")), 40):
            writer.write(request[at : at + 40])
            await writer.drain()
            await asyncio.sleep(0.01)
        slow = b""
        while b"response.completed" not in slow:
            slow += await asyncio.wait_for(reader.read(64), 60)
        writer.close()
        assert await has_charged(worked + 1)

        # Half a request, then silence: answered with 408, nothing charged.
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(_request(shop, "never complete")[:-5])
        assert (await asyncio.wait_for(reader.read(64), 60)).startswith(b"HTTP/1.1 408")
        writer.close()

        # Hangs up in the middle of the answer: drained, and charged.
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(_request(shop, "[[tokens 20]] [[delay 0.02]]"))
        await asyncio.wait_for(reader.readuntil(b"response.created"), 60)
        writer.transport.abort()

        await until(lambda: has_charged(worked + 2), "the charge of the caller who left", seconds=60)
        await settled_exactly(shop, worked + 2)


# ----------------------------------------------------------------------------------------------------------------- disk


async def test_a_full_disk_stops_calls_and_loses_no_charge() -> None:
    """RLIMIT_FSIZE stands in for a full disk: no file of the node can grow, until there is room again."""
    async with World(node={"log_level": "warning"}) as world:
        shop = await open_shop(world)
        async with shop.http() as http:
            delivered = [await shop.ask(http)]
            assert world.node.process is not None
            folder = Path(world.node.settings["ledger"]).parent
            largest = max(path.stat().st_size for path in folder.glob("*.db-wal"))
            resource.prlimit(world.node.process.pid, resource.RLIMIT_FSIZE, (largest + 4_096, resource.RLIM_INFINITY))
            refused: list[int] = []
            while not refused:
                try:
                    delivered.append(await shop.ask(http, stream=len(delivered) % 2 == 0))
                except aiohttp.ClientResponseError as error:
                    refused.append(error.status)
                except aiohttp.ClientPayloadError:
                    refused.append(0)  # a stream that ended with an error event
                assert len(delivered) < 2_000, "the limit has no effect"
            with suppress(aiohttp.ClientError):
                await shop.ask(http)
            resource.prlimit(world.node.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

            async def served() -> bool:
                try:
                    delivered.append(await shop.ask(http))
                except aiohttp.ClientError:
                    return False
                return True

            await until(served, "calls again, without a restart", seconds=60)
        charges = await charged(world.node)
        assert [one for one in delivered if charges[one] != 1] == []
        assert refused[0] in (0, 503)
        await settled_exactly(shop, charges.total())


# ---------------------------------------------------------------------------------------------------------------- clock

_CLOCK = """
import sys, time
real, file = time.time, sys.argv.pop(1)
def shifted():
    with open(file) as offset:
        return real() + float(offset.read() or 0)
time.time = shifted
from node_proxy.cli import main
main(prog_name="nvm-node")
"""


async def test_a_clock_that_jumps_charges_nobody_twice_and_serves_nobody_past_the_end(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    async with World(node={"log_level": "warning"}) as world:
        await world.node.stop()
        command = (sys.executable, "-c", _CLOCK, str(clock), "serve")
        log = tmp_path / "node.log"
        async with child("nvm-node", *command, ready=NODE_READY, log=log, env=world.node.environ, cwd=ROOT):
            shop = await open_shop(world, duration=86_400)
            calls = 0
            async with shop.http() as http:

                async def outcome() -> int:
                    nonlocal calls
                    try:
                        await shop.ask(http)
                    except aiohttp.ClientResponseError as error:
                        return error.status
                    calls += 1
                    return 200

                assert await outcome() == 200
                for jump, expected in (("3600", 200), ("-7200", 200), ("172800", 402), ("-172800", 200), ("0", 200)):
                    clock.write_text(jump)
                    assert await outcome() == expected, f"with the clock off by {jump} s"
            assert calls == 5
        charges = await charged(world.node)
        assert (charges.total(), max(charges.values())) == (5, 1)
        await settled_exactly(shop, 5)
