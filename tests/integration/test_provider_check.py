"""A key is checked at its provider through the node: sealed, for who is signed in, where the operator allows."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from nvm_chain.definition import Definition
from nvm_chain.key_check import LIFETIME, KeyCheck, seal_check
from nvm_chain.sealing import Binding, seal
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.integration.test_console_http import sign_in
from tests.unit.sample import DID
from tests.world import World, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

WRONG = "sk-wrong-0123456789abcdef-never-logged"


@pytest_asyncio.fixture(loop_scope="module")
async def http(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(world.node.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def sealed(world: World, wallet: LocalWallet, **changes: Any) -> dict[str, Any]:
    """The body of a request: a check by `wallet`, with some fields changed."""
    node = await world.chain.call(world.deployment.nodes.node(world.node.account))
    values: dict[str, Any] = {
        "base_url": world.provider.url,
        "api_key": Secret(world.provider.key),
        "model": "",
        "account": wallet.address,
        "chain_id": world.chain.chain_id,
        "registry": world.deployment.asset_registry,
        "node": world.node.account,
        "key_version": node.version,
        "expires": int(time.time()) + LIFETIME,
    }
    return {"key_version": node.version, "ciphertext": seal_check(KeyCheck(**(values | changes)), node.key)}


async def post(http: aiohttp.ClientSession, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, Any]:
    async with http.post("/provider-check", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_it_tells_a_right_key_from_a_wrong_one_and_knows_models(
    world: World, http: aiohttp.ClientSession
) -> None:
    wallet = await world.wallet()
    headers = await sign_in(http, wallet)

    async def asked(**changes: Any) -> tuple[str, bool | None]:
        status, found = await post(http, await sealed(world, wallet, **changes), headers)
        assert status == 200, found
        return found["result"], found["model"]

    assert await asked() == ("ok", None)
    assert await asked(model="stand-in") == ("ok", True)
    assert await asked(model="never-heard-of") == ("ok", False)
    assert await asked(api_key=Secret(WRONG), model="stand-in") == ("refused", None)
    seen = [(one["method"], one["path"]) for one in await world.provider.requests()]
    assert seen[-4:] == [("GET", "/v1/models")] * 4
    file = Path(world.node.settings["ledger"]).with_name("node.log")

    async def logged() -> bool:
        return '"check":"refused"' in file.read_text()

    await until(logged, "the log's line")
    log = file.read_text()
    assert WRONG not in log
    assert world.provider.key not in log


async def test_it_asks_nobody_whom_the_operator_doesnt_allow(world: World, http: aiohttp.ClientSession) -> None:
    wallet = await world.wallet()
    headers = await sign_in(http, wallet)
    await world.provider.forget()
    elsewhere = world.provider.url.replace("127.0.0.1", "localhost")
    for url in ("https://api.example.com/v1", "http://169.254.169.254/latest", "https://10.0.0.1/v1", elsewhere):
        status, found = await post(http, await sealed(world, wallet, base_url=url), headers)
        assert (status, found["result"]) == (200, "not_allowed"), url
    assert await world.provider.requests() == []


@pytest.mark.parametrize("directives", ["[[fail 500]]", "[[fail 404]]", "[[fail 429]]"])
async def test_a_provider_that_fails_says_nothing_of_the_key(
    world: World, http: aiohttp.ClientSession, directives: str
) -> None:
    wallet = await world.wallet()
    headers = await sign_in(http, wallet)
    await world.provider.queue(directives, path="/v1/models")
    status, found = await post(http, await sealed(world, wallet), headers)
    assert (status, found["result"], found["model"]) == (200, "unreachable", None)


async def test_what_isnt_asked_here_now_by_this_wallet_is_refused(world: World, http: aiohttp.ClientSession) -> None:
    wallet, other = await world.wallet(), await world.wallet()
    headers = await sign_in(http, wallet)
    await world.provider.forget()
    node = await world.chain.call(world.deployment.nodes.node(world.node.account))
    bound = Binding(
        DID, wallet.address, world.chain.chain_id, world.deployment.asset_registry, world.node.account, node.version
    )
    definition = Definition(
        base_url=world.provider.url, api_key=Secret(world.provider.key), model="stand-in", allow_http=True
    )
    good = await sealed(world, wallet)
    for body, says in (
        (await sealed(world, wallet, expires=int(time.time()) - 1), "expired"),
        (await sealed(world, wallet, expires=int(time.time()) + 3600), "expires"),
        (await sealed(world, other), "another account"),
        (await sealed(world, wallet, chain_id=1), "another chain_id"),
        (await sealed(world, wallet, registry=other.address), "another registry"),
        (await sealed(world, wallet, node=other.address), "another node"),
        ({**good, "ciphertext": seal(definition, bound, node.key)}, "no length of a sealed check"),
        ({**good, "key_version": 99}, "has no key 99"),
        ({**good, "ciphertext": 5}, "base64"),
    ):
        status, found = await post(http, body, headers)
        assert (status, found["error"]["code"]) == (400, "invalid_value"), (says, found)
        assert says in found["error"]["message"]
    assert await world.provider.requests() == []


async def test_it_needs_a_session_its_token_and_patience(world: World, http: aiohttp.ClientSession) -> None:
    wallet = await world.wallet()
    body = await sealed(world, wallet)
    async with aiohttp.ClientSession(world.node.url) as stranger:
        assert (await post(stranger, body, {}))[0] == 401
    headers = await sign_in(http, wallet)
    assert (await post(http, body, {}))[0] == 403
    statuses = [(await post(http, {}, headers))[0] for _ in range(12)]
    assert statuses[:10] == [400] * 10
    assert statuses[-1] == 429
