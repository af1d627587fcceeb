"""What an asset's DID document was and when: its versions, read from the registry's events.

Blocks before the asset's registration are found by their time and not searched, so that one endpoint will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nvm_chain.abi import Event
from nvm_chain.assets import Asset
from nvm_chain.chain import Chain, event_topics, topic
from nvm_chain.cid import Cid
from nvm_chain.deployments import Deployment
from nvm_chain.did import Did
from nvm_chain.errors import ChainUnavailable

_EVENTS = ("AssetRegistered", "MetadataChanged", "AssetTransferred", "ActiveChanged")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the DID document.

    id: number of the metadata version; after a hand-over that came without new metadata `3.1`, `3.2`, …
    owner, metadata: from then on. since: unix seconds of its block.
    """

    id: str
    owner: str
    metadata: Cid
    since: int
    block: int


@dataclass(frozen=True, slots=True)
class History:
    """versions: oldest first, at least one. switches: (unix seconds, whether the asset is active from then on)."""

    versions: tuple[Version, ...]
    switches: tuple[tuple[int, bool], ...]

    def by_id(self, version_id: str) -> Version | None:
        """The version with this id."""
        return next((version for version in self.versions if version.id == version_id), None)

    def at(self, time: int) -> Version | None:
        """The version that was current at a time, unix seconds; None before the registration."""
        return next((version for version in reversed(self.versions) if version.since <= time), None)

    def after(self, version: Version) -> Version | None:
        """The version that replaced it; None for the current one."""
        position = self.versions.index(version) + 1
        return self.versions[position] if position < len(self.versions) else None

    def active_at(self, time: int) -> bool:
        """Whether the asset was active at a time; it is from its registration on, until it is deactivated."""
        return next((active for since, active in reversed(self.switches) if since <= time), True)


async def read_history(chain: Chain, deployment: Deployment, did: Did) -> History:
    """All versions up to now. Raises AssetUnknown, ChainUnavailable (also when the endpoint keeps no old logs)."""
    head = await chain.block_number()
    asset = await chain.call(deployment.assets.asset(did), head)
    first = await _first_block(chain, asset.created_at, head)
    topics = [event_topics(*_EVENTS), topic(did.value)]
    events = await chain.logs([deployment.asset_registry], first, head, topics)
    times = {event.block: 0 for event in events}
    for block in times:
        times[block] = (await chain.header(block)).timestamp
    return _read(chain, asset, events, times)


def _read(chain: Chain, asset: Asset, events: Sequence[Event], times: dict[int, int]) -> History:
    versions: list[Version] = []
    switches: list[tuple[int, bool]] = []
    number = handovers = 0
    for event in events:
        since, args = times[event.block], event.args
        if event.name == "ActiveChanged":
            switches.append((since, args["active"]))
            continue
        if event.name == "AssetRegistered":
            number, owner, metadata = 1, args["owner"], Cid.from_digest(args["metadata"])
        elif versions:
            owner, metadata = versions[-1].owner, versions[-1].metadata
            if event.name == "AssetTransferred":
                handovers, owner = handovers + 1, args["to"]
            else:
                number, handovers, metadata = args["version"], 0, Cid.from_digest(args["metadata"])
        else:
            break
        version_id = f"{number}.{handovers}" if handovers else str(number)
        versions.append(Version(version_id, owner, metadata, since, event.block))
    complete = versions and number == asset.version and versions[-1].metadata == asset.metadata
    if not complete or versions[-1].owner != asset.owner:
        raise ChainUnavailable(
            f"{chain.where} does not give all events of {asset.did}: ask an endpoint that keeps old logs"
        )
    return History(tuple(versions), tuple(switches))


async def _first_block(chain: Chain, timestamp: int, head: int) -> int:
    """The first block that is not older than `timestamp`, by bisection of the headers."""
    low, high = 0, head
    while low < high:
        middle = (low + high) // 2
        if (await chain.header(middle)).timestamp < timestamp:
            low = middle + 1
        else:
            high = middle
    return low
