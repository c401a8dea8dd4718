"""A closed month outlives edits of its budgets and the ledger itself: the same reports come of it, to the byte."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import redis as sync_redis
import redis.asyncio as aioredis
from support.asks import end
from support.policy import budget, policy
from support.spending import spend

from spendgate.budget.load import load_policy
from spendgate.cli.find_ledger import find_ledger
from spendgate.cli.main import main
from spendgate.cli.policy_at_hand import limits_at_hand
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.exchanges import GroupShare
from spendgate.ledger.redis.codec import team_prefix
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_key, month_text
from spendgate.policy.month_budgets import BudgetBook, budgets_of
from spendgate.supervisor.admin import application
from spendgate.views.gauges import BudgetGauges

DAY_MS = 86_400_000
REPORTS = ("csv", "json", "md", "html", "table", "focus", "focus-1.2")
USD = 10**9


def last_month_ms() -> int:
    """The last day but one of the month before this one, which is over by the server's own clock."""
    start = datetime.now(UTC).replace(day=1, hour=9, minute=0, second=0, microsecond=0)
    return int(start.timestamp() * 1000) - 2 * DAY_MS


AT = last_month_ms()
MONTH = month_key(AT)
PAST = month_text(MONTH)


@pytest.fixture
async def spent(ledger: RedisLedger) -> None:
    """Two teams with a budget and one without; a correction, and an accounting entry beside the counters."""
    await ledger.settle(
        [
            end("x1", 3 * USD, at_ms=AT, usage={"input": 900_000, "output": 75_000}),
            end(
                "x2",
                USD // 7,
                at_ms=AT - DAY_MS,
                model="gemini-2.5-pro",
                usage={"input": 70_000, "output": 3_000},
            ),
            end("x3", 2 * USD, at_ms=AT, team="blue", app="batch", usage={"input": 800_000}),
            end("x4", 5, at_ms=AT, team="stray"),
        ],
        AT,
    )
    day = datetime.fromtimestamp(AT / 1000, UTC).strftime("%Y%m%d")
    await ledger.adjust(
        [
            Adjustment("late", "red", USD // 3, "the bill came late", "ann", "chat", "gpt-4o", day),
            Adjustment("tax", "red", USD, "VAT", "ann", day=day, scopes=()),
        ],
        AT,
    )


def noted(server: EmbeddedRedis, file: Path, month: str = MONTH) -> None:
    asyncio.run(note(server, file, month))


async def note(server: EmbeddedRedis, file: Path, month: str = MONTH) -> None:
    """As `up` and the controller do when a policy comes into force."""
    client = aioredis.Redis.from_url(server.url)
    await BudgetBook(client).note(load_policy([file]), month)
    await client.aclose()


@pytest.fixture
async def file(server: EmbeddedRedis, tmp_path: Path, spent: None) -> Path:
    """The policy's file, in force in that month."""
    path = tmp_path / "policy.yaml"
    path.write_text(policy(budget("red", 700.5, increase=raises(100)), budget("blue", 40)))
    await note(server, path)
    return path


def raises(usd: int) -> list[dict[str, object]]:
    until = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return [{"usd": usd, "until": until.isoformat(), "reason": "until the month's end"}]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    code = 0
    try:
        main(list(args))
    except SystemExit as e:
        code = int(e.code or 0)
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit):
        main(list(args))
    return capsys.readouterr().err


