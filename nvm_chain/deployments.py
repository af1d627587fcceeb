"""Where the contracts are: the same addresses on every chain, computed offline; and putting them there.

The contracts go through the deterministic deployment proxy (https://github.com/Arachnid/deterministic-deployment-proxy),
so an address follows from bytecode, constructor arguments and one salt. AssetRegistry is deployed by PlanRegistry's
constructor, at the CREATE address of its nonce 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from nvm_chain.abi import ZERO_ADDRESS, Call, artifact
from nvm_chain.address import address
from nvm_chain.assets import AssetRegistry
from nvm_chain.chain import Chain, Receipt
from nvm_chain.errors import ChainUnavailable, InvalidInput, NvmError, TransactionFailed
from nvm_chain.lens import Lens
from nvm_chain.nodes import NodeRegistry
from nvm_chain.plans import PlanRegistry
from nvm_chain.wallet import Wallet

PROXY = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
SALT = keccak(text="nvm-chain 1")

# The proxy's own deployment, signed so that nobody holds its key: the same transaction makes it on any chain.
PROXY_DEPLOYER = "0x3fAB184622Dc19b6109349B94811493BF2a45362"
PROXY_FUNDS = 10**16
PROXY_TRANSACTION = bytes.fromhex(
    "f8a58085174876e800830186a08080b853604580600e600039806000f350fe7fffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf31ba022222222222222222222"
    "22222222222222222222222222222222222222222222a02222222222222222222222222222222222222222222222222222222222222222"
)


@dataclass(frozen=True, slots=True)
class Network:
    """A chain that we know by name. rpc_url: the network's own public endpoint, where it has one."""

    name: str
    chain_id: int
    title: str
    currency: str
    rpc_url: str | None
    explorer: str | None


NETWORKS = {
    network.name: network
    for network in (
        Network("local", 31337, "Local development chain", "ETH", "http://127.0.0.1:8545", None),
        Network("base", 8453, "Base", "ETH", "https://mainnet.base.org", "https://basescan.org"),
        Network(
            "base-sepolia", 84532, "Base Sepolia", "ETH", "https://sepolia.base.org", "https://sepolia.basescan.org"
        ),
        Network("arbitrum", 42161, "Arbitrum One", "ETH", "https://arb1.arbitrum.io/rpc", "https://arbiscan.io"),
        Network("optimism", 10, "OP Mainnet", "ETH", "https://mainnet.optimism.io", "https://optimistic.etherscan.io"),
        Network("polygon", 137, "Polygon PoS", "POL", "https://polygon-rpc.com", "https://polygonscan.com"),
        Network("gnosis", 100, "Gnosis Chain", "xDAI", "https://rpc.gnosischain.com", "https://gnosisscan.io"),
        Network("ethereum", 1, "Ethereum", "ETH", None, "https://etherscan.io"),
        Network("sepolia", 11155111, "Ethereum Sepolia", "ETH", None, "https://sepolia.etherscan.io"),
    )
}


def network_of(chain_id: int) -> Network:
    """The network with this chain id; one that we don't know gets plain names."""
    for network in NETWORKS.values():
        if network.chain_id == chain_id:
            return network
    return Network(f"chain-{chain_id}", chain_id, f"Chain {chain_id}", "ETH", None, None)


CONTRACTS = ("plan_registry", "asset_registry", "node_registry", "signature_validator", "lens")


