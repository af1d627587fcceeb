"""A builder who has never seen the console: plan and assistant, from nothing to an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import expect

from nvm_chain.cid import Cid
from nvm_chain.did import Did
from nvm_chain.metadata import Metadata
from tests.browser.console import Browser, open_tab
from tests.browser.wallet import BrowserWallet
from tests.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]

ABOUT = "An OpenAI assistant that helps you solve math problems."
NOTES = "# How to ask\n\nWrite `2 + 2`, or **any** question."


async def test_a_builder_makes_a_plan_and_an_assistant_that_answers(world: World, browser: Browser) -> None:
    builder, token = await world.wallet(), world.provider.key
    async with open_tab(browser, world.node.url, BrowserWallet(builder, world.chain)) as tab:
        page = tab.page
        await tab.go("new")
        await tab.shot("new")
        await page.get_by_role("link", name="Create Asset").click()
        await tab.connect_here()

        # 1 describe
        await page.get_by_role("textbox", name="Title").fill("Mathematics tutor")
        await page.get_by_role("textbox", name="Description").fill(
            "An OpenAI assistant that helps you solve math problems."
        )
        for tag in ("Maths", "teaching"):
            await page.get_by_role("textbox", name="Tags").fill(tag)
            await page.get_by_role("button", name="Add tag").click()
        await tab.shot("wizard-1-describe")
        await page.get_by_role("button", name="Next").click()

        # 2 attributes
        await page.get_by_role("textbox", name="Provider").fill(world.provider.url)
        await page.get_by_label("Model", exact=True).fill("stand-in")
        await page.get_by_role("textbox", name="Instructions").fill("You are a patient tutor.")
        await page.get_by_role("textbox", name="Access token").fill(token)
        await expect(page.get_by_text("Form looks right")).to_be_visible()
        await page.get_by_role("textbox", name="Access token").fill("sk-wrong-0123456789")
        await page.get_by_role("button", name="Check with the provider").click()
        await expect(page.get_by_text("The provider refuses this token")).to_be_visible()
        await page.get_by_role("textbox", name="Access token").fill(token)
        await expect(page.get_by_text("The provider refuses this token")).to_have_count(0)
        await page.get_by_role("button", name="Check with the provider").click()
        await expect(page.get_by_text("The provider takes this token.")).to_be_visible()
        await tab.shot("wizard-2-attributes")
        await page.get_by_role("button", name="Next").click()

        # 3 integration
        await page.get_by_role("textbox", name="Integration instructions").fill(
            "# How to ask\n\nWrite `2 + 2`, or **any** question."
        )
        await expect(page.get_by_role("heading", name="How to ask")).to_be_visible()
        await tab.shot("wizard-3-integration")
        await page.get_by_role("button", name="Next").click()

        # 4 plan: there is none yet
        await expect(page.get_by_text("You have no plan yet")).to_be_visible()
        await page.get_by_role("link", name="Create a plan").click()
        await page.get_by_role("textbox", name="Title").fill("Pocket money")
        await page.get_by_role("textbox", name="Price").fill("0.01")
        await page.get_by_label("Credits", exact=True).fill("100")
        await tab.shot("plan")
        await page.get_by_role("button", name="Create plan").click()
        await expect(page.get_by_text("Puts “Pocket money” on sale: 100 credits for 0.01 ETH.")).to_be_visible()
        await expect(page.get_by_role("button", name="Confirm in wallet")).to_be_enabled()
        await tab.shot("transaction")
        await tab.confirm()
        await expect(page.get_by_label("Pocket money")).to_be_checked()
        await tab.shot("wizard-4-plan")
        await page.get_by_role("button", name="Next").click()

        # 5 review: the token went with the way to the plan's page, and what was typed did not
        await expect(page.get_by_text("Missing: enter it again")).to_be_visible()
        await page.get_by_role("button", name="Edit: Attributes").click()
        await page.get_by_role("textbox", name="Access token").fill(token)
        for _ in range(3):
            await page.get_by_role("button", name="Next").click()
        await expect(page.get_by_text("Given; will be encrypted")).to_be_visible()
        await tab.shot("wizard-5-review")
        await page.get_by_role("button", name="Create", exact=True).click()

        # 6 create
        await expect(page.get_by_role("button", name="Confirm in wallet")).to_be_enabled()
        await tab.shot("wizard-6-create")
        await tab.confirm()

        # 7 done
        await expect(page.get_by_role("heading", name="Your assistant is registered")).to_be_visible()
        await tab.shot("wizard-7-done")
        did = Did.parse(await page.locator("dd").first.inner_text())
        tab.check(token, "sk-wrong-0123456789")
        assert token not in await tab.kept()
        assert token not in json.dumps(tab.wallet.asked)
        assert token not in Path(world.node.settings["ledger"]).with_name("node.log").read_text()

    # What the browser wrote is what the Python library reads, and the node opens it.
    asset = await world.chain.call(world.deployment.assets.asset(did))
    assert asset.owner == builder.address
    metadata = Metadata.from_block(await world.store.get(asset.metadata), did=did, chain_id=world.chain.chain_id)
    assert metadata.tags == ("maths", "teaching")
    assert Cid.of(metadata.to_block()) == asset.metadata
    (offer,) = await world.chain.call(world.deployment.assets.offers(did))
    subscriber = await world.wallet()
    await world.buy(offer.plan_id, subscriber)
    with world.openai(await world.login(subscriber)) as client:
        assert client.responses.create(model=str(did), input="hello").output_text
