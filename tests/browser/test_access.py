"""For everybody: no serious finding of axe, nothing wider than the screen, the keyboard is enough, light and dark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import playwright.async_api
import pytest
import pytest_asyncio
from openai import APIStatusError
from playwright.async_api import expect

from nvm_chain.registration import Registration
from nvm_chain.wallet import LocalWallet
from tests.browser.console import AXE, Browser, Look, Tab, open_tab
from tests.browser.wallet import BrowserWallet
from tests.world import World, until

CUT_OFF = "[...document.querySelectorAll('.scroll')].some((one) => one.scrollWidth > one.clientWidth)"

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Busy:
    """A node where something has happened, and a wallet that sees all of it."""

    world: World
    wallet: LocalWallet
    one: Registration


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def busy() -> AsyncIterator[Busy]:
    wallet = LocalWallet.create()
    async with World(node={"operators": wallet.address}) as world:
        await world.fund(wallet.address)
        plan = (await world.create_plan(title="A hundred credits", owner=wallet, refund_cooldown=3600)).plan_id
        notes = (
            "# How\n\nAsk `anything`.\n\n```python\nprint('a rather long line of code, so that it has to scroll')\n```"
        )
        one = await world.register(
            plan,
            owner=wallet,
            title="Mathematics tutor",
            description="Helps with maths. " * 8,
            tags=("maths",),
            notes=notes,
        )
        await world.buy(plan, wallet)
        with world.openai(await world.login(wallet, name="laptop")) as client:
            client.responses.create(model=str(one.did), input="hello")
            await world.provider.queue("[[fail 401]]", path="/v1/responses")
            with pytest.raises(APIStatusError):
                client.responses.create(model=str(one.did), input="hello")
        await world.node.run("settle")
        yield Busy(world, wallet, one)


async def sign_in(tab: Tab) -> None:
    await tab.go("me?tab=keys")
    await tab.connect()
    await tab.page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(tab.page.get_by_role("heading", name="Your keys")).to_be_visible()


@pytest.mark.looks
@pytest.mark.skipif(not AXE.exists(), reason="axe-core is missing: make setup")
async def test_every_page(busy: Busy, browser: Browser) -> None:
    did = busy.one.did
    pages = {
        "market": ("", "1 assistant"),
        "asset": (f"a/{did}", "Description verified"),
        "new": ("new", "OpenAI Assistant"),
        "plan": ("new/plan", "Limited by usage"),
        "wizard": ("new/assistant", "1. Describe"),
        "plans": ("me", "Credits left"),
        "keys": ("me?tab=keys", "laptop"),
        "usage": ("me?tab=usage", "Receipts"),
        "playground": ("me?tab=playground", "Your message"),
        "builder": ("builder", "Manage"),
        "builder-plans": ("builder?tab=plans", "Yours to withdraw"),
        "manage": (f"builder?did={did}", "Sealed secret"),
        "operator": ("operator", "Settlements it pays for"),
    }
    problems: dict[str, object] = {}
    async with open_tab(browser, busy.world.node.url, BrowserWallet(busy.wallet, busy.world.chain)) as tab:
        await sign_in(tab)
        for name, (path, text) in pages.items():
            await tab.go(path)
            await expect(tab.page.get_by_text(text).first).to_be_visible()
            problems |= {f"{name}: {fault}": where for fault, where in (await tab.faults()).items()}
            if await tab.page.evaluate(CUT_OFF):
                problems[f"{name}: a table has to be scrolled"] = True
            await tab.shot(f"page-{name}")
    assert problems == {}


async def test_buying_needs_no_mouse(busy: Busy, browser: Browser) -> None:
    world, subscriber = busy.world, await busy.world.wallet()
    async with open_tab(browser, world.node.url, BrowserWallet(subscriber, world.chain)) as tab:
        page, keyboard = tab.page, tab.page.keyboard

        async def reach(name: str) -> None:
            """Presses Tab until the element with this name has the focus."""
            for _ in range(60):
                await keyboard.press("Tab")
                label = await page.evaluate("document.activeElement.innerText ?? ''")
                if label.strip() == name:
                    return
            raise AssertionError(f"{name} can't be reached")

        await tab.go(f"a/{busy.one.did}")
        await expect(page.get_by_text("Description verified")).to_be_visible()
        await reach("Connect wallet")
        await keyboard.press("Enter")
        await expect(page.get_by_role("button", name=subscriber.address[:6])).to_be_visible()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await reach("Buy")
        await keyboard.press("Enter")
        await reach("Continue")
        await keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Confirm in wallet")).to_be_enabled()
        await reach("Confirm in wallet")
        await keyboard.press("Enter")
        await expect(page.get_by_text("It’s yours.")).to_be_visible()
        await keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_a_page_that_is_wider_than_the_screen_is_noticed(
    busy: Busy, process: playwright.async_api.Browser
) -> None:
    """So that no other test passes because nobody looks."""
    wallet = BrowserWallet(busy.wallet, busy.world.chain)
    async with open_tab(Browser(process, Look(390, dark=False)), busy.world.node.url, wallet) as tab:
        await tab.go("")
        assert tab.errors == []
        await tab.page.locator("main h1").evaluate("(title) => (title.style.width = '500px')")

        async def noticed() -> bool:
            return any("wider than the screen by <h1" in error for error in tab.errors)

        await until(noticed, "the watch to see it")
        tab.expected.append("wider than the screen")


async def test_360_pixels_are_enough(busy: Busy, process: playwright.async_api.Browser) -> None:
    browser = Browser(process, Look(360, dark=False))
    async with open_tab(browser, busy.world.node.url, BrowserWallet(busy.wallet, busy.world.chain)) as tab:
        for path in ("", f"a/{busy.one.did}", "new/plan", "new/assistant", "me"):
            await tab.go(path)
            await tab.page.wait_for_load_state("networkidle")
