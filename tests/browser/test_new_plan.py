"""New → Create Plan: every kind of terms, as the contract has them afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from nvm_chain.plans import Plan, PlanId
from tests.browser.console import Browser, Tab, open_tab
from tests.browser.wallet import BrowserWallet
from tests.solidity import deploy_token
from tests.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]

DAY = 86_400


@pytest_asyncio.fixture(loop_scope="module")
async def tab(world: World, browser: Browser) -> AsyncIterator[Tab]:
    """The form, with a wallet."""
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        await tab.go("new/plan")
        await tab.connect()
        yield tab


async def created(world: World, tab: Tab) -> Plan:
    """Creates what the form says; what the chain has of it."""
    await tab.page.get_by_role("button", name="Create plan").click()
    await tab.confirm()
    await tab.page.wait_for_url("**/#/builder?plan=*")
    return await world.chain.call(world.deployment.plans.plan(PlanId.parse(tab.page.url.rpartition("=")[2])))


async def test_by_time_for_a_price(world: World, tab: Tab) -> None:
    page = tab.page
    await page.get_by_text("Limited by time").click()
    await page.get_by_role("textbox", name="Title").fill("Two weeks")
    await page.get_by_role("textbox", name="Price").fill("0.25")
    await page.get_by_label("Duration").fill("2")
    await page.get_by_label("Unit", exact=True).select_option("weeks")
    await expect(page.get_by_label("Credits", exact=True)).to_have_count(0)
    terms = (await created(world, tab)).terms
    assert (terms.credits_per_unit, terms.duration, terms.price) == (0, 14 * DAY, 25 * 10**16)
    await expect(page.get_by_text("0.25 ETH for 14 days")).to_be_visible()


async def test_credits_that_expire_in_an_erc20_token_with_a_supply(world: World, tab: Tab) -> None:
    token, _ = await deploy_token(world.chain, world.builder)
    page = tab.page
    await page.get_by_role("textbox", name="Title").fill("Dollars")
    await page.get_by_label("Paid in").select_option("An ERC-20 token")
    await page.get_by_label("Token’s address").fill(world.deployment.plan_registry)
    await page.get_by_role("button", name="Create plan").click()
    await expect(page.get_by_text("There is no ERC-20 token at this address on this network.").first).to_be_visible()
    await page.get_by_label("Token’s address").fill(token)
    await page.get_by_role("textbox", name="Price").fill("1.0000001")
    await page.get_by_role("button", name="Create plan").click()
    await expect(page.get_by_text("Has more than 6 digits after the point.").first).to_be_visible()
    await page.get_by_role("textbox", name="Price").fill("1,5")
    await expect(page.get_by_text("Write a number with a point and no commas, like 0.1.").first).to_be_visible()
    await page.get_by_role("textbox", name="Price").fill("1.5")
    await expect(page.get_by_text("Write a number with a point and no commas, like 0.1.")).to_have_count(0)
    await expect(page.get_by_role("alert")).to_have_count(0)
    await page.get_by_label("Credits expire after a time").check()
    await page.get_by_label("Duration").fill("1")
    await page.get_by_label("Unit", exact=True).select_option("years")
    await page.get_by_label("Units on sale in all").fill("3")
    terms = (await created(world, tab)).terms
    assert (terms.token, terms.price, terms.credits_per_unit) == (token, 1_500_000, 100)
    assert (terms.duration, terms.supply) == (365 * DAY, 3)


async def test_a_refundable_one_whose_revenue_is_split(world: World, tab: Tab) -> None:
    page, friend = tab.page, await world.wallet()
    await page.get_by_role("textbox", name="Title").fill("Shared")
    await page.get_by_label("Subscribers may return").check()
    await page.get_by_label("Days between announcing").fill("3")
    await page.get_by_role("button", name="Add an account").click()
    await page.get_by_role("button", name="Add an account").click()
    await page.get_by_role("textbox", name="Account 2").fill(friend.address)
    await page.get_by_label("Share in %").first.fill("66.66")
    await page.get_by_label("Share in %").last.fill("33.33")
    await page.get_by_role("button", name="Create plan").click()
    await expect(page.get_by_text("The shares add up to 99.99 %, not to 100 %.").first).to_be_visible()
    await page.get_by_label("Share in %").last.fill("33.34")
    plan = await created(world, tab)
    assert plan.terms.refund_cooldown == 3 * DAY
    buyer = await world.wallet()
    plan_id = PlanId.parse(page.url.rpartition("=")[2])
    payees = await world.chain.call(world.deployment.plans.payees(plan_id))
    assert [(one.account, one.basis_points) for one in payees] == [
        (tab.wallet.wallet.address, 6666),
        (friend.address, 3334),
    ]
    await world.buy(plan_id, buyer)


async def test_a_trial_is_free_once_and_what_doesnt_go_together_is_named(world: World, tab: Tab) -> None:
    page = tab.page
    await page.get_by_role("textbox", name="Title").fill("Trial")
    await page.get_by_role("textbox", name="Price").fill("0")
    await page.get_by_label("Credits", exact=True).fill("5")
    await page.get_by_label("Limit purchases per account").check()
    await page.get_by_label("Subscribers may return").check()
    await page.get_by_role("button", name="Create plan").click()
    await expect(page.get_by_text("don’t go together: a free plan has nothing to refund.")).to_be_visible()
    await page.get_by_label("Subscribers may return").uncheck()
    terms = (await created(world, tab)).terms
    assert (terms.price, terms.purchase_limit, terms.credits_per_unit) == (0, 1, 5)
