"""The wizard's corners: errors that were hidden, notes that hung the page, a stored assistant, a phone."""

from __future__ import annotations

import asyncio

import openai
import pytest
from playwright.async_api import expect

from nvm_chain.did import Did
from nvm_chain.metadata import Metadata
from tests.browser.console import AXE, Browser, Tab, open_tab
from tests.browser.test_builder_pages import unsealed
from tests.browser.wallet import BrowserWallet
from tests.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]

MORE = "Tools, settings, permissions and prices"
STORED = "asst_m3hDiBSEScF4vTyeGGJ8JI8T"


async def begin(world: World, tab: Tab) -> None:
    """Up to step 2, at the stand-in."""
    page = tab.page
    await tab.go("new/assistant")
    await tab.connect_here()
    await page.get_by_role("textbox", name="Title").fill("From a phone")
    await page.get_by_role("textbox", name="Description").fill("Typed with a thumb.")
    await page.get_by_role("button", name="Next").click()
    await page.get_by_role("textbox", name="Provider").fill(world.provider.url)
    await page.get_by_role("textbox", name="Access token").fill(world.provider.key)


async def test_next_always_goes_on_or_says_why_not(world: World, browser: Browser) -> None:
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        page = tab.page
        step, go_on = page.locator("main h2").first, page.get_by_role("button", name="Next")
        await begin(world, tab)

        # An assistant's id where a model belongs, then where it belongs
        await page.get_by_label("Model", exact=True).fill(STORED)
        await go_on.click()
        await expect(page.get_by_text("is an assistant’s id, not a model")).to_be_visible()
        await page.get_by_text("Assistant ID (asst_…)").click()
        await page.get_by_role("textbox", name="Assistant ID").fill(STORED)
        await go_on.click()
        await expect(step).to_have_text("3. Integration")

        # A mistake in what is closed
        await page.get_by_role("button", name="Back").click()
        await page.get_by_text("Model and instructions", exact=True).click()
        await page.get_by_label("Model", exact=True).fill("stand-in")
        await page.get_by_text(MORE).click()
        await page.get_by_role("textbox", name="Tools").fill("[nonsense")
        await page.get_by_text(MORE).click()
        await expect(page.get_by_role("textbox", name="Tools")).not_to_be_visible()
        await go_on.click()
        await expect(page.get_by_text("is not JSON")).to_be_visible()
        await expect(page.get_by_role("textbox", name="Tools")).to_be_focused()
        tab.check(world.provider.key)


async def test_an_error_stays_only_while_the_field_is_wrong(world: World, browser: Browser) -> None:
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        page, errors = tab.page, tab.page.locator("main .error")
        model = page.get_by_label("Model", exact=True)
        await begin(world, tab)
        await page.get_by_role("button", name="Next").click()
        await expect(errors).to_have_text(
            ["This is not a model’s name, such as gpt-5-mini: no spaces, at most 200 characters"]
        )
        await page.get_by_role("textbox", name="Instructions").fill("About something else.")
        await expect(errors).to_have_count(1)
        await model.fill(STORED)
        await expect(errors).to_have_text("This is an assistant’s id, not a model.")
        await model.fill("stand-in")
        await expect(errors).to_have_count(0)
        await expect(model).not_to_have_attribute("aria-invalid", "true")
        await model.fill("two words")
        await expect(errors).to_have_count(1)
        tab.check(world.provider.key)