@dataclass(frozen=True, slots=True)
class Deployment:
    """The five contracts' addresses on a chain, and the objects that make calls of them.

    block: no log of the registries of plans and assets is older than this block; 0 = not known.
    """

    plan_registry: str
    asset_registry: str
    node_registry: str
    signature_validator: str
    lens: str
    block: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        for name in CONTRACTS:
            object.__setattr__(self, name, address(getattr(self, name), name.replace("_", " ")))
        if type(self.block) is not int or self.block < 0:
            raise InvalidInput(f"block {self.block!r} is not a block's number: give a whole number, or leave it out")

    @property
    def plans(self) -> PlanRegistry:
        return PlanRegistry(self.plan_registry)

    @property
    def assets(self) -> AssetRegistry:
        return AssetRegistry(self.asset_registry)

    @property
    def nodes(self) -> NodeRegistry:
        return NodeRegistry(self.node_registry)

    @property
    def views(self) -> Lens:
        return Lens(self.lens)

    @classmethod
    @cache
    def standard(cls, fee_recipient: str = ZERO_ADDRESS, fee_basis_points: int = 0) -> Deployment:
        """The addresses that `deploy` uses on every chain; a protocol fee gives other ones."""
        addresses: dict[str, Any] = {step.field: step.address for step in _steps(fee_recipient, fee_basis_points)}
        return cls(**addresses)

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """From a JSON file with the five addresses by field name and, if it is known, `block`. Raises InvalidInput."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{name: raw[name] for name in CONTRACTS}, block=raw.get("block", 0))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            names = ", ".join(CONTRACTS)
            raise InvalidInput(f"{path} is not a deployment file with the addresses {names}: {error}") from error

    def to_dict(self) -> dict[str, str]:
        """The addresses."""
        return {name: getattr(self, name) for name in CONTRACTS}


@dataclass(frozen=True, slots=True)
class Deployed:
    """One contract after `deploy`. receipt: None when it was there already, or another one's constructor made it."""

    contract: str
    address: str
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class _Step:
    contract: str
    field: str
    address: str
    init_code: bytes | None  # None: another step's constructor deploys it


async def deploy(
    chain: Chain,
    wallet: Wallet,
    *,
    fee_recipient: str = ZERO_ADDRESS,
    fee_basis_points: int = 0,
    on_step: Callable[[Deployed], None] = lambda _: None,
) -> Deployment:
    """Deploys what is missing on the chain and returns addresses and block; doing it again costs nothing.

    on_step: told of each contract. Raises ChainUnavailable when the chain has no deployment proxy, InsufficientFunds.
    """
    await _check_proxy(chain)
    block = None
    for step in _steps(fee_recipient, fee_basis_points):
        receipt = None
        if not await chain.code(step.address):
            if step.init_code is None:
                raise TransactionFailed(f"{step.contract} is missing at {step.address} although its deployer ran")
            receipt = await chain.send(_deployment_call(step.contract, step.init_code), wallet)
            if not await chain.code(step.address):
                raise TransactionFailed(
                    f"{step.contract} did not appear at {step.address} (transaction {receipt.tx_hash})"
                )
            block = receipt.block if step.field == "plan_registry" else block
        on_step(Deployed(step.contract, step.address, receipt))
    made = Deployment.standard(fee_recipient, fee_basis_points)
    return replace(made, block=await first_block(chain, made, await chain.block_number()) if block is None else block)


async def missing(
    chain: Chain, *, fee_recipient: str = ZERO_ADDRESS, fee_basis_points: int = 0, with_proxy: bool = False
) -> list[tuple[str, Call[bytes]]]:
    """The wallet's transactions that `deploy` would send (after `install_proxy`, with_proxy), each with the account
    that it is for. Raises ChainUnavailable as `deploy` does.
    """
    funds = await _proxy_funds(chain) if with_proxy else None
    if not with_proxy:
        await _check_proxy(chain)
    return [
        *([] if funds is None else [(PROXY_DEPLOYER, funds)]),
        *[
            (step.address, _deployment_call(step.contract, step.init_code))
            for step in _steps(fee_recipient, fee_basis_points)
            if step.init_code is not None and not await chain.code(step.address)
        ],
    ]


async def install_proxy(chain: Chain, wallet: Wallet) -> None:
    """Puts the deployment proxy on a chain that lacks it, by its well-known pre-signed transaction."""
    if await chain.code(PROXY):
        return
    funds = await _proxy_funds(chain)
    if funds is not None:
        await chain.send(funds, wallet)
    await chain.wait(await chain.broadcast(PROXY_TRANSACTION))