def test_a_month_is_judged_by_the_last_budgets_that_were_in_force_in_it(
    server: EmbeddedRedis, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--redis", server.url, "--month", PAST, "-o", "json")
    before = run(capsys, "spend", *at)
    rows = {r["team"]: r for r in json.loads(before)}
    assert {t: r["budget_usd"] for t, r in rows.items()} == {"red": "800.50", "blue": "40.00", "stray": None}
    file.write_text(policy(budget("red", 5), budget("green", 1)))  # edited, and one deleted
    noted(server, file, month_key(AT + 10 * DAY_MS))
    assert run(capsys, "spend", *at) == before
    run(capsys, "month", "close", PAST, "--redis", server.url, "--no-archive", "--policy", str(file))
    judged = {r["team"]: r["budget_usd"] for r in json.loads(run(capsys, "spend", *at))}
    assert judged == {"red": "5.00", "green": "1.00", "stray": None, "blue": None}  # as who closed it said


def test_a_team_without_a_budget_of_its_own_is_judged_by_the_months_template_and_groups_are_archived(
    server: EmbeddedRedis, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = budget("company", 900, members=["red", "blue"])
    file.write_text(policy(budget("red", 700), budget("*", 3), budget("s*y", 4), group))
    noted(server, file)
    at = ("--redis", server.url, "--data-dir", str(tmp_path))
    run(capsys, "month", "close", PAST, *at)
    rows = json.loads(run(capsys, "spend", "--month", PAST, "-o", "json", *at))
    # blue was there before, and is what it last was
    assert {r["team"]: r["budget_usd"] for r in rows} == {"red": "700.00", "blue": "40.00", "stray": "4.00"}
    books = json.loads((tmp_path / "closed" / f"month={PAST}" / "books.json").read_text())
    assert [g["group"] for g in books["groups"]] == ["company"]
    assert (
        run(capsys, "spend", "--month", PAST, "-o", "json", "--archive", str(tmp_path / "closed"))
        == json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    )


def test_what_the_month_before_left_is_part_of_its_budgets_also_where_the_ledger_is_lost(
    server: EmbeddedRedis,
    file: Path,
    tmp_path: Path,
    redis_client: sync_redis.Redis,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spend(server.url, "red", 20, at_ms=AT - 31 * DAY_MS)
    file.write_text(policy(budget("red", 100, rollover={"percent": 50}), budget("blue", 40)))
    noted(server, file)
    to, at = str(tmp_path / "closed"), ("--redis", server.url)
    rows = run(capsys, "spend", "--month", PAST, "-o", "json", *at)
    limits = {r["team"]: r["budget_usd"] for r in json.loads(rows)}
    assert limits == {"red": "150.00", "blue": "40.00", "stray": None}
    page = run(capsys, "report", "chargeback", "--month", PAST, "-o", "html", *at)
    run(capsys, "month", "close", PAST, *at, "--archive", to)
    redis_client.flushall()
    assert run(capsys, "spend", "--month", PAST, "-o", "json", "--archive", to) == rows
    archived = ("report", "chargeback", "--month", PAST, "--source", "archive", "--archive", to)
    assert run(capsys, *archived, "-o", "html") == page
    books = json.loads((tmp_path / "closed" / f"month={PAST}" / "books.json").read_text())
    assert [(b["team"], b.get("carried_usd")) for b in books["budgets"]] == [("blue", None), ("red", "50.00")]


async def test_a_group_is_judged_by_the_months_own_budget_in_spend_and_at_the_admin_port(
    server: EmbeddedRedis, file: Path, ledger: RedisLedger, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(policy(budget("red", 700), budget("company", 900, members=["red", "blue"])))
    await note(server, file)
    shares = (GroupShare("company", (("month", "month"),)),)
    await ledger.settle([replace(end("g1", USD, at_ms=AT), groups=shares)], AT)
    later = datetime.now(UTC)  # a group of another month has no row
    elsewhere = (GroupShare("newer", (("month", "month"),)),)
    await ledger.settle([replace(end("g2", USD, at_ms=int(later.timestamp() * 1000)), groups=elsewhere)])
    file.write_text(policy(budget("company", 5, members=["red"]), budget("newer", 6, members=["red"])))
    arguments = "spend", "--redis", server.url, "--month", PAST, "-o", "json"
    rows = json.loads(await asyncio.to_thread(run, capsys, *arguments))
    groups = [(r["team"], r["budget_usd"], r["settled_usd"]) for r in rows if r.get("group")]
    assert groups == [("company", "900.00", "1.00")]
    app = application(BudgetGauges(ledger, load_policy([file])), file.parent, none_missing, ledger=ledger)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as client:
        assert (await client.get("/v1/budgets", params={"month": PAST})).json() == rows


def test_a_chargeback_of_a_month_that_is_over_has_its_own_groups_also_where_the_ledger_is_lost(
    server: EmbeddedRedis,
    file: Path,
    tmp_path: Path,
    redis_client: sync_redis.Redis,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asyncio.run(settled_in_a_group(server, 700 * USD, AT - 31 * DAY_MS))
    company = budget("company", 900, members=["red", "blue"], rollover={"percent": 100})
    file.write_text(policy(budget("red", 700), company, budget("org", 950, members=["*"])))
    noted(server, file)
    file.write_text(policy(budget("company", 5, members=["stray"])))  # edited since, and one deleted
    noted(server, file, month_key(AT + 10 * DAY_MS))
    to, at = str(tmp_path / "closed"), ("--redis", server.url)
    run(capsys, "month", "close", PAST, *at, "--archive", to)
    made = json.loads(run(capsys, "report", "chargeback", "--month", PAST, "-o", "json", *at))
    groups = {g["group"]: (g["teams"], g["budget_usd"], g["cost_usd"]) for g in made["groups"]}
    assert groups == {
        "company": (["blue", "red"], "1100.00", "6.476190475"),
        "org": (["blue", "red", "stray"], "950.00", made["cost_usd"]),
    }
    wanted = [("-o", form, *more) for form in REPORTS for more in ((), ("--group", "company"))]

    def reports(*source: str) -> list[str]:
        return [run(capsys, "report", "chargeback", "--month", PAST, *source, *w) for w in wanted]

    before = reports(*at)
    of_company = list(
        csv.DictReader(io.StringIO(before[wanted.index(("-o", "focus", "--group", "company"))]))
    )
    assert {r["SubAccountId"] for r in of_company} == {"red", "blue"}
    assert sum(Decimal(r["BilledCost"]) for r in of_company) == Decimal("6.476190475")
    assert all(json.loads(r["Tags"])["group:company"] is True for r in of_company)
    unknown = "report", "chargeback", "--month", PAST, "--group", "finance"
    assert f"no group 'finance' in {PAST}; known: company, org" in fails(capsys, *unknown, *at)
    redis_client.flushall()
    assert reports("--source", "archive", "--archive", to) == before
    books = json.loads((tmp_path / "closed" / f"month={PAST}" / "books.json").read_text())
    limits = [(g["group"], g["limit_usd"], g.get("carried_usd")) for g in books["groups"]]
    assert limits == [("company", "1100.00", "200.00"), ("org", "950.00", None)]


async def settled_in_a_group(server: EmbeddedRedis, nano: int, at_ms: int) -> None:
    ledger = RedisLedger.from_url(server.url, timeout_s=10)
    shares = (GroupShare("company", (("month", "month"),)),)
    await ledger.settle([replace(end("before", nano, at_ms=at_ms), groups=shares)], at_ms)
    await ledger.close()


async def test_a_report_page_judges_a_team_by_its_template(
    server: EmbeddedRedis, ledger: RedisLedger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    await ledger.settle([end("x1", 3 * USD, team="ml-chat", at_ms=now_ms)])
    path = tmp_path / "policy.yaml"
    path.write_text(policy(budget("ml-*", 4)))
    (tmp_path / "up.json").write_text(json.dumps({"redis": server.url, "policy": [str(path)]}))
    found = find_ledger(None, tmp_path)
    limits = await asyncio.to_thread(limits_at_hand, found, month_key(now_ms), now_ms)
    assert limits.teams == {"ml-chat": 4 * USD}
    at = "--month", month_text(month_key(now_ms)), "--data-dir", str(tmp_path), "-o", "html"
    page = await asyncio.to_thread(run, capsys, "report", "chargeback", *at)
    assert ">Budget USD</th>" in page and "75.0 %" in page


async def none_missing() -> list[str]:
    return []


async def test_budgets_are_written_down_where_they_changed_and_forgotten_after_400_days(
    server: EmbeddedRedis, file: Path, redis_client: sync_redis.Redis
) -> None:
    key = f"sg1:budgets:{MONTH}"
    assert set(redis_client.hgetall(key)) == {b"red", b"blue"}
    assert 399 * 86_400 < redis_client.ttl(key) <= 400 * 86_400
    client = aioredis.Redis.from_url(server.url)
    book = BudgetBook(client)
    await book.note(load_policy([file]), MONTH)
    redis_client.hdel(key, "blue")
    file.write_text(policy(budget("red", 9), budget("blue", 40)))
    await book.note(load_policy([file]), MONTH)
    assert set(redis_client.hgetall(key)) == {b"red"}  # what did not change is not written again
    found = await budgets_of(client, ["red"], MONTH)
    assert found is not None and found["red"].monthly_nanousd == 9 * USD
    assert await budgets_of(client, ["red"], "202001") is None
    await client.aclose()


class TestArchive:
    def reports(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, *source: str) -> dict[str, str]:
        chargeback = ("report", "chargeback", "--month", PAST, *source)
        prices = tmp_path / "other-prices.yaml"
        out = {form: run(capsys, *chargeback, "-o", form) for form in REPORTS}
        if source[0] == "--source":  # prices that changed since change nothing
            prices.write_text(
                "models:\n  gpt-4o: {input: 90, output: 1}\n  gemini-*: {input: 7, output: 1}\n"
            )
            assert out == {f: run(capsys, *chargeback, "-o", f, "--prices", str(prices)) for f in REPORTS}
        at = source[2:] if source[0] == "--source" else source
        out |= {
            f"spend {form}": run(capsys, "spend", "--month", PAST, *at, "-o", form)
            for form in ("json", "csv", "table")
        }
        return out

    def test_the_same_reports_come_of_it_when_budgets_were_edited_and_the_ledger_is_lost(
        self,
        server: EmbeddedRedis,
        file: Path,
        tmp_path: Path,
        redis_client: sync_redis.Redis,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        to, at = str(tmp_path / "closed"), ("--redis", server.url)
        out = run(capsys, "month", "close", PAST, *at, "--archive", to)
        assert f"archived: {to}/month={PAST}\n" in out
        before = self.reports(capsys, tmp_path, *at)
        assert "VAT" in before["focus"] and "adjustment" in before["csv"]
        file.write_text(policy(budget("red", 5)))
        noted(server, file)
        assert self.reports(capsys, tmp_path, *at) == before
        files = {p.name: p.read_bytes() for p in (tmp_path / "closed").rglob("*") if p.is_file()}
        assert "was there already" in run(capsys, "month", "archive", PAST, *at, "--archive", to)
        redis_client.flushall()
        assert self.reports(capsys, tmp_path, "--source", "archive", "--archive", to) == before
        assert files == {p.name: p.read_bytes() for p in (tmp_path / "closed").rglob("*") if p.is_file()}
        assert "3 teams, 2 budgets, 4 lines: whole" in run(capsys, "month", "verify", PAST, "--archive", to)

    def test_its_books_name_budgets_owners_and_calendar_and_its_table_adds_up(
        self, server: EmbeddedRedis, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run(capsys, "month", "close", PAST, "--redis", server.url, "--data-dir", str(tmp_path))
        folder = tmp_path / "closed" / f"month={PAST}"
        books = json.loads((folder / "books.json").read_text())
        assert [(b["team"], b["limit_usd"]) for b in books["budgets"]] == [
            ("blue", "40.00"),
            ("red", "800.50"),
        ]
        assert books["budgets"][1]["document"]["spec"]["monthlyBudgetUSD"] == 700.5
        assert books["calendar"]["start"] == f"{PAST}-01T00:00:00Z"
        table = pq.read_table(folder / "lines.parquet").to_pylist()
        spent_usd = sum(row["cost_usd"] for row in table)
        assert str(spent_usd) == "6.476190480"  # with the entry of 1.00 that no budget counts
        assert sum(row["requests"] for row in table) == 4

    def test_what_is_not_what_was_archived_is_told_and_nothing_is_written_over(
        self,
        server: EmbeddedRedis,
        file: Path,
        tmp_path: Path,
        redis_client: sync_redis.Redis,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        to, at = str(tmp_path / "closed"), ("--redis", server.url)
        assert "is not closed for blue, red, stray" in fails(
            capsys, "month", "archive", PAST, *at, "--archive", to
        )
        run(capsys, "month", "close", PAST, *at, "--archive", to)
        books = tmp_path / "closed" / f"month={PAST}" / "books.json"
        whole = books.read_text()
        books.write_text(whole.replace("800.50", "900.50"))
        for command in (
            ("month", "verify", PAST, "--archive", to),
            ("report", "chargeback", "--month", PAST, "--source", "archive", "--archive", to),
            ("month", "archive", PAST, *at, "--archive", to),
        ):
            assert "books.json: is not what was archived: its checksum differs" in fails(capsys, *command)
        books.write_text(whole)
        redis_client.hset(
            f"{team_prefix('red')}closed", MONTH, json.dumps({"t": 1, "by": "x", "s": "1", "x": "other"})
        )
        assert "holds other numbers" not in run(capsys, "month", "verify", PAST, "--archive", to)
        assert "is not closed for red" in fails(capsys, "month", "archive", PAST, *at, "--archive", to)
        redis_client.flushall()  # another ledger, with other money in that month
        main(["ledger", "adjust", *at, "--team", "red", "--usd", "2", "--reason", "x", "--day", f"{PAST}-02"])
        assert "holds other numbers than the ledger has" in fails(
            capsys, "month", "close", PAST, *at, "--archive", to
        )
        assert books.read_text() == whole
        assert "no closed month 2020-01 there" in fails(capsys, "month", "verify", "2020-01", "--archive", to)

    def test_a_month_whose_budgets_nobody_wrote_down_takes_todays_and_says_so(
        self,
        server: EmbeddedRedis,
        spent: None,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text(policy(budget("red", 7)))
        (tmp_path / "up.json").write_text(json.dumps({"redis": server.url, "policy": [str(path)]}))
        main(["month", "close", PAST, "--data-dir", str(tmp_path)])
        assert "today's are frozen with it" in capsys.readouterr().err
        rows = json.loads(run(capsys, "spend", "--month", PAST, "-o", "json", "--data-dir", str(tmp_path)))
        assert {r["team"]: r["budget_usd"] for r in rows} == {"red": "7.00", "blue": None, "stray": None}
