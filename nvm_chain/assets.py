"""Assets: registered assistants, the plans that open them and the nodes that serve them. Calls of the AssetRegistry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nvm_chain.abi import ZERO_ADDRESS, Abi, Call
from nvm_chain.address import address
from nvm_chain.cid import Cid
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.plans import PlanId

FOREVER = 2**40 - 1


@dataclass(frozen=True, slots=True)
class OfferInput:
    """What one access shall cost under a plan.

    min_credits, max_credits: per access, 0 <= min <= max < 2**64; equal = a fixed price; a time plan has 0 and 0.
    """

    plan_id: PlanId
    min_credits: int
    max_credits: int

    def __post_init__(self) -> None:
        if not 0 <= self.min_credits <= self.max_credits < 2**64:
            raise InvalidInput(
                f"{self.min_credits} to {self.max_credits} credits per access are not valid: "
                f"the minimum is at least 0 and not above the maximum"
            )

    @property
    def _tuple(self) -> tuple[bytes, int, int]:
        return (self.plan_id.value, self.min_credits, self.max_credits)


@dataclass(frozen=True, slots=True)
class Offer:
    """What one access costs under one plan, at the block that was read.

    min_credits, max_credits: per access, in force now. next_min, next_max: the rule from `effective_at` on (unix
    seconds; 0 = no change is scheduled). closes_at: when the offer stops to admit calls; 0 = open-ended.
    """

    plan_id: PlanId
    min_credits: int
    max_credits: int
    next_min: int = 0
    next_max: int = 0
    effective_at: int = 0
    closes_at: int = 0

    def rule_at(self, timestamp: int) -> tuple[int, int] | None:
        """(min, max) credits per access at a time not before the block's; None once the offer is closed."""
        if self.closes_at and timestamp >= self.closes_at:
            return None
        if self.effective_at and timestamp >= self.effective_at:
            return self.next_min, self.next_max
        return self.min_credits, self.max_credits

    @classmethod
    def decode(cls, raw: Mapping[str, Any]) -> Offer:
        """From the struct IAssetRegistry.Offer."""
        return cls(
            plan_id=PlanId(raw["planId"]),
            min_credits=raw["min"],
            max_credits=raw["max"],
            next_min=raw["nextMin"],
            next_max=raw["nextMax"],
            effective_at=raw["effectiveAt"],
            closes_at=raw["closesAt"],
        )


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset's record. version: of the metadata, the first is 1. created_at, updated_at: unix seconds."""

    did: Did
    owner: str
    pending_owner: str | None
    active: bool
    version: int
    created_at: int
    updated_at: int
    metadata: Cid

    @classmethod
    def decode(cls, did: Did, raw: Mapping[str, Any]) -> Asset:
        """From the struct IAssetRegistry.Asset."""
        return cls(
            did=did,
            owner=raw["owner"],
            pending_owner=None if raw["pendingOwner"] == ZERO_ADDRESS else raw["pendingOwner"],
            active=raw["active"],
            version=raw["version"],
            created_at=raw["createdAt"],
            updated_at=raw["updatedAt"],
            metadata=Cid.from_digest(raw["metadata"]),
        )


@dataclass(frozen=True, slots=True)
class AssetNode:
    """A node of an asset. until: unix seconds until which it may serve and settle; FOREVER = until removed."""

    account: str
    until: int


@dataclass(frozen=True, slots=True)
class SettlementRule:
    """What settlement obeys now. authorised: whether the node may settle. min_credits, max_credits: per call."""

    authorised: bool
    min_credits: int
    max_credits: int


class AssetRegistry:
    """Calls of one AssetRegistry."""

    def __init__(self, registry: str) -> None:
        self.address = address(registry, "asset registry")
        self._abi = Abi.of("AssetRegistry")

    def _call(self, function: str, *args: Any) -> Call[Any]:
        return self._abi.call(self.address, function, *args)

    def register(self, salt: bytes, metadata: Cid, offers: Sequence[OfferInput], nodes: Sequence[str]) -> Call[Did]:
        """Registers an assistant owned by the sender; the offers are in force at once."""
        accounts = [address(node, "node") for node in nodes]
        call = self._call("register", salt, metadata.digest, [offer._tuple for offer in offers], accounts)
        return call.returning(Did)

    def set_metadata(self, did: Did, metadata: Cid) -> Call[None]:
        """Publishes a new metadata version."""
        return self._call("setMetadata", did.value, metadata.digest)

    def add_offer(self, did: Did, offer: OfferInput) -> Call[None]:
        """Adds an offer, in force at once."""
        return self._call("addOffer", did.value, offer._tuple)

    def change_offer(self, did: Did, offer: OfferInput) -> Call[None]:
        """Schedules a new rule after the notice period (one day)."""
        return self._call("changeOffer", did.value, offer._tuple)

    def close_offer(self, did: Did, plan_id: PlanId) -> Call[None]:
        """Closes an offer after the notice period."""
        return self._call("closeOffer", did.value, plan_id.value)

    def add_node(self, did: Did, node: str) -> Call[None]:
        """Lets a node serve and settle the asset."""
        return self._call("addNode", did.value, address(node, "node"))

    def remove_node(self, did: Did, node: str, until: int) -> Call[None]:
        """Stops a node; it may settle what it served until `until` (unix seconds), at most one day from now."""
        return self._call("removeNode", did.value, address(node, "node"), until)

    def set_active(self, did: Did, active: bool) -> Call[None]:
        """Deactivates the asset, or activates it again."""
        return self._call("setActive", did.value, active)

    def offer_asset(self, did: Did, to: str | None) -> Call[None]:
        """Offers the asset to another owner; None withdraws the offer."""
        return self._call("offerAsset", did.value, ZERO_ADDRESS if to is None else address(to, "new owner"))

    def accept_asset(self, did: Did) -> Call[None]:
        """Accepts an offered asset."""
        return self._call("acceptAsset", did.value)

    def asset(self, did: Did) -> Call[Asset]:
        """The asset's record. Refused with AssetUnknown."""
        return self._call("asset", did.value).returning(lambda raw: Asset.decode(did, raw))

    def offers(self, did: Did) -> Call[tuple[Offer, ...]]:
        """All offers, closed ones included until their place is taken."""
        return self._call("offers", did.value).returning(lambda rows: tuple(Offer.decode(row) for row in rows))

    def offer(self, did: Did, plan_id: PlanId) -> Call[Offer]:
        """The offer of one plan. Refused with OfferUnknown."""
        return self._call("offer", did.value, plan_id.value).returning(Offer.decode)

    def nodes(self, did: Did) -> Call[tuple[AssetNode, ...]]:
        """The asset's nodes."""
        return self._call("nodes", did.value).returning(
            lambda lists: tuple(AssetNode(account, until) for account, until in zip(*lists, strict=True))
        )

    def settlement_rule(self, did: Did, plan_id: PlanId, node: str) -> Call[SettlementRule]:
        """What a settlement by `node` has to obey now."""
        call = self._call("settlementRule", did.value, plan_id.value, address(node, "node"))
        return call.returning(lambda values: SettlementRule(*values))

    def cid(self, did: Did) -> Call[Cid]:
        """CID of the current metadata block, computed by the contract."""
        return self._call("cid", did.value).returning(Cid.parse)
