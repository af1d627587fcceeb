"""Resolving a DID: the record from the chain, the metadata from IPFS, each checked against the other."""

from __future__ import annotations

from dataclasses import dataclass

from nvm_chain.chain import Block, Chain
from nvm_chain.deployments import Deployment
from nvm_chain.did import Did
from nvm_chain.ipfs import BlockSource
from nvm_chain.lens import AssetView
from nvm_chain.metadata import Metadata


@dataclass(frozen=True, slots=True)
class Resolved:
    """An asset: what the chain says (`view`) and what its owner published (`metadata`)."""

    view: AssetView
    metadata: Metadata


async def resolve(
    chain: Chain, deployment: Deployment, source: BlockSource, did: Did, block: Block = "latest"
) -> Resolved:
    """Reads the asset and its metadata, as of `block`.

    Raises AssetUnknown, NotFound when nobody has the block, DigestMismatch, MetadataInvalid, StoreUnavailable.
    """
    view = await chain.call(deployment.views.describe(did), block)
    raw = await source.get(view.cid)
    metadata = Metadata.from_block(raw, did=did, chain_id=chain.chain_id, registry=deployment.asset_registry)
    return Resolved(view, metadata)
