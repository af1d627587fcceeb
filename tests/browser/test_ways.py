"""Other ways: tokens with and without permits, a node below a path of another site, code copied from the page."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import expect

from tests.browser.console import Browser, open_tab
from tests.browser.wallet import BrowserWallet
from tests.openai_clients import PACKAGE
from tests.solidity import deploy_token
from tests.world import World, free_port

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]


async def test_tokens_with_a_permit_and_with_an_approval(world: World, browser: Browser) -> None:
    token, abi = await deploy_token(world.chain, world.builder)
    subscriber = await world.wallet()
    plan = (await world.create_plan(title="Five dollars", price=5_000_000, token=token)).plan_id
    did = (await world.register(plan)).did
    wallet = BrowserWallet(subscriber, world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page
        await tab.go(f"a/{did}")
        await expect(page.get_by_text("5 DEV for 100 credits")).to_be_visible()
        await tab.connect()
        await page.get_by_role("button", name="Buy", exact=True).click()
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text("This costs 5 DEV, and the wallet holds 0 DEV.")).to_be_visible()

        await world.chain.send(abi.call(token, "mint", subscriber.address, 10_000_000), world.builder)
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_role("button", name="Sign in wallet").click()
        await expect(page.get_by_text("Pays 5 DEV.")).to_be_visible()
        await tab.confirm()
        await expect(page.get_by_text("It’s yours.")).to_be_visible()
        sent = [params[0]["to"] for method, params in wallet.asked if method == "eth_sendTransaction"]
        assert sent == [world.deployment.plan_registry], "a permit needs no transaction of its own"
        await page.get_by_role("button", name="Close").click()

        wallet.lacks = {"eth_signTypedData_v4"}
        await page.get_by_role("button", name="Buy more").click()
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_role("button", name="Sign in wallet").click()  # it can't, and sends an approval instead
        await expect(page.get_by_role("heading", name="Allow the payment in DEV")).to_be_visible()
        await expect(page.get_by_text("Lets the plan’s contract take 5 DEV from your wallet, no more.")).to_be_visible()
        await page.get_by_role("button", name="Confirm in wallet").click()  # the next one takes its place at once
        await expect(page.get_by_text("Pays 5 DEV.")).to_be_visible()
        await tab.confirm()
        await expect(page.get_by_text("It’s yours.")).to_be_visible()
        assert await world.credits(plan, subscriber) == 200
        assert await world.chain.call(abi.call(token, "allowance", subscriber.address, sent[0])) == 0


RUN = {"curl": ["bash", "-c"], "Python": [sys.executable, "-c"], "JavaScript": ["node", "--input-type=module", "-e"]}


@pytest.mark.parametrize("language", RUN)
async def test_code_copied_from_the_page_runs_as_it_is(world: World, browser: Browser, language: str) -> None:
    command = RUN[language]
    needed = {"curl": shutil.which("curl"), "JavaScript": shutil.which("node") and PACKAGE.exists()}
    if not needed.get(language, True):
        pytest.skip(f"{language}’s client isn’t installed")
    plan, subscriber = (await world.create_plan(title="Copied")).plan_id, await world.wallet()
    did = (await world.register(plan, credits=3)).did
    await world.buy(plan, subscriber)
    key = await world.login(subscriber)
    async with open_tab(browser, world.node.url, BrowserWallet(subscriber, world.chain)) as tab:
        page = tab.page
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await tab.go(f"a/{did}")
        await page.get_by_role("tab", name=language).click()
        code = page.locator(".code", has=page.get_by_role("region", name="Call it"))
        await code.get_by_role("button", name="Copy").click()
        await expect(code.get_by_role("button", name="Copied")).to_be_visible()
        copied = await page.evaluate("navigator.clipboard.readText()")

    # openai for JavaScript is found from the folder that has it
    process = await asyncio.create_subprocess_exec(
        *command, copied, cwd=PACKAGE.parents[2], env={**os.environ, "NVM_KEY": key}, stdout=PIPE, stderr=PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    answer = out.decode().strip()
    if language == "curl":
        answer = json.loads(answer)["output"][-1]["content"][0]["text"]
    with world.openai(key) as client:
        expected = client.responses.create(model=str(did), input="hello").output_text
    assert answer == expected


@asynccontextmanager
async def below(prefix: str, port: int, target: str) -> AsyncIterator[None]:
    """A reverse proxy at 127.0.0.1:`port` that has the node at `prefix`, and something else above."""
    async with aiohttp.ClientSession(auto_decompress=False) as http:

        async def pass_on(request: web.Request) -> web.Response:
            path = request.raw_path.removeprefix(prefix)
            headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            answer = await http.request(
                request.method, target + path, headers=headers, data=await request.read(), allow_redirects=False
            )
            async with answer:
                kept = [(n, v) for n, v in answer.headers.items() if n.lower() not in ("content-length", "date")]
                response = web.Response(status=answer.status, body=await answer.read())
                response.headers.clear()
                response.headers.extend(kept)
                return response

        app = web.Application()
        app.router.add_route("*", f"{prefix}/{{any:.*}}", pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield
        finally:
            await runner.cleanup()


async def test_it_works_below_a_path(world: World, browser: Browser) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/ai/node"
    node = await world.add_node({"public_url": url})
    plan = (await world.create_plan(title="Below")).plan_id
    did = (await world.register(plan, node=node, title="Below a path")).did
    subscriber = await world.wallet()
    async with (
        below("/ai/node", port, node.url),
        open_tab(browser, url, BrowserWallet(subscriber, world.chain)) as tab,
    ):
        page = tab.page
        await tab.go()
        await page.get_by_role("link", name="Below a path").click()
        await tab.connect()
        await tab.buy_and_sign_in()
        await page.get_by_role("button", name="Create key").click()
        await expect(page.get_by_text("Your new key")).to_be_visible()
        await page.reload()  # the session holds
        await expect(page.get_by_role("heading", name="New API key")).to_be_visible()
        await page.goto(f"{url}/a/{did}")
        await expect(page.get_by_role("heading", name="Below a path")).to_be_visible()
        await page.get_by_role("link", name="Builder").click()
        await expect(page.get_by_role("heading", name="Builder")).to_be_visible()
        assert page.url.startswith(f"{url}/#/builder")
