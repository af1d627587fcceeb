"""`/v1/assistants`: the public face of the assistants that a key opens. Their definitions are their builders' alone."""

from __future__ import annotations

from node_proxy.asgi import Exchange
from node_proxy.errors import AssetNotFound, BadRequest, InvalidValue, NodeError, NotYours
from node_proxy.openai.assistants_api import shapes
from node_proxy.openai.assistants_api.paging import cut, window
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.assistants_api.shelf import missing
from node_proxy.openai.assistants_api.surface import Surface
from nvm_chain.did import Did


class RegisteredOnly(BadRequest):
    """Assistants aren't made, changed or deleted through this API (HTTP 400)."""

    code = "assistants_are_registered"


class AssistantPages:
    """Retrieves and lists; everything else is the builder's, on the chain."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    async def list(self, exchange: Exchange) -> None:
        """GET /v1/assistants: those that a live plan of the wallet opens."""
        key = await self._surface.key(exchange)
        wanted = window(exchange.query)
        found = []
        for did in await self._surface.assets.served():
            if (key.dids is None or did in key.dids) and await self._surface.members.holds(key.subscriber, did):
                shown = await self._shown(did)
                if shown is not None:
                    found.append(shown)
        found.sort(key=lambda one: (one["created_at"], one["id"]))
        await exchange.respond_json(200, cut(found, wanted))

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/assistants/{id}: by asst_ id or DID, also before it is bought."""
        key = await self._surface.key(exchange)
        name = exchange.params[0]
        try:
            shown = await self._shown(await self._surface.calls.resolve(name, key))
        except NotYours as error:
            raise NotYours(error.message, param="assistant_id") from None
        except (AssetNotFound, InvalidValue):
            shown = None
        if shown is None:
            raise missing("assistant", name)
        await exchange.respond_json(200, shown)

    async def refuse(self, exchange: Exchange) -> None:
        """POST and DELETE: the builder registers assistants."""
        await self._surface.key(exchange)
        raise RegisteredOnly(
            "Assistants are registered on the chain by their builders, not through this API: "
            "`nvm-chain assistant register` makes one, `nvm-chain assistant update` changes it, and it is served under "
            "its asst_ id and its DID. Subscribers list those that they can use at GET /v1/assistants."
        )

    async def _shown(self, did: Did) -> Json | None:
        try:
            assistant = await self._surface.assets.open(did)
        except NodeError:
            return None
        about = assistant.metadata
        return shapes.assistant(did.assistant_id, about.created, about.title, about.description, str(did))
