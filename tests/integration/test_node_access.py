"""Logging in to a real node, and what its API keys may do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from nvm_chain.did import Did
from nvm_chain.plans import PlanId
from nvm_chain.wallet import LocalWallet
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Caller:
    """Somebody with a wallet and an HTTP client."""

    def __init__(self, world: World, http: aiohttp.ClientSession, wallet: LocalWallet) -> None:
        self.world, self.http, self.wallet = world, http, wallet

    async def ask(self, method: str, path: str, key: str = "", body: Any = None) -> tuple[int, dict[str, Any]]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with self.http.request(method, path, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def message(self) -> str:
        _, nonce = await self.ask("GET", f"/auth/nonce?address={self.wallet.address}")
        return str(nonce["message"])

    async def log_in(self, message: str, **wishes: Any) -> tuple[int, dict[str, Any]]:
        signature = "0x" + (await self.wallet.sign_message(message)).hex()
        return await self.ask("POST", "/auth/login", body={"message": message, "signature": signature, **wishes})


@pytest_asyncio.fixture(loop_scope="module")
async def caller(world: World) -> AsyncIterator[Caller]:
    """A new wallet without any plan."""
    async with aiohttp.ClientSession(world.node.url) as http:
        yield Caller(world, http, await world.wallet())


async def assistant(world: World, buyer: LocalWallet, credits: int = 100) -> tuple[Did, PlanId]:
    plan = (await world.create_plan(price=10**12, credits=credits)).plan_id
    registered = await world.register(plan)
    await world.buy(plan, buyer)
    return registered.did, plan


async def test_a_wallet_signs_in_and_gets_a_key_once(caller: Caller) -> None:
    message = await caller.message()
    status, key = await caller.log_in(message, name="laptop")
    assert status == 201
    assert key["key"].startswith("nvm_")
    assert key["name"] == "laptop"
    assert key["subscriber"] == caller.wallet.address
    assert key["manage"] is True
    status, again = await caller.log_in(message)
    assert status == 401
    assert again["error"]["code"] == "login_refused"
    _, listed = await caller.ask("GET", "/auth/keys", key["key"])
    assert [one["id"] for one in listed["data"]] == [key["id"]]
    assert "key" not in listed["data"][0]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "hello", "signature": "0x"},
        {"message": "hello"},
        {"message": 5, "signature": "0x00"},
        {"message": "x" * 30_000, "signature": "0x00"},
    ],
)
async def test_a_login_of_another_shape_is_refused(caller: Caller, body: dict[str, Any]) -> None:
    status, answer = await caller.ask("POST", "/auth/login", body=body)
    assert status in (400, 401)
    assert answer["error"]["param"] in ("message", "signature")


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"budget": 0}, "budget"),
        ({"budget": "5"}, "budget"),
        ({"budget": 1.5}, "budget"),
        ({"expires_in": -1}, "expires_in"),
        ({"assistants": []}, "assistants"),
        ({"assistants": ["did:nv:x"]}, "assistants"),
        ({"name": "x" * 200}, "name"),
        ({"name": "a\u202eb\n"}, "name"),
        ({"budgt": 5}, "budgt"),
        ({"budget": 5, "manage": True}, "manage"),
        ({"expires_in": 60, "manage": True}, "manage"),
    ],
)
async def test_wishes_that_make_no_sense_are_refused_and_leave_the_nonce_alone(
    caller: Caller, wishes: dict[str, Any], param: str
) -> None:
    message = await caller.message()
    status, answer = await caller.log_in(message, **wishes)
    assert status == 400
    assert answer["error"]["param"] == param
    assert (await caller.log_in(message))[0] == 201


async def test_an_address_that_is_none_gets_no_message(caller: Caller) -> None:
    for bad in ("0x12", "hello", caller.wallet.address[:-1] + "G"):
        status, answer = await caller.ask("GET", f"/auth/nonce?address={bad}")
        assert status == 400
        assert answer["error"]["param"] == "address"


async def test_a_contract_wallet_that_says_no_is_refused(caller: Caller) -> None:
    """The message names an account with code that isn't a wallet: its signature is asked for on the chain."""
    message = (await caller.message()).replace(caller.wallet.address, caller.world.deployment.plan_registry)
    status, answer = await caller.log_in(message)
    assert status == 401
    assert "signature" in answer["error"]["message"]


