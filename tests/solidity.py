"""Contracts that only tests need, compiled when a test asks for them."""

from __future__ import annotations

from functools import cache
from typing import Any

import solcx

from nvm_chain.abi import Abi, Call
from nvm_chain.chain import Chain
from nvm_chain.deployments import PROXY, SALT, create2_address
from nvm_chain.wallet import Wallet
from scripts.compile_contracts import ROOT, compiler

TOKENS = ROOT / "tests" / "contracts" / "forge" / "tokens"


@cache
def compile_token(name: str, file: str | None = None) -> tuple[Abi, bytes]:
    """ABI and init code of a contract in tests/contracts/forge/tokens/. file: where it is not named after it."""
    compiler()
    path = TOKENS / f"{file or name}.sol"
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {str(path.relative_to(ROOT)): {"content": path.read_text()}},
            "settings": {"outputSelection": {"*": {name: ["abi", "evm.bytecode.object"]}}, "evmVersion": "cancun"},
        },
        base_path=str(ROOT),
    )
    compiled: dict[str, Any] = output["contracts"][str(path.relative_to(ROOT))][name]
    return Abi(name, compiled["abi"]), bytes.fromhex(compiled["evm"]["bytecode"]["object"])


async def deploy_token(chain: Chain, wallet: Wallet, name: str = "DevToken") -> tuple[str, Abi]:
    """A token without constructor arguments, deployed where the chain doesn't have it yet; address and ABI."""
    abi, init_code = compile_token(name)
    address = create2_address(init_code)
    if not await chain.code(address):
        call: Call[bytes] = Call(PROXY, SALT + init_code, "deployment proxy", "deploy", {"contract": name}, bytes)
        await chain.send(call, wallet)
    return address, abi
