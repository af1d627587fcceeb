"""Contract wallets sign in: one that is deployed (ERC-1271), and one that is not yet (ERC-6492)."""

from __future__ import annotations

from functools import cache

import aiohttp
import pytest
import solcx
from eth_abi.abi import encode

from nvm_chain.abi import Call
from nvm_chain.deployments import PROXY, SALT, create2_address
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
    async with aiohttp.ClientSession(world.node.url) as http:
        async with http.get("/auth/nonce", params={"address": account}) as answer:
            message = (await answer.json())["message"]
        signature = await signer.sign_message(message)
        if factory is not None:
            signature = encode(["address", "bytes", "bytes"], [PROXY, factory, signature]) + MAGIC_6492
        body = {"message": message, "signature": "0x" + signature.hex()}
        async with http.post("/auth/login", json=body) as answer:
            return answer.status, (await answer.json()).get("subscriber", "")


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
