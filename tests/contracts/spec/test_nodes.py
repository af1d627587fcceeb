"""NodeRegistry: a node's key and address are its own, and real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.spec.conftest import DAY, KEY, OTHER_KEY, Refused, World

ENDPOINT = "https://other.example"


def test_a_node_registers_its_key_and_endpoint(world: World) -> None:
    receipt = world.nodes.register(OTHER_KEY, ENDPOINT, sender=world.stranger)
    [event] = receipt.decode_logs(world.nodes.NodeRegistered)
    assert (event.node, event.endpoint) == (world.stranger, ENDPOINT)
    node = world.nodes.node(world.stranger)
    assert (node.active, node.version, tuple(node.key), node.endpoint) == (True, 1, OTHER_KEY, ENDPOINT)
    assert world.nodes.isActive(world.stranger)


def test_nodes_are_numbered_from_1_and_keep_their_number(world: World) -> None:
    world.nodes.register(OTHER_KEY, ENDPOINT, sender=world.stranger)
    assert tuple(world.nodes.numberOf(world.node)) == (1, True)
    assert tuple(world.nodes.numberOf(world.stranger)) == (2, True)
    world.nodes.retire(sender=world.stranger)
    assert tuple(world.nodes.numberOf(world.stranger)) == (2, False)
    assert world.nodes.accountOf(2) == world.stranger


def test_a_key_rotates_with_an_overlap(world: World) -> None:
    world.nodes.rotateKey(OTHER_KEY, DAY, sender=world.node)
    node = world.nodes.node(world.node)
    assert (node.version, tuple(node.key), tuple(node.previousKey)) == (2, OTHER_KEY, KEY)
    assert node.previousUntil == world.now() + DAY


def test_a_key_is_a_new_point_on_the_curve(world: World, refused: Refused) -> None:
    with refused("SameKey"):
        world.nodes.rotateKey(KEY, DAY, sender=world.node)
    wrong = (KEY[0], OTHER_KEY[1])
    with refused("NotOnCurve", x=wrong[0], y=wrong[1]):
        world.nodes.rotateKey(wrong, DAY, sender=world.node)
    with refused("NotOnCurve"):
        world.nodes.register((bytes(32), bytes(32)), ENDPOINT, sender=world.stranger)


def test_an_overlap_is_at_most_90_days(world: World, refused: Refused) -> None:
    world.nodes.rotateKey(OTHER_KEY, 90 * DAY, sender=world.node)
    with refused("OverlapTooLong", overlap=90 * DAY + 1, limit=90 * DAY):
        world.nodes.rotateKey(KEY, 90 * DAY + 1, sender=world.node)


@pytest.mark.parametrize("endpoint", ["", "https://" + "x" * 193])
def test_an_endpoint_has_1_to_200_bytes(world: World, refused: Refused, endpoint: str) -> None:
    with refused("InvalidEndpoint", length=len(endpoint), limit=200):
        world.nodes.setEndpoint(endpoint, sender=world.node)
    world.nodes.setEndpoint("https://" + "x" * 192, sender=world.node)


def test_a_node_registers_once_and_may_come_back_after_it_retired(world: World, refused: Refused) -> None:
    with refused("NodeExists", node=world.node):
        world.nodes.register(OTHER_KEY, ENDPOINT, sender=world.node)
    world.nodes.retire(sender=world.node)
    assert not world.nodes.isActive(world.node)
    with refused("NodeIsRetired", node=world.node):
        world.nodes.setEndpoint(ENDPOINT, sender=world.node)
    world.nodes.register(OTHER_KEY, ENDPOINT, sender=world.node)
    assert world.nodes.node(world.node).version == 2


def test_who_never_registered_has_no_record_to_read_or_change(world: World, refused: Refused) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: world.nodes.node(world.stranger),
        lambda: world.nodes.setEndpoint(ENDPOINT, sender=world.stranger),
        lambda: world.nodes.rotateKey(OTHER_KEY, 0, sender=world.stranger),
        lambda: world.nodes.retire(sender=world.stranger),
    ]
    for call in calls:
        with refused("NodeUnknown", node=world.stranger):
            call()
