"""A JSON-RPC endpoint: one question, one answer, over connections that are used again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import aiohttp

from nvm_chain import __version__


class Endpoint:
    """seconds: for one question."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._count = itertools.count()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=seconds),
            headers={"content-type": "application/json", "user-agent": f"nvm-chain/{__version__}"},
            raise_for_status=True,
        )

    async def ask(self, method: str, params: Sequence[Any] = ()) -> Any:
        """The whole answer, errors included. Raises what aiohttp raises, TimeoutError, and ValueError for no JSON."""
        question = {"jsonrpc": "2.0", "method": method, "params": list(params), "id": next(self._count)}
        data = json.dumps(question).encode()
        try:
            answer = await self._post(data)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # An idle connection that the server has just closed. Any request may be sent twice, transactions too.
            answer = await self._post(data)
        return json.loads(answer)

    async def _post(self, data: bytes) -> bytes:
        async with self._session.post(self._url, data=data) as answer:
            return await answer.read()

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()
