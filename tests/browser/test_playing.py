"""On a phone, with a contract wallet, and where streams, lists and clipboards do less than they should."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from playwright.async_api import Route, expect

from nvm_chain.deployments import PROXY, SALT, create2_address
from nvm_chain.wallet import LocalWallet
from tests.browser.console import AXE, Browser, open_tab
from tests.browser.wallet import BrowserWallet
from tests.integration.test_contract_wallets import MAGIC_6492, deploy, init_code
from tests.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]


class ContractWallet(BrowserWallet):
    """A contract at `account` for which its owner signs (ERC-1271)."""

    def __init__(self, account: str, owner: LocalWallet, world: World) -> None:
        super().__init__(owner, world.chain)
        self.account = account

    async def _answer(self, method: str, params: Any) -> Any:
        match method:
            case "eth_requestAccounts" | "eth_accounts":
                await super()._answer(method, params)
                return [self.account]
            case "eth_sendTransaction":
                await self._chain.rpc("anvil_impersonateAccount", [self.account])
                return await self._chain.rpc("eth_sendTransaction", params)
            case _:
                return await super()._answer(method, params)


class WalletToBe(ContractWallet):
    """The same before it is deployed: signatures carry what deploys it (ERC-6492)."""

    def __init__(self, owner: LocalWallet, world: World) -> None:
        code = init_code(owner.address)
        super().__init__(create2_address(code), owner, world)
        self._factory = SALT + code

    async def _answer(self, method: str, params: Any) -> Any:
        answer = await super()._answer(method, params)
        if method not in ("personal_sign", "eth_signTypedData_v4"):
            return answer
        wrapped = encode(["address", "bytes", "bytes"], [PROXY, self._factory, bytes.fromhex(answer[2:])])
        return "0x" + (wrapped + MAGIC_6492).hex()


@pytest.mark.looks
@pytest.mark.skipif(not AXE.exists(), reason="axe-core is missing: make setup")
async def test_any_screen_is_enough_to_buy_and_ask(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="A hundred credits")).plan_id
    did = (await world.register(plan, credits=2, title="In the pocket")).did
    subscriber, faults = await world.wallet(), dict[str, object]()
    wallet = BrowserWallet(subscriber, world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page

        async def look(what: str) -> None:
            faults.update({f"{what}: {fault}": where for fault, where in (await tab.faults()).items()})
            await tab.shot(f"ask-{what}")

        await tab.go(f"a/{did}")
        await page.get_by_role("button", name="Buy", exact=True).click()
        faults |= await tab.faults()
        await expect(page.get_by_text("0.01 ETH", exact=True)).to_be_visible()
        await look("buy")
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("button", name="Confirm in wallet")).to_be_enabled()
        await look("transaction")
        await tab.confirm()
        await expect(page.get_by_text("It’s yours.")).to_be_visible()
        faults |= await tab.faults()
        await page.get_by_role("link", name="Create a key").click()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.get_by_role("button", name="Create key").click()
        await expect(page.get_by_text("Your new key")).to_be_visible()
        await look("key")
        await page.get_by_role("button", name="I have copied it").click()
        for part in (page.get_by_role("button", name="Revoke key"), page.get_by_role("cell", name="never")):
            box = await part.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= browser.look.width, "nothing of a key is cut off"
        await look("keys")
        await page.get_by_role("tab", name="Playground").click()
        await page.get_by_label("Your message").fill("hello")
        await page.get_by_role("button", name="Ask").click()
        await expect(page.get_by_text("2 credits charged, 98 left.")).to_be_visible()
        await look("playground")
    assert faults == {}


async def test_a_contract_wallet_buys_and_signs_in(world: World, browser: Browser) -> None:
    owner = LocalWallet.create()
    account = await deploy(world, owner.address)
    await world.fund(account)
    plan = (await world.create_plan(title="For a contract")).plan_id
    did = (await world.register(plan)).did
    async with open_tab(browser, world.node.url, ContractWallet(account, owner, world)) as tab:
        page = tab.page
        await tab.go(f"a/{did}")
        await tab.connect()
        await tab.buy_and_sign_in()
        await page.get_by_role("tab", name="Playground").click()
        await page.get_by_label("Your message").fill("hello")
        await page.get_by_role("button", name="Ask").click()
        await expect(page.get_by_text("1 credit charged, 99 left.")).to_be_visible()


async def test_a_wallet_that_is_not_deployed_yet_signs_in_and_asks(world: World, browser: Browser) -> None:
    owner = LocalWallet.create()
    wallet = WalletToBe(owner, world)
    plan = (await world.create_plan(title="For a wallet to be")).plan_id
    did = (await world.register(plan)).did
    await world.chain.send(world.deployment.plans.grant(plan, wallet.account), world.builder)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page
        tab.expected.append("401 (Unauthorized)")
        await tab.go(f"me?tab=playground&did={did}")
        await tab.connect()
        wallet.use(LocalWallet.create())  # whom the wallet wouldn't obey
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(page.get_by_label("Your message")).to_have_count(0)
        wallet.use(owner)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.get_by_label("Your message").fill("hello")
        await page.get_by_role("button", name="Ask").click()
        await expect(page.get_by_text("1 credit charged, 99 left.")).to_be_visible()
    assert await world.chain.code(wallet.account) == b""


async def test_an_answer_can_be_stopped_and_one_that_breaks_off_is_named(world: World, browser: Browser) -> None:
    plan = (await world.create_plan(title="Play")).plan_id
    did, subscriber = (await world.register(plan)).did, await world.wallet()
    await world.buy(plan, subscriber)
    async with open_tab(browser, world.node.url, BrowserWallet(subscriber, world.chain)) as tab:
        page = tab.page
        await tab.go(f"me?tab=playground&did={did}")
        await tab.connect()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        ask, stop = page.get_by_role("button", name="Ask"), page.get_by_role("button", name="Stop")

        # Before the first byte
        question = page.get_by_label("Your message")
        await question.fill("[[hang]]")
        await question.press("Shift+Enter")
        await expect(question).to_have_value("[[hang]]\n")
        await expect(stop).to_have_count(0)
        async with page.expect_request("**/v1/responses"):
            await question.press("Enter")
        await stop.click()
        await expect(stop).to_have_count(0)
        await expect(ask).to_be_enabled()
        await expect(page.get_by_role("alert")).to_have_count(0)

        # In the middle of it
        await page.get_by_label("Your message").fill("[[hang_after 6]] one two three four five")
        await ask.click()
        await expect(page.locator(".answer .pre")).not_to_have_text("…")
        await stop.click()
        await expect(ask).to_be_enabled()
        await expect(page.get_by_role("alert")).to_have_count(0)

        async def half(route: Route) -> None:
            event = 'data: {"type": "response.output_text.delta", "delta": "Half an"}\n\n'
            await route.fulfill(body=event, content_type="text/event-stream")

        await page.route("**/v1/responses", half)
        await page.get_by_label("Your message").fill("hello")
        await ask.click()
        await expect(page.locator(".answer .pre")).to_have_text("Half an")
        await expect(page.get_by_text("The answer broke off.")).to_be_visible()


async def test_show_more_belongs_to_the_list_that_is_shown(world: World, browser: Browser) -> None:
    def entry(number: int) -> dict[str, Any]:
        about = {"owner": world.builder.address, "description": "", "tags": [], "cid": "b", "offers": []}
        return {"did": f"did:nv:{number:064x}", "title": f"Number {number}", **about}

    broken = False

    async def list_(route: Route) -> None:
        after, alphabetical = "after=" in route.request.url, "sort=title" in route.request.url
        if broken:
            return await route.abort()
        first = 100 * alphabetical + 10 * after
        listing = {"data": [entry(first)], "has_more": not after, "total": 2, "tags": []}
        await route.fulfill(json=listing)

    async with open_tab(browser, world.node.url, BrowserWallet(world.builder, world.chain)) as tab:
        page, more = tab.page, tab.page.get_by_role("button", name="Show more")
        await page.route("**/catalogue?*", list_)
        await tab.go()
        await more.click()
        await expect(page.get_by_role("link", name="Number 10", exact=True)).to_be_visible()
        await expect(more).to_have_count(0)
        await page.get_by_label("Sort by").select_option("Title")
        await expect(page.get_by_role("link", name="Number 100", exact=True)).to_be_visible()
        await expect(page.get_by_role("link", name="Number 10", exact=True)).to_have_count(0)
        broken = True
        tab.expected += ["ERR_FAILED", "Failed to load resource"]
        await more.click()
        await expect(page.get_by_text("The node can’t be reached.")).to_be_visible()
        broken = False
        await more.click()
        await expect(page.get_by_role("link", name="Number 110")).to_be_visible()

        await page.get_by_role("searchbox").fill("words")
        await page.wait_for_url("**/#/?q=words*")
        await page.get_by_role("link", name="Marketplace").click()
        await expect(page.get_by_role("searchbox")).to_have_value("")


async def test_copy_works_without_a_clipboard_for_scripts(world: World, browser: Browser) -> None:
    """As over plain http, where `navigator.clipboard` isn't there."""
    plan = (await world.create_plan(title="Copied")).plan_id
    did = (await world.register(plan)).did
    async with open_tab(browser, world.node.url, BrowserWallet(world.builder, world.chain)) as tab:
        page = tab.page
        await page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        await tab.go(f"a/{did}")
        await page.get_by_role("button", name="Copy").first.click()
        await expect(
            page.get_by_role("button", name="Copied").or_(page.get_by_role("button", name="Selected"))
        ).to_be_visible()
        assert (await page.evaluate("getSelection().toString()")).startswith("curl ")


