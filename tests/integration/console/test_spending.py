"""The way down from the sum to a user's day, and files of what is shown, over a real ledger and a real usage log."""

from __future__ import annotations

import csv
import io
import threading
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import httpx
import pyarrow.parquet as pq
import pytest

from spendgate.console import figures
from spendgate.console.pages import UsageLogs
from spendgate.console.usage_index import UsageIndex
from spendgate.ledger.accounts import Adjustment

from .conftest import T0, USD, House, line
from .test_pages import ODD, words

MONTH = "month=2026-11"


def rows_of(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


@pytest.fixture
async def log(house: House, tmp_path: Path) -> Path:
    """A usage log, and a ledger that has the same and a little more."""
    log = tmp_path / "usage.jsonl"
    await house.spend("red", 30 * USD, app="chat", user="kim", log=log)
    await house.spend("red", 8 * USD, app="lab", model="o3", user="ann", log=log)
    await house.spend("blue", 2 * USD + 123, app="chat", user="kim", log=log)
    await house.spend("red", 5 * USD, app="chat", model="gpt-4o-mini")  # by a gateway whose log is elsewhere
    await house.ledger.adjust(
        [Adjustment("a-1", "red", -3 * USD, "a credit", app="chat", model="gpt-4o", day="20261102")], T0
    )
    return log


async def test_every_step_down_shows_what_is_left_and_where_it_comes_from(house: House, log: Path) -> None:
    async with house.client(usage=UsageLogs([log])) as client:
        top = words(await client.get(f"/spend?{MONTH}"))
        team = words(await client.get(f"/spend?{MONTH}&team=red"))
        app = words(await client.get(f"/spend?{MONTH}&team=red&app=chat"))
        user = words(await client.get(f"/spend?{MONTH}&team=red&app=chat&user=kim"))
        day = words(await client.get("/spend?from=2026-11-02&to=2026-11-02&team=red"))
    assert "Spent $42.00" in top and "From the ledger, as it was at 2026-11-18 11:06:40 UTC" in top
    assert "red $40.00 95.2 %" in top and "blue $2.00 4.8 %" in top
    assert "By app" not in top  # apps are named by their teams
    assert "Spent $40.00 40.0 % of $100.00" in team
    assert "chat $32.00" in team and "lab $8.00" in team
    assert "They have $38.00 of the $43.00 that the ledger has metered here (88.4 %)" in team
    assert "Adjusted -$3.00" in team
    assert "gpt-4o $27.00" in app and "gpt-4o-mini $5.00" in app
    assert "Spent $30.00" in user and "From usage logs: the ledger knows no users." in user
    assert "the logs do not reach back" in user
    assert "Spent -$3.00" in day and "By day" not in day


async def test_the_forecast_of_a_team_is_the_same_on_every_page(house: House, log: Path) -> None:
    async with house.client() as client:
        pages = [words(await client.get(p)) for p in ("/teams/red", f"/spend?{MONTH}&team=red", "/?q=red")]
    found = {p.partition("Forecast")[2].partition("$")[2].split()[0] for p in pages}
    assert len(found) == 1


async def test_without_a_usage_log_users_are_not_known_and_the_page_says_so(house: House, log: Path) -> None:
    async with house.client() as client:
        page = await client.get(f"/spend?{MONTH}&team=red")
        asked = await client.get(f"/spend?{MONTH}&user=kim")
    assert "Users are not known here" in words(page)
    assert asked.status_code == 404 and "SPENDGATE_CONSOLE_USAGE_LOG" in asked.text


@pytest.mark.parametrize(
    ("query", "total"),
    [("", "42.000000123"), ("&team=red", "40"), ("&team=red&model=gpt-4o", "27"), ("&user=kim", "32.000000123"),
     ("&provider=OpenAI&team=blue", "2.000000123")],
)  # fmt: skip
async def test_every_file_adds_up_to_the_page_to_the_nano_dollar(
    house: House, log: Path, query: str, total: str
) -> None:
    async with house.client(usage=UsageLogs([log])) as client:
        await client.get("/spend")
        table = rows_of(await client.get(f"/spend.csv?{MONTH}{query}"))
        parquet = await client.get(f"/spend.parquet?{MONTH}{query}")
        focus = {
            k: rows_of(await client.get(f"/spend.{k}.csv?{MONTH}{query}")) for k in ("focus", "focus-1.2")
        }
        focus_parquet = await client.get(f"/spend.focus.parquet?{MONTH}{query}")
    assert sum(Decimal(r["spent_usd"]) for r in table) == Decimal(total)
    frame = pq.read_table(io.BytesIO(parquet.content)).to_pylist()
    assert sum(r["spent_usd"] for r in frame) == Decimal(total)
    assert {(r["team"], r["app"], r["user"], r["requests"]) for r in frame} == {
        (r["team"], r["app"], r["user"], int(r["requests"])) for r in table
    }
    for rows in focus.values():
        assert sum(Decimal(r["BilledCost"]) for r in rows) == Decimal(total)
    columns = pq.read_table(io.BytesIO(focus_parquet.content))
    assert sum(c for c in columns["BilledCost"].to_pylist()) == Decimal(total)


async def test_tables_are_downloaded_whole_with_those_that_are_gone(house: House, log: Path) -> None:
    await house.ledger.adjust([Adjustment("g", "gone", 4 * USD, "october", day="20261005")], T0)
    async with house.client(usage=UsageLogs([log])) as client:
        teams = rows_of(await client.get(f"/spend.csv?{MONTH}&by=team"))
        users = rows_of(await client.get(f"/spend.csv?{MONTH}&by=user"))
        days = rows_of(await client.get("/spend.csv?from=2026-11-01&to=2026-11-03&by=day"))
    assert [(r["team"], r["spent_usd"], r["before_usd"], r["change_usd"]) for r in teams] == [
        ("red", "40.00", "0.00", "40.00"), ("blue", "2.000000123", "0.00", "2.000000123"),
        ("gone", "0.00", "4.00", "-4.00"),
    ]  # fmt: skip
    assert [(r["user"], r["spent_usd"], r["before_usd"]) for r in users] == [
        ("kim", "32.000000123", ""),
        ("ann", "8.00", ""),
    ]
    assert [r["spent_usd"] for r in days] == ["0.00", "-3.00", "0.00"]


OF_USERS = [
    f"/spend.csv?{MONTH}&by=user", f"/spend.csv?{MONTH}&user=kim", f"/spend.parquet?{MONTH}&user=kim",
    f"/spend.focus.csv?{MONTH}&user=kim", f"/spend.csv?{MONTH}&user=kim&by=app", "/overview/users.csv",
]  # fmt: skip


async def test_a_file_of_users_is_not_made_before_the_usage_logs_are_read(
    house: House, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go, step = threading.Event(), UsageIndex.step

    def held(index: UsageIndex, now_ms: int) -> bool:
        return may_go.wait(120) and step(index, now_ms)

    monkeypatch.setattr(UsageIndex, "step", held)
    monkeypatch.setattr(figures, "LOG_PATIENCE_S", 0.01)
    async with house.client(usage=UsageLogs([log])) as client:
        page = await client.get(f"/spend?{MONTH}&by=user")
        early = [await client.get(path) for path in OF_USERS]
        other = await client.get(f"/spend.csv?{MONTH}")
        may_go.set()
        monkeypatch.setattr(figures, "LOG_PATIENCE_S", 30.0)
        late = [await client.get(path) for path in OF_USERS]
    assert (page.status_code, other.status_code) == (200, 200)  # a page says how far the logs are read
    assert [a.status_code for a in early] == [503] * len(OF_USERS)
    assert {a.headers["retry-after"] for a in early} == {"2"}
    assert all("content-disposition" not in a.headers for a in early)
    assert [a.status_code for a in late] == [200] * len(OF_USERS)
    assert [(r["user"], r["spent_usd"]) for r in rows_of(late[0])] == [
        ("kim", "32.000000123"),
        ("ann", "8.00"),
    ]


async def test_a_file_of_users_is_refused_where_the_usage_logs_cannot_be_read(
    house: House, log: Path, tmp_path: Path
) -> None:
    no_log = tmp_path / "folder.jsonl"
    no_log.mkdir()
    async with house.client(usage=UsageLogs([log, no_log])) as client:
        await client.get("/spend")
        found = [await client.get(path) for path in OF_USERS]
    assert [a.status_code for a in found] == [503] * len(OF_USERS)
    assert all("The usage logs cannot be read" in a.text and str(no_log) in a.text for a in found)


async def test_a_long_table_comes_in_pages(house: House, tmp_path: Path) -> None:
    log = tmp_path / "usage.jsonl"
    log.write_bytes(
        b"".join(
            line(f"x{n}", "red", "chat", "o3", 10 * USD + n, f"user-{n:03d}") + b"\n" for n in range(120)
        )
    )
    async with house.client(usage=UsageLogs([log])) as client:
        await client.get("/spend")
        first = words(await client.get(f"/spend?{MONTH}&by=user"))
        last = words(await client.get(f"/spend?{MONTH}&by=user&page=2"))
    assert "Page 1 of 2" in first and "user-119" in first and "user-000" not in first
    assert "user-000" in last


async def test_ranges_quarters_and_months_are_one_set_of_numbers(house: House, log: Path) -> None:
    await house.ledger.adjust([Adjustment("o", "red", 9 * USD, "october", day="20261010")], T0)
    async with house.client() as client:
        quarter = words(await client.get("/?period=2026-Q4"))
        days = words(await client.get("/?from=2026-10-10&to=2026-11-18"))
        wrong = await client.get("/?from=2026-11-18&to=2026-11-01")
    assert "Spent $51.00" in quarter and "Budgets $214.00 2 months" in quarter
    assert "red 24.5 % $200.00 $49.00" in quarter
    assert "Spent $51.00" in days and "Against the 40 days before" in days
    assert wrong.status_code == 400 and "the earlier day comes first" in wrong.text


@pytest.mark.parametrize(
    "path",
    ["/spend?team={0}&app={0}&model={0}", "/spend?by={0}", "/?q={0}", "/adjustments?team={0}", "/prices?q={0}",
     "/spend?user={0}", "/?period={0}", "/spend?from={0}", "/closes?month={0}", "/spend.{0}", "/overview/{0}.csv",
     "/teams/{0}"],
)  # fmt: skip
async def test_nothing_that_is_asked_for_is_taken_for_markup(house: House, log: Path, path: str) -> None:
    async with house.client(usage=UsageLogs([log])) as client:
        answer = await client.get(path.format(quote("<script>alert(1)</script>\"'><img src=x>", safe="")))
    assert "<script>alert" not in answer.text and "<img" not in answer.text
    assert answer.status_code in (200, 400, 404)


async def test_names_of_teams_apps_models_and_users_are_text_in_every_table(
    house: House, tmp_path: Path
) -> None:
    log, bad = tmp_path / "usage.jsonl", "=cmd|'<script>alert(1)</script>"
    await house.spend(ODD, 3 * USD, app=bad, model=bad, user=bad, log=log)
    await house.ledger.adjust([Adjustment(bad, ODD, USD, bad, bad, bad, bad)], T0)
    async with house.client(usage=UsageLogs([log])) as client:
        await client.get("/spend")
        for path in (
            "/",
            "/spend",
            "/spend?by=user",
            "/spend?by=model",
            "/adjustments",
            "/prices",
            "/chargeback",
            "/closes?month=2026-11",
        ):
            page = await client.get(path)
            assert page.status_code == 200 and "<script>alert" not in page.text and "<i>" not in page.text, (
                path
            )
        inner = await client.get("/spend", params={"team": ODD, "app": bad, "user": bad})
        assert "Spent $3.00" in words(inner) and "<script>alert" not in inner.text
        for path in ("/spend.csv", "/spend.csv?by=user", "/adjustments.csv"):
            for row in rows_of(await client.get(path)):
                assert not any(value.startswith("=") for value in row.values())


async def test_days_without_spend_or_still_to_come_are_pages_too(house: House, log: Path) -> None:
    async with house.client(usage=UsageLogs([log])) as client:
        for query in (
            "month=2027-03", "month=2020-01", "period=2200", "period=2000", "period=400d", "period=1d",
            "from=2026-11-25&to=2026-12-25", "from=2026-12-01&to=2026-12-01", "from=2025-10-15&to=2026-11-18",
        ):  # fmt: skip
            for path in (
                "/",
                "/spend",
                "/adjustments",
                "/prices",
                "/spend.csv",
                "/spend.parquet",
                "/spend.focus.csv",
            ):
                page = await client.get(f"{path}?{query}")
                assert page.status_code == 200, (path, query, page.text)