async def test_keys_are_made_named_limited_and_revoked(caller: Caller) -> None:
    master = await caller.world.login(caller.wallet)
    status, made = await caller.ask("POST", "/auth/keys", master, {"name": "ci", "budget": 7, "expires_in": 3600})
    assert status == 201
    assert made["budget"] == 7
    assert made["manage"] is False
    assert 3590 <= made["expires_at"] - time.time() <= 3600
    status, shown = await caller.ask("GET", f"/auth/keys/{made['id']}", made["key"])
    assert status == 200
    assert shown["spent"] == 0
    status, gone = await caller.ask("DELETE", f"/auth/keys/{made['id']}", master)
    assert gone == {"id": made["id"], "object": "api_key.deleted", "deleted": True}
    status, refused = await caller.ask("GET", "/v1/models", made["key"])
    assert status == 401
    assert refused["error"]["code"] == "api_key_revoked"


@pytest.mark.parametrize("limit", [{"budget": 5}, {"expires_in": 60}, {"assistants": ["did:nv:" + "0" * 64]}])
async def test_a_limited_key_never_makes_one_without_limits(caller: Caller, limit: dict[str, Any]) -> None:
    master = await caller.world.login(caller.wallet)
    status, answer = await caller.ask("POST", "/auth/keys", master, {"manage": True, **limit})
    assert (status, answer["error"]["param"]) == (400, "manage")
    for status, made in (
        await caller.log_in(await caller.message(), **limit),
        await caller.ask("POST", "/auth/keys", master, {"manage": False, **limit}),
    ):
        assert (status, made["manage"]) == (201, False)
        assert (await caller.ask("POST", "/auth/keys", made["key"], {}))[0] == 403
    status, made = await caller.ask("POST", "/auth/keys", master, {"manage": True})
    assert (status, made["manage"]) == (201, True)


async def test_a_key_without_the_right_manages_nothing_but_itself(caller: Caller) -> None:
    master = await caller.world.login(caller.wallet)
    _, made = await caller.ask("POST", "/auth/keys", master, {"name": "ci"})
    other = (await caller.ask("POST", "/auth/keys", master, {"name": "other"}))[1]["id"]
    for method, path in (("POST", "/auth/keys"), ("DELETE", f"/auth/keys/{other}"), ("GET", f"/auth/keys/{other}")):
        status, answer = await caller.ask(method, path, made["key"], {} if method == "POST" else None)
        assert status == 403
        assert answer["error"]["code"] == "key_cannot_manage"
    _, listed = await caller.ask("GET", "/auth/keys", made["key"])
    assert [one["id"] for one in listed["data"]] == [made["id"]]
    assert (await caller.ask("DELETE", f"/auth/keys/{made['id']}", made["key"]))[0] == 200
    assert (await caller.ask("GET", "/v1/models", made["key"]))[0] == 401


async def test_the_keys_of_another_wallet_look_like_keys_that_do_not_exist(caller: Caller) -> None:
    stranger = await caller.world.wallet()
    theirs = await caller.world.login(stranger)
    _, listed = await caller.ask("GET", "/auth/keys", theirs)
    their_id = listed["data"][0]["id"]
    mine = await caller.world.login(caller.wallet)
    for method in ("GET", "DELETE"):
        found = await caller.ask(method, f"/auth/keys/{their_id}", mine)
        absent = await caller.ask(method, "/auth/keys/key_0000000000000000", mine)
        assert found[0] == absent[0] == 404
        assert found[1]["error"]["message"].replace(their_id, "X") == absent[1]["error"]["message"].replace(
            "key_0000000000000000", "X"
        )
    assert (await caller.ask("GET", "/v1/models", theirs))[0] == 200


