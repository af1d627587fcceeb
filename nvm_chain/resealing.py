"""Keeping an assistant's secret sealed to the keys that its nodes have today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nvm_chain.chain import Chain
from nvm_chain.definition import Definition
from nvm_chain.deployments import Deployment
from nvm_chain.did import Did
from nvm_chain.ipfs import BlockStore
from nvm_chain.metadata import Metadata
from nvm_chain.registration import Prepared, prepare_update

State = Literal["current", "previous", "stale", "missing"]


@dataclass(frozen=True, slots=True)
class Seal:
    """What one node of an assistant can open.

    current_version: number of the node's key today. sealed_versions: those that the metadata has a secret for.
    state: `current`; `previous`: opens until `good_until` (unix seconds); `stale`: opens no more; `missing`.
    """

    node: str
    endpoint: str
    current_version: int
    sealed_versions: tuple[int, ...]
    state: State
    good_until: int = 0


async def seals(chain: Chain, deployment: Deployment, store: BlockStore, did: Did) -> tuple[Seal, ...]:
    """How the assistant's secret stands with each node that serves it.

    Raises AssetUnknown and what reading the metadata raises.
    """
    view = await chain.call(deployment.views.describe(did))
    block = view.cid.verify(await store.get(view.cid), store.name)
    metadata = Metadata.from_block(block, did=did, chain_id=chain.chain_id, registry=deployment.asset_registry)
    now = (await chain.header()).timestamp
    found = []
    for entry in view.nodes:
        node = entry.node
        if entry.until <= now or not node.active:
            continue
        # What was sealed for an earlier owner is bound to that owner and opens for nobody.
        mine = [s for s in metadata.sealed if s.node == node.account] if metadata.owner == view.asset.owner else []
        versions = tuple(sorted(sealed.key_version for sealed in mine))
        state: State = "stale" if versions else "missing"
        until = 0
        if node.version in versions:
            state = "current"
        elif node.version - 1 in versions and node.previous_until > now:
            state, until = "previous", node.previous_until
        found.append(Seal(node.account, node.endpoint, node.version, versions, state, until))
    return tuple(found)


async def prepare_reseal(
    chain: Chain,
    deployment: Deployment,
    store: BlockStore,
    owner: str,
    did: Did,
    definition: Definition,
    *,
    expires: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> Prepared | None:
    """The next metadata version, sealed to the nodes' current keys; None when every node has its current one.

    Only the nodes can open what is there, so that the definition has to be given again. Raises as `prepare_update`.
    """
    standing = await seals(chain, deployment, store, did)
    if standing and all(seal.state == "current" for seal in standing):
        return None
    for seal in standing:
        if seal.state != "current":
            on_step(f"node {seal.node} has key {seal.current_version}; the secret for it is {seal.state}")
    return await prepare_update(
        chain, deployment, store, owner, did, definition=definition, expires=expires, on_step=on_step
    )
