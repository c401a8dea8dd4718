"""Write docs/images: the console's pages in a real Chromium, of a house that is made up.

    .venv/bin/python scripts/build_pictures.py [--all FOLDER]

Fourteen weeks of eight teams' spend in an embedded Redis, and a usage log of it. With --all every page is taken on a
desk, in the dark and on a phone, into a folder, to look at. The tests do not compare pictures.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import uvicorn
from playwright.async_api import async_playwright

from spendgate.budget.compile import compile_budget
from spendgate.budget.load import parse_documents
from spendgate.budget.policy import Policy
from spendgate.console.pages import UsageLogs, console
from spendgate.console.settings import ConsoleSettings
from spendgate.exchange.snapshot import snapshot
from spendgate.ledger.accounts import Adjustment, RefusedRequest
from spendgate.ledger.drift import Drift
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.redis.closing import close_month
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import day_key
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import UsageRecord
from spendgate.settings.config import Settings

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
NOW_S = 1_795_000_000
"""2026-11-18T11:06:40Z."""
DAY_MS = 86_400_000
DAYS = 98
TEAMS = {
    "payments": 900, "search": 600, "support": 700, "checkout": 350, "legal": 120, "contract-review": 250,
    "ml-platform": 0, "marketing": 0,
}  # fmt: skip
"""Team → monthly budget in USD; 0: none."""
APPS = ("assistant", "summaries", "batch-labels")
USERS = ("ann@example.com", "kofi@example.com", "mei@example.com", "svc-nightly", "")
MODELS = (
    "gpt-5.4", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "gemini-2.5-pro", "mistral-large-latest", "gpt-5-mini",
    "claude-sonnet-4-5",
)  # fmt: skip
BUDGET = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {{name: {team}}}
spec:
  team: {team}
  monthlyBudgetUSD: {usd}
  alertThresholds: [{{percent: 80, action: alert}}, {{percent: 100, action: reject}}]
  apps: [{{name: assistant, maxMonthlyUSD: {app}}}]
"""
PAGES = {
    "overview": "/", "unbudgeted": "/?budget=none", "range": "/?from=2026-10-05&to=2026-11-15",
    "quarter": "/?period=2026-Q4", "spend": "/spend", "spend-team": "/spend?month=2026-11&team=payments",
    "spend-app": "/spend?month=2026-11&team=payments&app=assistant",
    "spend-user": "/spend?month=2026-11&team=payments&user=ann%40example.com",
    "spend-by": "/spend?month=2026-11&by=model", "spend-90d": "/spend?period=90d&team=search",
    "spend-day": "/spend?from=2026-11-17&to=2026-11-17&team=payments", "team": "/teams/payments",
    "policy": "/teams/payments/policy", "chargeback": "/chargeback", "adjustments": "/adjustments",
    "closes": "/closes", "close": "/closes?month=2026-10", "drift": "/drift", "prices": "/prices",
}  # fmt: skip
SHOTS = (("desktop", 1240, 900, "light"), ("dark", 1240, 900, "dark"), ("phone", 390, 844, "light"))
DOCS = (
    ("console-desktop", "overview", "desktop", 1700), ("console-dark", "overview", "dark", 1000),
    ("console-phone", "overview", "phone", 1700), ("console-spend", "spend-team", "desktop", 1500),
    ("console-spend-phone", "spend-team", "phone", 1500), ("console-user", "spend-user", "dark", 1000),
    ("console-team", "team", "desktop", 1100), ("console-chargeback", "chargeback", "desktop", 900),
    ("console-adjustments", "adjustments", "desktop", 700), ("console-closes", "close", "desktop", 800),
    ("console-drift", "drift", "desktop", 700), ("console-prices", "prices", "desktop", 700),
)  # fmt: skip
"""(name in docs/images, page, shot, height at most)."""