async def test_a_revoked_key_stops_within_a_second(caller: Caller) -> None:
    did, _ = await assistant(caller.world, caller.wallet)
    master = await caller.world.login(caller.wallet)
    _, made = await caller.ask("POST", "/auth/keys", master, {"name": "x"})
    async with caller.world.async_openai(made["key"]) as client:
        await client.responses.create(model=str(did), input="hello")
        await caller.ask("DELETE", f"/auth/keys/{made['id']}", master)
        with pytest.raises(openai.AuthenticationError):
            await client.responses.create(model=str(did), input="hello")


async def test_an_expired_key_is_refused(caller: Caller) -> None:
    key = await caller.world.login(caller.wallet, expires_in=1)
    await asyncio.sleep(1.2)
    status, answer = await caller.ask("GET", "/v1/models", key)
    assert status == 401
    assert answer["error"]["code"] == "api_key_expired"


async def test_a_budget_holds_however_many_calls_run_at_once(caller: Caller) -> None:
    did, _ = await assistant(caller.world, caller.wallet)
    key = await caller.world.login(caller.wallet, budget=3)
    async with caller.world.async_openai(key) as client:

        async def call() -> str:
            try:
                await client.responses.create(model=str(did), input="hello [[wait 0.2]]")
            except openai.APIStatusError as error:
                return f"{error.status_code} {error.code}"
            return "answered"

        outcomes = await asyncio.gather(*(call() for _ in range(10)))
    assert sorted(outcomes) == ["402 key_budget_exhausted"] * 7 + ["answered"] * 3
    other = await caller.world.login(caller.wallet)
    async with caller.world.async_openai(other) as client:
        assert (await client.responses.create(model=str(did), input="hello")).status == "completed"
    _, account = await caller.ask("GET", "/v1/account", key)
    assert account["key"]["spent"] == 3


async def test_a_key_opens_only_the_assistants_on_its_list(caller: Caller) -> None:
    mine, _ = await assistant(caller.world, caller.wallet)
    other, _ = await assistant(caller.world, caller.wallet)
    key = await caller.world.login(caller.wallet, assistants=[str(mine)])
    async with caller.world.async_openai(key) as client:
        assert (await client.responses.create(model=str(mine), input="hello")).status == "completed"
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await client.responses.create(model=str(other), input="hello")
        assert caught.value.code == "not_allowed_for_key"
        assert [model.id for model in (await client.models.list()).data] == [str(mine)]
    async with caller.world.async_openai(await caller.world.login(caller.wallet)) as owner:
        said = await owner.responses.create(model=str(other), input="for nobody else")
    async with caller.world.async_openai(key) as client:
        with pytest.raises(openai.PermissionDeniedError):
            await client.responses.retrieve(said.id)
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model=str(mine), input="go on", previous_response_id=said.id)
        assert refused.value.code == "previous_response_not_found"
        named: Any = [{"type": "item_reference", "id": said.output[0].id}, {"role": "user", "content": "go on"}]
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model=str(mine), input=named)


async def test_the_account_shows_what_the_chain_and_the_ledger_say(caller: Caller) -> None:
    did, plan = await assistant(caller.world, caller.wallet, credits=50)
    key = await caller.world.login(caller.wallet)
    async with caller.world.async_openai(key) as client:
        for _ in range(2):
            await client.responses.create(model=str(did), input="hello")
    _, account = await caller.ask("GET", "/v1/account", key)
    (shown,) = account["plans"]
    assert shown["plan_id"] == str(plan)
    assert shown["balance"] == 50
    assert shown["charged_not_settled"] == 2
    assert shown["credits_left"] == 48
    assert shown["assistants"] == [str(did)]
    assert await caller.world.credits(plan, caller.wallet) == 50


async def test_keys_survive_a_restart_of_the_node(caller: Caller) -> None:
    key = await caller.world.login(caller.wallet)
    await caller.world.node.restart()
    assert (await caller.ask("GET", "/v1/models", key))[0] == 200
