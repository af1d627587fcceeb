"""Which of the node's private keys opens secrets of which version, also while keys are being rotated.

A key that `nvm-node key rotate` adds is picked up by the running node as soon as the registry, or a secret, names it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from node_proxy import identity as identities
from node_proxy import logs
from node_proxy.config import ConfigInvalid, Settings
from node_proxy.identity import Identity
from node_proxy.records import ChainRecords
from nvm_chain.chain import Chain
from nvm_chain.deployments import Deployment
from nvm_chain.errors import NotFound, NvmError
from nvm_chain.keys import PublicKey, public_key_of
from nvm_chain.nodes import Node
from nvm_chain.secret import Secret

log = logs.get("keyring")

NODE_SECONDS = 5.0
"""How long the node's record is believed; a secret of a newer version makes it look again at once."""

_FORCED_SECONDS = 1.0


def usable_keys(node: Node, held: Mapping[PublicKey, Secret], now: float) -> dict[int, Secret]:
    """The keys by the registry's version: the current one, and the one before until its overlap ends."""
    versions = {}
    if node.key in held:
        versions[node.version] = held[node.key]
    if node.previous_key is not None and node.previous_key in held and node.previous_until > now:
        versions[node.version - 1] = held[node.previous_key]
    return versions


class Keyring:
    """What `assets` asks for (its `Records`): records and own assistants as `records` has them, keys from here."""

    def __init__(
        self, records: ChainRecords, chain: Chain, deployment: Deployment, identity: Identity, settings: Settings
    ) -> None:
        self._chain, self._deployment = chain, deployment
        self.asset, self.asset_seen, self.served = records.asset, records.asset_seen, records.served
        self._identity, self._settings = identity, settings
        self._held = _by_public_key(identity.encryption_keys)
        self._node: Node | None = None
        self._asked = float("-inf")
        self._asking = asyncio.Lock()

    async def key_versions(self, at_least: int = 0) -> Mapping[int, Secret]:
        """Private keys by version. at_least: a version that a secret names; the chain is asked if it is news.

        What is known is used while the chain can't be reached. Raises NvmError where nothing is known.
        """
        async with self._asking:
            age = time.monotonic() - self._asked
            news = at_least > (self._node.version if self._node else 0)
            if self._node is None or age > NODE_SECONDS or (news and age > _FORCED_SECONDS):
                await self._look()
        return {} if self._node is None else usable_keys(self._node, self._held, time.time())

    async def _look(self) -> None:
        try:
            self._node = await self._chain.call(self._deployment.nodes.node(self._identity.address))
        except NotFound:
            self._node = None
        except NvmError:
            if self._node is None:
                raise
            return
        self._asked = time.monotonic()
        folder, password = self._settings.keystore, self._settings.keystore_password
        if self._node is None or self._node.key in self._held or folder is None or password is None:
            return
        try:
            keys = await asyncio.to_thread(identities.encryption_keys, folder, password)
        except ConfigInvalid as error:
            log.warning("keyring.unreadable", reason=str(error))
            return
        self._identity.encryption_keys = keys
        self._held = _by_public_key(keys)
        log.info("keyring.reloaded", version=self._node.version, known=self._node.key in self._held)


def _by_public_key(keys: Sequence[Secret]) -> dict[PublicKey, Secret]:
    return {public_key_of(key): key for key in keys}
