"""A builder's and an operator's daily work: earnings, prices, texts, secrets, nodes, grants, health."""

from __future__ import annotations

import openai
import pytest
from openai import APIStatusError
from playwright.async_api import Route, expect

from nvm_chain.definition import Definition
from nvm_chain.metadata import Metadata
from nvm_chain.plans import Payee
from nvm_chain.sealing import Binding
from nvm_chain.secret import Secret
from tests.browser.console import Browser, open_tab
from tests.browser.wallet import BrowserWallet
from tests.world import World, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]


EXPLORER = "https://explorer.example"


async def with_explorer(route: Route) -> None:
    """What the node says of itself, had its chain an explorer."""
    answer = await route.fetch()
    facts = await answer.json()
    facts["chain"]["explorer"] = EXPLORER
    await route.fulfill(response=answer, json=facts)


def unsealed(world: World, metadata: Metadata) -> Definition:
    """What the node opens: its key is the world's."""
    (sealed,) = metadata.sealed
    bound = Binding(metadata.did, metadata.owner, metadata.chain_id, metadata.registry, sealed.node, sealed.key_version)
    key = Secret(bytes.fromhex(world.node.settings["encryption_key"]))
    return sealed.open(key, bound).definition


async def test_sales_earnings_withdrawal_grant_and_pause(world: World, browser: Browser) -> None:
    builder, buyer, friend = await world.wallet(), await world.wallet(), await world.wallet()
    plan = (await world.create_plan(title="Ten credits", credits=10, price=10**17, owner=builder)).plan_id
    await world.buy(plan, buyer, units=3)
    async with open_tab(browser, world.node.url, BrowserWallet(builder, world.chain)) as tab:
        page = tab.page
        await tab.go("builder?tab=plans")
        await tab.connect_here()
        await expect(page.get_by_text("0.3 ETH").first).to_be_visible()
        await page.get_by_text("Sales", exact=True).click()
        await expect(page.get_by_role("img", name="Sales in the last 30 days, ETH")).to_be_visible()
        await expect(page.get_by_role("cell", name="0.3 ETH")).to_be_visible()
        await expect(page.locator("figure svg").get_by_text("0.3", exact=True)).to_be_visible()
        await tab.shot("builder-plans")

        before = await world.chain.balance(builder.address)
        await page.get_by_role("button", name="Withdraw", exact=True).click()
        await expect(page.get_by_text("Sends 0.3 ETH to your wallet.")).to_be_visible()
        await tab.confirm()
        await expect(page.get_by_role("button", name="Withdraw", exact=True)).to_be_disabled()
        assert await world.chain.balance(builder.address) > before + 29 * 10**16

        await page.get_by_role("button", name="Grant", exact=True).click()
        await page.get_by_label("Their address").fill(friend.address)
        await page.get_by_label("How many").fill("2")
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text(f"Gives 2 × 10 credits to {friend.address}.")).to_be_visible()
        await tab.confirm()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        assert await world.credits(plan, friend) == 20

        await page.get_by_role("button", name="Pause sales").click()
        await tab.confirm()
        await expect(page.get_by_text("Paused", exact=True)).to_be_visible()
        await page.get_by_role("button", name="End sales").click()
        await page.get_by_role("dialog").get_by_role("button", name="End sales").click()
        await tab.confirm()
        await expect(page.get_by_text("Sales have ended", exact=True)).to_be_visible()
        assert (await world.chain.call(world.deployment.plans.plan(plan))).retired


