#!/usr/bin/env python3
"""Measures the gas of every operation on a fresh anvil, from receipts, beside two bare ERC-1155 contracts.

    bench/gas/run.py             writes build/gas.json; exits 1 above a limit or above the committed snapshot
    bench/gas/run.py --update    also writes bench/gas/snapshot.json

Receipt gas includes the transaction's base cost and calldata. `balance_of…` is what the call executes, without those.
Settlements are measured on an (assistant, plan, node) that has settled before. The contracts are the committed
artifacts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import solcx
from eth_account import Account
from web3 import HTTPProvider, Web3

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from scripts import compile_contracts  # noqa: E402

SNAPSHOT = Path(__file__).with_name("snapshot.json")
RESULT = ROOT / "build" / "gas.json"
LIMITS = {
    "purchase_native_first": 64_000,
    "purchase_native_repeat": 45_000,
    "settle_per_entry_100": 9_700,
    "settle_per_entry_200": 9_500,
    "register_plan": 150_000,
    "register_asset": 150_000,
    "balance_of": 5_000,
}
ZERO = "0x" + "00" * 20
FAR = 2**40
PRICE = 1_000_000


class Bench:
    """A chain with unlocked accounts (0 deploys, 1 builds, 2 is the node, 3… buy), and what was measured on it."""

    def __init__(self, web3: Web3) -> None:
        self.web3 = web3
        self.accounts = list(web3.eth.accounts)
        self.gas: dict[str, int] = {}

    def deploy(self, artifact: dict[str, Any], *args: Any) -> tuple[Any, int]:
        factory = self.web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        receipt = self.web3.eth.wait_for_transaction_receipt(
            factory.constructor(*args).transact({"from": self.accounts[0]})
        )
        return self.at(receipt["contractAddress"], artifact), receipt["gasUsed"]

    def at(self, address: Any, artifact: dict[str, Any]) -> Any:
        return self.web3.eth.contract(address=address, abi=artifact["abi"])

    def send(self, call: Any, sender: str, value: int = 0) -> int:
        """Returns the receipt's gas. A transaction that reverts ends the benchmark."""
        transaction = call.transact({"from": sender, "value": value, "gas": 29_000_000})
        receipt = self.web3.eth.wait_for_transaction_receipt(transaction, poll_latency=0.005)
        if receipt["status"] != 1:
            call.call({"from": sender, "value": value})
            sys.exit(f"{call.fn_name} reverted")
        return int(receipt["gasUsed"])

    def execution(self, call: Any) -> int:
        """Gas that a read executes: what the node's tracer says, without base cost and calldata."""
        transaction = call.build_transaction({"from": self.accounts[0], "gas": 1_000_000, "gasPrice": 0, "nonce": 0})
        request = {"from": self.accounts[0], "to": transaction["to"], "data": transaction["data"]}
        trace = self.web3.provider.make_request("debug_traceCall", [request, "latest", {"disableStorage": True}])  # type: ignore[arg-type]
        steps = trace["result"]["structLogs"]
        return int(steps[0]["gas"]) - int(steps[-1]["gas"]) + int(steps[-1]["gasCost"])


def entry(subscriber: str, calls: int, credits: int) -> bytes:
    return (int(subscriber, 16) << 96 | calls << 64 | credits).to_bytes(32, "big")


def terms(**changes: Any) -> tuple[Any, ...]:
    """IPlanRegistry.Terms: a credit plan without limits, changed by name."""
    fields: dict[str, Any] = {
        "token": ZERO,
        "price": PRICE,
        "creditsPerUnit": 100,
        "duration": 0,
        "purchaseLimit": 0,
        "supply": 0,
        "refundCooldown": 0,
        "voucherRequired": False,
    }
    return tuple((fields | changes).values())


