"""The endpoint of a chain: whatever answers, or does not, ends in an error that says what to do. All on real HTTP."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from nvm_chain.abi import Call
from nvm_chain.chain import Fees, RpcError, TransactionPending, event_topics, open_chain, topic
from nvm_chain.errors import ChainUnavailable, InvalidInput, TransactionFailed
from nvm_chain.plans import PlanId, PlanRegistry

ACCOUNT = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
Answers = dict[str, Any]


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def rpc(answers: Answers) -> AsyncIterator[tuple[str, list[Any]]]:
    """A JSON-RPC endpoint: results by method; an `{"error": …}` is sent as such; a function is asked."""
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        call = await request.json()
        seen.append((call["method"], call["params"]))
        answer = ({"eth_chainId": "0x1"} | answers)[call["method"]]
        answer = answer(*call["params"]) if callable(answer) else answer
        member = answer if isinstance(answer, dict) and "error" in answer else {"result": answer}
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], **member})

    async with serving(handler) as url:
        yield url, seen


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8545", "ws://localhost:8545", "http://", "file:///etc/passwd", "http://host name:8545"),
        *("http://127.0.0.1:85450", "http://127.0.0.1:0", "http://[::1", "http://a:x", "http://[g]:1"),
    ],
)
async def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f'"{url.removesuffix("/etc/passwd")}" has the wrong form')):
        async with open_chain(url):
            pass


async def test_nothing_listening() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ChainUnavailable, match=f"nothing answers at {url}: start the chain's node"):
            async with open_chain(url):
                pass


async def test_another_chain_than_expected_names_both() -> None:
    async with rpc({"eth_chainId": "0x2105"}) as (url, _):
        with pytest.raises(ChainUnavailable, match="is chain 8453, expected 84532"):
            async with open_chain(url, 84532):
                pass


@pytest.mark.parametrize(
    ("status", "kind", "body", "says"),
    [
        (200, "text/html", "<html>welcome</html>", "not JSON"),
        (200, "application/json", "[]", "not JSON-RPC"),
        (200, "application/json", '"hello"', "not JSON-RPC"),
        (200, "application/json", '{"jsonrpc":"2.0","id":0,"result":"mainnet"}', "not an Ethereum RPC"),
        (200, "application/octet-stream", "\xff\xfe", "not JSON"),
        (200, "application/json", "[" * 100_000, "not JSON"),
        (200, "application/json", "9" * 5_000, "not JSON"),
        (404, "text/html", "no", "HTTP 404"),
        (401, "application/json", "{}", "HTTP 401"),
        (502, "text/html", "bad gateway", "HTTP 502"),
    ],
)
async def test_something_else_than_a_chain_answers(status: int, kind: str, body: str, says: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body.encode("latin-1"), content_type=kind)

    async with serving(handler) as url:
        with pytest.raises(ChainUnavailable, match=says):
            async with open_chain(url):
                pass


async def test_a_silent_endpoint_is_given_up_in_time() -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with serving(handler) as url:
        with pytest.raises(ChainUnavailable, match="did not answer eth_chainId in time"):
            async with open_chain(url, request_seconds=0.2):
                pass


async def test_the_credentials_in_an_rpc_url_are_in_no_message() -> None:
    async with rpc({"eth_chainId": "0x1"}) as (url, _):
        secret = url.replace("http://", "http://user:hunter2@") + "/v2/API-KEY-123?token=abc"
        with pytest.raises(ChainUnavailable) as caught:
            async with open_chain(secret, 5):
                pass
    for hidden in ("hunter2", "API-KEY-123", "token"):
        assert hidden not in str(caught.value)


async def test_the_credentials_in_an_rpc_url_are_in_no_traceback() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=401)

    key = secrets.token_hex(16)
    async with serving(handler) as url:
        with pytest.raises(ChainUnavailable, match="HTTP 401") as caught:
            async with open_chain(f"{url}/v2/{key}"):
                pass
    assert key not in "".join(traceback.format_exception(caught.value))


async def test_an_ipv6_endpoint_keeps_its_brackets_in_messages() -> None:
    with pytest.raises(ChainUnavailable, match=re.escape("nothing answers at http://[::1]:9")):
        async with open_chain("http://[::1]:9"):
            pass


async def test_a_password_that_ends_the_host_too_early_is_not_shown() -> None:
    with pytest.raises(InvalidInput) as caught:
        async with open_chain("http://user:hunter/2@rpc.example"):
            pass
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("url", ["ws://user:hunter2@rpc.example/v2/hunter2", "user:hunter2@rpc.example:1/hunter2"])
async def test_a_url_of_another_form_is_named_without_its_credentials(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"rpc\.example") as caught:
        async with open_chain(url):
            pass
    assert "hunter2" not in str(caught.value)


async def test_one_connection_serves_all_requests_and_is_closed_on_leaving() -> None:
    connections = set()

    async def handler(request: web.Request) -> web.Response:
        connections.add(request.transport)
        return web.json_response({"jsonrpc": "2.0", "id": (await request.json())["id"], "result": "0x1"})

    async with serving(handler) as url:
        async with open_chain(url) as chain:
            for _ in range(5):
                await chain.block_number()
        (transport,) = connections
        for _ in range(100):
            if transport is None or transport.is_closing():
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the connection was left open")


async def test_a_connection_that_the_endpoint_has_closed_meanwhile_is_replaced() -> None:
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        asked.append((await reader.readexactly(length)).decode())
        body = b'{"jsonrpc": "2.0", "id": 0, "result": "0x1"}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        # It says nothing of closing, and does when the next request comes, as a load balancer may.
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, open_chain(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as chain:
        assert [await chain.block_number() for _ in range(3)] == [1, 1, 1]
    assert len(asked) == 4


@pytest.mark.timeout(30)
async def test_requests_that_are_cancelled_at_any_moment_block_no_other() -> None:
    async with rpc({"eth_blockNumber": "0x7"}) as (url, _), open_chain(url) as chain:
        for turns in range(12):
            tasks = [asyncio.create_task(chain.block_number()) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            async with asyncio.timeout(5):
                assert await chain.block_number() == 7


@pytest.mark.parametrize(
    "data", ["0x08c379a0", {"data": "0x08c379a0"}, {"originalError": {"data": "0x08c379a0"}}, "Reverted 0x08c379a0"]
)
async def test_revert_data_is_found_wherever_an_endpoint_puts_it(data: Any) -> None:
    error = {"error": {"code": 3, "message": "execution reverted", "data": data}}
    async with rpc({"eth_call": error}) as (url, _), open_chain(url) as chain:
        with pytest.raises(RpcError) as caught:
            await chain.rpc("eth_call", [{}, "latest"])
    assert caught.value.data == "0x08c379a0"


async def test_logs_are_asked_for_in_pieces_that_the_endpoint_takes() -> None:
    def logs(query: dict[str, str]) -> Any:
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if last - first >= 700:
            return {"error": {"code": -32005, "message": "query returned more than 10000 results"}}
        return []

    async with rpc({"eth_getLogs": logs}) as (url, seen), open_chain(url) as chain:
        assert await chain.logs([ACCOUNT], 5, 25_000) == []
    taken = [
        (int(q["fromBlock"], 16), int(q["toBlock"], 16))
        for method, (q, *_) in ((m, p) for m, p in seen if m == "eth_getLogs")
        if int(q["toBlock"], 16) - int(q["fromBlock"], 16) < 700
    ]
    assert taken[0][0] == 5
    assert taken[-1][1] == 25_000
    assert all(after[0] == before[1] + 1 for before, after in pairwise(taken))


async def test_an_endpoint_that_gives_no_logs_at_all_is_an_error_and_no_endless_loop() -> None:
    refusal = {"error": {"code": -32000, "message": "not available"}}
    async with rpc({"eth_getLogs": refusal}) as (url, seen), open_chain(url) as chain:
        with pytest.raises(ChainUnavailable, match="not available"):
            await chain.logs([ACCOUNT], 0, 100_000)
    assert len(seen) < 20


async def test_a_transaction_that_is_known_already_is_sent() -> None:
    answers = {"eth_sendRawTransaction": {"error": {"code": -32000, "message": "already known"}}}
    async with rpc(answers) as (url, _), open_chain(url) as chain:
        assert (await chain.broadcast(b"\x02raw")).startswith("0x")


async def test_a_transaction_that_is_not_taken_names_its_hash_and_the_reason() -> None:
    answers = {
        "eth_sendRawTransaction": {"error": {"code": -32000, "message": "nonce too low"}},
        "eth_getTransactionByHash": None,
    }
    async with rpc(answers) as (url, _), open_chain(url) as chain:
        with pytest.raises(TransactionFailed, match=r"0x[0-9a-f]{64}: nonce too low"):
            await chain.broadcast(b"\x02raw")


async def test_a_receipt_that_does_not_come_leaves_the_hash() -> None:
    async with rpc({"eth_getTransactionReceipt": None}) as (url, _), open_chain(url) as chain:
        with pytest.raises(TransactionPending, match="look it up before you send it again") as caught:
            await chain.wait("0x" + "ab" * 32, patience=0.2)
    assert caught.value.tx_hash == "0x" + "ab" * 32


async def test_fees_without_eip_1559_are_the_gas_price() -> None:
    block = {"number": "0x1", "hash": "0x0", "parentHash": "0x0", "timestamp": "0x1", "gasLimit": "0x1"}
    async with rpc({"eth_getBlockByNumber": block, "eth_gasPrice": "0x5"}) as (url, _), open_chain(url) as chain:
        assert await chain.fees() == Fees(5, None)


@pytest.mark.parametrize("fees", [Fees(10**9, 10**9), Fees(7, 1), Fees(100, None)])
def test_bumped_fees_are_at_least_a_tenth_above_both(fees: Fees) -> None:
    bumped = fees.bumped()
    assert bumped.maximum * 10 >= fees.maximum * 11
    assert (bumped.priority is None) == (fees.priority is None)
    if fees.priority is not None and bumped.priority is not None:
        assert bumped.priority * 10 >= fees.priority * 11


def test_topics() -> None:
    assert event_topics("Purchased")[0].startswith("0x")
    assert topic(ACCOUNT) == "0x" + "0" * 24 + ACCOUNT[2:].lower()
    assert topic(b"\1" * 32) == "0x" + "01" * 32


async def test_a_call_to_an_address_without_code_says_that_nothing_is_deployed_there() -> None:
    call: Call[int] = PlanRegistry(ACCOUNT).balance_of(PlanId(b"\1" * 32), ACCOUNT)
    async with rpc({"eth_call": "0x"}) as (url, _), open_chain(url) as chain:
        with pytest.raises(ChainUnavailable, match=r"PlanRegistry\.balanceOf .* not deployed"):
            await chain.call(call)


async def test_web3_speaks_over_the_same_endpoint() -> None:
    async with rpc({"eth_chainId": "0x1", "eth_blockNumber": "0x2a"}) as (url, asked), open_chain(url) as chain:
        assert await chain.w3.eth.block_number == 42
        assert asked[-1] == ("eth_blockNumber", [])
