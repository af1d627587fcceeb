"""Attacks on the login, sessions and keys of a running node, over HTTP.

Each refusal by itself (wrong domain, chain, time, nonce, form) is in tests/unit/test_access.py.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from node_proxy.access import keys as api_keys
from node_proxy.access.guesses import TRIES
from nvm_chain.wallet import LocalWallet
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def browser(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    """Keeps cookies as a browser does. Its node has forgotten all guesses."""
    async with aiohttp.ClientSession(world.node.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def signed(http: aiohttp.ClientSession, wallet: LocalWallet) -> dict[str, str]:
    async with http.get("/auth/nonce", params={"address": wallet.address}) as answer:
        message = (await answer.json())["message"]
    return {"message": message, "signature": "0x" + (await wallet.sign_message(message)).hex()}


async def said(answer: aiohttp.ClientResponse) -> tuple[int, Any]:
    return answer.status, (await answer.json()).get("error", {}).get("code")


async def test_a_login_is_good_once(browser: aiohttp.ClientSession) -> None:
    body = await signed(browser, LocalWallet.create())
    assert (await browser.post("/auth/login", json=body)).status == 201
    for path in ("/auth/login", "/auth/session"):
        answer = await browser.post(path, json=body)
        assert answer.status == 401
        assert "used before" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"^\S+ wants", "evil.example wants"),
        (r"URI: \S+", "URI: https://evil.example"),
        (r"Chain ID: \d+", "Chain ID: 1"),
        (r"Expiration Time: \S+", f"Expiration Time: {datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"),
        (r"Issued At: \S+", f"Issued At: {datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"),
        (r"Issued At: \S+", f"Issued At: {datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"),
        (r"Nonce: \S+", "Nonce: abcdefgh12345678"),
        (r"Version: 1", "Version: 2"),
    ],
    ids=["domain", "URI", "chain", "expired", "issued in the future", "issued long ago", "nonce", "version"],
)
async def test_a_message_for_another_place_or_time_is_refused_although_it_is_signed(
    browser: aiohttp.ClientSession, old: str, new: str
) -> None:
    wallet = LocalWallet.create()
    message = re.sub(old, new, (await signed(browser, wallet))["message"], count=1)
    signature = "0x" + (await wallet.sign_message(message)).hex()
    answer = await browser.post("/auth/session", json={"message": message, "signature": signature})
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


async def test_a_session_that_was_planted_in_the_browser_is_not_the_one_after_login(
    world: World, browser: aiohttp.ClientSession
) -> None:
    browser.cookie_jar.update_cookies({"nvm_session": "planted-by-somebody"}, browser._base_url)  # type: ignore[arg-type]
    answer = await browser.post("/auth/session", json=await signed(browser, LocalWallet.create()))
    assert answer.status == 201
    cookie = answer.headers["set-cookie"]
    assert "planted" not in cookie
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert answer.headers["cache-control"] == "no-store"
    async with aiohttp.ClientSession(world.node.url) as thief:
        stolen = await thief.get("/auth/session", headers={"cookie": "nvm_session=planted-by-somebody"})
        assert stolen.status == 401


async def test_a_session_manages_keys_only_with_its_token_from_its_own_site(browser: aiohttp.ClientSession) -> None:
    wallet = LocalWallet.create()
    session = await (await browser.post("/auth/session", json=await signed(browser, wallet))).json()
    assert session["subscriber"] == wallet.address
    assert (await (await browser.get("/auth/session")).json())["csrf_token"] == session["csrf_token"]
    token, origin = session["csrf_token"], str(browser._base_url).rstrip("/")
    wish = {"name": "from the console"}
    for headers in ({}, {"x-csrf-token": "0" * 48}, {"x-csrf-token": token, "origin": "https://evil.example"}):
        answer = await browser.post("/auth/keys", json=wish, headers=headers)
        assert await said(answer) == (403, "csrf_token_missing")
    answer = await browser.post("/auth/keys", json=wish, headers={"x-csrf-token": token, "origin": origin})
    made = await answer.json()
    assert answer.status == 201
    assert made["subscriber"] == wallet.address
    listed = await (await browser.get("/auth/keys")).json()
    assert [key["name"] for key in listed["data"]] == ["from the console"]
    assert listed["data"][0]["last_used_at"] is None
    assert (await browser.get("/v1/account", headers={"authorization": f"Bearer {made['key']}"})).status == 200
    assert (await (await browser.get(f"/auth/keys/{made['id']}")).json())["last_used_at"] is not None

    assert (await browser.delete("/auth/session")).status == 403, "another site can't sign anybody out either"
    kept = {"cookie": "; ".join(f"{c.key}={c.value}" for c in browser.cookie_jar)}
    assert (await browser.delete("/auth/session", headers={"x-csrf-token": token})).status == 200
    async with aiohttp.ClientSession(browser._base_url) as late:
        assert (await late.get("/auth/session", headers=kept)).status == 401, "the cookie is worth nothing any more"


async def test_a_session_is_no_api_key_and_calls_no_assistant(browser: aiohttp.ClientSession) -> None:
    await browser.post("/auth/session", json=await signed(browser, LocalWallet.create()))
    (cookie,) = [c.value for c in browser.cookie_jar]
    assert (await browser.post("/v1/responses", json={"model": "x", "input": "y"})).status == 401
    answer = await browser.get("/v1/account", headers={"authorization": f"Bearer {cookie}"})
    assert answer.status == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_no_other_site_uses_its_visitors_tries_up(
    world: World, browser: aiohttp.ClientSession, origin: str
) -> None:
    """What a page may send without asking: simple requests, without cookies (SameSite) and without a content type."""
    await world.node.restart()
    wallet, foreign = LocalWallet.create(), {"origin": origin}
    body, plain = b'{"message":"x","signature":"0x"}', ["content-type"]
    for _ in range(TRIES):
        for path in ("/auth/login", "/auth/session"):
            answer = await browser.post(path, data=body, headers=foreign, skip_auto_headers=plain)
            assert answer.status == 403
        for path in ("/auth/session", "/v1/models", "/operator"):
            assert (await browser.get(path, headers=foreign)).status == 401
    good = await signed(browser, wallet)
    stolen = await browser.post("/auth/login", json=good, headers=foreign)
    assert stolen.status == 403
    assert (await browser.post("/auth/login", json=good)).status == 201


@pytest.mark.parametrize("path", ["/console.json", "/auth/session", "/healthz", "/readyz"])
async def test_a_wrong_session_or_operators_token_is_a_guess_wherever_it_is_tried(world: World, path: str) -> None:
    await world.node.restart()
    statuses = []
    async with aiohttp.ClientSession(world.node.url) as http:
        for _ in range(TRIES + 5):
            wrong = LocalWallet.create().address
            headers = {"authorization": f"Bearer {wrong}"} if path.endswith("z") else {"cookie": f"nvm_session={wrong}"}
            statuses.append((await http.get(path, headers=headers)).status)
        assert statuses[0] == (401 if path == "/auth/session" else 200)
        assert statuses[-1] == 429
        assert (await http.get(path)).status == statuses[0], "who guesses nothing is not stopped"
    assert "settlement" in await world.node.run("status", "--json"), "nor is the operator"


async def test_who_guesses_keys_has_to_wait_and_good_keys_go_on(world: World, browser: aiohttp.ClientSession) -> None:
    await world.node.restart()
    good = await world.login(LocalWallet.create())
    account = {"authorization": f"Bearer {good}"}
    assert (await browser.get("/v1/account", headers=account)).status == 200
    statuses = []
    for _ in range(TRIES + 5):
        answer = await browser.get("/v1/account", headers={"authorization": f"Bearer {api_keys.generate()}"})
        statuses.append(answer.status)
    assert statuses[:TRIES] == [401] * TRIES
    assert statuses[-1] == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert (await browser.get("/v1/account", headers=account)).status == 200, "who had a good key is not stopped"
    refused = await browser.post("/auth/login", json={"message": "x", "signature": "0x"})
    assert refused.status == 429
    assert (await browser.get("/healthz")).status == 200
    await world.node.restart()
