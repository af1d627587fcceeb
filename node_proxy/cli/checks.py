"""`nvm-node check` and `status`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import aiohttp

from node_proxy import identity as identities
from node_proxy.config import Settings
from node_proxy.relay.provider import open_provider_client
from node_proxy.server import CannotListen, bind
from node_proxy.services import block_source, load_deployment
from node_proxy.status import operator_token
from node_proxy.storage import StorageFailed, check_database
from nvm_chain.chain import open_chain
from nvm_chain.deployments import check_deployed
from nvm_chain.errors import ChainUnavailable, InvalidInput, NotFound, NvmError

LOW_BALANCE = 10**16
"""Wei below which settlement may soon run out of gas."""

_MIN_FREE = 100 * 2**20


async def run_checks(settings: Settings, tell: Callable[[str, bool, str], None]) -> int:
    """Tells each check's name, whether it passed, and what was found; returns how many failed."""
    failed = 0
    for name, work in (
        ("keys", _keys),
        ("chain", _chain),
        ("store", _store),
        ("disk", _disk),
        ("address", _address),
        ("providers", _providers),
    ):
        try:
            tell(name, True, await work(settings))
        except NvmError as error:
            failed += 1
            tell(name, False, str(error))
    return failed


async def _keys(settings: Settings) -> str:
    identity = identities.load(settings)
    return f"node {identity.address}, {len(identity.encryption_keys)} encryption key(s)"


async def _chain(settings: Settings) -> str:
    identity = identities.load(settings)
    async with open_chain(settings.rpc_url, settings.chain_id) as chain:
        deployment = load_deployment(settings)
        await check_deployed(chain, deployment)
        try:
            record = await chain.call(deployment.nodes.node(identity.address))
        except NotFound:
            raise InvalidInput(f"{identity.address} isn't in NodeRegistry: run `nvm-node register`") from None
        if record.key != identity.public_key:
            raise InvalidInput(f"NodeRegistry has another encryption key for {identity.address} than this node")
        balance = await chain.balance(identity.address)
        low = "" if balance >= LOW_BALANCE else "; LOW: settlement needs gas"
        return f"chain {chain.chain_id}, block {await chain.block_number()}, {balance} wei for gas{low}"


async def _store(settings: Settings) -> str:
    async with block_source(settings) as store:
        return store.name


async def _disk(settings: Settings) -> str:
    folder = settings.folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < _MIN_FREE:
        raise InvalidInput(f"{existing} has {free} bytes left; the ledger needs room")
    if settings.ledger_file is None:
        try:
            await check_database(settings.database)
        except StorageFailed as error:
            raise InvalidInput(str(error)) from error
        return f"ledger and API keys in PostgreSQL, {free // 2**20} MiB free in {existing}"
    return f"ledger {settings.ledger_file}, API keys {settings.access_file}, {free // 2**20} MiB free"


async def _address(settings: Settings) -> str:
    try:
        bind(settings.bind).close()
    except CannotListen:
        if not await _is_this_node(settings):
            raise
        return f"this node is serving at {settings.bind}; clients use {settings.origin}"
    return f"{settings.bind} is free; clients use {settings.origin}"


async def _is_this_node(settings: Settings) -> bool:
    """Whether what listens at the configured address is the node with these keys."""
    try:
        facts = await node_status(settings)
    except NodeSilent:
        return False
    return facts.get("node") == identities.load(settings).address


async def _providers(settings: Settings) -> str:
    async with open_provider_client(settings):
        local = (
            f", local {', '.join(map(str, settings.allow_local_providers))}" if settings.allow_local_providers else ""
        )
        return f"{', '.join(settings.allowed_hosts)}{local}"


async def node_status(settings: Settings) -> dict[str, Any]:
    """What the node at the configured address says. Raises ChainUnavailable where nothing answers."""
    url = f"http://{settings.bind}/readyz"
    headers = {"authorization": f"Bearer {operator_token(identities.load(settings).secret)}"}
    timeout = aiohttp.ClientTimeout(total=10)
    try:
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session, session.get(url) as response:
            facts: dict[str, Any] = await response.json()
            return facts
    except (TimeoutError, aiohttp.ClientError, ValueError):
        raise NodeSilent(f"no node answers at {url}: is it running, and is NVM_NODE_BIND the same?") from None


class NodeSilent(ChainUnavailable):
    """No node answers."""