async def _proxy_funds(chain: Chain) -> Call[bytes] | None:
    """What the proxy's deployer lacks for its transaction; None where it lacks nothing."""
    lacks = 0 if await chain.code(PROXY) else PROXY_FUNDS - await chain.balance(PROXY_DEPLOYER)
    return Call(PROXY_DEPLOYER, b"", "the proxy's deployer", "receive", {}, bytes, lacks) if lacks > 0 else None


async def _check_proxy(chain: Chain) -> None:
    if not await chain.code(PROXY):
        raise ChainUnavailable(
            f"chain {chain.chain_id} has no deployment proxy at {PROXY}: run `nvm-chain deploy --install-proxy` "
            f"(it sends 0.01 of the native currency to {PROXY_DEPLOYER}, then the proxy's pre-signed transaction; "
            f"see https://github.com/Arachnid/deterministic-deployment-proxy)"
        )


async def check_deployed(chain: Chain, deployment: Deployment) -> None:
    """Raises ChainUnavailable that names what is missing unless all five contracts are there."""
    missing = [name for name, account in deployment.to_dict().items() if not await chain.code(account)]
    if missing:
        raise ChainUnavailable(
            f"chain {chain.chain_id} at {chain.where} has no contracts at the addresses of {', '.join(missing)}: "
            f"deploy them with `nvm-chain deploy`, or choose the network they are on"
        )


async def deployed_at(chain: Chain, account: str, head: int) -> int:
    """The first block at whose end the contract is there, by bisection; 0 where the endpoint keeps no old states.

    No log of the contract is older. Raises NvmError where the endpoint doesn't answer for `head` either.
    """
    low, high = 0, head
    await chain.code(account, head)
    try:
        while low < high:
            middle = (low + high) // 2
            if await chain.code(account, middle):
                high = middle
            else:
                low = middle + 1
        # Some say of a state that they have forgotten that nothing was there: no more was the proxy, which came first.
        if low and not await chain.code(PROXY, low - 1):
            return 0
    except NvmError:
        return 0
    return low


async def first_block(chain: Chain, deployment: Deployment, head: int, wanted: int = 0) -> int:
    """Where a search for plans' and assets' logs begins: `wanted`, else what the deployment says, else what the chain
    does. 0 where nobody knows. Raises NvmError.
    """
    return wanted or deployment.block or await deployed_at(chain, deployment.plan_registry, head)


def create2_address(init_code: bytes, salt: bytes = SALT) -> str:
    """Where the proxy puts a contract."""
    return str(to_checksum_address(keccak(b"\xff" + bytes.fromhex(PROXY[2:]) + salt + keccak(init_code))[12:]))


def _steps(fee_recipient: str, fee_basis_points: int) -> tuple[_Step, ...]:
    if not 0 <= fee_basis_points <= 10_000:
        raise InvalidInput(f"a protocol fee of {fee_basis_points} basis points is not within 0 to 10,000")
    nodes = _step("NodeRegistry", "node_registry")
    validator = _step("SignatureValidator", "signature_validator")
    plans = _step(
        "PlanRegistry",
        "plan_registry",
        ("address", address(fee_recipient, "fee recipient")),
        ("uint16", fee_basis_points),
        ("address", nodes.address),
        ("address", validator.address),
    )
    # CREATE: the last 20 bytes of keccak(rlp([deployer, nonce 1])).
    rlp = b"\xd6\x94" + bytes.fromhex(plans.address[2:]) + b"\x01"
    assets = _Step("AssetRegistry", "asset_registry", str(to_checksum_address(keccak(rlp)[12:])), None)
    return nodes, validator, plans, assets, _step("Lens", "lens", ("address", plans.address))


def _step(contract: str, field: str, *arguments: tuple[str, Any]) -> _Step:
    init_code = bytes.fromhex(artifact(contract)["bytecode"][2:])
    init_code += encode([kind for kind, _ in arguments], [value for _, value in arguments])
    return _Step(contract, field, create2_address(init_code), init_code)


def _deployment_call(contract: str, init_code: bytes) -> Call[bytes]:
    return Call(PROXY, SALT + init_code, "deployment proxy", "deploy", {"contract": contract}, bytes)