async def test_no_notes_hang_the_preview(world: World, browser: Browser) -> None:
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        page = tab.page
        await begin(world, tab)
        await page.get_by_label("Model", exact=True).fill("stand-in")
        await page.get_by_role("button", name="Next").click()
        notes, preview = page.get_by_role("textbox", name="Integration instructions"), page.locator(".markdown")
        for text in ("# a\u2028b", "#\u2028#\u2029", "[" * 50_000, "[a](http://" * 4_500, "**" * 25_000, "`" * 49_999):
            async with asyncio.timeout(10):
                await notes.fill(text)
                await expect(preview).to_have_count(1)
                assert await page.evaluate("1") == 1
        await notes.fill("# Title\n\nSee [this](https://example.org/a) and **that**.")
        await expect(preview.get_by_role("link", name="this")).to_have_attribute("href", "https://example.org/a")
        tab.check(world.provider.key)


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is missing: make setup")
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # as OpenAI calls what it shut down
@pytest.mark.looks
async def test_a_stored_assistant_of_a_compatible_provider_is_sold(world: World, browser: Browser) -> None:
    with openai.OpenAI(base_url=world.provider.url, api_key=world.provider.key) as client:
        stored = client.beta.assistants.create(model="stand-in", instructions="You are terse.").id
    builder, faults = await world.wallet(), dict[str, object]()
    plan = (await world.create_plan(title="A hundred credits", owner=builder)).plan_id
    wallet = BrowserWallet(builder, world.chain)
    async with open_tab(browser, world.node.url, wallet) as tab:
        page = tab.page

        async def look(step: str) -> None:
            faults.update({f"{step}: {fault}": where for fault, where in (await tab.faults()).items()})
            await tab.shot(f"stored-{step}")

        await begin(world, tab)
        await page.get_by_label("Model", exact=True).fill("typed before")
        await page.get_by_role("textbox", name="Instructions").fill("Typed before.")
        await page.get_by_text("Assistant ID (asst_…)").click()
        await page.get_by_role("textbox", name="Assistant ID").fill(stored)
        await page.get_by_text(MORE).click()
        await page.get_by_role("textbox", name="Settings").fill('{"temperature": 0.2}')
        await page.get_by_label("append instructions").check()
        await page.get_by_label("Follows the tokens used").check()
        await page.get_by_label("per output token").fill("600")
        await look("attributes")
        await page.get_by_role("button", name="Next").click()
        await page.get_by_role("textbox", name="Integration instructions").fill("# How\n\nAsk.")
        await look("integration")
        await page.get_by_role("button", name="Next").click()
        await page.get_by_label("A hundred credits").check()
        await page.get_by_label("Credits per access, at least").fill("5")
        await page.get_by_label("Credits per access, at most").fill("4")
        await page.get_by_role("button", name="Next").click()
        await expect(page.get_by_text("Is below the minimum.")).to_be_visible()
        await page.get_by_label("Credits per access, at least").fill("2")
        await look("plan")
        await page.get_by_role("button", name="Next").click()

        # Everything that will be sealed is there to be read once more
        for text in (stored, '{"temperature": 0.2}', "append instructions", "600 for each of the output"):
            await expect(page.locator("main dd").get_by_text(text)).to_be_visible()
        await expect(page.get_by_text("A hundred credits: 2–4 credits for each access")).to_be_visible()
        await expect(page.get_by_text("Typed before.")).to_have_count(0)
        await look("review")
        await page.get_by_role("button", name="Create", exact=True).click()
        await expect(page.get_by_role("button", name="Confirm in wallet")).to_be_enabled()
        await look("create")
        await tab.confirm()
        await expect(page.get_by_role("heading", name="Your assistant is registered")).to_be_visible()
        await look("done")
        did = Did.parse(await page.locator("dd").first.inner_text())
        tab.check(world.provider.key)
        assert world.provider.key not in await tab.kept()
        assert faults == {}

        # Whoever leaves and comes back finds an empty form, not the old success
        await page.get_by_role("link", name="New", exact=True).click()
        await page.get_by_role("link", name="Create Asset").click()
        await expect(page.get_by_role("textbox", name="Title")).to_have_value("")

    offer = await world.chain.call(world.deployment.assets.offer(did, plan))
    assert (offer.min_credits, offer.max_credits) == (2, 4)
    record = await world.chain.call(world.deployment.assets.asset(did))
    sealed = unsealed(world, Metadata.from_block(await world.store.get(record.metadata), did=did))
    assert (sealed.dialect, sealed.assistant_id, sealed.model, sealed.instructions) == ("assistants", stored, "", "")
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    with world.openai(await world.login(subscriber)) as client:
        assert client.responses.create(model=str(did), input="hello").output_text
