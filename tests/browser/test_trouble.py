"""What goes wrong: declined, too poor, wrong network, reloads in the middle, a node and a chain that are gone."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from tests.browser.console import Browser, Tab, open_tab
from tests.browser.wallet import BrowserWallet
from tests.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]


@pytest_asyncio.fixture(loop_scope="module")
async def doomed() -> AsyncIterator[World]:
    """A world of its own, which may end."""
    async with World() as world:
        yield world


async def start_buying(tab: Tab, did: object) -> None:
    await tab.go(f"a/{did}")
    await tab.connect()
    await tab.page.get_by_role("button", name="Buy", exact=True).click()
    await tab.page.get_by_role("button", name="Continue").click()


async def test_no_in_the_wallet_sends_nothing_and_says_so(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Declined")).plan_id
    did, subscriber = (await world.register(plan)).did, await world.wallet()
    wallet = BrowserWallet(subscriber, world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page
        wallet.rejects = {"eth_requestAccounts"}
        await tab.go(f"a/{did}")
        await page.locator("header.top").get_by_role("button", name="Connect wallet").click()
        await expect(page.get_by_text("You declined in the wallet.")).to_be_visible()
        await page.get_by_role("button", name="Cancel").click()

        wallet.rejects = {"eth_sendTransaction", "personal_sign"}
        await start_buying(tab, did)
        await page.get_by_role("button", name="Confirm in wallet").click()
        await expect(page.get_by_text("You declined in the wallet. Nothing was sent.")).to_be_visible()
        assert await world.credits(plan, subscriber) == 0
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("link", name="Create one").click()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_text("You declined in the wallet.")).to_be_visible()

        # Changed their mind
        wallet.rejects = set()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_role("heading", name="New API key")).to_be_visible()


async def test_too_little_money_is_found_out_before_the_wallet_is_asked(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Dear", price=10**18)).plan_id
    did = (await world.register(plan)).did
    wallet = BrowserWallet(await world.wallet(wei=10**17), world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        await start_buying(tab, did)
        await expect(tab.page.get_by_text("This takes up to 1 ETH, and the wallet holds 0.1 ETH.")).to_be_visible()
        await expect(tab.page.get_by_role("button", name="Confirm in wallet")).to_have_count(0)
        assert "eth_sendTransaction" not in {method for method, _ in wallet.asked}


async def test_what_the_contract_would_refuse_is_said_in_words(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Once", purchase_limit=1)).plan_id
    did, subscriber = (await world.register(plan)).did, await world.wallet()
    await world.buy(plan, subscriber)
    async with open_tab(browser, world.node.url, BrowserWallet(subscriber, world.chain)) as tab:
        page = tab.page
        await tab.go(f"a/{did}")
        await tab.connect()
        await page.get_by_role("button", name="Buy more").click()
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text("You have bought as much of this plan as one account may.")).to_be_visible()
        await tab.shot("refused")


async def test_a_wallet_on_another_network_is_asked_to_switch(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Elsewhere")).plan_id
    did, subscriber = (await world.register(plan)).did, await world.wallet()
    wallet = BrowserWallet(subscriber, world.chain)
    wallet.chain_id, wallet.knows = 1, {1}
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page
        await tab.go(f"a/{did}")
        await tab.connect()
        await expect(page.get_by_text("Your wallet is on another network.")).to_be_visible()
        await tab.shot("wrong-network")
        wallet.rejects = {"wallet_switchEthereumChain"}
        await page.get_by_role("button", name="Switch to").click()
        await expect(page.get_by_text("You declined in the wallet.")).to_be_visible()
        wallet.rejects = set()
        await page.get_by_role("button", name="Switch to").click()  # it doesn't know the chain, and learns it
        await expect(page.get_by_text("Your wallet is on another network.")).to_have_count(0)
        asked = [params[0] for method, params in wallet.asked if method == "wallet_addEthereumChain"]
        assert [int(one["chainId"], 16) for one in asked] == [world.chain.chain_id]
        await page.evaluate("window.__walletEmit('chainChanged', '0x1')")
        await expect(page.get_by_text("Your wallet is on another network.")).to_be_visible()


async def test_a_transaction_survives_a_reload(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Slow block")).plan_id
    did, subscriber = (await world.register(plan)).did, await world.wallet()
    async with open_tab(browser, world.node.url, BrowserWallet(subscriber, world.chain)) as tab:
        page = tab.page
        await world.chain.rpc("evm_setAutomine", [False])
        await world.chain.rpc("evm_setIntervalMining", [0])
        try:
            await start_buying(tab, did)
            await tab.confirm()
            await expect(page.get_by_text("is waiting for a block")).to_be_visible()
            await page.reload()
            await expect(page.get_by_text("is waiting for a block")).to_be_visible()
            await tab.shot("pending")
            await world.mine()
            await expect(page.get_by_text("is confirmed")).to_be_visible()
        finally:
            await world.chain.rpc("evm_setIntervalMining", [1])
            await world.chain.rpc("evm_setAutomine", [True])
        await expect(page.get_by_text("You have 100 credits.")).to_be_visible()


@pytest.mark.long
async def test_a_transaction_that_was_dropped_is_given_up(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Dropped")).plan_id
    did, subscriber = (await world.register(plan)).did, await world.wallet()
    async with open_tab(browser, world.node.url, BrowserWallet(subscriber, world.chain)) as tab:
        await world.chain.rpc("evm_setAutomine", [False])
        await world.chain.rpc("evm_setIntervalMining", [0])
        try:
            await start_buying(tab, did)
            await tab.confirm()
            (hash_,) = await tab.page.evaluate("JSON.parse(localStorage['nvm.transactions']).map((one) => one.hash)")
            await world.chain.rpc("anvil_dropTransaction", [hash_])
            await expect(tab.page.get_by_text("was replaced or dropped")).to_be_visible(timeout=120_000)
        finally:
            await world.chain.rpc("evm_setIntervalMining", [1])
            await world.chain.rpc("evm_setAutomine", [True])


async def test_a_session_that_ended_leads_to_signing_in_again(world: World, browser: Browser) -> None:
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        page = tab.page
        tab.expected.append("401 (Unauthorized)")
        await tab.go("me?tab=keys")
        await tab.connect()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_role("heading", name="New API key")).to_be_visible()
        await page.wait_for_load_state("networkidle")  # else what is under way may notice it first
        await page.context.clear_cookies()
        await page.get_by_role("button", name="Create key").click()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.get_by_role("button", name="Create key").click()
        await expect(page.get_by_text("Your new key")).to_be_visible()


async def test_the_wizard_survives_reloads_without_its_token(world: World, browser: Browser) -> None:
    builder, token = await world.wallet(), "sk-entered-and-forgotten-0123456789"
    await world.create_plan(title="For the wizard", owner=builder)
    async with open_tab(browser, world.node.url, BrowserWallet(builder, world.chain)) as tab:
        page = tab.page
        await tab.go("new/assistant")
        await tab.connect_here()
        await page.get_by_role("button", name="Next").click()
        await expect(page.get_by_text("Fill this in.")).to_be_visible()
        await page.get_by_role("textbox", name="Title").fill("Kept")
        await page.get_by_role("textbox", name="Description").fill("Survives.")
        await page.get_by_role("button", name="Next").click()
        await page.get_by_role("textbox", name="Provider").fill(world.provider.url)

        # An id of an assistant at OpenAI can't be called any more, and that is said before anything is sent
        await page.get_by_role("textbox", name="Provider").fill("https://api.openai.com/v1")
        await page.get_by_text("Assistant ID (asst_…)").click()
        await page.get_by_role("textbox", name="Assistant ID").fill("asst_m3hDiBSEScF4vTyeGGJ8JI8T")
        await page.get_by_role("textbox", name="Access token").fill("Bearer sk-123")
        await expect(page.get_by_text("give the key alone, without Bearer")).to_be_visible()
        await page.get_by_role("textbox", name="Access token").fill(token)
        await page.get_by_role("button", name="Next").click()
        await expect(
            page.get_by_text("shut the Assistants API down").or_(page.get_by_text("shut its Assistants API down")).first
        ).to_be_visible()
        await tab.shot("wizard-shut-down")

        await page.get_by_role("textbox", name="Provider").fill(world.provider.url)
        await page.get_by_text("Model and instructions", exact=True).click()
        await page.get_by_role("textbox", name="Model").fill("stand-in")
        await page.reload()
        await expect(page.get_by_role("textbox", name="Model")).to_have_value("stand-in")
        await expect(page.get_by_role("textbox", name="Access token")).to_have_value("")
        await page.get_by_role("textbox", name="Access token").fill(token)
        await page.get_by_role("button", name="Next").click()
        await page.get_by_role("button", name="Next").click()
        await page.get_by_label("For the wizard").check()
        await page.get_by_role("button", name="Next").click()

        # Declined, then sent, then loaded again before the block
        tab.wallet.rejects = {"eth_sendTransaction"}
        await page.get_by_role("button", name="Create", exact=True).click()
        await page.get_by_role("button", name="Confirm in wallet").click()
        await expect(page.get_by_text("Nothing is lost")).to_be_visible()
        tab.wallet.rejects = set()
        await world.chain.rpc("evm_setAutomine", [False])
        await world.chain.rpc("evm_setIntervalMining", [0])
        try:
            await page.get_by_role("button", name="Try again").click()
            await tab.confirm()
            await expect(page.get_by_text("is waiting for a block")).to_be_visible()
            await page.reload()
            await expect(page.get_by_text("waiting for its block")).to_be_visible()
            await world.mine()
        finally:
            await world.chain.rpc("evm_setIntervalMining", [1])
            await world.chain.rpc("evm_setAutomine", [True])
        await expect(page.get_by_role("heading", name="Your assistant is registered")).to_be_visible()
        tab.check(token)
        assert token not in await tab.kept()


async def test_what_a_wallet_typed_in_private_goes_with_it(world: World, browser: Browser) -> None:
    mine, other = await world.wallet(), await world.wallet()
    async with open_tab(browser, world.node.url, BrowserWallet(mine, world.chain)) as tab:
        page = tab.page
        await tab.go("new/assistant")
        await tab.connect_here()

        async def typed() -> None:
            await page.get_by_role("textbox", name="Title").fill("A title is public")
            await page.get_by_role("textbox", name="Description").fill("About nothing.")
            await page.get_by_role("button", name="Next").click()
            await page.get_by_role("textbox", name="Instructions").fill("The password is tangerine.")
            await page.get_by_role("textbox", name="Access token").fill("sk-mine-0123456789")
            assert "tangerine" in await tab.kept()

        await typed()
        await page.reload()
        await expect(page.get_by_role("textbox", name="Instructions")).to_have_value("The password is tangerine.")
        tab.wallet.use(other)
        await page.get_by_role("textbox", name="Access token").fill("sk-mine-0123456789")
        await page.evaluate("(address) => window.__walletEmit('accountsChanged', [address])", other.address)
        await expect(page.get_by_role("textbox", name="Instructions")).to_have_value("")
        await expect(page.get_by_role("textbox", name="Access token")).to_have_value("")
        kept = await tab.kept()
        assert "tangerine" not in kept
        assert "A title is public" in kept

        await page.get_by_role("textbox", name="Instructions").fill("The password is tangerine.")
        await tab.go("")  # from another page, too
        await page.locator("header.top").get_by_role("button", name="0x").click()
        await page.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
        await expect(page.get_by_role("button", name="Connect wallet").first).to_be_visible()
        assert "tangerine" not in await tab.kept()
        tab.check("sk-mine-0123456789", "tangerine")


async def test_any_address_leads_somewhere(world: World, browser: Browser) -> None:
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        tab.sites.append("about:")
        for path in ("%", "a/%E0%A4%A", "me?tab=%", "nowhere/at/all"):
            await tab.page.goto("about:blank")
            await tab.go(path)


async def test_a_chain_of_many_blocks_is_looked_through_in_pieces_that_the_node_takes(
    world: World, browser: Browser
) -> None:
    """The node answers 1,000,000 blocks at most; here it has even less patience, and the chain a year's blocks."""
    builder = await world.wallet()
    await world.create_plan(title="Found at last", owner=builder)
    wide, most = 15_000_000, 300_000
    asked: list[int] = []

    async def look(route: Route) -> None:
        request: Any = route.request.post_data_json
        if request["method"] == "eth_blockNumber":
            return await route.fulfill(json={"jsonrpc": "2.0", "id": request["id"], "result": hex(wide)})
        if request["method"] == "eth_getLogs":
            query = request["params"][0]
            last = wide if query["toBlock"] == "latest" else int(query["toBlock"], 16)
            asked.append(last - int(query["fromBlock"], 16) + 1)
            if asked[-1] > most:
                error = {"code": -32005, "message": "the range is too long"}
                return await route.fulfill(json={"jsonrpc": "2.0", "id": request["id"], "error": error})
        await route.continue_()

    async with open_tab(browser, world.node.url, BrowserWallet(builder, world.chain)) as tab:
        page = tab.page
        await page.route("**/rpc", look)
        await tab.go("builder?tab=plans")
        await tab.connect_here()
        await expect(page.get_by_text("Looking through the chain:")).to_be_visible()
        await expect(page.get_by_role("heading", name="Found at last")).to_be_visible(timeout=100_000)
        assert max(asked) == 1_000_000
        looked = sum(blocks for blocks in asked if blocks <= most)
        assert looked >= 2 * (wide - 10_000), "both events, all blocks"

        # What was found isn't looked for again
        asked.clear()
        await page.get_by_role("tab", name="Assistants").click()
        await expect(page.get_by_text("You have no assistants yet.")).to_be_visible(timeout=100_000)
        asked.clear()
        await page.get_by_role("tab", name="Plans and earnings").click()
        await expect(page.get_by_role("heading", name="Found at last")).to_be_visible()
        assert len(asked) == 2, asked


