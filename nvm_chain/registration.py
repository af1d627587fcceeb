"""Registering an assistant, the builder's whole way: DID → nodes' keys → seal → metadata → pin → register.

Nothing leaves the builder's machine in the clear. What the chain would refuse is found out before anything is pinned,
and doing it again with the same salt finds the assistant that is there instead of making a second one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from eth_utils.crypto import keccak

from nvm_chain.abi import Call
from nvm_chain.assets import Asset, OfferInput
from nvm_chain.chain import Chain, Receipt
from nvm_chain.cid import Cid
from nvm_chain.contract_errors import AssetUnknown, NodeNotUsable, NotAssetOwner
from nvm_chain.definition import Definition
from nvm_chain.deployments import Deployment
from nvm_chain.did import Did
from nvm_chain.did_document import Service
from nvm_chain.errors import DigestMismatch, InvalidInput, MetadataInvalid, NotFound, StoreUnavailable
from nvm_chain.ipfs import BlockStore
from nvm_chain.metadata import Metadata, OfferSummary
from nvm_chain.nodes import Node
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.sealing import Binding, Sealed
from nvm_chain.wallet import Wallet

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An assistant before it is registered. Texts as in `Metadata`.

    salt: 32 bytes of the owner's choice; the DID follows from it. nodes: accounts of the access nodes that shall serve.
    expires: unix seconds from which on nodes refuse the sealed definition; 0 = good until replaced.
    """

    salt: bytes
    title: str
    definition: Definition
    offers: Sequence[OfferInput]
    nodes: Sequence[str]
    description: str = ""
    tags: Sequence[str] = ()
    notes: str = ""
    image: Cid | None = None
    expires: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything but the pinning and the transaction. call: registers it, or publishes the new version."""

    metadata: Metadata
    block: bytes
    cid: Cid
    call: Call[Did] | Call[None]


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered assistant. receipt: None when it had been registered before."""

    did: Did
    cid: Cid
    receipt: Receipt | None = field(default=None)


def named_salt(name: str) -> bytes:
    """A salt that follows from a name, so that repeating a command finds the same assistant or plan."""
    return keccak(text=f"nvm-chain salt\n{name}")


async def register_assistant(
    chain: Chain,
    deployment: Deployment,
    store: BlockStore,
    wallet: Wallet,
    draft: Draft,
    on_step: Step = lambda _: None,
) -> Registration:
    """Registers the draft, or finds it registered. on_step: told what is being done.

    Raises InvalidInput, NodeNotUsable, PlanNotUsable and the other refusals of AssetRegistry.register,
    StoreUnavailable; whatever is raised, the same call may be repeated.
    """
    did = Did.derive(chain.chain_id, deployment.asset_registry, wallet.address, draft.salt)
    known = await find_asset(chain, deployment, did)
    if known is not None:
        on_step(f"{did} is registered already")
        return Registration(did, known.metadata)
    prepared = await prepare_registration(chain, deployment, store, wallet.address, draft, on_step)
    return await publish(chain, store, wallet, prepared, on_step)


async def find_asset(chain: Chain, deployment: Deployment, did: Did) -> Asset | None:
    """The asset's record, or None when there is no such asset."""
    try:
        return await chain.call(deployment.assets.asset(did))
    except AssetUnknown:
        return None


async def prepare_registration(
    chain: Chain,
    deployment: Deployment,
    store: BlockStore,
    owner: str,
    draft: Draft,
    on_step: Step = lambda _: None,
) -> Prepared:
    """Seals the definition to the nodes' registered keys and writes the metadata; changes nothing anywhere."""
    did = Did.derive(chain.chain_id, deployment.asset_registry, owner, draft.salt)
    on_step(f"the assistant will be {did}")
    nodes = await _usable_nodes(chain, deployment, draft.nodes)
    now = (await chain.header()).timestamp
    metadata = Metadata(
        did=did,
        chain_id=chain.chain_id,
        registry=deployment.asset_registry,
        owner=owner,
        title=draft.title,
        description=draft.description,
        tags=tuple(draft.tags),
        notes=draft.notes,
        image=draft.image,
        offers=tuple([await _summary(chain, deployment, store, offer) for offer in draft.offers]),
        services=tuple(_service(node) for node in nodes),
        sealed=_seal(chain, deployment, did, owner, draft.definition, nodes, draft.expires, on_step),
        created=now,
        updated=now,
    )
    block = metadata.to_block()
    cid = Cid.of(block)
    call = deployment.assets.register(draft.salt, cid, draft.offers, [node.account for node in nodes])
    await chain.call(call, sender=owner)
    return Prepared(metadata, block, cid, call)


