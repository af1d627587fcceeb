"""Receipts and vouchers from a subscriber's chair: over HTTP, and with `nvm-chain`."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from nvm_chain.cli import main
from nvm_chain.plans import PlanId
from nvm_chain.receipts import Proof
from nvm_chain.registration import Registration
from nvm_chain.vouchers import sign_voucher, voucher_typed_data
from nvm_chain.wallet import LocalWallet
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Customer:
    """A wallet with a plan, an API key and a terminal."""

    def __init__(self, world: World, wallet: LocalWallet, key: str) -> None:
        self.world, self.wallet, self.key = world, wallet, key

    async def get(self, path: str, status: int = 200, key: str | None = None) -> dict[str, Any]:
        return await self.send("GET", path, None, status, key)

    async def send(
        self, method: str, path: str, body: object, status: int = 200, key: str | None = None
    ) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {key or self.key}"}
        async with (
            aiohttp.ClientSession(self.world.node.url, headers=headers) as http,
            http.request(method, path, json=body) as answer,
        ):
            found: dict[str, Any] = await answer.json()
            assert answer.status == status, found
            return found

    async def calls(self, registered: Registration, count: int, **options: Any) -> None:
        async with self.world.async_openai(self.key) as client:
            for _ in range(count):
                await client.responses.create(model=str(registered.did), input="hello", **options)

    async def cli(self, *arguments: object, text: bytes | None = None, **variables: str | None) -> Result:
        env: dict[str, str | None] = {name: None for name in os.environ if name.startswith(("NVM_", "OPENAI_"))}
        env |= {
            "NVM_RPC_URL": self.world.rpc_url,
            "NVM_NODE_URL": self.world.node.url,
            "NVM_API_KEY": self.key,
            "NVM_PRIVATE_KEY": self.wallet._account.key.hex(),
            "XDG_CONFIG_HOME": str(self.world.folder),
            "HOME": str(self.world.folder),
            **variables,
        }
        words = [str(one) for one in arguments]
        result = await asyncio.to_thread(CliRunner(mix_stderr=False).invoke, main, words, env=env, input=text)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    async def verify(self, *arguments: object, text: bytes | None = None, **variables: str | None) -> tuple[int, Any]:
        result = await self.cli("receipt", "verify", *arguments, "--json", text=text, **variables)
        return result.exit_code, json.loads(result.stdout)


async def customer(world: World, *plans: PlanId, **wishes: Any) -> Customer:
    wallet = await world.wallet()
    for plan in plans:
        await world.buy(plan, wallet)
    return Customer(world, wallet, await world.login(wallet, **wishes))


async def settle(world: World) -> None:
    await world.node.run("settle")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plan(world: World) -> PlanId:
    return (await world.create_plan(credits=1_000)).plan_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def assistant(world: World, plan: PlanId) -> Registration:
    return await world.register(plan, credits=(1, 3))


# ---------------------------------------------------------------------------------------------------------- receipts


@pytest.mark.slow
async def test_a_call_is_on_a_receipt_at_once_and_provable_once_it_is_settled(
    world: World, plan: PlanId, assistant: Registration, tmp_path: Path
) -> None:
    alice = await customer(world, plan)
    await alice.calls(assistant, 3)
    listed = await alice.get("/v1/receipts")
    assert (listed["object"], len(listed["data"]), listed["has_more"]) == ("list", 3, False)
    newest = listed["data"][0]
    assert newest["settlement"]["state"] == "waiting"
    assert newest["receipt"]["subscriber"] == alice.wallet.address
    assert newest["receipt"]["did"] == str(assistant.did)
    assert newest["receipt"]["usage"]["output_tokens"] > 0
    assert await alice.get(f"/v1/receipts/{newest['id']}") == newest
    refused = await alice.get(f"/v1/receipts/{newest['id']}/proof", 409)
    assert refused["error"]["code"] == "not_settled_yet"
    assert (await alice.verify(newest["id"]))[0] == 3

    await settle(world)
    settled = await alice.get(f"/v1/receipts/{newest['id']}")
    assert settled["settlement"]["state"] in ("mined", "confirmed")
    for name in ("receipt", "hash", "signature"):
        assert settled[name] == newest[name], "a receipt never changes"
    proof = await alice.get(f"/v1/receipts/{newest['id']}/proof")
    code, found = await alice.verify(newest["id"])
    assert (code, found["proven"], found["credits"]) == (0, True, newest["receipt"]["credits"])
    assert found["transaction"] == proof["transaction"] == settled["settlement"]["transaction"]

    # From a file, from standard input and from its address; without any node or key for the first two.
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(proof))
    alone: dict[str, Any] = {"NVM_NODE_URL": None, "NVM_API_KEY": None, "NVM_PRIVATE_KEY": None}
    assert (await alice.verify(file, **alone))[0] == 0
    assert (await alice.verify("-", text=json.dumps(proof).encode(), **alone))[0] == 0
    assert (await alice.verify(f"{world.node.url}/v1/receipts/{newest['id']}/proof"))[0] == 0
    code, found = await alice.verify(f"http://127.0.0.1:9/v1/receipts/{newest['id']}/proof")
    assert code == 2, "an API key doesn't go to another host"

    # Altered, it doesn't hold; without the chain nothing is claimed.
    file.write_text(json.dumps({**proof, "receipt": {**proof["receipt"], "credits": "1000"}}))
    code, found = await alice.verify(file)
    assert (code, found["error"]["type"]) == (1, "ReceiptInvalid")
    file.write_text(json.dumps(newest))
    assert (await alice.verify(file))[0] == 2
    file.write_text(json.dumps(proof))
    assert (await alice.verify(file, NVM_RPC_URL="http://127.0.0.1:9"))[0] == 4
    assert (await alice.verify(tmp_path / "missing.json"))[0] == 2


@pytest.mark.slow
async def test_receipts_are_listed_in_pages_and_by_what_they_are_of(
    world: World, plan: PlanId, assistant: Registration
) -> None:
    bob = await customer(world, plan)
    other = await world.register(plan)
    await bob.calls(assistant, 3)
    await settle(world)
    await bob.calls(other, 2)
    ids = [one["id"] for one in (await bob.get("/v1/receipts"))["data"]]
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)

    async def listed(query: str) -> tuple[list[int], bool]:
        page = await bob.get(f"/v1/receipts?{query}")
        found = [one["id"] for one in page["data"]]
        assert (page["first_id"], page["last_id"]) == ((found[0], found[-1]) if found else (None, None))
        return [ids.index(one) for one in found], page["has_more"]

    assert await listed("limit=2") == ([0, 1], True)
    assert await listed(f"limit=2&after={ids[1]}") == ([2, 3], True)
    assert await listed(f"limit=2&after={ids[3]}") == ([4], False)
    assert await listed(f"limit=2&before={ids[3]}") == ([1, 2], True)
    assert await listed(f"limit=3&before={ids[1]}") == ([0], False)
    assert await listed("order=asc&limit=2") == ([4, 3], True)
    assert await listed(f"order=asc&after={ids[3]}") == ([2, 1, 0], False)
    assert await listed(f"order=asc&limit=1&before={ids[3]}") == ([4], False)
    assert await listed(f"assistant={other.did}") == ([0, 1], False)
    assert await listed("settled=true") == ([2, 3, 4], False)
    assert await listed("settled=false") == ([0, 1], False)
    assert await listed(f"plan={plan}") == ([0, 1, 2, 3, 4], False)
    assert await listed("plan=0x" + 64 * "1") == ([], False)
    rows = json.loads((await bob.cli("receipts", "--settled", "--limit", 2, "--json")).stdout)["items"]
    assert [ids.index(row["receipt"]) for row in rows] == [2, 3]
    assert (await bob.cli("receipt", "list")).exit_code == 0
    shown = await bob.cli("receipt", "show", ids[0], "--json")
    assert json.loads(shown.stdout)["did"] == str(other.did)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=chg_1", "after"),
        ("before=%27", "before"),
        ("assistant=did:web:x", "assistant"),
        ("plan=7", "plan"),
        ("settled=maybe", "settled"),
        ("page=2", "page"),
        ("after=chg_" + 28 * "0" + "&before=chg_" + 28 * "0", "before"),
    ],
)
async def test_a_wrong_question_is_answered_with_its_parameter(world: World, query: str, param: str) -> None:
    stranger = await customer(world)
    refused = await stranger.get(f"/v1/receipts?{query}", 400)
    assert refused["error"]["param"] == param


@pytest.mark.slow
async def test_every_audit_of_a_working_node_is_clean(world: World, plan: PlanId, assistant: Registration) -> None:
    carol = await customer(world, plan)
    working = asyncio.create_task(carol.calls(assistant, 12))
    while not working.done():
        found = json.loads(await world.node.run("audit", "--json"))
        assert (found["sum"], found["imbalances"]) == (0, [])
    await working
    assert "in order" in await world.node.run("audit")


async def test_a_ledger_is_not_recovered_under_a_node_that_serves_from_it(world: World) -> None:
    with pytest.raises(RuntimeError, match="another process serves calls"):
        await world.node.run("recover", "--yes")


# ---------------------------------------------------------------------------------------------------------- vouchers


async def voucher_plan(world: World) -> tuple[PlanId, Registration]:
    plan = (await world.create_plan(credits=100, voucher_required=True)).plan_id
    return plan, await world.register(plan, credits=4)


async def hand_in(one: Customer, plan: PlanId, ceiling: int, status: int = 201, wrong: object = None) -> Any:
    chain_id, registry = one.world.chain.chain_id, one.world.deployment.plan_registry
    signed = await sign_voucher(one.wallet, chain_id, registry, plan, ceiling)
    body = {"plan_id": str(plan), "ceiling": str(ceiling), "signature": "0x" + signed.signature.hex()}
    return await one.send("POST", "/v1/vouchers", {**body, **(wrong if isinstance(wrong, dict) else {})}, status)


async def test_a_402_says_what_to_sign_and_the_call_goes_through_once_it_is_signed(world: World) -> None:
    plan, assistant = await voucher_plan(world)
    dave = await customer(world, plan)
    with pytest.raises(openai.APIStatusError) as refusal:
        await dave.calls(assistant, 1)
    assert (refusal.value.status_code, refusal.value.code) == (402, "voucher_required")
    asked: dict[str, Any] = refusal.value.body["voucher"]  # type: ignore[index]
    assert (asked["plan_id"], asked["ceiling"], asked["signed"]) == (str(plan), "4", None)
    # What a browser's wallet would do with it.
    typed = asked["typed_data"]
    typed["message"]["ceiling"] = int(typed["message"]["ceiling"])
    ours = voucher_typed_data(world.chain.chain_id, world.deployment.plan_registry, plan, dave.wallet.address, 4)
    assert await dave.wallet.sign_typed_data(typed) == await dave.wallet.sign_typed_data(ours)
    signature = "0x" + (await dave.wallet.sign_typed_data(typed)).hex()
    kept = await dave.send("POST", "/v1/vouchers", {"plan_id": str(plan), "ceiling": 4, "signature": signature}, 201)
    assert (kept["ceiling"], kept["credits_left"], kept["consumed"]) == ("4", 4, "0")
    assert await dave.get(f"/v1/vouchers/{plan}") == kept
    (row,) = (await dave.get("/v1/account"))["plans"]
    assert (row["balance"], row["credits_left"], row["voucher_ceiling"]) == (100, 4, "4")
    await dave.calls(assistant, 1)
    with pytest.raises(openai.APIStatusError, match="up to 8"):
        await dave.calls(assistant, 1)
    await settle(world)
    assert await world.consumed(plan, dave.wallet) == 4
    (charged,) = (await dave.get("/v1/receipts"))["data"]
    assert (await dave.verify(charged["id"]))[0] == 0


async def test_chat_signs_within_its_bound_and_no_further(world: World) -> None:
    plan, assistant = await voucher_plan(world)
    erin = await customer(world, plan)
    said = await erin.cli("chat", assistant.did, "hello")
    assert said.exit_code == 2
    assert "--max-credits" in said.stderr
    said = await erin.cli("chat", assistant.did, "hello", "--max-credits", 3)
    assert said.exit_code == 2, "less than one call may cost"
    assert (await erin.cli("chat", assistant.did, "hello", "--max-credits", 9)).exit_code == 0
    assert (await erin.get(f"/v1/vouchers/{plan}"))["ceiling"] == "9"
    # Two calls of 4 fit under 9, the third doesn't.
    said = await erin.cli("chat", assistant.did, "--max-credits", 9, text=b"one\ntwo\n")
    assert said.exit_code == 2
    assert "raise it" in said.stderr
    assert (await erin.cli("chat", assistant.did, "--max-credits", 16, text=b"one\ntwo\n")).exit_code == 0
    assert (await erin.get(f"/v1/vouchers/{plan}"))["charged_not_settled"] == 16


async def test_a_voucher_is_signed_and_handed_in_by_command(world: World) -> None:
    plan, assistant = await voucher_plan(world)
    frank = await customer(world, plan)
    done = await frank.cli("plan", "voucher", plan, "--credits", 12, "--yes", "--json")
    assert json.loads(done.stdout)["credits_left"] == 12
    await frank.calls(assistant, 3)
    await settle(world)
    done = await frank.cli("plan", "voucher", plan, "--credits", 5, "--yes", "--json", NVM_NODE_URL=None)
    shown = json.loads(done.stdout)
    assert (shown["ceiling"], shown["consumed"], "handed_to" in shown) == ("17", "12", False)
    assert (await frank.cli("plan", "voucher", plan, "--ceiling", 12, "--yes")).exit_code == 2
    assert (await frank.cli("plan", "voucher", plan, "--yes")).exit_code == 2


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"signature": "0x" + 130 * "1"}, 403, "voucher_refused"),
        ({"signature": "0x"}, 400, "invalid_value"),
        ({"signature": "hello"}, 400, "invalid_value"),
        ({"ceiling": "21"}, 403, "voucher_refused"),
        ({"ceiling": 0}, 400, "invalid_value"),
        ({"ceiling": -1}, 400, "invalid_value"),
        ({"ceiling": 20.0}, 400, "invalid_value"),
        ({"ceiling": True}, 400, "invalid_value"),
        ({"ceiling": str(2**63)}, 400, "invalid_value"),
        ({"ceiling": "9" * 100}, 400, "invalid_value"),
        ({"plan_id": "0x" + 64 * "1"}, 400, "invalid_value"),
        ({"plan_id": 7}, 400, "invalid_value"),
        ({"subscriber": "0x" + 40 * "1"}, 400, "invalid_value"),
    ],
)
async def test_a_voucher_that_does_not_hold_is_refused(
    world: World, signer: tuple[Customer, PlanId], wrong: dict[str, Any], status: int, code: str
) -> None:
    one, plan = signer
    refused = await hand_in(one, plan, 20, status, wrong)
    assert refused["error"]["code"] == code


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signer(world: World) -> tuple[Customer, PlanId]:
    plan, _ = await voucher_plan(world)
    return await customer(world, plan), plan


async def test_a_voucher_has_to_be_higher_than_the_last_and_of_a_plan_that_is_held_and_asks_for_it(
    world: World, plan: PlanId, signer: tuple[Customer, PlanId]
) -> None:
    one, signed = signer
    await hand_in(one, signed, 10)
    for ceiling in (10, 9):
        assert (await hand_in(one, signed, ceiling, 400))["error"]["code"] == "voucher_too_low"
    await hand_in(one, signed, 11)
    poor = await customer(world)
    assert (await hand_in(poor, signed, 10, 402))["error"]["code"] == "plan_required"
    assert "asks for no vouchers" in (await hand_in(one, plan, 10, 400))["error"]["message"]
    assert (await poor.get(f"/v1/vouchers/{signed}", 404))["error"]["code"] == "not_found"


# ----------------------------------------------------------------------------------------------------------- attacks


async def test_nobody_elses_receipt_can_be_told_from_one_that_does_not_exist(
    world: World, plan: PlanId, assistant: Registration
) -> None:
    alice, mallory = await customer(world, plan), await customer(world, plan)
    await alice.calls(assistant, 1)
    await settle(world)
    name = (await alice.get("/v1/receipts"))["data"][0]["id"]
    missing = "chg_" + 28 * "0"
    for end in ("", "/proof"):
        theirs = await mallory.get(f"/v1/receipts/{name}{end}", 404)
        nobodys = await mallory.get(f"/v1/receipts/{missing}{end}", 404)
        assert json.dumps(theirs).replace(name, missing) == json.dumps(nobodys)
        await mallory.get(f"/v1/receipts/chg_%00{end}", 404)
    assert (await mallory.get("/v1/receipts"))["data"] == []
    assert (await mallory.get(f"/v1/receipts?after={name}&order=asc"))["data"] == []
    async with aiohttp.ClientSession(world.node.url) as http:
        for path in ("/v1/receipts", f"/v1/receipts/{name}", f"/v1/receipts/{name}/proof", f"/v1/vouchers/{plan}"):
            assert (await http.get(path)).status == 401


async def test_a_key_for_some_assistants_sees_their_receipts_only(
    world: World, plan: PlanId, assistant: Registration
) -> None:
    alice = await customer(world, plan)
    other = await world.register(plan)
    await alice.calls(assistant, 1)
    await alice.calls(other, 1)
    all_of_them = (await alice.get("/v1/receipts"))["data"]
    limited = await world.login(alice.wallet, assistants=[str(other.did)])
    seen = (await alice.get("/v1/receipts", key=limited))["data"]
    assert [one["receipt"]["did"] for one in seen] == [str(other.did)]
    hidden = next(one["id"] for one in all_of_them if one["receipt"]["did"] == str(assistant.did))
    await alice.get(f"/v1/receipts/{hidden}", 404, key=limited)
    assert (await alice.get(f"/v1/receipts?assistant={assistant.did}", key=limited))["data"] == []


async def test_a_proof_tells_nothing_of_the_other_calls_in_the_batch(
    world: World, plan: PlanId, assistant: Registration
) -> None:
    """Siblings are hashes of documents with 96 random bits (the request's id): they can't be guessed."""
    alice, bob = await customer(world, plan), await customer(world, plan)
    await alice.calls(assistant, 1)
    await bob.calls(assistant, 2)
    await settle(world)
    name = (await alice.get("/v1/receipts"))["data"][0]["id"]
    proof = await alice.get(f"/v1/receipts/{name}/proof")
    assert bob.wallet.address.lower() not in json.dumps(proof).lower()
    read = Proof.parse(json.dumps(proof).encode())
    assert read.size >= 3
    assert all(len(one) == 32 for one in read.path)
    assert len(read.receipt.request_id) >= len("req_") + 24


async def test_a_node_that_asks_for_more_than_the_bound_gets_no_signature(world: World) -> None:
    """The bound is counted from the chain: what the node says was used doesn't raise it."""
    plan, assistant = await voucher_plan(world)
    victim = await customer(world, plan)
    await hand_in(victim, plan, 40)
    await victim.calls(assistant, 10)
    said = await victim.cli("chat", assistant.did, "hello", "--max-credits", 20)
    assert said.exit_code == 2
    assert (await victim.get(f"/v1/vouchers/{plan}"))["ceiling"] == "40"
