"""The console in a real Chromium: light and dark, phone and desktop, with and without JavaScript, and as
axe-core finds it."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import axe_playwright_python
import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright

from spendgate.console.asking import ProposalService
from spendgate.console.books import Books
from spendgate.console.pages import Console
from spendgate.console.settings import ConsoleSettings

from .conftest import NOW_S, T0, TOKEN, USD, House

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
PATHS = (
    "/",
    "/teams/red",
    "/teams/red/policy",
    "/teams/red/raise",
    "/chargeback",
    "/sign-in",
    "/teams/nobody",
)
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture
async def site(house: House) -> AsyncIterator[str]:
    """The console on a port, with a busy team in it."""
    for app in ("chat", "a-rather-long-name-of-an-app-that-does-not-fit-a-phone"):
        await house.spend("red", 41 * USD, app=app)
    await house.refuse("red", user="kim")
    settings = ConsoleSettings.from_environment(
        {
            "SPENDGATE_CONSOLE_TOKEN": TOKEN,
            "SPENDGATE_CONSOLE_ANONYMOUS": "read",
            "SPENDGATE_POLICY_REPO": "/r",
        }
    )
    began = time.monotonic()
    books = Books(house.ledger, lambda: house.snapshot, lambda: T0 + int((time.monotonic() - began) * 1000))
    app = Console(settings, books, ProposalService(settings), lambda: NOW_S).application()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve([s]))
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        await serving


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    binary = shutil.which("chromium")
    assert binary, "no chromium; scripts/setup_tests.sh installs it"
    async with async_playwright() as p:
        started = await p.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
        yield started
        await started.close()


async def violations(page: Page) -> list[str]:
    await page.evaluate(AXE)
    found = await page.evaluate("axe.run()")
    return [
        f"{v['id']}: {json.dumps(v['nodes'][0]['html'])}: {v['nodes'][0]['failureSummary']}"
        for v in found["violations"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_every_page_is_accessible_and_fits_its_screen(
    site: str, browser: Browser, scheme: str, size: dict[str, int]
) -> None:
    context = await browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
    page = await context.new_page()
    faults: list[str] = []
    page.on(
        "console",
        lambda m: faults.append(m.text) if m.type == "error" and "status of" not in m.text else None,
    )
    page.on("pageerror", lambda e: faults.append(str(e)))
    await context.add_cookies([{"name": "x", "value": "y", "url": site}])
    await page.goto(f"{site}/sign-in")
    await page.get_by_label("Your name").fill("kim")
    await page.get_by_label("The console's token").fill(TOKEN)
    await page.get_by_role("main").get_by_role("button", name="Sign in").click()
    for path in PATHS:
        await page.goto(site + path)
        assert await violations(page) == [], path
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], f"{path} is {width} wide"
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert faults == []
    await context.close()


async def test_without_javascript_everything_is_there_and_forms_work(site: str, browser: Browser) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(site)
    await page.get_by_role("region", name="Budgets").get_by_role("link", name="red", exact=True).click()
    await page.get_by_role("link", name="Policy, and try a request").click()
    await page.get_by_label("App").fill("chat")
    await page.get_by_role("button", name="Explain").click()
    assert "Model used" in await page.inner_text(".outcome")
    await context.close()


async def test_an_open_page_follows_the_ledger_and_keeps_to_our_own_content_policy(
    house: House, site: str, browser: Browser
) -> None:
    page = await browser.new_page()
    faults: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    await page.goto(site)
    budgets = page.get_by_role("region", name="Budgets")
    row = budgets.get_by_role("row").filter(has_text="red")
    assert "$82.00" in await row.inner_text()
    await page.evaluate("document.querySelector('main').dataset.live = '0.2'")
    await house.spend("red", 7 * USD, app="late")
    await budgets.get_by_role("row").filter(has_text="$89.00").wait_for(timeout=30_000)
    assert faults == []


async def test_the_keyboard_alone_reaches_a_teams_page(site: str, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(site)
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
    await page.keyboard.press("Enter")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "red":
            break
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/teams/red*")


async def test_the_overview_is_drawn_and_downloads_what_it_shows_without_javascript(
    site: str, browser: Browser
) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport=PHONE)  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(site)
    chart = page.get_by_role("img", name="Spend by day")
    box = await chart.bounding_box()
    assert box is not None and box["width"] > 600 and box["height"] > 150  # it scrolls within its own region
    assert await chart.locator("rect.fill").count() == 18
    column = await chart.locator("rect.fill").last.bounding_box()
    assert column is not None and column["height"] > 100
    assert "$82.00" in await page.get_by_role("region", name="By provider").inner_text()
    async with page.expect_download() as started:
        await page.get_by_role("link", name="days", exact=True).click()
    made = await started.value
    assert made.suggested_filename == "days-2026-11.csv"
    assert "2026-11-18,82.00,0.00" in Path(await made.path()).read_text()
    await context.close()