def measure(bench: Bench) -> dict[str, int]:
    gas, accounts = bench.gas, bench.accounts
    builder, node = accounts[1], accounts[2]
    artifacts = {
        name: json.loads((ROOT / "nvm_chain" / "artifacts" / f"{name}.json").read_text())
        for name in compile_contracts.CONTRACTS
    }
    peers = compile_peers()
    nodes, gas_nodes = bench.deploy(artifacts["NodeRegistry"])
    validator, gas_validator = bench.deploy(artifacts["SignatureValidator"])
    plans, gas_plans = bench.deploy(artifacts["PlanRegistry"], ZERO, 0, nodes.address, validator.address)
    _, gas_lens = bench.deploy(artifacts["Lens"], plans.address)
    gas["deploy_total"] = gas_nodes + gas_validator + gas_plans + gas_lens
    assets = bench.at(plans.functions.assetRegistry().call(), artifacts["AssetRegistry"])
    token, _ = bench.deploy(peers["BenchToken"])
    digest = Web3.keccak(text="metadata")

    def plan(name: str, **changes: Any) -> bytes:
        salt = Web3.keccak(text=name)
        cost = bench.send(plans.functions.createPlan(salt, terms(**changes), [], digest), builder)
        gas.setdefault("register_plan", cost)
        return bytes(plans.functions.planIdOf(builder, salt).call())

    def asset(name: str, plan_id: bytes) -> bytes:
        salt = Web3.keccak(text=name)
        cost = bench.send(assets.functions.register(salt, digest, [(plan_id, 1, 10)], [node]), builder)
        gas.setdefault("register_asset", cost)
        return bytes(assets.functions.didOf(builder, salt).call())

    key = Account.from_key("0x" + "11" * 32)._key_obj.public_key.to_bytes()
    bench.send(nodes.functions.register((key[:32], key[32:]), "https://node.example"), node)

    # Purchases. Somebody else buys first, so that no counter of the plan or the token starts at zero.
    native = plan("native")
    buyer = accounts[4]
    bench.send(plans.functions.purchase(native, accounts[3], 1, PRICE), accounts[3], PRICE)
    gas["purchase_native_first"] = bench.send(plans.functions.purchase(native, buyer, 1, PRICE), buyer, PRICE)
    gas["balance_of_after_1"] = bench.execution(plans.functions.balanceOf(buyer, int.from_bytes(native, "big")))
    gas["purchase_native_repeat"] = bench.send(plans.functions.purchase(native, buyer, 1, PRICE), buyer, PRICE)
    for _ in range(98):
        bench.send(plans.functions.purchase(native, buyer, 1, PRICE), buyer, PRICE)
    gas["balance_of_after_100"] = bench.execution(plans.functions.balanceOf(buyer, int.from_bytes(native, "big")))

    if gas["balance_of_after_1"] != gas["balance_of_after_100"]:
        sys.exit(f"balanceOf costs more after more purchases: {gas}")
    gas["balance_of"] = gas["balance_of_after_100"]

    dollars = plan("dollars", token=token.address)
    payer = Account.from_key("0x" + "22" * 32)
    for account in (accounts[3], buyer, payer.address):
        bench.send(token.functions.mint(account, 100 * PRICE), accounts[0])
    for account in (accounts[3], buyer):
        bench.send(token.functions.approve(plans.address, 2**256 - 1), account)
        gas["purchase_erc20_first"] = bench.send(plans.functions.purchase(dollars, account, 1, PRICE), account)
    gas["purchase_erc20_repeat"] = bench.send(plans.functions.purchase(dollars, buyer, 1, PRICE), buyer)
    domain = {"name": "Bench", "version": "1", "chainId": bench.web3.eth.chain_id, "verifyingContract": token.address}
    permit = payer.sign_typed_data(
        domain,
        {"Permit": [{"name": n, "type": t} for n, t in PERMIT]},
        {"owner": payer.address, "spender": plans.address, "value": PRICE, "nonce": 0, "deadline": FAR},
    )
    rsv = (permit.v, permit.r.to_bytes(32, "big"), permit.s.to_bytes(32, "big"))
    bench.web3.provider.make_request("anvil_impersonateAccount", [payer.address])  # type: ignore[arg-type]
    bench.web3.provider.make_request("anvil_setBalance", [payer.address, hex(10**18)])  # type: ignore[arg-type]
    gas["purchase_permit"] = bench.send(
        plans.functions.purchaseWithPermit(dollars, payer.address, 1, PRICE, FAR, *rsv), payer.address
    )
    salt = Web3.keccak(text="authorisation")
    nonce = plans.functions.authorisationNonce(dollars, accounts[5], 1, salt).call()
    signed = payer.sign_typed_data(
        domain,
        {"ReceiveWithAuthorization": [{"name": n, "type": t} for n, t in AUTHORISATION]},
        {
            "from": payer.address,
            "to": plans.address,
            "value": PRICE,
            "validAfter": 0,
            "validBefore": FAR,
            "nonce": nonce,
        },
    )
    authorised = plans.functions.purchaseWithAuthorisation(
        dollars, accounts[5], 1, payer.address, salt, 0, FAR, signed.signature
    )
    gas["purchase_3009"] = bench.send(authorised, accounts[0])

    # Settlement.
    holders = [Account.from_key((i + 1_000).to_bytes(32, "big")) for i in range(200)]
    did = asset("assistant", native)
    for holder in holders:
        bench.send(plans.functions.purchase(native, holder.address, 10, 10 * PRICE), accounts[3], 10 * PRICE)
    root = Web3.keccak(text="receipts")
    for batch, count in enumerate((1, 1, 10, 100, 200), 1):
        entries = [entry(holder.address, 3, 7) for holder in holders[:count]]
        cost = bench.send(plans.functions.settle(did, native, batch, root, entries), node)
        gas[f"settle_per_entry_{count}"] = cost // count

    vouched = plan("vouched", voucherRequired=True)
    did = asset("vouched assistant", vouched)
    domain = {
        "name": "nvm-chain PlanRegistry",
        "version": "1",
        "chainId": bench.web3.eth.chain_id,
        "verifyingContract": plans.address,
    }
    types = {"Voucher": [{"name": n, "type": t} for n, t in VOUCHER]}
    for holder in holders[:100]:
        bench.send(plans.functions.purchase(vouched, holder.address, 10, 10 * PRICE), accounts[3], 10 * PRICE)
    for batch, count in enumerate((1, 100), 1):
        vouchers = []
        for holder in holders[:count]:
            promise = {"planId": vouched, "subscriber": holder.address, "ceiling": 1_000}
            vouchers.append((1_000, holder.sign_typed_data(domain, types, promise).signature))
        entries = [entry(holder.address, 3, 7) for holder in holders[:count]]
        cost = bench.send(plans.functions.settleWithVouchers(did, vouched, batch, root, entries, vouchers), node)
        gas["settle_voucher_per_entry"] = cost // count

    # Refund and withdrawal.
    refundable = plan("refundable", refundCooldown=3600)
    bench.send(plans.functions.purchase(refundable, buyer, 2, 2 * PRICE), buyer, 2 * PRICE)
    gas["refund_announce"] = bench.send(plans.functions.announceRefund(refundable), buyer)
    bench.web3.provider.make_request("evm_increaseTime", [3601])  # type: ignore[arg-type]
    gas["refund"] = bench.send(plans.functions.takeRefund(refundable, buyer), buyer)
    gas["withdraw"] = bench.send(plans.functions.withdraw(native, builder), builder)
    gas["set_metadata"] = bench.send(assets.functions.setMetadata(did, Web3.keccak(text="new")), builder)

    # Peers: one packed slot and one event is what a mint costs when nothing is sold, limited, split or recorded.
    for name, artifact in (("openzeppelin", peers["BareOpenZeppelin"]), ("solady", peers["BareSolady"])):
        bare, _ = bench.deploy(artifact)
        bench.send(bare.functions.mint(accounts[3], 1, 100), accounts[3], PRICE)
        gas[f"{name}_mint_first"] = bench.send(bare.functions.mint(buyer, 1, 100), buyer, PRICE)
        gas[f"{name}_mint_repeat"] = bench.send(bare.functions.mint(buyer, 1, 100), buyer, PRICE)
        gas[f"{name}_burn"] = bench.send(bare.functions.burn(buyer, 1, 7), buyer)
    return gas


