"""The wallet changes under the page: another account or another network, between what is shown and what is signed."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from nvm_chain.wallet import LocalWallet
from tests.browser.console import Browser, Tab, open_tab
from tests.browser.wallet import BrowserWallet
from tests.solidity import deploy_token
from tests.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]

OTHER_ACCOUNT = "The wallet changed to another account, so nothing was sent."


def sent(wallet: BrowserWallet) -> list[dict[str, Any]]:
    return [params[0] for method, params in wallet.asked if method == "eth_sendTransaction"]


async def change_to(tab: Tab, wallet: LocalWallet) -> None:
    tab.wallet.use(wallet)
    await tab.page.evaluate("(address) => window.__walletEmit('accountsChanged', [address])", wallet.address)


async def start_buying(tab: Tab, did: object) -> None:
    await tab.go(f"a/{did}")
    await tab.connect()
    await tab.page.get_by_role("button", name="Buy", exact=True).click()
    await tab.page.get_by_role("button", name="Continue").click()


@pytest.mark.parametrize("told", [True, False], ids=["a wallet that tells", "a wallet that doesn't"])
async def test_no_money_goes_to_a_network_chosen_while_the_dialog_was_open(
    world: World, browser: Browser, told: bool
) -> None:
    plan = (await world.create_plan(title="Elsewhere")).plan_id
    did, subscriber = (await world.register(plan)).did, await world.wallet()
    wallet = BrowserWallet(subscriber, world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page, confirm = tab.page, tab.page.get_by_role("button", name="Confirm in wallet")
        await start_buying(tab, did)
        await expect(confirm).to_be_enabled()
        wallet.chain_id = 1
        wallet.rejects = {"wallet_switchEthereumChain"}
        if told:
            await page.evaluate("window.__walletEmit('chainChanged', '0x1')")
        await confirm.click()
        await expect(page.get_by_role("dialog").get_by_text("You declined in the wallet.")).to_be_visible()
        assert sent(wallet) == []

        wallet.rejects = set()
        await page.get_by_role("button", name="Continue").click()
        await tab.confirm()
        await expect(page.get_by_text("It’s yours.")).to_be_visible()
        assert wallet.chain_id == world.chain.chain_id
        assert [int(one["chainId"], 16) for one in sent(wallet)] == [world.chain.chain_id]


async def test_nobody_pays_for_what_was_shown_to_another_account(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Mine")).plan_id
    did = (await world.register(plan)).did
    first, second = await world.wallet(), await world.wallet()
    wallet = BrowserWallet(first, world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page
        await start_buying(tab, did)
        await expect(page.get_by_role("button", name="Confirm in wallet")).to_be_enabled()
        await change_to(tab, second)
        await expect(page.get_by_text(OTHER_ACCOUNT)).to_be_visible()
        await expect(page.get_by_role("button", name="Confirm in wallet")).to_have_count(0)
        await page.get_by_role("button", name="Continue").click()
        await tab.confirm()
        await expect(page.get_by_text("It’s yours.")).to_be_visible()
        assert [one["from"] for one in sent(wallet)] == [second.address]
        assert (await world.credits(plan, first), await world.credits(plan, second)) == (0, 100)


async def test_a_plan_is_created_by_the_account_that_typed_it_or_not_at_all(world: World, browser: Browser) -> None:
    first, second = await world.wallet(), await world.wallet()
    wallet = BrowserWallet(first, world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page
        await tab.go("new/plan")
        await tab.connect()
        await page.get_by_role("textbox", name="Title").fill("Whose?")
        await page.get_by_role("button", name="Create plan").click()
        await expect(page.get_by_role("button", name="Confirm in wallet")).to_be_enabled()
        await change_to(tab, second)
        await expect(page.get_by_text(OTHER_ACCOUNT)).to_be_visible()
        assert sent(wallet) == []


async def test_a_permit_is_explained_before_it_is_signed_and_on_the_right_network(
    world: World, browser: Browser
) -> None:
    token, abi = await deploy_token(world.chain, world.builder)
    subscriber = await world.wallet()
    await world.chain.send(abi.call(token, "mint", subscriber.address, 10_000_000), world.builder)
    plan = (await world.create_plan(title="Five dollars", price=5_000_000, token=token)).plan_id
    did = (await world.register(plan)).did
    wallet = BrowserWallet(subscriber, world.chain)
    wallet.chain_id = 1
    async with open_tab(browser, world.node.url, wallet) as tab:
        page, dialog = tab.page, tab.page.get_by_role("dialog").last
        takes = "Lets the plan’s contract take 5 DEV from your wallet, no more."
        await start_buying(tab, did)
        sign = page.get_by_role("button", name="Sign in wallet")
        await expect(sign).to_be_enabled()
        await expect(dialog.get_by_text(takes)).to_be_visible()
        methods = [method for method, _ in wallet.asked]
        assert "wallet_switchEthereumChain" in methods
        assert "eth_signTypedData_v4" not in methods
        await tab.shot("permit")
        await sign.click()
        await expect(dialog.get_by_text("Pays 5 DEV.")).to_be_visible()
        await expect(page.get_by_role("button", name="Confirm in wallet")).to_be_enabled()
        await expect(dialog.locator("dd").first).to_have_text("5 DEV")
        await expect(dialog.get_by_text("nothing", exact=True)).to_have_count(0)
        await tab.confirm()
        await expect(page.get_by_text("It’s yours.")).to_be_visible()
        assert await world.credits(plan, subscriber) == 100


async def test_the_playground_spends_the_credits_of_the_wallet_that_is_there(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Play")).plan_id
    did = (await world.register(plan, credits=2)).did
    first, second = await world.wallet(), await world.wallet()
    for one in (first, second):
        await world.buy(plan, one)
    async with open_tab(browser, world.node.url, BrowserWallet(first, world.chain)) as tab:
        page = tab.page

        async def play(left: int) -> None:
            await page.get_by_role("button", name="Sign in", exact=True).click()
            await page.get_by_label("Your message").fill("hello")
            await page.get_by_role("button", name="Ask").click()
            await expect(page.get_by_text(f"2 credits charged, {left} left.")).to_be_visible()

        await tab.go(f"me?tab=playground&did={did}")
        await tab.connect()
        await play(98)
        await change_to(tab, second)
        await play(98)
        keys = {headers["authorization"] for method, url, headers, _ in tab.requests if "v1/responses" in url}
        assert len(keys) == 2


ANOTHER = """addEventListener('eip6963:requestProvider', () => {
  const info = { uuid: 'a75d1d6a-8a40-4d0c-9d11-1b6c2a5a7f11', name: 'Other Wallet', rdns: 'other.wallet', icon: '' }
  const provider = { request: async () => { throw Error('nobody chose this one') } }
  dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail: { info, provider } }))
})"""


async def test_of_two_wallets_none_is_asked_before_one_is_chosen(world: World, browser: Browser) -> None:
    did = (await world.register((await world.create_plan(title="With either")).plan_id)).did
    wallet = BrowserWallet(await world.wallet(), world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page, dialog = tab.page, tab.page.get_by_role("dialog")
        await page.add_init_script(ANOTHER)
        await tab.go(f"a/{did}")
        await page.locator("header.top").get_by_role("button", name="Connect wallet").click()
        await expect(dialog.get_by_role("heading", name="Choose a wallet")).to_be_visible()
        await dialog.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Buy", exact=True).click()
        await expect(dialog.get_by_role("button", name="Other Wallet")).to_be_visible()
        assert wallet.asked == []
        await dialog.get_by_role("button", name="Test Wallet").click()
        await expect(page.get_by_role("button", name="Continue")).to_be_visible()
        assert wallet.connected