async def test_what_a_builder_earned_is_their_share_withdrawn_or_not(world: World, browser: Browser) -> None:
    builder, friend, buyer = await world.wallet(), await world.wallet(), await world.wallet()
    shares = [Payee(builder.address, 7_000), Payee(friend.address, 3_000)]
    plan = (await world.create_plan(title="Shared", price=10**17, owner=builder, payees=shares)).plan_id
    await world.buy(plan, buyer)
    async with open_tab(browser, world.node.url, BrowserWallet(builder, world.chain)) as tab:
        page = tab.page
        earned = page.locator(".facts > div").filter(has_text="You earned so far")
        await tab.go("builder?tab=plans")
        await tab.connect_here()
        await page.get_by_text("Sales", exact=True).click()
        await expect(earned.locator("dd")).to_have_text("0.07 ETH")
        await page.get_by_role("button", name="Withdraw", exact=True).click()
        await tab.confirm()
        await expect(page.get_by_role("button", name="Withdraw", exact=True)).to_be_disabled()
        await world.buy(plan, buyer, units=2)
        await page.reload()
        await page.get_by_text("Sales", exact=True).click()
        await expect(earned.locator("dd")).to_have_text("0.21 ETH")
        await expect(page.locator("figure svg").get_by_text("0.3", exact=True)).to_be_visible()


async def test_texts_secret_prices_and_plans_of_an_assistant(world: World, browser: Browser) -> None:
    builder, buyer, token = await world.wallet(), await world.wallet(), world.provider.key
    plan = (await world.create_plan(title="First", owner=builder)).plan_id
    other = (await world.create_plan(title="Second", owner=builder)).plan_id
    did = (await world.register(plan, title="Old title", owner=builder)).did
    await world.buy(plan, buyer)
    async with open_tab(browser, world.node.url, BrowserWallet(builder, world.chain)) as tab:
        page = tab.page
        await tab.go("builder")
        await tab.connect()
        await tab.shot("builder-assistants")
        await page.get_by_role("link", name="Manage").click()
        await expect(page.get_by_text("sealed to the node’s present key")).to_be_visible()
        await tab.shot("builder-manage")

        await page.get_by_role("textbox", name="Title").fill("New title")
        await page.get_by_role("button", name="Save description").click()
        await tab.confirm()
        await expect(page.get_by_role("dialog")).to_have_count(0)

        async def published() -> bool:
            return (await world.chain.call(world.deployment.assets.asset(did))).version == 2

        await until(published, "the second version")
        record = await world.chain.call(world.deployment.assets.asset(did))
        metadata = Metadata.from_block(await world.store.get(record.metadata), did=did)
        assert (metadata.title, len(metadata.sealed)) == ("New title", 1)

        await page.get_by_text("Re-seal with a new token or definition").first.click()
        await page.get_by_role("textbox", name="Provider").fill(world.provider.url)
        await page.get_by_role("textbox", name="Model").fill("stand-in")
        await page.get_by_role("textbox", name="Instructions", exact=False).first.fill("You are terse.")
        await page.get_by_role("textbox", name="Access token").fill(token)
        await page.get_by_text("Tools, settings, permissions and prices").click()
        await page.get_by_label("set the temperature").check()
        await page.get_by_label("Follows the tokens used").check()
        await page.get_by_label("Millionths of a credit per input token").fill("x")
        await page.get_by_role("button", name="Re-seal with").last.click()
        await expect(page.get_by_text("One field needs another look")).to_be_visible()
        await page.get_by_label("Millionths of a credit per input token").fill("250")
        await page.get_by_role("button", name="Re-seal with").last.click()
        await tab.confirm()

        async def resealed() -> bool:
            return (await world.chain.call(world.deployment.assets.asset(did))).version == 3

        await until(resealed, "the third version")
        with world.openai(await world.login(buyer)) as client:

            async def obeyed() -> bool:
                """The node looks at the chain from time to time."""
                try:
                    return bool(client.responses.create(model=str(did), input="hello", temperature=0.5).output_text)
                except openai.BadRequestError:
                    return False

            await until(obeyed, "the node to see it")
        record = await world.chain.call(world.deployment.assets.asset(did))
        metadata = Metadata.from_block(await world.store.get(record.metadata), did=did)
        sealed = unsealed(world, metadata)
        assert (sealed.policy.temperature, sealed.policy.top_p) == (True, False)
        assert (sealed.pricing.mode, sealed.pricing.input, sealed.pricing.output) == ("tokens", 250, 400)

        first = page.get_by_role("region", name="First")
        await first.get_by_label("Credits per access, at most").fill("5")
        await first.get_by_role("button", name="Change price").click()
        await expect(page.get_by_text("From tomorrow each access costs 1–5 credits.")).to_be_visible()
        await tab.confirm()
        await expect(first.get_by_text("1–5 credits")).to_be_visible()
        offer = await world.chain.call(world.deployment.assets.offer(did, plan))
        assert (offer.min_credits, offer.max_credits, offer.next_max) == (1, 1, 5)

        await page.get_by_role("button", name="Add a plan").click()
        await tab.confirm()
        await expect(page.get_by_role("region", name="Second")).to_be_visible()
        assert (await world.chain.call(world.deployment.assets.offer(did, other))).max_credits == 1

        await page.get_by_role("button", name="Deactivate", exact=True).click()
        await tab.confirm()
        await expect(page.get_by_role("button", name="Activate", exact=True)).to_be_visible()
        assert not (await world.chain.call(world.deployment.assets.asset(did))).active
        tab.check(token)
        assert token not in await tab.kept()


