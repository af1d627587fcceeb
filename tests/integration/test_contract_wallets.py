"""Contract wallets sign in: one that is deployed (ERC-1271), and one that is not yet (ERC-6492)."""

from __future__ import annotations

from functools import cache
from typing import Any

import aiohttp
import pytest
import solcx
from eth_abi.abi import encode

from nvm_chain.abi import Call
from nvm_chain.deployments import PROXY, SALT, create2_address
from nvm_chain.vouchers import voucher_typed_data
from nvm_chain.wallet import LocalWallet
from scripts.compile_contracts import ROOT, compiler
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

WALLET = "tests/contracts/forge/actors/Wallets.sol"
MAGIC_6492 = bytes.fromhex("6492") * 16


@cache
def wallet_code() -> bytes:
    """Wallet1271's creation code, without its constructor's argument."""
    compiler()
    files = (WALLET, "tests/contracts/forge/actors/Receivers.sol")
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {file: {"content": (ROOT / file).read_text()} for file in files},
            "settings": {"outputSelection": {WALLET: {"Wallet1271": ["evm.bytecode.object"]}}, "evmVersion": "cancun"},
        },
        base_path=str(ROOT),
    )
    return bytes.fromhex(output["contracts"][WALLET]["Wallet1271"]["evm"]["bytecode"]["object"])


def init_code(owner: str) -> bytes:
    return wallet_code() + encode(["address"], [owner])


async def deploy(world: World, owner: str) -> str:
    code = init_code(owner)
    call: Call[bytes] = Call(PROXY, SALT + code, "deployment proxy", "deploy", {}, bytes)
    await world.chain.send(call, world.operator)
    return create2_address(code)


async def sign_in(world: World, account: str, signer: LocalWallet, factory: bytes | None = None) -> tuple[int, str]:
    """Status, and the subscriber that the node took it for. factory: what deploys the wallet, for ERC-6492."""
    status, answer = await _login(world, account, signer, factory)
    return status, answer.get("subscriber", "")


async def login_key(world: World, account: str, signer: LocalWallet, factory: bytes | None = None) -> str:
    key: str = (await _login(world, account, signer, factory))[1]["key"]
    return key


async def _login(world: World, account: str, signer: LocalWallet, factory: bytes | None) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession(world.node.url) as http:
        async with http.get("/auth/nonce", params={"address": account}) as answer:
            message = (await answer.json())["message"]
        signature = await signer.sign_message(message)
        if factory is not None:
            signature = encode(["address", "bytes", "bytes"], [PROXY, factory, signature]) + MAGIC_6492
        body = {"message": message, "signature": "0x" + signature.hex()}
        async with http.post("/auth/login", json=body) as answer:
            return answer.status, await answer.json()


async def test_a_deployed_wallet_signs_in_by_its_own_word_and_nobody_else_for_it(world: World) -> None:
    owner = LocalWallet.create()
    account = await deploy(world, owner.address)
    assert await sign_in(world, account, owner) == (201, account)
    assert await sign_in(world, account, LocalWallet.create()) == (401, "")


async def test_a_wallet_that_is_not_deployed_yet_signs_in_and_stays_undeployed(world: World) -> None:
    owner = LocalWallet.create()
    code = init_code(owner.address)
    account = create2_address(code)
    assert await sign_in(world, account, owner, SALT + code) == (201, account)
    assert await world.chain.code(account) == b"", "the check changes nothing on the chain"
    assert await sign_in(world, account, LocalWallet.create(), SALT + code) == (401, "")
    other = init_code(LocalWallet.create().address)
    assert await sign_in(world, account, owner, SALT + other) == (401, ""), "the factory must make this very account"


@pytest.mark.slow
@pytest.mark.parametrize("deployed", [True, False], ids=["ERC-1271", "ERC-6492"])
async def test_a_contract_wallet_signs_vouchers_and_the_chain_takes_them(world: World, deployed: bool) -> None:
    owner = LocalWallet.create()
    code = init_code(owner.address)
    account = await deploy(world, owner.address) if deployed else create2_address(code)
    plan = (await world.create_plan(credits=100, price=0, voucher_required=True)).plan_id
    assistant = await world.register(plan, credits=3)
    await world.chain.send(world.deployment.plans.purchase(plan, account, 1, 0), world.operator)
    status, subscriber = await sign_in(world, account, owner, None if deployed else SALT + code)
    assert (status, subscriber) == (201, account)
    key = await login_key(world, account, owner, None if deployed else SALT + code)

    async def hand_in(signer: LocalWallet) -> int:
        typed = voucher_typed_data(world.chain.chain_id, world.deployment.plan_registry, plan, account, 10)
        signature = await signer.sign_typed_data(typed)
        if not deployed:
            signature = encode(["address", "bytes", "bytes"], [PROXY, SALT + code, signature]) + MAGIC_6492
        body = {"plan_id": str(plan), "ceiling": "10", "signature": "0x" + signature.hex()}
        headers = {"authorization": f"Bearer {key}"}
        async with (
            aiohttp.ClientSession(world.node.url, headers=headers) as http,
            http.post("/v1/vouchers", json=body) as answer,
        ):
            return answer.status

    assert await hand_in(LocalWallet.create()) == 403
    assert await hand_in(owner) == 201
    async with world.async_openai(key) as client:
        for _ in range(3):
            await client.responses.create(model=str(assistant.did), input="hello")
    await world.node.run("settle")
    standing = await world.chain.call(world.deployment.plans.account(plan, account))
    assert (standing.consumed, standing.balance) == (9, 91)
    assert await world.chain.code(account) != b"", "settling deploys a wallet that wasn't there"
