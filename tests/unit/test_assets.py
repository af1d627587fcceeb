"""Opened definitions: in memory only, few, for a bounded time, and only with a key that is of use."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio

from node_proxy.assets import FAILURE_SECONDS, LONGEST_SECONDS, Assets
from node_proxy.errors import AssetNotFound, AssetUnusable
from node_proxy.keyring import usable_keys
from nvm_chain.assets import Asset
from nvm_chain.cid import Cid
from nvm_chain.definition import Definition
from nvm_chain.did import Did
from nvm_chain.ipfs import LocalStore
from nvm_chain.keys import generate_private_key, public_key_of
from nvm_chain.metadata import Metadata
from nvm_chain.nodes import Node
from nvm_chain.sealing import Sealed
from nvm_chain.secret import Secret
from tests.unit import sample

TTL = 60.0


@dataclass
class Registry:
    """What a chain would say: records by DID, and the node's keys by version. asked: for which version."""

    records: dict[Did, Asset] = field(default_factory=dict)
    keys: dict[int, Secret] = field(default_factory=lambda: {1: sample.NODE_KEY})
    asked: list[int] = field(default_factory=list)

    async def asset(self, did: Did) -> Asset:
        if did not in self.records:
            raise AssetNotFound("unknown")
        return self.records[did]

    def asset_seen(self, did: Did) -> Asset | None:
        return self.records.get(did)

    async def served(self) -> Sequence[Did]:
        return list(self.records)

    async def key_versions(self, at_least: int = 0) -> Mapping[int, Secret]:
        self.asked.append(at_least)
        return self.keys


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A registry, a store and the node's assets over both."""

    registry: Registry
    store: LocalStore
    assets: Assets

    async def publish(self, metadata: Metadata, owner: str = sample.OWNER) -> Did:
        cid = await self.store.put(metadata.to_block())
        self.registry.records[metadata.did] = Asset(metadata.did, owner, None, True, 1, sample.NOW, sample.NOW, cid)
        return metadata.did


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> Bench:
    registry, store = Registry(), LocalStore(tmp_path)
    assets = Assets(
        registry,
        store,
        chain_id=sample.CHAIN_ID,
        registry=sample.REGISTRY,
        node=sample.NODE,
        ttl=TTL,
        size=3,
    )
    return Bench(registry, store, assets)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("node_proxy.assets.time.monotonic", clock)
    return clock


def another(number: int) -> Metadata:
    did = Did(bytes([number]) * 32)
    sealed = Sealed.of(sample.definition(), sample.binding(did=did), sample.NODE_PUBLIC_KEY)
    return sample.metadata(did=did, sealed=(sealed,))


def definitions_alive() -> int:
    gc.collect()
    return sum(isinstance(one, Definition) for one in gc.get_objects())


async def test_a_definition_is_dropped_when_nobody_has_used_it_for_a_while(bench: Bench, clock: Clock) -> None:
    did = await bench.publish(sample.metadata())
    before = definitions_alive()
    await bench.assets.open(did)
    assert definitions_alive() == before + 1
    clock.now += TTL - 1
    bench.assets.sweep()
    assert bench.assets.open_count == 1
    clock.now += 2
    bench.assets.sweep()
    assert bench.assets.open_count == 0
    await asyncio.sleep(0)  # the loop's own handle of this step holds the last result until it ends
    assert definitions_alive() == before, "nothing else holds on to it"


async def test_a_definition_in_constant_use_is_opened_anew_within_the_hour(bench: Bench, clock: Clock) -> None:
    did = await bench.publish(sample.metadata())
    first = await bench.assets.open(did)
    for _ in range(int(LONGEST_SECONDS / (TTL / 2)) - 1):
        clock.now += TTL / 2
        assert (await bench.assets.open(did)) is first
    clock.now += TTL / 2
    assert (await bench.assets.open(did)) is not first


