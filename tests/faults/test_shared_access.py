"""Two node processes on one PostgreSQL: what one does with keys, sessions and answers holds in the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import openai
import pytest
import pytest_asyncio

from nvm_chain.wallet import LocalWallet
from tests.postgres import postgres
from tests.world import NodeProcess, World, free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

REVOKED_WITHIN = 1.0


class Pair:
    """A world whose node runs twice. did: an assistant. wallet: holds its plan."""

    def __init__(self, world: World, other: NodeProcess, did: str, wallet: LocalWallet) -> None:
        self.world, self.one, self.other, self.did, self.wallet = world, world.node, other, did, wallet

    async def left(self, key: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(headers=headers) as http, http.get(f"{self.other.url}/v1/account") as answer:
            (plan,) = (await answer.json())["plans"]
        return int(plan["credits_left"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    with postgres() as server:
        async with World(node={"ledger": server.database()}) as world:
            url = f"http://127.0.0.1:{free_port()}"
            settings = {**world.node.settings, "bind": urlsplit(url).netloc}
            other = NodeProcess(url, world.node.wallet, world.node.registered, settings, world.node.on_start)
            await other.start()
            try:
                plan = (await world.create_plan(price=10**12, credits=1_000)).plan_id
                did = str((await world.register(plan)).did)
                wallet = await world.wallet()
                await world.buy(plan, wallet)
                yield Pair(world, other, did, wallet)
            finally:
                await other.stop()


async def test_no_local_file_holds_keys(pair: Pair) -> None:
    await pair.world.login(pair.wallet)
    assert not list(pair.world.folder.rglob("*access.db*"))


async def test_a_key_works_in_both_and_its_revocation_in_the_other_within_a_second(pair: Pair) -> None:
    manager = await pair.world.login(pair.wallet, node=pair.other)
    headers = {"authorization": f"Bearer {manager}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(f"{pair.one.url}/auth/keys", json={"name": "short"}) as answer:
            made = await answer.json()
        pair.world.leaks.note(made["key"])
        async with pair.world.async_openai(made["key"], node=pair.other) as client:
            assert (await client.responses.create(model=pair.did, input="hello")).output_text
            let_in: list[float] = []

            async def keep_asking() -> str | None:  # so that the key is remembered all the time
                while True:
                    began = time.monotonic()
                    try:
                        await client.models.list()
                    except openai.AuthenticationError as error:
                        return error.code
                    let_in.append(began)

            asking = asyncio.create_task(keep_asking())
            await asyncio.sleep(1)
            async with http.delete(f"{pair.one.url}/auth/keys/{made['id']}") as answer:
                assert answer.status == 200
            revoked_at = time.monotonic()
            async with asyncio.timeout(30):
                assert await asking == "api_key_revoked"
    assert let_in[-1] - revoked_at < REVOKED_WITHIN


async def test_a_nonce_is_good_for_one_login_in_both_together(pair: Pair) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{pair.one.url}/auth/nonce", params={"address": pair.wallet.address}) as answer:
            message = (await answer.json())["message"]
        body = {"message": message, "signature": "0x" + (await pair.wallet.sign_message(message)).hex()}
        statuses = []
        for node in (pair.other, pair.one, pair.other):
            async with http.post(f"{node.url}/auth/login", json=body) as answer:
                statuses.append(answer.status)
                pair.world.leaks.note((await answer.json()).get("key", ""))
    assert statuses == [201, 401, 401]


async def test_a_session_begun_in_one_ends_everywhere_at_once(pair: Pair) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{pair.one.url}/auth/nonce", params={"address": pair.wallet.address}) as answer:
            message = (await answer.json())["message"]
        body = {"message": message, "signature": "0x" + (await pair.wallet.sign_message(message)).hex()}
        async with http.post(f"{pair.one.url}/auth/session", json=body) as answer:
            csrf = (await answer.json())["csrf_token"]
            cookie = {"cookie": answer.headers["set-cookie"].split(";")[0]}

        async def seen_by(node: NodeProcess) -> int:
            async with (
                aiohttp.ClientSession() as fresh,
                fresh.get(f"{node.url}/auth/session", headers=cookie) as answer,
            ):
                return answer.status

        assert [await seen_by(node) for node in (pair.one, pair.other)] == [200, 200]
        async with http.delete(f"{pair.other.url}/auth/session", headers={**cookie, "x-csrf-token": csrf}) as answer:
            assert answer.status == 200
        assert [await seen_by(node) for node in (pair.one, pair.other)] == [401, 401]


async def test_one_idempotency_key_is_one_call_in_both_together(pair: Pair) -> None:
    key = await pair.world.login(pair.wallet)
    before = await pair.left(key)
    body = {"model": pair.did, "input": "[[wait 0.5]] once"}
    headers = {"authorization": f"Bearer {key}", "idempotency-key": "order-1"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def ask(node: NodeProcess) -> tuple[int, bytes]:
            async with http.post(f"{node.url}/v1/responses", json=body) as answer:
                return answer.status, await answer.read()

        first = await asyncio.gather(*(ask(node) for node in (pair.one, pair.other) * 5))
        assert sorted({status for status, _ in first}) == [200, 409]
        later = [await ask(node) for node in (pair.one, pair.other)]
    (answer,) = {data for status, data in [*first, *later] if status == 200}
    assert b"once" in answer
    assert before - await pair.left(key) == 1


async def test_what_a_killed_process_was_answering_is_answered_once_by_the_other(pair: Pair) -> None:
    key = await pair.world.login(pair.wallet)
    before = await pair.left(key)
    body = {"model": pair.did, "input": "[[wait 3]] survive"}
    headers = {"authorization": f"Bearer {key}", "idempotency-key": "order-2"}
    async with aiohttp.ClientSession(headers=headers) as http:
        await pair.world.provider.forget()
        first = asyncio.create_task(http.post(f"{pair.one.url}/v1/responses", json=body).__aenter__())

        async def there() -> bool:
            return bool(await pair.world.provider.requests())

        await until(there, "the provider to be asked")
        assert pair.one.process is not None
        pair.one.process.process.kill()
        with pytest.raises(aiohttp.ClientError):
            await first
        await pair.one.stop()
        async with asyncio.timeout(60):
            while True:
                async with http.post(f"{pair.other.url}/v1/responses", json=body) as answer:
                    if answer.status != 409:
                        break
                    await asyncio.sleep(float(answer.headers["retry-after"]) / 2)
        assert answer.status == 200
    await pair.one.start()
    assert before - await pair.left(key) == 1
