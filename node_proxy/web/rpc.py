"""`POST /rpc`: reads of the chain for the console, through the node's endpoint. Nothing that changes anything."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from node_proxy.access.guesses import client_of
from node_proxy.asgi import Exchange
from node_proxy.errors import InvalidValue
from node_proxy.web.limits import Bucket
from nvm_chain.chain import MAX_LOG_SPAN, RpcError
from nvm_chain.errors import ChainUnavailable

if TYPE_CHECKING:
    from node_proxy.services import Services

MAX_BODY = 384 * 1024
MAX_PIECES = 100
"""Requests to the endpoint that one look for logs may take."""

_AT_ONCE, _LOGS_AT_ONCE = 64, 4
_SECONDS = 20.0
_TOPIC = re.compile(r"0x[0-9a-fA-F]{64}")

# Name → most parameters.
METHODS = {
    "eth_chainId": 0,
    "eth_blockNumber": 0,
    "eth_gasPrice": 0,
    "eth_maxPriorityFeePerGas": 0,
    "eth_getBalance": 2,
    "eth_getCode": 2,
    "eth_getTransactionCount": 2,
    "eth_call": 2,  # a third one would overwrite the chain's state
    "eth_estimateGas": 2,
    "eth_getTransactionByHash": 1,
    "eth_getTransactionReceipt": 1,
    "eth_getBlockByNumber": 2,
    "eth_getLogs": 1,
}


class RpcPages:
    """Bounded in size, in number at once, and for each client in rate."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._places, self._log_places = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(_LOGS_AT_ONCE)
        self._rate = Bucket(300, 30, "looks at the chain")

    async def answer(self, exchange: Exchange) -> None:
        """POST /rpc: one JSON-RPC request of the list above."""
        settings = self._services.settings
        self._rate.take(
            client_of(exchange.client, exchange.forwarded, settings.trusted_proxies),
        )
        request = await exchange.json(MAX_BODY, settings.body_timeout)
        number, method, params = request.get("id"), request.get("method"), request.get("params", [])
        exchange.facts["rpc"] = method if isinstance(method, str) and method in METHODS else "other"
        if not isinstance(number, int | str | None) or isinstance(number, bool):
            raise InvalidValue("`id` must be a number or a text.", param="id")
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
        try:
            answer["result"] = await self._result(method, params)
        except RpcError as error:
            answer["error"] = {"code": error.code, "message": error.message[:1000]}
            if error.data is not None:
                answer["error"]["data"] = error.data
        except _Refused as error:
            answer["error"] = {"code": error.code, "message": str(error)}
        except (ChainUnavailable, TimeoutError):
            answer["error"] = {"code": -32002, "message": "the node can't reach the chain at the moment"}
        await exchange.respond_json(200, answer, headers=[(b"cache-control", b"no-store")])

    async def _result(self, method: object, params: object) -> Any:
        if not isinstance(method, str) or method not in METHODS:
            raise _Refused(-32601, f"this node passes on reads only: {', '.join(sorted(METHODS))}")
        if not isinstance(params, list) or len(params) > METHODS[method]:
            raise _Refused(-32602, f"{method} takes a list of at most {METHODS[method]} parameters here")
        if method == "eth_getBlockByNumber" and params[1:] != [False]:
            raise _Refused(-32602, "blocks are given without their transactions: the second parameter is false")
        if method == "eth_getLogs":
            async with self._log_places:
                try:
                    async with asyncio.timeout(_SECONDS):
                        return await self._logs(params[0] if params else None)
                except TimeoutError:
                    raise _Refused(-32005, "the endpoint takes too long for so many blocks: ask for fewer") from None
        async with self._places, asyncio.timeout(_SECONDS):
            return await self._services.chain.rpc(method, params)

    async def _logs(self, query: Any) -> list[Any]:
        """Logs of our registries about something definite, in pieces that the endpoint accepts."""
        if not isinstance(query, dict) or query.keys() - {"address", "topics", "fromBlock", "toBlock"}:
            raise _Refused(-32602, "logs are asked for by address, topics, fromBlock and toBlock")
        ours = {address.lower() for address in self._services.deployment.to_dict().values()}
        given = query.get("address")
        addresses = given if isinstance(given, list) else [given]
        if not addresses or not all(isinstance(a, str) and a.lower() in ours for a in addresses):
            raise _Refused(-32602, "logs are given of this deployment's contracts only")
        topics = query.get("topics")
        if not isinstance(topics, list) or len(topics) > 4 or not all(map(_is_topic, topics)) or not any(topics[1:]):
            raise _Refused(-32602, "logs are given about something: name an indexed value besides the event")
        head = self._services.view.block or await self._services.chain.block_number()
        first = max(_number(query.get("fromBlock", "0x0"), head), self._services.records.from_block)
        last = min(_number(query.get("toBlock", "latest"), head + 64), head + 64)
        found: list[Any] = []
        span = MAX_LOG_SPAN
        for _ in range(MAX_PIECES):
            if first > last:
                return found
            end = min(last, first + span - 1)
            part = {"address": addresses, "topics": topics, "fromBlock": hex(first), "toBlock": hex(end)}
            try:
                found += await self._services.chain.rpc("eth_getLogs", [part])
            except RpcError:
                if end == first:
                    raise
                span = max(1, (end - first + 1) // 4)
                continue
            first = end + 1
        raise _Refused(-32005, f"the range is too long: ask from block {first} on in a request of its own")


class _Refused(Exception):
    """code: JSON-RPC's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _is_topic(topic: object) -> bool:
    """Null for any, a value, or a list of values: in a list null would mean any again."""
    values = topic if isinstance(topic, list) and topic else [topic]
    return topic is None or all(isinstance(one, str) and _TOPIC.fullmatch(one) for one in values)


def _number(block: object, latest: int) -> int:
    if block in ("latest", "pending", "safe", "finalized"):
        return latest
    if block == "earliest":
        return 0
    if isinstance(block, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,16}", block):
        return int(block, 16)
    raise _Refused(-32602, "a block is a number in hex, or latest")
