"""Plans that settle only up to what the subscriber has signed for: the signature, and what it opens."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.console import Browser, open_tab
from tests.browser.wallet import BrowserWallet
from tests.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]


async def test_a_subscriber_signs_for_some_credits_and_uses_no_more_of_them(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Up to what I sign", credits=100, voucher_required=True)).plan_id
    did = (await world.register(plan, credits=2, title="By voucher")).did
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    wallet = BrowserWallet(subscriber, world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page
        tab.expected += ["404 (Not Found)", "402 (Payment Required)"]
        sign, field = page.get_by_role("button", name="Sign voucher"), page.get_by_label("Credits that calls may use")

        await tab.go("me")
        await page.locator("main").get_by_role("button", name="Connect wallet").click()
        await expect(page.get_by_text("You have signed for nothing yet.")).to_be_visible()
        await expect(field).to_have_value("100")

        # what can't be is said, and nobody asked
        for wrong in ("101", "0", "1.5", "many"):
            await field.fill(wrong)
            await sign.click()
            await expect(page.get_by_text("A whole number from 1 to 100, which is what you have left.")).to_be_visible()
        assert "eth_signTypedData_v4" not in [method for method, _ in wallet.asked]

        # somebody thinks better of it
        await field.fill("3")
        await expect(page.get_by_text("A whole number from 1 to 100")).to_have_count(0)
        wallet.rejects = {"eth_signTypedData_v4"}
        await sign.click()
        await expect(page.get_by_text("Lets nodes settle up to 3 of the credits that you have left.")).to_be_visible()
        await tab.shot("voucher")
        await page.get_by_role("button", name="Sign in wallet").click()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(field).to_have_value("3")
        wallet.rejects = set()

        # three credits: one call of two
        await sign.click()
        await page.get_by_role("button", name="Sign in wallet").click()
        await expect(page.get_by_text("You have signed for 3 of the credits that are left.")).to_be_visible()
        await sign.click()
        await expect(page.get_by_text("You have signed for 3 already: sign for more, or leave it.")).to_be_visible()
        await tab.go(f"me?tab=playground&did={did}")
        ask, answer = page.get_by_role("button", name="Ask", exact=True), page.locator("section.answer")
        await page.get_by_label("Your message").fill("hello")
        await ask.click()
        await expect(answer.get_by_text("2 credits")).to_be_visible()
        await ask.click()
        await expect(page.get_by_text("What you have signed for is used up")).to_be_visible()

        # all that is left
        await tab.go("me")
        await field.fill("100")
        await sign.click()
        await page.get_by_role("button", name="Sign in wallet").click()
        await expect(page.get_by_text("You have signed for all credits that are left.")).to_be_visible()
        await tab.go(f"me?tab=playground&did={did}")
        await page.get_by_label("Your message").fill("hello")
        await ask.click()
        await expect(answer.get_by_text("2 credits")).to_be_visible()
    await world.node.run("settle")
    await world.settled(plan, subscriber, 4)