async def test_a_node_that_is_gone_is_named_and_found_again(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Node")).plan_id
    did = (await world.register(plan, title=f"Behind {browser.look}")).did
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        tab.expected += ["ERR_CONNECTION_REFUSED", "Failed to load resource"]
        page = tab.page
        await tab.go()
        await world.node.stop()
        await page.get_by_role("searchbox").fill(f"behind {browser.look}")
        await expect(page.get_by_text("The node can’t be reached.")).to_be_visible()
        await world.node.start()
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("link", name=f"Behind {browser.look}")).to_be_visible()
        await tab.go(f"a/{did}")
        await expect(page.get_by_text("Description verified")).to_be_visible()


async def test_a_chain_that_is_gone_is_named(doomed: World, browser: Browser) -> None:
    world = doomed
    plan = (await world.create_plan(title="Chain")).plan_id
    did = (await world.register(plan)).did
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        page = tab.page
        await tab.go(f"a/{did}")
        await tab.connect()
        await expect(page.get_by_role("button", name="Buy", exact=True)).to_be_visible()
        anvil = next(one for one in world.processes if one.name == "anvil")
        anvil.process.send_signal(signal.SIGKILL)
        await anvil.process.wait()
        await page.get_by_role("button", name="Buy", exact=True).click()
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text("It can’t be simulated now, so it isn’t sent:")).to_be_visible()
        await expect(page.get_by_text("The chain can’t be asked at the moment").first).to_be_visible()
        await expect(page.get_by_text("This transaction would fail")).to_have_count(0)
        await tab.shot("chain-gone")
        await page.get_by_role("dialog").get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("The chain can’t be asked at the moment").first).to_be_visible()
