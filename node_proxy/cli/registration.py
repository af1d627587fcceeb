"""`nvm-node register` and `retire`: the node's own record in NodeRegistry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node_proxy import identity as identities
from node_proxy.cli.acting import Operator
from node_proxy.config import PREFIX, ConfigInvalid, Settings
from node_proxy.services import load_deployment
from nvm_chain.chain import open_chain
from nvm_chain.cli.transactions import submit, transaction
from nvm_chain.deployments import check_deployed
from nvm_chain.errors import NotFound

Done = tuple[str, Mapping[str, Any]]
"""A sentence, and the same as values."""


async def register_node(settings: Settings, operator: Operator) -> Done | None:
    """Makes the record what the settings say, and tells what was done; None on a dry run. Raises NvmError."""
    if settings.public_url is None:
        raise ConfigInvalid(
            [f"{PREFIX}PUBLIC_URL is not set: it is what builders and subscribers find in NodeRegistry"]
        )
    identity = identities.load(settings)
    async with open_chain(settings.rpc_url, settings.chain_id) as chain:
        deployment = load_deployment(settings)
        await check_deployed(chain, deployment)
        nodes, wallet, url = deployment.nodes, identity.wallet, settings.public_url
        shown: dict[str, Any] = {"node": wallet.address, "endpoint": url}
        try:
            record = await chain.call(nodes.node(wallet.address))
        except NotFound:
            call, version = nodes.register(identity.public_key, url), 1
            what, done = f"Register {wallet.address} at {url}", f"registered {wallet.address} at {url}"
        else:
            version = record.version
            if record.key != identity.public_key:
                raise ConfigInvalid(
                    [f"{wallet.address} is registered with another encryption key: use that key, or rotate to this one"]
                )
            if not record.active:
                raise ConfigInvalid([f"{wallet.address} has retired: a new node needs a new settlement key"])
            if record.endpoint == url:
                done = f"{wallet.address} is registered at {url}, key version {version}"
                return done, {**shown, "key_version": version, "transaction": None}
            call = nodes.set_endpoint(url)
            what, done = f"Change the endpoint of {wallet.address} to {url}", f"endpoint changed to {url}"
        on = operator.on(chain)
        receipt = await submit(on, chain, wallet, call, what)
        return None if receipt is None else (done, {**shown, "key_version": version, **transaction(on, receipt)})


async def retire_node(settings: Settings, operator: Operator) -> Done | None:
    """Takes the node out of service for good: no asset may name it any more. What it served still settles."""
    identity = identities.load(settings)
    async with open_chain(settings.rpc_url, settings.chain_id) as chain:
        on, call = operator.on(chain), load_deployment(settings).nodes.retire()
        receipt = await submit(on, chain, identity.wallet, call, f"Retire node {identity.address} for good")
    if receipt is None:
        return None
    done = f"{identity.address} has retired; settle what waits with `nvm-node settle`"
    return done, {"node": identity.address, "retired": True, **transaction(on, receipt)}