async def test_somebody_else_manages_nothing(world: World, browser: Browser) -> None:
    plan = (await world.create_plan()).plan_id
    did = (await world.register(plan)).did
    async with open_tab(browser, world.node.url, BrowserWallet(await world.wallet(), world.chain)) as tab:
        await tab.go(f"builder?did={did}")
        await tab.connect()
        await expect(tab.page.get_by_text("Only the assistant’s owner may do this.")).to_be_visible()


async def test_the_operator_sees_the_node_and_others_dont(world: World, browser: Browser) -> None:
    node = await world.add_node()
    plan = (await world.create_plan(title="Seen", credits=10)).plan_id
    did = (await world.register(plan, node=node, title="Seen by the operator")).did
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    with world.openai(await world.login(subscriber, node=node), node=node) as client:
        client.responses.create(model=str(did), input="hello")
        await world.provider.queue("[[fail 401]]", path="/v1/responses")
        with pytest.raises(APIStatusError):
            client.responses.create(model=str(did), input="hello")
    await node.run("settle")
    async with open_tab(browser, node.url, BrowserWallet(node.wallet, world.chain)) as tab:
        page = tab.page
        await tab.go("operator")
        await tab.connect()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_role("heading", name="Settlement")).to_be_visible()
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name="Seen by the operator"))
        await expect(row.get_by_text("opens", exact=True)).to_be_visible()
        await expect(page.get_by_text("final").or_(page.get_by_text("in a block")).first).to_be_visible()
        failures = page.get_by_role("region", name="Provider errors").get_by_role("row").last
        await expect(failures).to_contain_text("refuses the builder’s key or account")
        await expect(failures.get_by_role("cell").last).to_have_text("1")
        await tab.shot("operator")

        # At a chain with an explorer: the links lead to what settled, in a tab of their own
        await page.route("**/console.json", with_explorer)
        await page.context.route(f"{EXPLORER}/**", lambda route: route.fulfill(body="found", content_type="text/html"))
        await page.reload()
        link = page.get_by_role("region", name="Batches").get_by_role("link")
        async with page.context.expect_page() as opened:
            await link.click()
        address, _, hash_ = (await opened.value).url.rpartition("/tx/")
        receipt = await world.chain.rpc("eth_getTransactionReceipt", [hash_])
        assert address == EXPLORER
        assert receipt["from"] == node.account.lower()
        assert receipt["to"] == world.deployment.plan_registry.lower()
    async with open_tab(browser, node.url, BrowserWallet(subscriber, world.chain)) as tab:
        page = tab.page
        tab.expected.append("403 (Forbidden)")
        await tab.go("operator")
        await tab.connect()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_text("This page is for the node's operator")).to_be_visible()
        await expect(page.get_by_text("Settlement")).to_have_count(0)
