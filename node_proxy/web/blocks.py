"""Metadata blocks: given to anybody who names the CID, taken from builders who are signed in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from node_proxy.access.guesses import client_of
from node_proxy.asgi import Exchange
from node_proxy.errors import AccessDenied, InvalidValue, ObjectNotFound, Unavailable
from node_proxy.web.limits import Bucket
from node_proxy.web.signed_in import session_of
from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.errors import InvalidInput, MetadataInvalid, NotFound, NvmError
from nvm_chain.ipfs import BlockStore, Stores
from nvm_chain.metadata import Metadata
from nvm_chain.plan_metadata import PlanMetadata

if TYPE_CHECKING:
    from node_proxy.services import Services

_AN_HOUR = 3600.0
_PLAN_END = b'"type":"plan","v":1}'


class BlockRefused(AccessDenied):
    """The block is somebody else's, or this node keeps none (HTTP 403)."""

    code = "block_refused"


class BlockPages:
    """GET /blocks/{cid}, PUT /blocks. Neither reads nor keeps what isn't metadata of ours."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reads = Bucket(600, 30, "blocks at once")
        self._of_a_wallet = Bucket(60, 60 / _AN_HOUR, "blocks from your wallet")
        self._of_all = Bucket(64 * 2**20, 64 * 2**20 / _AN_HOUR, "blocks")

    async def get(self, exchange: Exchange) -> None:
        """The block's bytes. Whoever reads them should compute the CID."""
        proxies = self._services.settings.trusted_proxies
        self._reads.take(client_of(exchange.client, exchange.forwarded, proxies))
        try:
            cid = Cid.parse(exchange.params[0])
        except InvalidInput as error:
            raise InvalidValue(f"{error}.", param="cid") from None
        try:
            block = cid.verify(await self._look(cid), "the store")
            await asyncio.to_thread(_read, block)
        except (NotFound, MetadataInvalid):
            raise ObjectNotFound(f"This node has no metadata block {cid}.") from None
        except NvmError as error:
            raise Unavailable("The block can't be read at the moment; try again.", retry_after=5) from error
        headers = [
            (b"cache-control", b"public, max-age=31536000, immutable"),
            (b"access-control-allow-origin", b"*"),
            (b"etag", f'"{cid}"'.encode()),
        ]
        await exchange.respond(200, block, headers=headers)

    async def _look(self, cid: Cid) -> bytes:
        """A block from a gateway isn't kept: anybody may ask, for any number of blocks that read as metadata."""
        store = self._services.store
        return await (store.get(cid, keep=False) if isinstance(store, Stores) else store.get(cid))

    async def put(self, exchange: Exchange) -> None:
        """Keeps a metadata block of the wallet that is signed in, or a plan's. Answers with its CID."""
        services = self._services
        session = await session_of(services, exchange)
        store = services.store
        if not isinstance(store, BlockStore):
            raise BlockRefused("This node keeps no blocks: publish the metadata with `nvm-chain ipfs put` elsewhere.")
        self._of_a_wallet.take(session.subscriber)
        block = await exchange.body(MAX_BLOCK, services.settings.body_timeout)
        try:
            found = await asyncio.to_thread(_read, block)
        except MetadataInvalid as error:
            raise InvalidValue(
                f"The block isn't metadata that can be registered: {error}.", param=error.field
            ) from None
        if isinstance(found, Metadata):
            expected = (session.subscriber, services.chain.chain_id, services.deployment.asset_registry)
            if (found.owner, found.chain_id, found.registry) != expected:
                raise BlockRefused("The metadata is of another owner, chain or registry than those you signed in for.")
        self._of_all.take("all", len(block))
        try:
            cid = await store.put(block)
        except NvmError as error:
            raise Unavailable("The block can't be stored at the moment; try again.", retry_after=5) from error
        exchange.facts["cid"] = str(cid)
        await exchange.respond_json(201, {"object": "block", "cid": str(cid), "bytes": len(block)})


def _read(block: bytes) -> Metadata | PlanMetadata:
    """Raises MetadataInvalid."""
    if block.endswith(_PLAN_END):
        return PlanMetadata.from_block(block)
    return Metadata.from_block(block)
