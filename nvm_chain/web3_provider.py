"""web3 over an endpoint of ours. Imported by `Chain.w3` only: web3 takes most of a second to load."""

from __future__ import annotations

from typing import Any

from web3 import AsyncWeb3
from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from nvm_chain.rpc import Endpoint


class _Provider(AsyncBaseProvider):
    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self._endpoint = endpoint

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        answer: RPCResponse = await self._endpoint.ask(method, params)
        return answer


def web3_over(endpoint: Endpoint) -> AsyncWeb3[AsyncBaseProvider]:
    """web3, sending through `endpoint`, which its owner closes."""
    return AsyncWeb3(_Provider(endpoint))
