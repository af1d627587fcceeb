"""`GET /v1/models`: the assistants that a key opens, in the form in which OpenAI lists models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from node_proxy.asgi import Exchange
from node_proxy.errors import AssetNotFound, NodeError
from nvm_chain.did import Did

if TYPE_CHECKING:
    from node_proxy.services import Services


class ModelPages:
    """/v1/models. What it costs nothing to see: the public face, never the provider's model."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list(self, exchange: Exchange) -> None:
        """GET /v1/models: assistants of this node that the key may use and a plan of the wallet opens now."""
        key = await self._services.keys.verify(exchange.bearer())
        data = []
        for did in await self._services.assets.served():
            if key.dids is not None and did not in key.dids:
                continue
            if await self._services.opens(key.subscriber, did):
                shown = await self._shown(did)
                if shown is not None:
                    data.append(shown)
        await exchange.respond_json(200, {"object": "list", "data": data})

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/models/{id}: one of them, by DID or asst_ id, also before it is bought."""
        key = await self._services.keys.verify(exchange.bearer())
        did = await self._services.assets.resolve(exchange.params[0], key)
        shown = await self._shown(did)
        if shown is None:
            raise AssetNotFound(f"{did} can't be used at this node.", param="model")
        await exchange.respond_json(200, shown)

    async def _shown(self, did: Did) -> dict[str, Any] | None:
        try:
            assistant = await self._services.assets.open(did)
        except NodeError:
            return None
        metadata = assistant.metadata
        return {
            "id": str(did),
            "object": "model",
            "created": metadata.created,
            "owned_by": assistant.owner,
            "assistant_id": did.assistant_id,
            "title": metadata.title,
            "description": metadata.description,
            "tags": list(metadata.tags),
        }
