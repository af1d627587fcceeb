"""Assistants over every dialect, and every client for each: what tests of the surfaces choose from."""

from __future__ import annotations

from tests.openai_clients import Client, open_client
from tests.selling import Market, Sold

DIALECTS = ("responses", "responses-stateless", "chat", "assistants")
"""Those of the tests of state: history lives at the provider under the first, with the node under the others."""


class Shop:
    """Assistants by dialect, and clients by kind, each made when first asked for and kept for the module's tests."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._sold: dict[str, Sold] = {}
        self._clients: dict[tuple[str, str], Client] = {}

    async def sold(self, dialect: str) -> Sold:
        """An assistant whose provider speaks the dialect."""
        if dialect not in self._sold:
            self._sold[dialect] = await self.market.sell(dialect)
        return self._sold[dialect]

    async def client(self, kind: str, dialect: str) -> tuple[Client, str]:
        """A client of its subscriber, and its name."""
        sold = await self.sold(dialect)
        if (kind, dialect) not in self._clients:
            opened = open_client(kind, sold.url, sold.key)
            self._clients[kind, dialect] = await self.market.stack.enter_async_context(opened)
        return self._clients[kind, dialect], str(sold.did)
