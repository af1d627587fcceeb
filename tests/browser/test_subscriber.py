"""A subscriber: finds, buys, makes a key, asks, sees what it cost, proves it, gives, takes back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from nvm_chain.plans import PlanId
from nvm_chain.registration import Registration
from tests.browser.console import Browser, open_tab
from tests.browser.wallet import BrowserWallet
from tests.world import World, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]

DAY = 86_400
Served = Callable[[str], Awaitable[str]]


@dataclass(frozen=True)
class Shop:
    """What there is to buy."""

    world: World
    credits: PlanId
    month: PlanId
    tutor: Registration
    poet: Registration


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Shop]:
    async with World(node={"settle_interval": "0.5", "settle_max_age": "1", "settle_min_calls": "1"}) as world:
        credits = (
            await world.create_plan(
                title="A hundred credits", description="For a while.", credits=100, price=10**16, refund_cooldown=3600
            )
        ).plan_id
        month = (await world.create_plan(title="A month", credits=0, duration=30 * DAY, price=2 * 10**16)).plan_id
        tutor = await world.register(
            credits,
            credits=2,
            title="Mathematics tutor",
            description="Helps you solve math problems, step by step.",
            tags=("maths", "teaching"),
            notes="# How to ask\n\nWrite `2 + 2`, or **any** question.\n\n- one\n- two",
        )
        poet = await world.register(
            month, credits=0, title="Poet", description="Writes a sonnet about anything.", tags=("poems",)
        )
        yield Shop(world, credits, month, tutor, poet)


@pytest_asyncio.fixture(loop_scope="module")
async def served() -> AsyncIterator[Served]:
    """Another site: give it a page's HTML, get its address."""
    runners: list[web.AppRunner] = []

    async def serve(html: str) -> str:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=html, content_type="text/html")

        app = web.Application()
        app.router.add_get("/{any:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}/"

    yield serve
    for runner in runners:
        await runner.cleanup()


async def test_search_finds_by_words_and_tags(shop: Shop, browser: Browser) -> None:
    async with open_tab(browser, shop.world.node.url, BrowserWallet(shop.world.builder, shop.world.chain)) as tab:
        page = tab.page
        await tab.go()
        await expect(page.get_by_role("link", name="Poet")).to_be_visible()
        await expect(page.get_by_text("2 assistants")).to_be_visible()
        await tab.shot("market")
        await page.get_by_role("searchbox").fill("math step")
        await expect(page.get_by_text("1 assistant", exact=True)).to_be_visible()
        await expect(page.get_by_role("link", name="Poet")).to_have_count(0)
        await page.get_by_role("searchbox").fill("nothing like it")
        await expect(page.get_by_text("Nothing matches")).to_be_visible()
        await page.get_by_role("searchbox").fill("")
        await page.get_by_role("button", name="poems").click()
        await expect(page.get_by_role("link", name="Poet")).to_be_visible()
        await expect(page.get_by_role("link", name="Mathematics tutor")).to_have_count(0)
        await page.get_by_role("button", name="Show those without the tag").click()
        await page.get_by_label("Plans").select_option("Time")
        await expect(page.get_by_text("1 assistant", exact=True)).to_be_visible()
        await expect(page.get_by_role("link", name="Poet")).to_be_visible()
        await page.get_by_label("Plans").select_option("All")
        await page.get_by_label("Sort by").select_option("Price")
        await expect(page.locator(".listing h2").first).to_have_text("Mathematics tutor")


async def test_buy_ask_and_prove(shop: Shop, browser: Browser) -> None:
    world, subscriber = shop.world, await shop.world.wallet()
    async with open_tab(browser, world.node.url, BrowserWallet(subscriber, world.chain)) as tab:
        page = tab.page
        await tab.go(f"a/{shop.tutor.did}")
        await expect(page.get_by_text("Description verified")).to_be_visible()
        await expect(page.get_by_role("heading", name="How to ask")).to_be_visible()
        await tab.shot("asset")

        await page.get_by_role("button", name="Buy", exact=True).click()
        await expect(page.get_by_text("0.01 ETH", exact=True)).to_be_visible()
        await tab.shot("buy")
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text("Pays 0.01 ETH.")).to_be_visible()
        await tab.confirm()
        await expect(page.get_by_text("It’s yours.")).to_be_visible()
        assert await world.credits(shop.credits, subscriber) == 100

        # A key, shown once
        await page.get_by_role("link", name="Create a key").click()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.get_by_label("Name").fill("laptop")
        await page.get_by_label("Budget in credits").fill("50")
        await page.get_by_role("button", name="Create key").click()
        key = await page.get_by_role("region", name="API key").inner_text()
        for _ in range(2):  # a browser closes a dialog at the second, whatever the page says
            await page.keyboard.press("Escape")
        await expect(page.get_by_text(key)).to_be_visible()
        assert re.fullmatch(r"nvm_[0-9A-Za-z]{49}", key)
        await tab.shot("key")
        await page.get_by_role("button", name="I have copied it").click()
        await expect(page.get_by_role("cell", name="laptop key_")).to_be_visible()
        await expect(page.get_by_text(key)).to_have_count(0)
        with world.openai(key) as client:
            assert client.responses.create(model=str(shop.tutor.did), input="hello").output_text
        await tab.shot("keys")

        # Ask here
        await page.get_by_role("tab", name="Playground").click()
        await page.get_by_label("Your message").fill("What is two and two?")
        await page.get_by_role("button", name="Ask").click()
        await expect(page.get_by_text("2 credits charged, 96 left.")).to_be_visible()
        assert await page.locator(".answer .pre").inner_text()
        await tab.shot("playground")

        # What it cost, and that the chain says so, too
        await world.proven(key)
        await page.get_by_role("tab", name="Usage").click()
        checks = page.get_by_role("button", name="Check")

        async def both_on_the_chain() -> bool:
            await page.reload()
            await expect(page.locator("tbody tr")).to_have_count(2)
            return await checks.count() == 2

        await until(both_on_the_chain, "the node to see its settlements in blocks")
        await checks.first.click()
        await expect(page.get_by_text("Proven: batch")).to_be_visible()
        await tab.shot("usage")

        await page.get_by_role("tab", name="API keys").click()
        await page.get_by_role("button", name="Revoke laptop").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
        await expect(page.get_by_role("cell", name="Revoked", exact=True)).to_be_visible()

        # Return what is left
        await page.get_by_role("tab", name="Plans").click()
        await expect(page.get_by_text("96", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Return what’s left (0.0096 ETH)").click()
        await expect(page.get_by_text("Calls under this plan end at once")).to_be_visible()
        await tab.confirm()
        await expect(page.get_by_text("You announced a refund.")).to_be_visible()
        await expect(page.get_by_text("Being returned: opens nothing")).to_be_visible()
        await expect(page.get_by_text("Active", exact=True)).to_have_count(0)
        await tab.shot("plans")
        await world.mine(2, 3700)
        await page.reload()
        await page.get_by_role("button", name="Take refund").click()
        await tab.confirm()
        await expect(page.get_by_text("Used up or ended")).to_be_visible()
        assert await world.credits(shop.credits, subscriber) == 0
        assert key not in await tab.kept()
        tab.check(world.provider.key)


async def test_a_gift_is_somebody_elses_and_a_renewal_adds_time(shop: Shop, browser: Browser) -> None:
    world, giver, friend = shop.world, await shop.world.wallet(), await shop.world.wallet()
    wallet = BrowserWallet(giver, world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page
        await tab.go(f"a/{shop.poet.did}")
        await tab.connect()
        await page.get_by_role("button", name="Buy", exact=True).click()
        await page.get_by_label("It’s a gift for somebody else").check()
        await page.get_by_label("Their address").fill("0x1234")
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text("Is not an address")).to_be_visible()
        await page.get_by_label("Their address").fill(friend.address)
        await expect(page.get_by_text("Is not an address")).to_have_count(0)
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text(f"For {friend.address}, not for you.")).to_be_visible()
        await tab.confirm()
        await expect(page.get_by_text("Given to")).to_be_visible()
        assert await world.credits(shop.month, friend) == 1
        assert await world.credits(shop.month, giver) == 0

        # The friend, in the same browser: the account changes under the page
        wallet.use(friend)
        await page.evaluate("(address) => window.__walletEmit('accountsChanged', [address])", friend.address)
        await tab.go("me")
        await expect(page.get_by_text("Active")).to_be_visible()
        before = (await world.chain.call(world.deployment.plans.account(shop.month, friend.address))).expiry
        await page.get_by_role("button", name="Renew").click()
        await page.get_by_role("button", name="Continue").click()
        await tab.confirm()
        await expect(page.get_by_text("It’s yours.")).to_be_visible()

        async def longer() -> bool:
            account = await world.chain.call(world.deployment.plans.account(shop.month, friend.address))
            return account.expiry == before + 30 * DAY

        await until(longer, "the renewal")


async def test_the_public_page_embed_and_badge(shop: Shop, browser: Browser, served: Served) -> None:
    world = shop.world
    async with open_tab(browser, world.node.url, BrowserWallet(world.builder, world.chain)) as tab:
        page, base = tab.page, f"{world.node.url}/a/{shop.tutor.did}"
        await page.goto(base)
        await expect(page.get_by_role("heading", name="Mathematics tutor")).to_be_visible()
        assert await page.locator('meta[property="og:title"]').get_attribute("content") == "Mathematics tutor"
        assert await page.locator('meta[property="og:url"]').get_attribute("content") == base
        await page.get_by_role("link", name="Marketplace").click()
        await expect(page.get_by_role("heading", name="Marketplace")).to_be_visible()
        assert page.url == f"{world.node.url}/#/"

        # In a frame of another site the card shows, and the console doesn't
        frames = (f"{base}/embed", base)
        frame = "<title>x</title>" + "".join(
            f'<iframe src="{src}" width="360" height="260"></iframe>' for src in frames
        )
        tab.expected += ["frame-ancestors", "X-Frame-Options", "ERR_BLOCKED_BY_RESPONSE", "favicon"]
        site = await served(frame)
        await page.goto(site)
        card = page.frame_locator("iframe").first
        await expect(card.get_by_role("heading", name="Mathematics tutor")).to_be_visible()
        await expect(card.get_by_text("0.01 ETH for 100 credits")).to_be_visible()
        link = card.get_by_role("link", name="Buy access")
        assert (await link.get_attribute("href"), await link.get_attribute("target")) == (base, "_blank")
        await expect(
            page.frame_locator("iframe").nth(1).get_by_role("heading", name="Mathematics tutor")
        ).to_have_count(0)
        await tab.shot("embed", page.locator("iframe").first)

        badge = await page.request.get(f"{base}/badge.svg")
        assert badge.headers["content-type"] == "image/svg+xml"
        assert "0.01 ETH for 100 credits" in await badge.text()
        unknown = await page.request.get(f"{world.node.url}/a/did:nv:{'0' * 64}")
        assert unknown.status == 404
        tab.sites.append(site)
