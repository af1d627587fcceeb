"""What `assets` asks of the chain, answered from the node's view of it: records and own assistants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from node_proxy import logs
from node_proxy.access.store import AccessStore
from node_proxy.identity import Identity
from node_proxy.watcher import ChainView
from nvm_chain.assets import Asset
from nvm_chain.chain import event_topics, topic
from nvm_chain.deployments import first_block
from nvm_chain.did import Did
from nvm_chain.errors import ChainUnavailable, NotFound, NvmError
from nvm_chain.nodes import Node

log = logs.get("records")

SEARCH_SPAN = 200_000
"""Blocks that are searched before the result is written down."""

OVERLAP = 128
"""Blocks that are searched again each time, so that a reorganisation hides nothing."""

_NODE_SECONDS = 5.0


class ChainRecords:
    """The chain's half of `assets.Records`; `Keyring` adds the keys.

    from_block: where the search for own assistants begins, the first time; 0 = where the contracts were deployed, which
    is found out at the first search.
    """

    def __init__(self, view: ChainView, store: AccessStore, identity: Identity, *, from_block: int) -> None:
        self._view = view
        self.asset_seen = view.asset_seen
        self._store = store
        self._identity = identity
        self.from_block = from_block
        self._looked = bool(from_block)
        self._scope = f"{view.chain.chain_id}|{view.deployment.asset_registry}|{identity.address}"
        self._searching = asyncio.Lock()
        self._node: tuple[float, Node] | None = None

    async def asset(self, did: Did) -> Asset:
        """Raises AssetNotFound, NvmError."""
        return (await self._view.describe(did)).asset

    async def served(self) -> Sequence[Did]:
        """Those that name this node or once did, up to the last block worked in; those known without a chain."""
        try:
            await self.search()
        except NvmError:
            if not await self._store.assistants():
                raise
        return [Did(did) for did in await self._store.assistants()]

    async def search(self) -> None:
        """Looks through the logs that came since the last time. Raises NvmError."""
        async with self._searching:
            head = self._view.block
            if head is None:
                raise ChainUnavailable("the chain was not seen yet")
            start, last = await self._start(head), await self._store.searched(self._scope)
            if last == head:
                return
            first = start if last is None else max(start, min(last, head) - OVERLAP)
            topics = [event_topics("NodeChanged")[0], None, topic(self._identity.address)]
            while True:
                end = min(head, first + SEARCH_SPAN - 1)
                found = await self._view.chain.logs([self._view.deployment.assets.address], first, end, topics)
                await self._store.add_assistants(self._scope, [event.args["did"] for event in found], end)
                if end >= head:
                    return
                first = end + 1

    async def _start(self, head: int) -> int:
        if not self._looked:
            self.from_block = await first_block(self._view.chain, self._view.deployment, head)
            self._looked = True
            log.info("records.search", from_block=self.from_block)
        return self.from_block

    async def node(self) -> Node | None:
        """The node's own record in NodeRegistry; None before it is registered. What is known is used while the chain
        can't be reached."""
        if self._node is not None and self._node[0] > time.monotonic():
            return self._node[1]
        try:
            call = self._view.deployment.nodes.node(self._identity.address)
            node = await self._view.chain.call(call)
        except NotFound:
            return None
        except NvmError:
            if self._node is None:
                raise
            return self._node[1]
        self._node = (time.monotonic() + _NODE_SECONDS, node)
        return node
