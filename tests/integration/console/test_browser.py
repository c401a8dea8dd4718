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
from spendgate.console.pages import Console, UsageLogs
from spendgate.console.settings import ConsoleSettings
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.drift import Drift
from spendgate.ledger.redis.closing import close_month

from .conftest import NOW_S, T0, TOKEN, USD, House

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
PATHS = (
    "/",
    "/spend?team=red",
    "/teams/red",
    "/teams/red/policy",
    "/teams/red/raise",
    "/chargeback",
    "/sign-in",
    "/teams/nobody",
    "/?period=2026-Q4",
    "/?from=2026-10-20&to=2026-11-18",
    "/spend",
    "/spend?team=red&app=chat&user=kim",
    "/spend?by=model",
    "/adjustments",
    "/closes",
    "/closes?month=2026-10",
    "/drift",
    "/prices",
)
SHORT = 8
"""So many of them are looked at in every light and size."""
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture
async def site(house: House, tmp_path: Path) -> AsyncIterator[str]:
    """The console on a port, with a busy team in it, and something on every page."""
    log = tmp_path / "usage.jsonl"
    for app in ("chat", "a-rather-long-name-of-an-app-that-does-not-fit-a-phone"):
        await house.spend("red", 41 * USD, app=app, user="kim", log=log)
    await house.refuse("red", user="kim")
    await house.ledger.adjust(
        [
            Adjustment(
                "a-1", "red", 5 * USD, "an invoice's line without a space: " + "x" * 80, "mei", day="20261031"
            )
        ],
        T0,
    )
    await close_month(house.ledger, ["red"], "202610", "finance", T0)
    await house.ledger.note_drift(Drift("openai", "2026-10", T0, {"gpt-4o": (USD, 6 * USD, 5 * USD)}))
    settings = ConsoleSettings.from_environment(
        {
            "SPENDGATE_CONSOLE_TOKEN": TOKEN,
            "SPENDGATE_CONSOLE_ANONYMOUS": "read",
            "SPENDGATE_POLICY_REPO": "/r",
        }
    )
    began = time.monotonic()
    books = Books(house.ledger, lambda: house.snapshot, lambda: T0 + int((time.monotonic() - began) * 1000))
    site = Console(settings, books, ProposalService(settings), lambda: NOW_S, UsageLogs([log])).application()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(site, log_level="error", lifespan="off"))
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
    context = await browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True)
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
    # every page in two of the four, which between them have both schemes and both sizes
    every = (scheme == "light") == (size == DESKTOP)
    for path in PATHS if every else PATHS[:SHORT]:
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


async def test_a_page_whose_days_are_still_being_read_fills_itself_also_with_the_form_of_days_open(
    site: str, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spendgate.console.figures.PATIENCE_S", 0)
    page = await browser.new_page()
    await page.goto(f"{site}/?from=2026-10-20&to=2026-11-18")
    assert "are being read" in await page.inner_text("main")
    await page.get_by_role("region", name="By provider").wait_for(timeout=30_000)


async def test_the_keyboard_alone_reaches_a_teams_page(site: str, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(site)
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
    await page.keyboard.press("Enter")
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "red":
            break
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/teams/red*")


async def test_the_overview_is_drawn_and_downloads_what_it_shows_without_javascript(
    site: str, browser: Browser
) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = await context.new_page()
    await page.goto(site)
    chart = page.get_by_role("img", name="Spend by day")
    box = await chart.bounding_box()
    assert (
        box is not None and 300 < box["width"] <= PHONE["width"] and box["height"] > 150
    )  # it need not be scrolled
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


async def test_from_the_sum_down_to_a_users_day_every_number_leads_on_without_javascript(
    site: str, browser: Browser
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(site)
    await page.locator(".sums dd a").first.click()
    for dimension, name, amount in (
        ("team", "red", "$82.00"), ("app", "chat", "$41.00"), ("user", "kim", "$41.00"), ("model", "gpt-4o", "$41.00"),
    ):  # fmt: skip
        row = page.get_by_role("region", name=f"By {dimension}").get_by_role("row").filter(has_text=name)
        await row.get_by_role("link", name=amount).first.click()
        assert f"{dimension}: {name}" in await page.get_by_label("What is shown").inner_text()
    await page.locator("summary", has_text="The days as a table").click()
    await page.locator("#days").get_by_role("link", name="$41.00").click()
    assert "gpt-4o, 2026-11-18" in await page.inner_text("h1")
    assert [await a.inner_text() for a in await page.locator(".crumbs a").all()] == [
        "All spend", "red", "chat", "kim", "gpt-4o",
    ]  # fmt: skip
    await context.close()


async def test_no_page_breaks_a_word_of_a_name_that_fits_its_line_nor_hides_an_amount_on_a_phone(
    site: str, browser: Browser
) -> None:
    context = await browser.new_context(viewport=PHONE)
    page = await context.new_page()
    await page.goto(site)
    row = page.get_by_role("region", name="Budgets").get_by_role("row").filter(has_text="red")
    name = await row.get_by_role("link", name="red", exact=True).bounding_box()
    spent = await row.get_by_role("link", name="$82.00").bounding_box()
    assert name is not None and name["height"] < 30
    assert spent is not None and spent["x"] + spent["width"] <= PHONE["width"]
    await context.close()
