"""Everything a client needs to know, in one call each. Calls of the Lens contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nvm_chain.abi import Abi, Call
from nvm_chain.address import address
from nvm_chain.assets import Asset, Offer
from nvm_chain.cid import Cid
from nvm_chain.did import Did
from nvm_chain.nodes import Node
from nvm_chain.plans import Account, Plan, PlanId, Refund


@dataclass(frozen=True, slots=True)
class OfferView:
    """One way into an asset."""

    offer: Offer
    plan: Plan


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node of an asset. until: unix seconds; assets.FOREVER = until removed."""

    until: int
    node: Node


@dataclass(frozen=True, slots=True)
class AssetView:
    """An asset with its offers, plans and nodes, all of one block."""

    asset: Asset
    cid: Cid
    offers: tuple[OfferView, ...]
    nodes: tuple[NodeView, ...]


@dataclass(frozen=True, slots=True)
class AccountView:
    """A subscriber's standing under a plan. spendable: balanceOf. block, timestamp: of the block that answered."""

    plan_id: PlanId
    subscriber: str
    account: Account
    spendable: int
    refund: Refund
    block: int
    timestamp: int


class Lens:
    """Calls of one Lens."""

    def __init__(self, lens: str) -> None:
        self.address = address(lens, "lens")
        self._abi = Abi.of("Lens")

    def describe(self, did: Did) -> Call[AssetView]:
        """Resolves a DID. Refused with AssetUnknown."""
        return self._abi.call(self.address, "describe", did.value).returning(lambda raw: _asset_view(did, raw))

    def account(self, plan_id: PlanId, subscriber: str) -> Call[AccountView]:
        """A subscriber's standing under one plan. Refused with PlanUnknown."""
        who = address(subscriber, "subscriber")
        call = self._abi.call(self.address, "account", plan_id.value, who)
        return call.returning(lambda raw: _account_view(plan_id, who, raw))

    def accounts(self, pairs: Sequence[tuple[PlanId, str]]) -> Call[tuple[AccountView, ...]]:
        """The same for many (plan, subscriber) pairs, in their order."""
        keys = [(plan_id, address(subscriber, "subscriber")) for plan_id, subscriber in pairs]
        call = self._abi.call(
            self.address, "accounts", [plan_id.value for plan_id, _ in keys], [who for _, who in keys]
        )
        return call.returning(lambda rows: tuple(_account_view(*key, row) for key, row in zip(keys, rows, strict=True)))


def _asset_view(did: Did, raw: Mapping[str, Any]) -> AssetView:
    return AssetView(
        asset=Asset.decode(did, raw["asset"]),
        cid=Cid.parse(raw["cid"]),
        offers=tuple(
            OfferView(Offer.decode(row["offer"]), Plan.decode(PlanId(row["offer"]["planId"]), row["plan"]))
            for row in raw["offers"]
        ),
        nodes=tuple(NodeView(row["until"], Node.decode(row["account"], row["node"])) for row in raw["nodes"]),
    )


def _account_view(plan_id: PlanId, subscriber: str, raw: Mapping[str, Any]) -> AccountView:
    return AccountView(
        plan_id=plan_id,
        subscriber=subscriber,
        account=Account.decode(raw["account"]),
        spendable=raw["spendable"],
        refund=Refund(raw["refundQuantity"], raw["refundAmount"], raw["refundAvailableAt"]),
        block=raw["blockNumber"],
        timestamp=raw["timestamp"],
    )
