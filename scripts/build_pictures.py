"""Write docs/images: the console's overview in a real Chromium, of a house that is made up.

    .venv/bin/python scripts/build_pictures.py

Seven weeks of eight teams' spend in an embedded Redis; desktop, dark and phone. The tests do not compare pictures.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvicorn
from playwright.async_api import async_playwright

from spendgate.budget.load import parse_documents
from spendgate.budget.policy import Policy, compile_budget
from spendgate.console.pages import console
from spendgate.console.settings import ConsoleSettings
from spendgate.exchange.snapshot import snapshot
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.pricing.load import table
from spendgate.settings.config import Settings

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
NOW_S = 1_795_000_000
"""2026-11-18T11:06:40Z."""
DAY_MS = 86_400_000
DAYS = 48
TEAMS = {
    "payments": 900, "search": 600, "support": 700, "checkout": 350, "legal": 120, "contract-review": 250,
    "ml-platform": 0, "marketing": 0,
}  # fmt: skip
"""Team → monthly budget in USD; 0: none."""
MODELS = (
    "gpt-5.4", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "gemini-2.5-pro", "azure/gpt-5.6-sol", "gpt-5-mini",
    "sonar-pro", "claude-sonnet-4-5",
)  # fmt: skip
BUDGET = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {{name: {team}}}
spec:
  team: {team}
  monthlyBudgetUSD: {usd}
  alertThresholds: [{{percent: 80, action: alert}}, {{percent: 100, action: reject}}]
"""
SHOTS = (("desktop", 1100, 900, "light"), ("dark", 1100, 900, "dark"), ("phone", 390, 844, "light"))


async def spend(ledger: RedisLedger) -> None:
    """Fill the ledger with what the teams spent, less on weekends."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.asks import ask, candidate, end

    chance = random.Random(5)
    for back in range(DAYS, -1, -1):
        at = NOW_S * 1000 - back * DAY_MS
        weekend = (at // DAY_MS + 4) % 7 in (0, 6)
        for team, usd in TEAMS.items():
            for model in chance.sample(MODELS, 3):
                name = f"{team}-{back}-{model}"
                nano = int(chance.random() * (usd or 200) / 55 * 10**9 * (0.4 if weekend else 1))
                await ledger.reserve(ask(name, candidate(10**12, model=model), team=team), at)
                await ledger.settle(
                    [end(name, nano, team=team, model=model, usage={"input": 10_000}, at_ms=at)], at
                )


async def take(url: str) -> None:
    """The pictures of the page at `url`."""
    binary = shutil.which("chromium")
    assert binary, "no chromium; scripts/setup_tests.sh installs it"
    async with async_playwright() as p:
        browser = await p.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
        for name, width, height, scheme in SHOTS:
            colours: Any = scheme
            page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
            await page.goto(url)
            await page.get_by_title("being read").first.wait_for(state="detached")
            clip = {"x": 0, "y": 0, "width": width, "height": 2 * height if width < 500 else height}
            await page.screenshot(path=IMAGES / f"console-{name}.png", full_page=True, clip=clip)  # type: ignore[arg-type]
            print(f"docs/images/console-{name}.png")
        await browser.close()


async def main() -> None:
    """Start a house, take its pictures, end it."""
    IMAGES.mkdir(exist_ok=True)
    documents = "---\n".join(BUDGET.format(team=t, usd=n) for t, n in TEAMS.items() if n)
    known = snapshot(Policy.of(map(compile_budget, parse_documents(documents))), table(), Settings())
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        ledger = RedisLedger.from_url(server.url)
        try:
            await spend(ledger)
            app = console(ledger, lambda: known, ConsoleSettings.from_environment({}), lambda: NOW_S)
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                serving = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
                task = asyncio.create_task(serving.serve([s]))
                await take(f"http://127.0.0.1:{s.getsockname()[1]}/")
                serving.should_exit = True
                await task
        finally:
            await ledger.close()
            server.stop()


if __name__ == "__main__":
    asyncio.run(main())