async def test_all_receipts_can_be_shown(world: World, browser: Browser) -> None:
    subscriber = await world.wallet()
    plan = (await world.create_plan(title="Many")).plan_id
    did = (await world.register(plan)).did
    await world.buy(plan, subscriber)
    with world.openai(await world.login(subscriber)) as client:
        for _ in range(51):
            client.responses.create(model=str(did), input="hello")
    async with open_tab(browser, world.node.url, BrowserWallet(subscriber, world.chain)) as tab:
        page, rows = tab.page, tab.page.locator("tbody tr")
        await tab.go("me?tab=usage")
        await tab.connect()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(rows).to_have_count(50)
        await page.get_by_role("button", name="Show more").click()
        await expect(rows).to_have_count(51)
        await expect(page.get_by_role("button", name="Show more")).to_have_count(0)


@pytest.mark.looks
async def test_sales_add_up_exactly(world: World, browser: Browser) -> None:
    builder, buyer = await world.wallet(), await world.wallet()
    plan = (await world.create_plan(title="Odd", price=1_230_000_000_000_000, owner=builder)).plan_id
    await world.buy(plan, buyer)
    await world.buy(plan, buyer, units=2)
    async with open_tab(browser, world.node.url, BrowserWallet(builder, world.chain)) as tab:
        page = tab.page
        await tab.go("builder?tab=plans")
        await tab.connect_here()
        await page.get_by_text("Sales", exact=True).click()
        await expect(page.locator("figure svg").get_by_text("0.00369", exact=True)).to_be_visible()
        size = await page.locator("figure svg text").first.bounding_box()
        assert size is not None
        assert size["height"] >= 12, "as large as it says, on a phone, too"
        await tab.shot("sales")