async def test_no_more_definitions_are_in_memory_than_the_operator_allows(bench: Bench) -> None:
    dids = [await bench.publish(another(number)) for number in range(1, 7)]
    before = definitions_alive()
    for did in dids:
        await bench.assets.open(did)
    assert bench.assets.open_count == 3
    assert definitions_alive() <= before + 3


@pytest.mark.parametrize("age", [0, LONGEST_SECONDS - TTL / 2])
async def test_a_definition_in_use_stays_while_others_come_and_go(bench: Bench, clock: Clock, age: float) -> None:
    used, *others = [await bench.publish(another(number)) for number in range(1, 8)]
    first, opened_at = await bench.assets.open(used), clock.now
    while clock.now < opened_at + age:
        clock.now += TTL / 2
        assert await bench.assets.open(used) is first
    for other in others:
        await bench.assets.open(other)
        assert await bench.assets.open(used) is first


async def test_what_is_in_memory_is_had_at_once_until_its_record_changes(bench: Bench) -> None:
    did = await bench.publish(sample.metadata())
    assert bench.assets.opened(did) is None
    opened = await bench.assets.open(did)
    assert bench.assets.opened(did) is opened
    bench.registry.records[did] = replace(bench.registry.records[did], version=2)
    assert bench.assets.opened(did) is opened, "the same metadata"
    bench.registry.records[did] = replace(bench.registry.records[did], metadata=Cid.of(b"others"))
    assert bench.assets.opened(did) is None
    assert bench.assets.opened(another(9).did) is None


async def test_definitions_go_when_their_key_does(bench: Bench) -> None:
    did = await bench.publish(sample.metadata())
    await bench.assets.open(did)
    await bench.assets.close_retired()
    assert bench.assets.open_count == 1
    bench.registry.keys = {2: generate_private_key()}
    await bench.assets.close_retired()
    assert bench.assets.open_count == 0
    with pytest.raises(AssetUnusable):
        await bench.assets.open(did)


async def test_of_several_seals_the_newest_key_s_is_opened_and_its_version_looked_for(bench: Bench) -> None:
    newer = generate_private_key()
    bench.registry.keys[2] = newer
    seals = tuple(
        Sealed.of(sample.definition(model=f"key-{version}"), sample.binding(key_version=version), public_key_of(key))
        for version, key in bench.registry.keys.items()
    )
    opened = await bench.assets.open(await bench.publish(sample.metadata(sealed=seals)))
    assert (opened.definition.model, opened.key_version) == ("key-2", 2)
    assert bench.registry.asked == [2]


async def test_a_new_owner_or_version_is_opened_anew(bench: Bench) -> None:
    did = await bench.publish(sample.metadata())
    first = await bench.assets.open(did)
    await bench.publish(sample.metadata(title="Another version"))
    assert (await bench.assets.open(did)) is not first
    await bench.publish(sample.metadata(), owner=sample.OTHER)
    with pytest.raises(AssetUnusable) as refusal:
        await bench.assets.open(did)
    assert "owner" in str(refusal.value.__cause__)


async def test_what_does_not_open_is_tried_again_soon_but_not_at_once(bench: Bench, clock: Clock) -> None:
    did = await bench.publish(sample.metadata(sealed=()))
    for _ in range(5):
        with pytest.raises(AssetUnusable):
            await bench.assets.open(did)
    assert len(bench.registry.asked) == 1
    clock.now += FAILURE_SECONDS
    with pytest.raises(AssetUnusable):
        await bench.assets.open(did)
    assert len(bench.registry.asked) == 2


def test_keys_are_usable_by_version_until_the_overlap_ends() -> None:
    old, new = generate_private_key(), generate_private_key()
    held = {public_key_of(key): key for key in (old, new)}
    node = Node(sample.NODE, True, 7, public_key_of(new), public_key_of(old), 100, "https://node.example")
    assert usable_keys(node, held, 99) == {7: new, 6: old}
    assert usable_keys(node, held, 100) == {7: new}
    assert usable_keys(node, {public_key_of(old): old}, 99) == {6: old}
    assert usable_keys(replace(node, previous_key=None, previous_until=0), held, 99) == {7: new}
