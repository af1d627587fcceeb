"""The console in a real Chromium: tabs with a wallet, whose traffic and errors are written down."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import playwright.async_api
from playwright.async_api import Locator, Page, async_playwright, expect

from tests.browser.wallet import SCRIPT, BrowserWallet

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
RULES = "{resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}"
SHOTS = ROOT / "docs" / "img" / "console"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WIDE, NARROW = 1440, 390
SIZES = {WIDE: 900, NARROW: 844}
PATIENCE = 30_000
"""Milliseconds; the machine may be busy."""

KEPT = """async () => {
  const kept = [{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, history.state]
  for (const { name } of await indexedDB.databases()) kept.push(name)
  for (const name of await caches.keys())
    for (const request of await (await caches.open(name)).keys())
      kept.push(request.url, await (await caches.match(request)).text())
  kept.push((await navigator.serviceWorker.getRegistrations()).map((one) => one.scope))
  return JSON.stringify(kept)
}"""
"""Storage, cookies, address, databases (of which there should be none) and caches."""

WATCH = """(() => {
  if (window !== top) return
  let asked = false
  const look = () => {
    asked = false
    const { scrollWidth, clientWidth } = document.documentElement
    if (scrollWidth <= clientWidth) return
    const reaches = (one) => one.getBoundingClientRect().right > clientWidth
    const wide = [...document.body.querySelectorAll('*')].filter(reaches).at(-1)
    window.__wide(scrollWidth - clientWidth, wide?.outerHTML.slice(0, 300) ?? '')
  }
  const ask = () => {
    if (!asked) requestAnimationFrame(look)
    asked = true
  }
  new MutationObserver(ask).observe(document, { subtree: true, childList: true, attributes: true, characterData: true })
  addEventListener('load', ask)
})()"""
"""Tells `__wide` whenever the page, as it then is, would have to be scrolled sideways."""

expect.set_options(timeout=PATIENCE)


@dataclass(frozen=True, slots=True)
class Look:
    """What a person's screen is like. width: pixels."""

    width: int
    dark: bool

    def __str__(self) -> str:
        return f"{self.width}-{'dark' if self.dark else 'light'}"


LOOKS = [Look(width, dark) for width in (WIDE, NARROW) for dark in (False, True)]


@dataclass(frozen=True, slots=True)
class Browser:
    """Chromium, and the look that its tabs have."""

    process: playwright.async_api.Browser
    look: Look


def chromium() -> str | None:
    """The browser's executable: `CHROMIUM`, or the system's."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass(slots=True)
class Tab:
    """A page with a wallet. requests: (method, URL, headers, body) of each; errors: of the console and of scripts.

    expected: parts of errors that belong to the test. sites: addresses besides the node's that it goes to.
    """

    page: Page
    wallet: BrowserWallet
    url: str
    look: Look
    requests: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    sites: list[str] = field(default_factory=list)

    async def go(self, path: str = "") -> None:
        """Opens a page of the console by what stands behind the #."""
        await self.page.goto(f"{self.url}/#/{path}")
        await self.page.locator("main h1").first.wait_for()

    async def connect(self) -> None:
        """Connects the wallet by the button in the header."""
        header = self.page.locator("header.top")
        await header.get_by_role("button", name="Connect wallet").click()
        await header.get_by_role("button", name="0x").wait_for()
        await self.page.get_by_role("dialog").wait_for(state="detached")

    async def connect_here(self) -> None:
        """Connects the wallet by the button of a page that needs one."""
        await self.page.locator("main").get_by_role("button", name="Connect wallet").click()

    async def confirm(self) -> None:
        """Lets the simulated transaction go to the wallet, and waits until the dialog has gone."""
        button = self.page.get_by_role("button", name="Confirm in wallet")
        await button.click()
        await button.wait_for(state="detached")

    async def buy_and_sign_in(self) -> None:
        """From an assistant's page: buys its plan, then signs in where keys are made."""
        page = self.page
        await page.get_by_role("button", name="Buy", exact=True).click()
        await page.get_by_role("button", name="Continue").click()
        await self.confirm()
        await page.get_by_role("link", name="Create a key").click()
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_role("heading", name="New API key")).to_be_visible()

    async def shot(self, name: str, of: Locator | None = None) -> None:
        """Takes a picture, of all or of an element, where NVM_SCREENSHOTS is set.

        1 takes those anew that the documentation has, which are wide and light; a folder's name, all in every look.
        """
        wish = os.environ.get("NVM_SCREENSHOTS", "")
        path = SHOTS / f"{name}.png" if wish == "1" else Path(wish) / f"{name}-{self.look}.png"
        if not wish or (wish == "1" and (self.look != LOOKS[0] or not path.exists())):
            return
        if of is not None:
            await of.screenshot(path=path)
            return
        whole = await self.page.locator("dialog[open]").count() == 0
        await self.page.screenshot(path=path, full_page=whole, animations="disabled")

    async def faults(self) -> dict[str, object]:
        """What axe finds serious on the page as it is now."""
        found: dict[str, object] = {}
        await self.page.evaluate(AXE.read_text())  # not as a script of the page: its policy allows none
        for one in (await self.page.evaluate(f"axe.run({RULES})"))["violations"]:
            if one["impact"] in ("serious", "critical", "moderate"):
                found[one["id"]] = [node["html"][:200] for node in one["nodes"]]
        return found

    async def kept(self) -> str:
        """All that the page keeps in the browser."""
        return str(await self.page.evaluate(KEPT))

    def check(self, *secrets: str) -> None:
        """No error on the page, no request to anybody but the node, and none of these secrets in any of them."""
        unexpected = [error for error in self.errors if not any(part in error for part in self.expected)]
        assert unexpected == [], unexpected
        outside = [url for _, url, _, _ in self.requests if not url.startswith((f"{self.url}/", "data:", *self.sites))]
        assert outside == [], outside
        told = "\n".join([*map(str, self.requests), *self.logged])
        assert [secret for secret in secrets if secret in told] == []


@asynccontextmanager
async def open_browser() -> AsyncIterator[playwright.async_api.Browser]:
    """Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_tab(browser: Browser, url: str, wallet: BrowserWallet) -> AsyncIterator[Tab]:
    """A tab of its own, as if in a private window, which is checked when the test is through. url: the node's."""
    width = browser.look.width
    context = await browser.process.new_context(
        viewport={"width": width, "height": SIZES.get(width, 900)},
        color_scheme="dark" if browser.look.dark else "light",
    )
    context.set_default_timeout(PATIENCE)
    await context.expose_binding("__wallet", wallet.request)
    await context.add_init_script(SCRIPT)
    page = await context.new_page()
    tab = Tab(page, wallet, url, browser.look)

    def on_request(request: Any) -> None:
        tab.requests.append((request.method, request.url, dict(request.headers), request.post_data or ""))

    def on_console(message: Any) -> None:
        tab.logged.append(message.text)
        if message.type in ("error", "warning"):
            tab.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def on_wide(source: Any, pixels: int, of: str) -> None:
        tab.errors.append(f"{pixels} pixels wider than the screen by {of} ({source['page'].url})")

    await context.expose_binding("__wide", on_wide)
    await context.add_init_script(WATCH)
    page.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: tab.errors.append(str(error)))
    try:
        yield tab
        if page.url.startswith(url) and AXE.exists():
            assert await tab.faults() == {}
        tab.check()
    finally:
        await context.close()
