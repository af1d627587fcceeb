"""AssetRegistry: registering assistants, changing what they cost with notice, and who may serve them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from nvm_chain.abi import ZERO_ADDRESS
from nvm_chain.cid import Cid
from tests.contracts.spec.conftest import DAY, FOREVER, METADATA, OTHER_KEY, Refused, World

UNKNOWN = b"\x01" * 32


def test_a_did_follows_from_chain_contract_owner_and_salt(world: World) -> None:
    salt, plan = world.salt(), world.plan()
    types = ["uint256", "address", "address", "bytes32"]
    expected = keccak(encode(types, [31337, world.assets.address, world.builder.address, salt]))
    assert world.assets.didOf(world.builder, salt) == expected
    receipt = world.assets.register(salt, METADATA, [(plan, 1, 5)], [world.node], sender=world.builder)
    [event] = receipt.decode_logs(world.assets.AssetRegistered)
    assert (event.did, event.owner, event.metadata) == (expected, world.builder, METADATA)


def test_a_new_asset_is_open_at_once(world: World) -> None:
    plan = world.plan()
    did = world.asset(plan)
    asset = world.assets.asset(did)
    assert (asset.owner, asset.pendingOwner, asset.active, asset.version) == (world.builder, ZERO_ADDRESS, True, 1)
    assert (asset.createdAt, asset.updatedAt, asset.metadata) == (world.now(), world.now(), METADATA)
    assert [tuple(offer) for offer in world.assets.offers(did)] == [(plan, 1, 5, 0, 0, 0, 0)]
    accounts, until = world.assets.nodes(did)
    assert (list(accounts), list(until)) == ([world.node], [FOREVER])
    assert tuple(world.assets.settlementRule(did, plan, world.node)) == (True, 1, 5)


def test_the_cid_is_that_of_the_metadata_block(world: World) -> None:
    did = world.asset(world.plan())
    assert world.assets.cid(did) == str(Cid.from_digest(METADATA))


def register(world: World, **changes: Any) -> None:
    values: dict[str, Any] = {
        "salt": world.salt(),
        "metadata": METADATA,
        "offers": [],
        "nodes": [world.node],
    } | changes
    world.assets.register(*values.values(), sender=world.builder)


def test_an_asset_needs_metadata_a_plan_and_a_node(world: World, refused: Refused) -> None:
    offers = [(world.plan(), 1, 5)]
    with refused("NoMetadata"):
        register(world, offers=offers, metadata=bytes(32))
    with refused("NoPlan"):
        register(world, offers=[])
    with refused("NoNode"):
        register(world, offers=offers, nodes=[])


def test_a_salt_registers_one_asset(world: World, refused: Refused) -> None:
    salt, offers = world.salt(), [(world.plan(), 1, 5)]
    register(world, salt=salt, offers=offers)
    with refused("AssetExists", did=world.assets.didOf(world.builder, salt)):
        register(world, salt=salt, offers=offers)


def test_a_plan_that_opens_an_asset_is_the_owners_and_not_retired(world: World, refused: Refused) -> None:
    with refused("PlanNotUsable", planId=UNKNOWN, owner=ZERO_ADDRESS, retired=False):
        register(world, offers=[(UNKNOWN, 1, 5)])
    foreign_salt = world.salt()
    world.plans.createPlan(foreign_salt, world.terms(), [], METADATA, sender=world.stranger)
    foreign = world.plans.planIdOf(world.stranger, foreign_salt)
    with refused("PlanNotUsable", planId=foreign, owner=world.stranger, retired=False):
        register(world, offers=[(foreign, 1, 5)])
    retired = world.plan()
    world.plans.retire(retired, sender=world.builder)
    with refused("PlanNotUsable", planId=retired, owner=world.builder, retired=True):
        register(world, offers=[(retired, 1, 5)])


@pytest.mark.parametrize(("low", "high", "terms"), [(5, 1, {}), (1, 1, {"creditsPerUnit": 0, "duration": DAY})])
def test_a_rule_has_min_below_max_and_a_time_plan_costs_no_credits(
    world: World, refused: Refused, low: int, high: int, terms: dict[str, Any]
) -> None:
    plan = world.plan(**terms)
    with refused("InvalidRule", planId=plan, min=low, max=high):
        register(world, offers=[(plan, low, high)])


def test_the_same_plan_or_node_is_not_named_twice(world: World, refused: Refused) -> None:
    plan = world.plan()
    with refused("OfferExists", planId=plan):
        register(world, offers=[(plan, 1, 5), (plan, 2, 3)])
    with refused("NodeExists", node=world.node):
        register(world, offers=[(plan, 1, 5)], nodes=[world.node, world.node])


def test_an_asset_has_at_most_16_offers_and_8_nodes(world: World, refused: Refused) -> None:
    plan = world.plan()
    with refused("TooMany", limit=16):
        register(world, offers=[(plan, 1, 5)] * 17)
    with refused("TooMany", limit=8):
        register(world, offers=[(plan, 1, 5)], nodes=[world.node] * 9)


def test_only_a_registered_node_serves(world: World, refused: Refused) -> None:
    plan = world.plan()
    with refused("NodeNotUsable", node=world.stranger):
        register(world, offers=[(plan, 1, 5)], nodes=[world.stranger])


@pytest.mark.parametrize(
    "change",
    ["setMetadata", "addOffer", "changeOffer", "closeOffer", "addNode", "removeNode", "setActive", "offerAsset"],
)
def test_only_the_owner_changes_an_asset(world: World, refused: Refused, change: str) -> None:
    plan = world.plan()
    did = world.asset(plan)
    arguments: dict[str, list[Any]] = {
        "setMetadata": [METADATA],
        "addOffer": [(plan, 1, 5)],
        "changeOffer": [(plan, 1, 5)],
        "closeOffer": [plan],
        "addNode": [world.node],
        "removeNode": [world.node, 0],
        "setActive": [False],
        "offerAsset": [world.stranger],
    }
    more = arguments[change]
    with refused("NotAssetOwner", did=did, caller=world.stranger):
        getattr(world.assets, change)(did, *more, sender=world.stranger)
    with refused("AssetUnknown", did=UNKNOWN):
        getattr(world.assets, change)(UNKNOWN, *more, sender=world.stranger)


def test_new_metadata_is_a_new_version(world: World, refused: Refused) -> None:
    did = world.asset(world.plan())
    receipt = world.assets.setMetadata(did, b"\x66" * 32, sender=world.builder)
    [event] = receipt.decode_logs(world.assets.MetadataChanged)
    assert (event.version, event.metadata) == (2, b"\x66" * 32)
    with refused("NoMetadata"):
        world.assets.setMetadata(did, bytes(32), sender=world.builder)


# ------------------------------------------------------------------------------------------------------------- offers


def test_a_new_rule_takes_effect_after_a_day_and_calls_of_before_settle_for_another(world: World) -> None:
    plan = world.plan()
    did = world.asset(plan)
    world.assets.changeOffer(did, (plan, 10, 20), sender=world.builder)
    offer = world.assets.offer(did, plan)
    assert (offer.min, offer.max, offer.nextMin, offer.nextMax) == (1, 5, 10, 20)
    assert offer.effectiveAt == world.now() + DAY
    assert tuple(world.assets.settlementRule(did, plan, world.node)) == (True, 1, 5)
    world.later(DAY)
    offer = world.assets.offer(did, plan)
    assert (offer.min, offer.max, offer.effectiveAt) == (10, 20, 0)
    assert tuple(world.assets.settlementRule(did, plan, world.node)) == (True, 1, 20)
    world.later(DAY)
    assert tuple(world.assets.settlementRule(did, plan, world.node)) == (True, 10, 20)


def test_a_rule_does_not_change_again_while_calls_of_the_rule_before_may_settle(world: World, refused: Refused) -> None:
    plan = world.plan()
    did = world.asset(plan)
    world.assets.changeOffer(did, (plan, 10, 20), sender=world.builder)
    until = world.now() + 2 * DAY
    world.assets.changeOffer(did, (plan, 2, 4), sender=world.builder)
    assert world.assets.offer(did, plan).nextMin == 2
    world.later(DAY + 60)
    with refused("ChangeTooSoon", did=did, planId=plan):
        world.assets.changeOffer(did, (plan, 7, 7), sender=world.builder)
    assert until > world.now()
    world.later(DAY + 60)
    world.assets.changeOffer(did, (plan, 7, 7), sender=world.builder)


def test_an_offer_closes_with_notice_and_settles_for_a_day_more(world: World, refused: Refused) -> None:
    plan = world.plan()
    did = world.asset(plan)
    world.assets.closeOffer(did, plan, sender=world.builder)
    closes = world.assets.offer(did, plan).closesAt
    assert closes == world.now() + DAY
    changes: list[Callable[[], Any]] = [
        lambda: world.assets.closeOffer(did, plan, sender=world.builder),
        lambda: world.assets.changeOffer(did, (plan, 1, 5), sender=world.builder),
    ]
    for change in changes:
        with refused("OfferClosing", did=did, planId=plan, closesAt=closes):
            change()
    world.later(DAY + 60)
    assert world.assets.settlementRule(did, plan, world.node)[0] is True
    world.later(DAY)
    assert world.assets.settlementRule(did, plan, world.node)[0] is False


def test_a_plan_that_changed_hands_is_closed_by_its_owner_and_changed_by_nobody(world: World, refused: Refused) -> None:
    plan = world.plan()
    did = world.asset(plan)
    world.plans.offerPlan(plan, world.stranger, sender=world.builder)
    world.plans.acceptPlan(plan, sender=world.stranger)
    with refused("PlanNotUsable", planId=plan, owner=world.stranger, retired=False):
        world.assets.changeOffer(did, (plan, 5, 5), sender=world.builder)
    with refused("NotAssetOwner", did=did, caller=world.stranger):
        world.assets.changeOffer(did, (plan, 5, 5), sender=world.stranger)
    with refused("NotAssetOwner", did=did, caller=world.subscriber):
        world.assets.closeOffer(did, plan, sender=world.subscriber)
    world.assets.closeOffer(did, plan, sender=world.stranger)
    world.later(2 * DAY)
    assert world.assets.settlementRule(did, plan, world.node)[0] is False


def test_a_plan_that_opens_nothing_has_no_offer(world: World, refused: Refused) -> None:
    plan, other = world.plan(), world.plan()
    did = world.asset(plan)
    with refused("OfferUnknown", did=did, planId=other):
        world.assets.offer(did, other)
    with refused("OfferUnknown", did=did, planId=other):
        world.assets.changeOffer(did, (other, 1, 5), sender=world.builder)
    with refused("OfferExists", did=did, planId=plan):
        world.assets.addOffer(did, (plan, 1, 5), sender=world.builder)
    world.assets.addOffer(did, (other, 0, 9), sender=world.builder)
    assert world.assets.offer(did, other).max == 9


# -------------------------------------------------------------------------------------------------- nodes and owners


def test_a_removed_node_settles_for_at_most_a_day(world: World, refused: Refused) -> None:
    plan = world.plan()
    did = world.asset(plan)
    with refused("NodeUnknown", did=did, node=world.stranger):
        world.assets.removeNode(did, world.stranger, 0, sender=world.builder)
    with refused("UntilTooLate", until=world.now() + 10 * DAY):
        world.assets.removeNode(did, world.node, world.now() + 10 * DAY, sender=world.builder)
    world.assets.removeNode(did, world.node, world.now() + DAY - 60, sender=world.builder)
    assert world.assets.settlementRule(did, plan, world.node)[0] is True
    world.later(DAY)
    assert world.assets.settlementRule(did, plan, world.node)[0] is False


def test_another_node_may_be_added_and_one_that_was_removed_comes_back(world: World, refused: Refused) -> None:
    plan = world.plan()
    did = world.asset(plan)
    with refused("NodeNotUsable", node=world.stranger):
        world.assets.addNode(did, world.stranger, sender=world.builder)
    world.nodes.register(OTHER_KEY, "https://other.example", sender=world.stranger)
    receipt = world.assets.addNode(did, world.stranger, sender=world.builder)
    [event] = receipt.decode_logs(world.assets.NodeChanged)
    assert (event.did, event.node, event.until) == (did, world.stranger, FOREVER)
    assert world.assets.settlementRule(did, plan, world.stranger) == (True, 1, 5)
    with refused("NodeExists", did=did, node=world.stranger):
        world.assets.addNode(did, world.stranger, sender=world.builder)
    world.assets.removeNode(did, world.stranger, 0, sender=world.builder)
    assert world.assets.settlementRule(did, plan, world.stranger)[0] is False
    world.assets.addNode(did, world.stranger, sender=world.builder)
    assert list(world.assets.nodes(did).accounts) == [world.node, world.stranger]


def test_an_inactive_asset_settles_for_a_day_and_comes_back(world: World) -> None:
    plan = world.plan()
    did = world.asset(plan)
    world.assets.setActive(did, False, sender=world.builder)
    assert world.assets.asset(did).active is False
    assert world.assets.settlementRule(did, plan, world.node)[0] is True
    world.later(DAY + 60)
    assert world.assets.settlementRule(did, plan, world.node)[0] is False
    world.assets.setActive(did, True, sender=world.builder)
    assert world.assets.settlementRule(did, plan, world.node)[0] is True


def test_an_asset_is_handed_over_in_two_steps(world: World, refused: Refused) -> None:
    did = world.asset(world.plan())
    world.assets.offerAsset(did, world.stranger, sender=world.builder)
    with refused("NotPendingOwner", did=did, caller=world.subscriber):
        world.assets.acceptAsset(did, sender=world.subscriber)
    world.assets.acceptAsset(did, sender=world.stranger)
    assert world.assets.asset(did).owner == world.stranger
    with refused("NotAssetOwner", did=did, caller=world.builder):
        world.assets.setActive(did, False, sender=world.builder)


# --------------------------------------------------------------------------------------------------------------- lens


def test_the_lens_tells_everything_in_one_call(world: World, refused: Refused) -> None:
    plan = world.plan()
    did = world.asset(plan)
    world.buy(plan)
    view = world.lens.describe(did)
    assert (view.cid, view.asset.owner) == (world.assets.cid(did), world.builder)
    # Ape gives structs in lists as plain tuples.
    [(offer, sold_plan)] = view.offers
    assert tuple(offer) == tuple(world.assets.offer(did, plan))
    assert tuple(sold_plan[:5]) == (world.builder, ZERO_ADDRESS, False, False, 1)
    [(account, until, node)] = view.nodes
    assert (account, until, node[-1]) == (world.node, FOREVER, "https://node.example")
    standing = world.lens.account(plan, world.subscriber)
    assert (standing.spendable, standing.account.balance) == (100, 100)
    assert (standing.blockNumber, standing.timestamp) == (world.chain.blocks.height, world.now())
    with refused("AssetUnknown", did=UNKNOWN):
        world.lens.describe(UNKNOWN)
    with refused("PlanUnknown", planId=UNKNOWN):
        world.lens.account(UNKNOWN, world.subscriber)
    with refused("LengthMismatch", left=1, right=0):
        world.lens.accounts([plan], [])