async def prepare_update(
    chain: Chain,
    deployment: Deployment,
    store: BlockStore,
    owner: str,
    did: Did,
    *,
    definition: Definition | None = None,
    expires: int = 0,
    title: str | None = None,
    description: str | None = None,
    tags: Sequence[str] | None = None,
    notes: str | None = None,
    on_step: Step = lambda _: None,
) -> Prepared:
    """A new metadata version. None keeps what is there; a definition is sealed anew to the nodes' current keys.

    A node whose registered endpoint is no base URL is left out of the services, and `on_step` is told: no node keeps
    the builder from changing anything.
    Raises NotAssetOwner, AssetUnknown, and what reading the present metadata raises.
    """
    view = await chain.call(deployment.views.describe(did))
    if view.asset.owner != owner:
        raise NotAssetOwner({"did": did.value, "caller": owner})
    old = Metadata.from_block(
        await store.get(view.cid), did=did, chain_id=chain.chain_id, registry=deployment.asset_registry
    )
    now = (await chain.header()).timestamp
    serving = [entry.node for entry in view.nodes if entry.node.active and entry.until > now]
    metadata = replace(
        old,
        owner=owner,
        title=old.title if title is None else title,
        description=old.description if description is None else description,
        tags=old.tags if tags is None else tuple(tags),
        notes=old.notes if notes is None else notes,
        offers=tuple(
            [
                await _summary(
                    chain, deployment, store, OfferInput(o.offer.plan_id, o.offer.min_credits, o.offer.max_credits)
                )
                for o in view.offers
                if o.offer.rule_at(now) is not None
            ]
        ),
        services=_services(serving, on_step),
        sealed=old.sealed
        if definition is None
        else _seal(chain, deployment, did, owner, definition, serving, expires, on_step),
        updated=max(now, old.updated),
    )
    block = metadata.to_block()
    cid = Cid.of(block)
    call = deployment.assets.set_metadata(did, cid)
    await chain.call(call, sender=owner)
    return Prepared(metadata, block, cid, call)


async def publish(
    chain: Chain, store: BlockStore, wallet: Wallet, prepared: Prepared, on_step: Step = lambda _: None
) -> Registration:
    """Pins the block, then sends the transaction."""
    await pin(store, prepared.block)
    on_step(f"metadata is pinned as {prepared.cid}")
    receipt = await chain.send(prepared.call, wallet)
    on_step(f"on the chain in block {receipt.block}")
    return Registration(prepared.metadata.did, prepared.cid, receipt)


async def pin(store: BlockStore, block: bytes) -> Cid:
    """Stores a block; raises DigestMismatch when the store names it by another CID than its bytes have."""
    cid = await store.put(block)
    if cid != Cid.of(block):
        raise DigestMismatch(f"the block store keeps the block as {cid}, its CID is {Cid.of(block)}: use another store")
    return cid


async def _usable_nodes(chain: Chain, deployment: Deployment, accounts: Sequence[str]) -> list[Node]:
    if not accounts:
        raise InvalidInput("an assistant needs at least one access node that serves it: name one with --node")
    nodes = [await chain.call(deployment.nodes.node(account)) for account in accounts]
    for node in nodes:
        if not node.active:
            raise NodeNotUsable({"node": node.account})
    return nodes


def _service(node: Node) -> Service:
    try:
        return Service(node.account, node.endpoint)
    except InvalidInput as error:
        raise InvalidInput(
            f"node {node.account} has no usable endpoint in NodeRegistry: {error}; "
            f"name another node, or wait until its operator has corrected it"
        ) from None


def _services(nodes: Sequence[Node], on_step: Step) -> tuple[Service, ...]:
    services = []
    for node in nodes:
        try:
            services.append(_service(node))
        except InvalidInput as error:
            on_step(f"{error}; it is left out of the services")
    return tuple(services)


def _seal(
    chain: Chain,
    deployment: Deployment,
    did: Did,
    owner: str,
    definition: Definition,
    nodes: Sequence[Node],
    expires: int,
    on_step: Step,
) -> tuple[Sealed, ...]:
    sealed = []
    for node in nodes:
        registry = deployment.asset_registry
        binding = Binding(did, owner, chain.chain_id, registry, node.account, node.version, expires)
        sealed.append(Sealed.of(definition, binding, node.key))
        on_step(f"the definition is sealed to node {node.account}, key {node.version}")
    return tuple(sealed)


async def _summary(chain: Chain, deployment: Deployment, store: BlockStore, offer: OfferInput) -> OfferSummary:
    """The offer with its plan's title, where the store has it: a display text is not worth failing for."""
    plan = await chain.call(deployment.plans.plan(offer.plan_id))
    title = ""
    if plan.metadata is not None:
        with suppress(NotFound, StoreUnavailable, DigestMismatch, MetadataInvalid):
            title = PlanMetadata.from_block(await store.get(Cid.from_digest(plan.metadata))).title
    return OfferSummary(offer.plan_id.value, offer.min_credits, offer.max_credits, title)
