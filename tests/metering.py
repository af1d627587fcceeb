"""The node's money half on a real chain, without HTTP: anvil with the contracts, a node's wallet, a ledger on disk."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node_proxy.access.keys import ApiKey
from node_proxy.admission import Admission, Reservation
from node_proxy.ledger import Ledger, open_ledger
from node_proxy.ledger.base import AccountId, Batch
from node_proxy.settlement import Settlement, Thresholds
from node_proxy.watcher import ChainView
from nvm_chain.abi import Call
from nvm_chain.assets import OfferInput
from nvm_chain.chain import Chain, Receipt, open_chain
from nvm_chain.cid import Cid
from nvm_chain.deployments import PROXY, Deployment, deploy, install_proxy
from nvm_chain.did import Did
from nvm_chain.keys import generate_private_key, public_key_of
from nvm_chain.plans import PlanId, Terms
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.anvil import CHAIN_ID, KEYS, anvil

ETHER = 10**18
KEY = ApiKey("key_test", "", "test", None, None, None, False, 0)


def wallet_id(plan: PlanId, wallet: LocalWallet) -> AccountId:
    """The ledger's name for the wallet's account under the plan."""
    return AccountId(plan.value, bytes.fromhex(wallet.address[2:]))


@dataclass(slots=True)
class Market:
    """A chain with the contracts, a builder and a node that serves whatever is registered."""

    chain: Chain
    url: str
    deployment: Deployment
    builder: LocalWallet
    node_key: Secret
    node: LocalWallet
    owned: list[LocalWallet] = field(default_factory=list)

    async def fund(self, account: str, wei: int = 10 * ETHER) -> None:
        await self.chain.rpc("anvil_setBalance", [account, hex(wei)])

    async def wallet(self) -> LocalWallet:
        wallet = LocalWallet.create()
        await self.fund(wallet.address)
        return wallet

    async def send(self, call: Call[Any], wallet: LocalWallet) -> Receipt:
        return await self.chain.send(call, wallet)

    async def plan(self, credits: int = 100, **terms: Any) -> PlanId:
        """A new plan. credits: per unit; 0 = a time plan."""
        salt = secrets.token_bytes(32)
        await self.send(self.deployment.plans.create(salt, Terms(credits_per_unit=credits, **terms)), self.builder)
        return PlanId.derive(self.chain.chain_id, self.deployment.plan_registry, self.builder.address, salt)

    async def asset(self, *offers: tuple[PlanId, int, int]) -> Did:
        """A new asset that the node serves. offers: plan, least and most credits per access."""
        salt, metadata = secrets.token_bytes(32), Cid.of(b"metadata")
        inputs = [OfferInput(*offer) for offer in offers]
        await self.send(self.deployment.assets.register(salt, metadata, inputs, [self.node.address]), self.builder)
        return Did.derive(self.chain.chain_id, self.deployment.asset_registry, self.builder.address, salt)

    async def buy(self, plan: PlanId, wallet: LocalWallet, units: int = 1) -> Receipt:
        price = (await self.chain.call(self.deployment.plans.plan(plan))).terms.due(units)
        return await self.send(self.deployment.plans.purchase(plan, wallet.address, units, price, price), wallet)

    async def subscriber(self, plan: PlanId, units: int = 1) -> LocalWallet:
        """A new wallet that has bought the plan."""
        wallet = await self.wallet()
        await self.buy(plan, wallet, units)
        return wallet

    async def mine(self, blocks: int = 1) -> None:
        await self.chain.rpc("anvil_mine", [hex(blocks)])

    async def balance(self, plan: PlanId, wallet: LocalWallet) -> int:
        return await self.chain.call(self.deployment.plans.balance_of(plan, wallet.address))

    async def consumed(self, plan: PlanId, wallet: LocalWallet) -> int:
        return (await self.chain.call(self.deployment.plans.account(plan, wallet.address))).consumed


@dataclass(slots=True)
class Meter:
    """One node process's half: ledger, view, admission, settlement."""

    ledger: Ledger
    view: ChainView
    admission: Admission
    settlement: Settlement

    async def reserve(self, did: Did, wallet: LocalWallet, key: ApiKey = KEY) -> Reservation:
        return await self.admission.reserve(subscriber=wallet.address, did=did, key=key, request_id="req_test")

    async def call(self, did: Did, wallet: LocalWallet, credits: int | None = None, key: ApiKey = KEY) -> int:
        """One served call; answers the credits that are left. credits: None = the offer's minimum."""
        async with await self.reserve(did, wallet, key) as reservation:
            charge = await reservation.capture(reservation.way.min_credits if credits is None else credits, None)
            return charge.credits_left

    async def settle(self) -> list[Batch]:
        return await self.settlement.settle_now(30)


@asynccontextmanager
async def open_market(*options: str) -> AsyncIterator[Market]:
    """Starts a chain of its own. options: of anvil."""
    async with anvil(*options) as server, open_chain(server.url, CHAIN_ID) as chain:
        operator, builder = (LocalWallet(Secret(key)) for key in KEYS[1:3])
        if not await chain.code(PROXY):
            await install_proxy(chain, operator)
        deployment = await deploy(chain, operator)
        node_key = generate_private_key()
        market = Market(chain, server.url, deployment, builder, node_key, LocalWallet(node_key))
        await market.fund(market.node.address)
        encryption = public_key_of(generate_private_key())
        await market.send(deployment.nodes.register(encryption, "http://127.0.0.1:1"), market.node)
        yield market


@asynccontextmanager
async def open_meter(market: Market, path: Path | str, *, depth: int = 0, **thresholds: Any) -> AsyncIterator[Meter]:
    """A node process's half on the ledger at `path` or URL. thresholds: of Thresholds; 1 confirmation by default."""
    thresholds.setdefault("confirmations", 1)
    async with open_ledger(str(path), serving=True) as ledger:
        view = ChainView(market.chain, market.deployment, ledger, market.node.address, depth=depth, min_gap=0)
        await view.start()
        await view.refresh()
        settlement = Settlement(ledger, view, market.node, Thresholds(**thresholds))
        try:
            yield Meter(ledger, view, Admission(ledger, view, max_age=60), settlement)
        finally:
            await view.stop()
