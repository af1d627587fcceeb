"""A builder's question before registering: does the provider take this key? Asked through the node, sealed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from node_proxy.access.guesses import client_of
from node_proxy.asgi import Exchange
from node_proxy.errors import (
    InvalidValue,
    ProviderError,
    ProviderNotAllowed,
    ProviderRefusedBuilder,
    ProviderRefusedSetup,
    Unavailable,
)
from node_proxy.relay.provider import ProviderCall, ProviderClient
from node_proxy.web.limits import Bucket
from node_proxy.web.signed_in import session_of
from nvm_chain.errors import NvmError, SealBroken, SealExpired
from nvm_chain.key_check import SIZE, KeyCheck, open_check

if TYPE_CHECKING:
    from node_proxy.services import Services

_MAX_BODY = 2 * SIZE
_SECONDS = 15.0
_AGAIN = 600.0


class ProviderCheckPage:
    """POST /provider-check."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._of_a_wallet = Bucket(10, 10 / _AGAIN, "checks from your wallet")
        self._of_a_client = Bucket(60, 60 / _AGAIN, "checks from your address")

    async def check(self, exchange: Exchange) -> None:
        """Opens a sealed check of the wallet that is signed in, and asks the provider for its models with the key.

        `result` is `ok`, `refused` (the provider refuses the key), `not_allowed` (this node's operator doesn't allow
        the provider) or `unreachable` (nothing is known of the key). `model`: whether the provider lists the model that
        was asked for, `null` where that isn't known. The key is kept nowhere, and nothing that the provider says is
        repeated.
        """
        services = self._services
        session = await session_of(services, exchange)
        self._of_a_client.take(client_of(exchange.client, exchange.forwarded, services.settings.trusted_proxies))
        self._of_a_wallet.take(session.subscriber)
        body = await exchange.json(_MAX_BODY, services.settings.body_timeout)
        check = await self._open(body, session.subscriber)
        result, listed = await ask(services.calls.provider, check)
        exchange.facts["check"] = result
        await exchange.respond_json(
            200,
            {"object": "provider_check", "result": result, "model": listed},
            headers=[(b"cache-control", b"no-store")],
        )

    async def _open(self, body: dict[str, Any], account: str) -> KeyCheck:
        """Raises InvalidValue, Unavailable."""
        services, version, ciphertext = self._services, body.get("key_version"), body.get("ciphertext")
        if type(version) is not int or not 1 <= version < 2**32:
            raise InvalidValue("key_version must be the number of the node's key in NodeRegistry.", param="key_version")
        if not isinstance(ciphertext, str):
            raise InvalidValue("ciphertext must be a sealed check in base64.", param="ciphertext")
        try:
            key = (await services.keyring.key_versions(version)).get(version)
        except NvmError as error:
            raise Unavailable("The node can't read its own key's number now; try again.", retry_after=5) from error
        if key is None:
            raise InvalidValue(
                f"This node has no key {version}: load the page again, which reads the present one.",
                param="key_version",
            )
        try:
            return open_check(
                ciphertext,
                key,
                account=account,
                chain_id=services.chain.chain_id,
                registry=services.deployment.asset_registry,
                node=services.identity.address,
                key_version=version,
            )
        except (SealBroken, SealExpired) as error:
            raise InvalidValue(f"This is no check for you at this node: {error}.", param="ciphertext") from None


async def ask(provider: ProviderClient, check: KeyCheck) -> tuple[str, bool | None]:
    """What the provider makes of the key, and whether it lists the model. See `ProviderCheckPage.check`."""
    call = ProviderCall(check.base_url, "/models", check.api_key, b"", method="GET")
    try:
        async with asyncio.timeout(_SECONDS), provider.post(call) as answer:
            found = await answer.json()
    except ProviderNotAllowed:
        return "not_allowed", None
    except ProviderRefusedSetup:  # no such list, say: that isn't about the key
        return "unreachable", None
    except ProviderRefusedBuilder:
        return "refused", None
    except (ProviderError, TimeoutError):
        return "unreachable", None
    models = found.get("data")
    if not check.model or not isinstance(models, list):
        return "ok", None
    return "ok", any(isinstance(one, dict) and one.get("id") == check.model for one in models)