VOUCHER = (("planId", "bytes32"), ("subscriber", "address"), ("ceiling", "uint256"))
PERMIT = (
    ("owner", "address"),
    ("spender", "address"),
    ("value", "uint256"),
    ("nonce", "uint256"),
    ("deadline", "uint256"),
)
AUTHORISATION = (
    ("from", "address"),
    ("to", "address"),
    ("value", "uint256"),
    ("validAfter", "uint256"),
    ("validBefore", "uint256"),
    ("nonce", "bytes32"),
)


def compile_peers() -> dict[str, Any]:
    """OpenZeppelin's and Solady's ERC-1155 and a token, with the settings of our own contracts."""
    compile_contracts.compiler()
    folder = Path(__file__).parent / "contracts"
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {
                str(file.relative_to(ROOT)): {"content": file.read_text()} for file in sorted(folder.glob("*.sol"))
            },
            "settings": compile_contracts.SETTINGS
            | {
                "remappings": ["solady/=node_modules/solady/", "@openzeppelin/=node_modules/@openzeppelin/"],
                "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
            },
        },
        base_path=str(ROOT),
    )
    return {
        name: {"abi": contract["abi"], "bytecode": "0x" + contract["evm"]["bytecode"]["object"]}
        for file in output["contracts"].values()
        for name, contract in file.items()
    }


def anvil() -> str:
    for place in sorted((ROOT / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil")):
        return str(place)
    return shutil.which("anvil") or sys.exit("no anvil: run `make setup`")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the snapshot too")
    update = parser.parse_args().update
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [anvil(), "--port", str(port), "--hardfork", "prague", "--silent", "--timestamp", "1800000000"],
        stdout=subprocess.DEVNULL,
    )
    try:
        web3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}"))
        for _ in range(200):
            if web3.is_connected():
                break
            time.sleep(0.05)
        gas = measure(Bench(web3))
    finally:
        process.terminate()
        process.wait(10)

    RESULT.parent.mkdir(exist_ok=True)
    text = json.dumps(gas, indent=1) + "\n"
    RESULT.write_text(text)
    known = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    bad = []
    for name, value in gas.items():
        limit = LIMITS.get(name)
        note = f"at most {limit:,}" if limit else ""
        if limit and value > limit:
            bad.append(f"{name} is {value:,}, above its limit {limit:,}")
        if name in known and value != known[name]:
            note += f"  ({value - known[name]:+,} against the snapshot)"
            if not update and value > known[name] * 1.001:
                bad.append(
                    f"{name} is {value:,}, the snapshot says {known[name]:,}: `bench/gas/run.py --update` if meant"
                )
        print(f"{name:26} {value:>10,}  {note}")
    if update:
        SNAPSHOT.write_text(text)
    if bad:
        sys.exit("\n".join(bad))


if __name__ == "__main__":
    main()