async def fill(ledger: RedisLedger, log: Path) -> None:
    """What the teams spent, less on weekends, and the usage log of it."""
    chance, prices, batch, lines = random.Random(5), table(), list[Settlement](), list[bytes]()
    for back in range(DAYS, -1, -1):
        at = NOW_S * 1000 - back * DAY_MS
        weekend = (at // DAY_MS + 4) % 7 in (0, 6)
        for team, usd in TEAMS.items():
            for n in range(9):
                model, app, user = chance.choice(MODELS), chance.choice(APPS), chance.choice(USERS)
                share = (usd or 160) / 900 * (0.35 if weekend else 1) * (1.25 - back / 200)
                fresh = int(chance.randint(200_000, 1_300_000) * share)
                tokens = {
                    "input": fresh,
                    "cached_input": int(fresh * chance.random() * 1.5),
                    "output": fresh // 9,
                }
                price = prices.find(model)
                assert price is not None, model
                cost = sum(cost_nanousd(price, {k: n // 40 for k, n in tokens.items()}) for _ in range(40))
                saved = cost // 3 if model == "gpt-5-mini" else 0
                name = f"{team}-{back}-{n}"
                batch.append(
                    Settlement(
                        name,
                        team,
                        app,
                        model,
                        cost,
                        tokens,
                        at,
                        scopes=(("month", "month"),),
                        saved_nanousd=saved,
                    )
                )
                if back <= 30:
                    lines.append(
                        UsageRecord(
                            name, "", at, team, app, user, "", "openai-chat", model, model, "", tokens, cost, cost, "v",
                            "allow", "as_requested", Outcome.COMPLETE, saved_nanousd=saved, charged_by=ChargedBy.USAGE,
                        ).line()
                    )  # fmt: skip
    await ledger.settle(batch)
    log.write_bytes(b"\n".join(lines) + b"\n")
    await ledger.note_refusals(
        [
            RefusedRequest(
                "payments", NOW_S * 1000 - n * 3_600_000, "batch-labels", "gpt-5.4", "app_budget_exceeded", f"r{n}",
                "svc-nightly",
            )
            for n in (2, 1, 0)
        ]
    )  # fmt: skip
    october, today = "20261031", day_key(NOW_S * 1000)
    for team in TEAMS:
        await close_month(ledger, [team], "202609", "finance", NOW_S * 1000)
    await ledger.adjust(
        [
            Adjustment("inv-openai-202610", "search", 4_400_000_000, "OpenAI invoice of October: web searches", "mei",
                       "assistant", "gpt-5.4", october),
            Adjustment("incident-311", "payments", -12_300_000_000, "retry storm of 11 November, paid by the platform",
                       "kofi", "batch-labels", "gpt-5.4", today),
            Adjustment("sla-credit", "support", -6_500_000_000, "provider's credit for the outage of 3 October", "mei",
                       day=october, scopes=()),
        ],
        NOW_S * 1000,
    )  # fmt: skip
    for team in list(TEAMS)[:6]:
        await close_month(ledger, [team], "202610", "finance", NOW_S * 1000)
    await ledger.adjust(
        [
            Adjustment(
                "late-bill", "legal", 1_100_000_000, "a line of October that came late", "mei", day=october
            )
        ],
        NOW_S * 1000,
    )
    usd = 10**9
    await ledger.note_drift(
        Drift("openai", "2026-10", NOW_S * 1000 - 9 * DAY_MS,
              {"gpt-5.4": (0, 412 * usd, 412 * usd), "gpt-5-mini": (2_310_000_000, 92 * usd, 89_690_000_000)})
    )  # fmt: skip
    await ledger.note_drift(
        Drift("aws", "2026-10", NOW_S * 1000 - 8 * DAY_MS,
              {"us.anthropic.claude-sonnet-4-5-20250929-v1:0": (0, 388 * usd, 388 * usd)})
    )  # fmt: skip


async def take(url: str, wanted: list[tuple[Path, str, str, int]]) -> None:
    """The pictures: (file, page, shot, height at most)."""
    binary = shutil.which("chromium")
    assert binary, "no chromium; scripts/setup_tests.sh installs it"
    sizes = {name: (width, height, scheme) for name, width, height, scheme in SHOTS}
    async with async_playwright() as p:
        browser = await p.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
        for file, name, shot, most in wanted:
            width, height, scheme = sizes[shot]
            colours: Any = scheme
            page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
            await page.goto(url + PAGES[name])
            await page.locator("[title='being read'], .waits, main[data-live='1']").first.wait_for(
                state="detached"
            )
            whole = await page.evaluate("document.documentElement.scrollHeight")
            clip: Any = {"x": 0, "y": 0, "width": width, "height": min(whole, most)}
            await page.screenshot(path=file, full_page=True, clip=clip)
            print(file)
            await page.close()
        await browser.close()


async def main() -> None:
    """Start a house, take its pictures, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER")
    every: Path | None = parser.parse_args().all
    IMAGES.mkdir(exist_ok=True)
    wanted = [(IMAGES / f"{file}.png", page, shot, most) for file, page, shot, most in DOCS]
    if every is not None:
        every.mkdir(parents=True, exist_ok=True)
        wanted = [(every / f"{page}-{shot[0]}.png", page, shot[0], 3000) for page in PAGES for shot in SHOTS]
    documents = "---\n".join(BUDGET.format(team=t, usd=n, app=n // 2) for t, n in TEAMS.items() if n)
    known = snapshot(Policy.of(map(compile_budget, parse_documents(documents))), table(), Settings())
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        ledger = RedisLedger.from_url(server.url, timeout_s=10)
        log = Path(folder) / "usage.jsonl"
        try:
            await fill(ledger, log)
            app = console(
                ledger, lambda: known, ConsoleSettings.from_environment({}), lambda: NOW_S, UsageLogs([log])
            )
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                serving = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
                task = asyncio.create_task(serving.serve([s]))
                await take(f"http://127.0.0.1:{s.getsockname()[1]}", wanted)
                serving.should_exit = True
                await task
        finally:
            await ledger.close()
            server.stop()


if __name__ == "__main__":
    asyncio.run(main())
