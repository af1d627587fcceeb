"""`nvm-node register`: the node's own record in NodeRegistry."""

from __future__ import annotations

from node_proxy import identity as identities
from node_proxy.config import PREFIX, ConfigInvalid, Settings
from node_proxy.services import load_deployment
from nvm_chain.chain import open_chain
from nvm_chain.deployments import check_deployed
from nvm_chain.errors import NotFound


async def register_node(settings: Settings) -> list[str]:
    """Makes the record what the settings say, and tells what was done. Raises NvmError."""
    if settings.public_url is None:
        raise ConfigInvalid(
            [f"{PREFIX}PUBLIC_URL is not set: it is what builders and subscribers find in NodeRegistry"]
        )
    identity = identities.load(settings)
    async with open_chain(settings.rpc_url, settings.chain_id) as chain:
        deployment = load_deployment(settings)
        await check_deployed(chain, deployment)
        nodes, wallet, done = deployment.nodes, identity.wallet, []
        try:
            record = await chain.call(nodes.node(wallet.address))
        except NotFound:
            receipt = await chain.send(nodes.register(identity.public_key, settings.public_url), wallet)
            return [
                f"registered {wallet.address} at {settings.public_url} (gas {receipt.gas_used}, tx {receipt.tx_hash})"
            ]
        if record.key != identity.public_key:
            raise ConfigInvalid(
                [f"{wallet.address} is registered with another encryption key: use that key, or rotate to this one"]
            )
        if record.endpoint != settings.public_url:
            receipt = await chain.send(nodes.set_endpoint(settings.public_url), wallet)
            done.append(f"endpoint changed to {settings.public_url} (tx {receipt.tx_hash})")
        if not record.active:
            raise ConfigInvalid([f"{wallet.address} has retired: a new node needs a new settlement key"])
        return done or [f"{wallet.address} is registered at {record.endpoint}, key version {record.version}"]
