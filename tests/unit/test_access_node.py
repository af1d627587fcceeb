"""Signing in at an access node: what is signed is ours to say, and what answers is checked."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from eth_account import Account
from eth_account.messages import encode_defunct

from nvm_chain.access_node import NodeRefused, NodeUnavailable, open_node
from nvm_chain.errors import InvalidInput, NotFound
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet

WALLET = LocalWallet(Secret(b"\x01" * 32))
KEY = {"id": "key_1", "name": "n", "subscriber": WALLET.address, "budget": None, "expires_at": None, "revoked_at": None,
       "assistants": None, "spent": 0, "key": "nvm_secret"}  # fmt: skip


@asynccontextmanager
async def node(**answers: Any) -> AsyncIterator[tuple[str, list[Any]]]:
    """An HTTP server: by the last word of the path a body to answer with, or (status, content type, body)."""
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(await request.json() if request.can_read_body else dict(request.headers))
        answer = answers[request.path.rsplit("/", 1)[-1]]
        status, kind, body = answer if isinstance(answer, tuple) else (200, "application/json", json.dumps(answer))
        return web.Response(status=status, content_type=kind, text=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


async def test_the_message_names_the_host_that_we_talk_to_whatever_the_node_says() -> None:
    lie = {"nonce": "abcdefgh1", "expires_at": 2_000_000_000, "domain": "bank.example", "uri": "https://bank.example",
           "chain_id": 1, "message": "I give you everything"}  # fmt: skip
    async with node(nonce=lie, login=KEY) as (url, seen), open_node(url + "/v1/") as there:
        made = await there.login(WALLET, 31337, name="laptop", budget=5)
    message = seen[-1]["message"]
    assert "bank.example" not in message
    assert message.startswith(f"{url.removeprefix('http://')} wants you to sign in")
    assert re.search(rf"^URI: {re.escape(url)}$", message, re.MULTILINE)
    assert "\nChain ID: 31337\n" in message
    signature = seen[-1]["signature"]
    assert Account.recover_message(encode_defunct(text=message), signature=signature) == WALLET.address
    assert (seen[-1]["name"], seen[-1]["budget"], "expires_in" in seen[-1]) == ("laptop", 5, False)
    assert made.secret == Secret("nvm_secret")
    assert "nvm_secret" not in repr(made)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ((200, "text/html", "<html>"), NodeUnavailable, "without JSON"),
        ((200, "application/json", "[]"), NodeUnavailable, "without JSON"),
        ((200, "application/json", "{"), NodeUnavailable, "no access node"),
        ((302, "text/html", ""), NodeUnavailable, "HTTP 302"),
        ((200, "application/json", "x" * (1 << 20 | 1)), NodeUnavailable, "more than"),
        ((503, "application/json", '{"error": {"message": "later"}}'), NodeUnavailable, "later"),
        ((404, "application/json", '{"error": {"message": "no such key"}}'), NotFound, "no such key"),
        ((403, "application/json", '{"error": {"message": "no", "code": "x"}}'), NodeRefused, "no"),
        ((403, "application/json", '{"error": {"message": "\\u001b[2J"}}'), NodeRefused, "x1b"),
        ((403, "application/json", '{"error": "broken"}'), NodeRefused, "http"),
        ({"data": [{"id": "key_1"}]}, NodeUnavailable, "not an API key's record"),
    ],
)
async def test_answers_that_are_none_end_in_an_error_that_says_so(
    answer: Any, error: type[Exception], says: str
) -> None:
    async with node(keys=answer) as (url, _), open_node(url) as there:
        with pytest.raises(error, match=says):
            await there.keys(Secret("nvm_x"))


@pytest.mark.parametrize("nonce", [{}, {"nonce": "a b", "expires_at": 1}, {"nonce": "abcdefgh", "expires_at": "soon"}])
async def test_nothing_is_signed_for_a_server_that_gives_no_nonce(nonce: Any) -> None:
    async with node(nonce=nonce) as (url, seen), open_node(url) as there:
        with pytest.raises(NodeUnavailable, match="no nonce"):
            await there.login(WALLET, 1)
    assert len(seen) == 1


@pytest.mark.parametrize("url", ["", "node.example", "http://node.example", "https://user:pw@node.example"])
async def test_a_node_is_reached_by_https_or_on_this_machine(url: str) -> None:
    with pytest.raises(InvalidInput):
        async with open_node(url):
            pass
