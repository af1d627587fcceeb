"""The registries on a chain of their own, and the people who use them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from nvm_chain.abi import ZERO_ADDRESS, Call, artifact
from nvm_chain.contract_errors import refusal

ETHER = 10**18
PRICE = 10**15
DAY = 86_400
KEY = (
    # The point of the private key 1, and that of 2.
    bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
    bytes.fromhex("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"),
)
OTHER_KEY = (
    bytes.fromhex("c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"),
    bytes.fromhex("1ae168fea63dc339a3c58419466ceaeef7f632653266d0e1236431a950cfe52a"),
)
METADATA = b"\x5a" * 32
FOREVER = 2**40 - 1


@dataclass(frozen=True, slots=True)
class World:
    """The contracts as shipped. builder sells, subscriber buys, node settles, stranger has no business here."""

    chain: Any
    plans: Any
    assets: Any
    nodes: Any
    lens: Any
    validator: Any
    token: Any
    builder: Any
    subscriber: Any
    node: Any
    stranger: Any
    salts: Iterator[int]

    def salt(self) -> bytes:
        return next(self.salts).to_bytes(32, "big")

    def plan(self, payees: Sequence[tuple[Any, int]] = (), **terms: Any) -> bytes:
        """A plan of the builder: 100 credits for PRICE, unless told otherwise."""
        salt = self.salt()
        self.plans.createPlan(salt, self.terms(**terms), list(payees), METADATA, sender=self.builder)
        return bytes(self.plans.planIdOf(self.builder, salt))

    def terms(self, **changes: Any) -> tuple[Any, ...]:
        values: dict[str, Any] = {
            "token": ZERO_ADDRESS,
            "price": PRICE,
            "creditsPerUnit": 100,
            "duration": 0,
            "purchaseLimit": 0,
            "supply": 0,
            "refundCooldown": 0,
            "voucherRequired": False,
        }
        return tuple((values | changes).values())

    def buy(self, plan: bytes, units: int = 1, who: Any = None) -> Any:
        payer = who or self.subscriber
        due = units * self.plans.plan(plan).terms.price
        return self.plans.purchase(plan, payer, units, due, value=due, sender=payer)

    def asset(self, plan: bytes, low: int = 1, high: int = 5) -> bytes:
        """An assistant of the builder that the plan opens and the node serves."""
        salt = self.salt()
        self.assets.register(salt, METADATA, [(plan, low, high)], [self.node], sender=self.builder)
        return bytes(self.assets.didOf(self.builder, salt))

    def settle(self, did: bytes, plan: bytes, batch: int, *entries: bytes) -> Any:
        return self.plans.settle(did, plan, batch, bytes(32), list(entries), sender=self.node)

    def entry(self, calls: int, credits: int, subscriber: Any = None) -> bytes:
        who = int(str((subscriber or self.subscriber).address), 16)
        return (who << 96 | calls << 64 | credits).to_bytes(32, "big")

    def later(self, seconds: int) -> None:
        self.chain.mine(deltatime=seconds)

    def now(self) -> int:
        return int(self.chain.blocks.head.timestamp)


NO_CALL: Call[bytes] = Call(ZERO_ADDRESS, b"", "", "", {}, bytes)
Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def refused() -> Refused:
    """`with refused("WrongPayment", paid=5, due=10):` – the block reverts with that error and those values."""
    from ape.exceptions import ContractLogicError, CustomError

    @contextmanager
    def expect(name: str, **values: Any) -> Iterator[None]:
        with pytest.raises(ContractLogicError) as caught:
            yield
        error = caught.value
        if isinstance(error, CustomError):
            found, inputs = error.name, dict(error.inputs)
        else:
            # Ape decodes what transactions revert with, but not reads and deployments.
            refused = refusal(_revert_data(error.message), NO_CALL)
            found, inputs = refused.name, refused.values
        assert found == name
        assert {key: _plain(inputs[key]) for key in values} == {key: _plain(value) for key, value in values.items()}

    return expect


def _revert_data(message: str) -> bytes:
    """What anvil puts into words: the selector, then the arguments as hex, or as text where they happen to be text."""
    match = re.fullmatch(r"(?:custom error )?0x([0-9a-f]{8})(?:: )?(.*)", message, re.DOTALL)
    assert match, message
    is_hex = re.fullmatch(r"[0-9a-f]*", match[2])
    return bytes.fromhex(match[1]) + (bytes.fromhex(match[2]) if is_hex else match[2].encode())


def _plain(value: Any) -> Any:
    """Accounts by address, bytes in hex: Ape and the library show them in different ways."""
    value = getattr(value, "address", value)
    return "0x" + value.hex().removeprefix("0x") if isinstance(value, bytes) else value


@pytest.fixture(scope="module")
def deployed(networks: Any, _chain: Any) -> Iterator[World]:
    import ape
    from ape.contracts import ContractContainer
    from ethpm_types import ContractType

    from tests.solidity import compile_token

    def container(name: str, abi: Any, bytecode: str) -> Any:
        return ContractContainer(
            ContractType.model_validate(
                {"contractName": name, "abi": abi, "deploymentBytecode": {"bytecode": bytecode}}
            )
        )

    def shipped(name: str) -> Any:
        return container(name, artifact(name)["abi"], artifact(name)["bytecode"])

    token_abi, token_code = compile_token("DevToken")
    with _chain.isolate():
        builder, subscriber, node, stranger = ape.accounts.test_accounts[:4]
        nodes = builder.deploy(shipped("NodeRegistry"))
        validator = builder.deploy(shipped("SignatureValidator"))
        plans = builder.deploy(shipped("PlanRegistry"), ZERO_ADDRESS, 0, nodes, validator)
        assets = shipped("AssetRegistry").at(plans.assetRegistry())
        lens = builder.deploy(shipped("Lens"), plans)
        token = builder.deploy(container("DevToken", list(token_abi.entries), "0x" + token_code.hex()))
        nodes.register(KEY, "https://node.example", sender=node)
        yield World(_chain, plans, assets, nodes, lens, validator, token, builder, subscriber, node, stranger, count(1))


@pytest.fixture
def world(deployed: World) -> Iterator[World]:
    """The contracts as they were deployed: what a test did to them is undone afterwards."""
    with deployed.chain.isolate():
        yield deployed
