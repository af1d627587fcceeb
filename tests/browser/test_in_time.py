"""How long it takes somebody who has never seen it. What they must do is asserted; the time is written down.

The model and its figures are in `effort`. `pytest -s tests/browser/test_in_time.py` shows what it came to.
"""

from __future__ import annotations

from functools import partial

import pytest
from playwright.async_api import expect

from nvm_chain.did import Did
from tests.browser.console import Browser, open_tab
from tests.browser.effort import Effort, record
from tests.browser.wallet import BrowserWallet
from tests.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]

ABOUT = "An OpenAI assistant that helps you solve math problems."
INSTRUCTIONS = "You are a patient tutor. Work the problem out step by step, and check the result."


async def test_a_builder_fills_eight_fields_from_a_wallet_to_an_assistant_on_sale(
    world: World, browser: Browser
) -> None:
    """The tutorial, without a plan to begin with."""
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        page, person = tab.page, Effort(tab)
        button, link = partial(page.get_by_role, "button", exact=True), partial(page.get_by_role, "link", exact=True)
        box = partial(page.get_by_role, "textbox")
        await tab.go()
        with person.clock():
            # 1 New: make a plan, with a wallet
            await person.click(link(name="New"))
            await expect(page.get_by_role("heading", name="New", exact=True)).to_be_visible()
            await person.look()
            await person.click(link(name="Create Plan"))
            await person.look()
            await person.click(page.locator("main").get_by_role("button", name="Connect wallet"))
            await expect(button(name="Create plan")).to_be_visible()
            await person.look()
            await person.type(box(name="Title"), "Maths, 100 calls")
            await person.type(box(name="Price"), "0.005")
            await person.click(button(name="Create plan"))
            await expect(button(name="Confirm in wallet")).to_be_enabled()
            await person.look()
            await person.click(button(name="Confirm in wallet"))
            await page.wait_for_url("**/#/builder?plan=*")

            # 2 describe
            await person.look()
            await person.click(link(name="Create Asset"))
            await expect(page.get_by_role("heading", name="1. Describe")).to_be_visible()
            await person.look()
            await person.type(box(name="Title"), "Mathematics tutor")
            await person.type(box(name="Description"), ABOUT, after=box(name="Title"))
            await person.type(box(name="Tags"), "maths", after=box(name="Description"))
            await person.press("Enter")
            await person.click(button(name="Next"))

        # 3 attributes: the provider's address is OpenAI's unless one says so, which only this test has to
        await box(name="Provider").fill(world.provider.url)
        with person.clock():
            await person.look()
            model = page.get_by_label("Model", exact=True)
            await person.type(model, "stand-in")
            await person.type(box(name="Instructions"), INSTRUCTIONS, fetched=True, after=model)
            await person.type(
                box(name="Access token"), world.provider.key, fetched=True, after=box(name="Instructions")
            )
            await person.press("Enter")

            # 4 integration: optional
            await expect(page.get_by_role("heading", name="3. Integration")).to_be_visible()
            await person.look()
            await person.click(button(name="Next"))

            # 5 plan
            await person.look()
            await expect(page.get_by_label("Maths, 100 calls")).to_be_checked()
            await person.click(button(name="Next"))

            # 6 review, 7 registration
            await expect(page.get_by_text("Given; will be encrypted")).to_be_visible()
            await person.look(page.locator("main dl"))
            await person.click(button(name="Create"))
            await expect(button(name="Confirm in wallet")).to_be_enabled()
            await person.look()
            await person.click(button(name="Confirm in wallet"))
            await expect(page.get_by_role("heading", name="Your assistant is registered")).to_be_visible()
            await person.look()
        did = Did.parse(await page.locator("dd").first.inner_text())
        tab.check(world.provider.key)
    report = person.report()
    record("builder, console", report)
    (offer,) = await world.chain.call(world.deployment.assets.offers(did))
    assert (offer.min_credits, offer.max_credits) == (1, 1)
    assert len(report["fields"]) == 8, report["fields"]
    assert report["wallet"] == ["eth_requestAccounts", "personal_sign", *["eth_sendTransaction"] * 2]
    assert len(report["clicks"]) <= 11, report["clicks"]


async def test_a_subscriber_types_a_question_and_nothing_else(world: World, browser: Browser) -> None:
    """From the link that somebody gave them to an answer."""
    plan = (await world.create_plan(title="A hundred credits")).plan_id
    did = (await world.register(plan, title="Mathematics tutor", description=ABOUT)).did
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        page, person = tab.page, Effort(tab)
        with person.clock():
            await tab.go(f"a/{did}")
            buy = page.get_by_role("button", name="Buy", exact=True)
            await expect(buy).to_be_enabled()
            await person.look(page.locator("main .plans"))
            await person.click(buy)
            await expect(page.get_by_text("0.01 ETH", exact=True)).to_be_visible()
            await person.look()
            await person.click(page.get_by_role("button", name="Continue"))
            await expect(page.get_by_role("button", name="Confirm in wallet")).to_be_enabled()
            await person.look()
            await person.click(page.get_by_role("button", name="Confirm in wallet"))
            await expect(page.get_by_text("It’s yours.")).to_be_visible()
            await person.look()
            await person.click(page.get_by_role("dialog").get_by_role("button", name="Playground"))
            question = page.get_by_label("Your message")
            await expect(question).to_be_visible()
            await person.look()
            await person.type(question, "What is 17 * 23?", there=True)
            await person.press("Enter")
            person.calls += 1
            await expect(page.get_by_text("1 credit charged, 99 left.")).to_be_visible()
        tab.check()
    report = person.report()
    record("subscriber, console", report)
    assert report["fields"] == ["Your message"]
    assert report["wallet"] == ["eth_requestAccounts", "eth_sendTransaction", "personal_sign"]
    assert len(report["clicks"]) <= 4, report["clicks"]
