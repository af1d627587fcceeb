"""`nvm-node assets`: which assistants this node serves, and which of its keys their secrets are sealed to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from node_proxy import identity as identities
from node_proxy.access.store import open_access_store
from node_proxy.config import Settings
from node_proxy.keyring import usable_keys
from node_proxy.services import block_source, load_deployment
from nvm_chain.assets import FOREVER
from nvm_chain.chain import Chain, event_topics, open_chain, topic
from nvm_chain.deployments import Deployment, check_deployed, first_block
from nvm_chain.did import Did
from nvm_chain.errors import NotFound, NvmError
from nvm_chain.ipfs import BlockSource
from nvm_chain.keys import public_key_of
from nvm_chain.metadata import Metadata
from nvm_chain.nodes import Node
from nvm_chain.resolver import utc


@dataclass(frozen=True, slots=True)
class Served:
    """An assistant that names this node. sealed_to: key versions of this node. state: `ok`, or what has to be done."""

    did: str
    title: str
    sealed_to: tuple[int, ...]
    state: str

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


async def list_assets(settings: Settings) -> list[Served]:
    """All assistants that name this node now. Raises ConfigInvalid, NvmError."""
    identity = identities.load(settings)
    async with (
        open_chain(settings.rpc_url, settings.chain_id) as chain,
        block_source(settings) as store,
    ):
        deployment = load_deployment(settings)
        await check_deployed(chain, deployment)
        try:
            node = await chain.call(deployment.nodes.node(identity.address))
        except NotFound:
            return []
        held = {public_key_of(key): key for key in identity.encryption_keys}
        now = (await chain.header()).timestamp
        usable = set(usable_keys(node, held, now))
        rows = []
        for did in await _named(settings, chain, deployment, identity.address):
            row = await _look(chain, deployment, store, did, node, usable, now)
            if row is not None:
                rows.append(row)
        return rows


async def _named(settings: Settings, chain: Chain, deployment: Deployment, account: str) -> list[Did]:
    """Those the running node has found, and those in the blocks since."""
    scope = f"{chain.chain_id}|{deployment.asset_registry}|{account}"
    async with open_access_store(settings.database) as access:
        known, searched = await access.assistants(), await access.searched(scope)
    head = await chain.block_number()
    first = await first_block(chain, deployment, head, max(settings.from_block, searched or 0))
    topics = [event_topics("NodeChanged")[0], None, topic(account)]
    events = await chain.logs([deployment.asset_registry], first, head, topics)
    return [Did(did) for did in dict.fromkeys([*known, *(event.args["did"] for event in events)])]


async def _look(
    chain: Chain, deployment: Deployment, store: BlockSource, did: Did, node: Node, usable: set[int], now: int
) -> Served | None:
    view = await chain.call(deployment.views.describe(did))
    until = next((entry.until for entry in view.nodes if entry.node.account == node.account), 0)
    if until <= now:
        return None
    try:
        block = view.cid.verify(await store.get(view.cid), store.name)
        metadata = Metadata.from_block(block, did=did, chain_id=chain.chain_id, registry=deployment.asset_registry)
    except NvmError as error:
        return Served(str(did), "", (), f"metadata can't be read: {error}")
    versions = tuple(sorted(s.key_version for s in metadata.sealed if s.node == node.account))
    return Served(str(did), metadata.title, versions, _state(versions, node, usable, until, view.asset.active))


def _state(versions: tuple[int, ...], node: Node, usable: set[int], until: int, active: bool) -> str:
    if not active:
        return "deactivated by its owner"
    if until != FOREVER:
        return f"leaves this node at {utc(until)}"
    if not versions:
        return "not sealed to this node: its builder has to re-seal"
    if node.version in versions:
        return "ok" if node.version in usable else f"key version {node.version} is not in this keystore"
    if usable.intersection(versions):
        return f"sealed to the previous key: its builder has to re-seal before {utc(node.previous_until)}"
    return f"sealed to key version {versions[-1]}, which opens nothing any more: its builder has to re-seal"
