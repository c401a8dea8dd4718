"""What commands print and what the console shows of a month are the same numbers."""

from __future__ import annotations

import asyncio
import csv
import io
import random
import re
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from support.asks import end

from spendgate.cli.main import main
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.money import usd_cell, usd_to_nano

from .conftest import POLICY, T0, USD, House

TEAMS, APPS, MODELS = ("red", "blue", "ml-platform"), ("chat", "batch"), ("gpt-4o", "o3", "claude-sonnet-4-5")
DAY_MS = 86_400_000


@pytest.fixture
async def month(house: House) -> House:
    """A November of odd amounts, with what adjustments and accounting entries can do to it."""
    chance = random.Random(11)
    await house.ledger.settle(
        [
            end(
                f"x{n}", chance.randrange(1, 3 * USD), team=chance.choice(TEAMS), app=chance.choice(APPS),
                model=chance.choice(MODELS), usage={"input": 1000, "cached_input": 300, "output": 77},
                at_ms=T0 - chance.randrange(17) * DAY_MS,
            )
            for n in range(90)
        ],
        T0,
    )  # fmt: skip
    await house.ledger.adjust(
        [
            Adjustment("a", "red", -1_234_567_891, "a credit", app="chat", model="gpt-4o", day="20261110"),
            Adjustment("b", "blue", 7, "less than a cent", day="20261111"),
            Adjustment("c", "ml-platform", 3 * USD, "a late bill", day="20261112", scopes=()),
        ],
        T0,
    )
    return house


async def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints; each has an event loop of its own."""

    def run() -> None:
        try:
            main(list(arguments))
        except SystemExit as e:
            assert not e.code, capsys.readouterr().err

    capsys.readouterr()
    await asyncio.to_thread(run)
    return capsys.readouterr().out


def amounts(page: httpx.Response, name: str, section: str = "") -> list[str]:
    """The amounts of a table's row, without their dollar signs; of the tables from a section on."""
    assert page.status_code == 200
    text = re.sub(r'data-under="[^"]*"', "", page.text[page.text.index(section) :])
    rows = re.findall(r"<tr>.*?</tr>", text, flags=re.DOTALL)
    row = next(r for r in rows if re.search(rf"<th[^>]*>\s*(<a[^>]*>)?{re.escape(name)}<", r))
    return [a.replace("$", "").replace("&lt;", "<") for a in re.findall(r"[+-]?(?:&lt;)?\$[0-9,.]+", row)]


async def test_spend_and_the_overview_say_the_same_of_every_team(
    month: House, server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    given = ("--redis", server.url, "--month", "2026-11", "--policy", str(tmp_path / "policy.yaml"))
    table = await printed(capsys, "spend", *given)
    async with month.client() as client:
        page = await client.get("/?month=2026-11")
    for team in TEAMS:
        line = next(x for x in table.splitlines() if x.startswith(team))
        budget, spent, held = line.split()[1:4]
        shown = amounts(page, team, 'id="budgets"')
        assert shown[: (3 if budget != "-" else 2)] == [*([budget] if budget != "-" else []), spent, held], (
            line
        )
    total = next(x for x in table.splitlines() if x.startswith("total")).split()
    assert f'<dt>Spent</dt><dd><a href="/spend?month=2026-11">${total[2]}</a>' in page.text


async def test_the_chargeback_and_the_console_say_the_same_of_every_team_app_and_model(
    month: House, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("report", "chargeback", "--month", "2026-11", "--redis", server.url)
    table, exact = await printed(capsys, *given), await printed(capsys, *given, "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(exact)))
    async with month.client() as client:
        page = await client.get("/chargeback?month=2026-11")
        for team in TEAMS:
            own = [r for r in rows if r["team"] == team]
            spent = usd_cell(sum(usd_to_nano(r["cost_usd"]) for r in own))
            assert amounts(page, team)[0] == spent
            line = next(x for x in table.splitlines() if x.startswith(f"{team} total"))
            assert spent in line.split(), line
            for dimension in ("app", "model"):
                down = await client.get(f"/spend?month=2026-11&team={team}")
                for name in {r[dimension] for r in own}:
                    wanted = usd_cell(sum(usd_to_nano(r["cost_usd"]) for r in own if r[dimension] == name))
                    assert amounts(down, name)[0] == wanted, (team, name)
        whole = await client.get("/spend.csv?month=2026-11")
    assert sum(Decimal(r["spent_usd"]) for r in csv.DictReader(io.StringIO(whole.text))) == sum(
        Decimal(r["cost_usd"]) for r in rows
    )
    total = usd_cell(sum(usd_to_nano(r["cost_usd"]) for r in rows))
    assert f'Total</th><td class="n"><a href="/spend?month=2026-11">${total}</a>' in page.text
    assert total in next(x for x in table.splitlines() if x.startswith("total")).split()


async def test_tables_for_people_have_two_decimals_and_set_thousands_apart(
    month: House, server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await month.ledger.adjust([Adjustment("big", "blue", 1_234_567 * USD + 1, "a lot", day="20261103")], T0)
    redis = ("--redis", server.url)
    for command in (
        ("spend", "--month", "2026-11", *redis),
        ("report", "chargeback", "--month", "2026-11", *redis),
        ("report", "chargeback", "--month", "2026-11", *redis, "-o", "md"),
        ("month", "show", "2026-11", *redis),
    ):
        said = await printed(capsys, *command)
        assert re.search(r"1,234,\d{3}\.\d\d\b", said), said
        assert not re.search(r"\d\.\d{3,}", said), said
