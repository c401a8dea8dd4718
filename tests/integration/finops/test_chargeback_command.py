"""`report chargeback` against a real ledger."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from support.asks import T0, ask, candidate, end
from support.usage_lines import record, write_log

from spendgate.cli.main import main
from spendgate.ledger.accounts import DayCell
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger

DAY_MS = 86_400_000
USAGE = {"input": 1000, "output": 100}


@pytest.fixture
async def spent(ledger: RedisLedger) -> None:
    await ledger.settle(
        [
            end("x1", 3_500_001, usage=USAGE),
            end("x2", 2, app="batch", model="o3"),
            end("x3", 5, usage={"input": 2}, at_ms=T0 - DAY_MS),
            end("x4", 1_000_000_000, team="blue [bold]"),
            end("x5", 999, at_ms=T0 + 20 * DAY_MS),
        ],
        T0,
    )


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["report", "chargeback", "--month", "2026-11", *arguments])
    except SystemExit as e:
        code = int(e.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.usefixtures("spent")
async def test_cells_tell_every_day_apart_and_leave_other_months_out(ledger: RedisLedger) -> None:
    assert await ledger.cells(["red", "blue [bold]", "nobody"], "202611") == [
        DayCell("red", "20261117", "chat", "gpt-4o", 1, 5, {"input": 2}),
        DayCell("red", "20261118", "batch", "o3", 1, 2, {}),
        DayCell("red", "20261118", "chat", "gpt-4o", 1, 3_500_001, USAGE),
        DayCell("blue [bold]", "20261118", "chat", "gpt-4o", 1, 1_000_000_000, {}),
    ]


async def test_more_teams_than_one_round_trip_takes_are_all_read(ledger: RedisLedger) -> None:
    teams = [f"t{i:03d}" for i in range(230)]
    await ledger.settle([end(f"x-{t}", i + 1, team=t) for i, t in enumerate(teams)], T0)
    cells = await ledger.cells(teams, "202611")
    assert [(c.team, c.cost_nanousd) for c in cells] == [(t, i + 1) for i, t in enumerate(teams)]


@pytest.mark.usefixtures("spent")
class TestCommand:
    def test_json_agrees_with_the_ledger_to_the_nano_dollar(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = run(capsys, "--redis", server.url, "-o", "json")
        report = json.loads(out)
        assert (code, err) == (0, "")
        assert (report["cost_usd"], report["requests"], report["tokens"]) == ("1.003500008", 4, 1102)
        blue, red = report["teams"]
        assert (blue["team"], blue["cost_usd"]) == ("blue [bold]", "1.00")
        assert [(x["app"], x["model"], x["cost_usd"]) for x in red["lines"]] == [
            ("chat", "gpt-4o", "0.003500006"),
            ("batch", "o3", "0.000000002"),
        ]

    def test_csv_columns_add_up(self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]) -> None:
        _, out, _ = run(capsys, "--redis", server.url, "-o", "csv", "--team", "red")
        rows = list(csv.DictReader(io.StringIO(out)))
        assert sum(Decimal(r["cost_usd"]) for r in rows) == Decimal("0.003500008")
        assert sum(int(r["requests"]) for r in rows) == 3
        assert {r["kind"] for r in rows} == {"requests", "input", "output"}

    def test_the_table_the_page_and_markdown_show_each_team(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for output in ("table", "html", "md"):
            code, out, _ = run(capsys, "--redis", server.url, "-o", output)
            assert code == 0
            assert all(text in out for text in ("blue [bold]", "red", "batch", "1.00")), output
            assert ("1.003500008" in out) == (output == "html"), output  # exact in the title alone

    def test_the_focus_export_adds_up_by_day(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, _ = run(capsys, "--redis", server.url, "-o", "focus", "--billing-account", "acme")
        rows = list(csv.DictReader(io.StringIO(out)))
        assert code == 0
        assert sum(Decimal(r["BilledCost"]) for r in rows) == Decimal("1.003500008")
        assert {r["ChargePeriodStart"][:10] for r in rows} == {"2026-11-17", "2026-11-18"}
        assert {r["BillingAccountId"] for r in rows} == {"acme"}
        assert "HostProviderName" in rows[0] and "ProviderName" not in rows[0]
        _, out, _ = run(capsys, "--redis", server.url, "-o", "focus-1.2")
        assert "ProviderName" in next(csv.DictReader(io.StringIO(out)))

    def test_books_that_disagree_are_told(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str], ledger: RedisLedger
    ) -> None:
        import redis

        with redis.Redis.from_url(server.url) as client:
            client.hincrby("sg1:{red}:b:month:202611", "s", 7)
        code, _, err = run(capsys, "--redis", server.url, "-o", "csv")
        assert code == 0
        assert "team red: the lines add up to 0.003500008 USD, its budget counts 0.003500015" in err

    def test_what_can_not_be_asked_says_what_to_do(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, _, err = run(capsys, "--redis", server.url, "--team", "rad")
        assert (code, "known: blue [bold], red" in err) == (0, True)
        code, _, err = run(capsys, "--redis", server.url, "--month", "2026-13")
        assert (code, "YYYY-MM" in err) == (2, True)
        code, _, err = run(capsys, "--redis", "redis://127.0.0.1:1")
        assert (code, "spendgate up" in err) == (1, True)


async def test_a_hold_that_expired_is_in_the_books_at_its_estimate(
    ledger: RedisLedger, server: EmbeddedRedis
) -> None:
    await ledger.reserve(ask("x1", candidate(500), ttl_ms=1000), T0)
    await ledger.expire("red", T0 + 2000)
    assert await ledger.cells(["red"], "202611") == [DayCell("red", "20261118", "chat", "gpt-4o", 1, 500, {})]
    await ledger.settle([end("x1", 321, model="o3", usage={"input": 3})], T0 + 3000)
    assert await ledger.cells(["red"], "202611") == [
        DayCell("red", "20261118", "chat", "o3", 1, 321, {"input": 3})
    ]


@pytest.mark.usefixtures("spent")
async def test_a_usage_log_gives_the_ledgers_books_and_tells_what_differs(
    server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [
        record(1, at_ms=T0, cost_nanousd=3_500_001),
        record(2, at_ms=T0, cost_nanousd=2, app="batch", model="o3", tokens={}),
        record(3, at_ms=T0 - DAY_MS, cost_nanousd=5, tokens={"input": 2}),
        record(4, at_ms=T0, cost_nanousd=1_000_000_001, team="blue [bold]", tokens={}, run="nightly"),
    ]
    log = write_log(tmp_path / "usage.jsonl", records)
    found = ["--redis", server.url, "--source", "log", "--log", str(log)]
    code, out, err = await asyncio.to_thread(run, capsys, *found, "-o", "json")
    assert (code, json.loads(out)["cost_usd"]) == (0, "1.003500009")
    assert err == (
        "spendgate report: blue [bold] / chat / gpt-4o: log has cost_usd 1.000000001 against 1.00 in the ledger\n"
    )
    _, out, _ = await asyncio.to_thread(run, capsys, *found, "-o", "focus")
    assert '""run"": ""nightly""' in out


@pytest.mark.usefixtures("spent")
async def test_shared_costs_are_split_by_the_rules_of_a_file(
    server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "shared.yaml"
    rules.write_text("shared: {'blue [bold]': evenly}")
    code, out, err = await asyncio.to_thread(
        run, capsys, "--redis", server.url, "--shared", str(rules), "--team", "red", "-o", "json"
    )
    report = json.loads(out)
    assert (code, err, report["cost_usd"]) == (0, "", "1.003500008")
    assert report["shared"] == ["shared: 1.00 USD of blue [bold] split among red evenly"]
    code, out, err = await asyncio.to_thread(
        run, capsys, "--redis", server.url, "--shared", str(rules), "-o", "focus-1.4"
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err) == (0, "")
    assert {(r["SubAccountId"], r["AllocatedResourceId"]) for r in rows} == {
        ("red", ""),
        ("blue [bold]", "red"),
    }
    assert sum(Decimal(r["BilledCost"]) for r in rows) == Decimal("1.003500008")
    code, _, err = await asyncio.to_thread(
        run, capsys, "--redis", server.url, "--shared", str(rules), "-o", "focus-1.2"
    )
    assert (code, "take -o focus-1.4" in err) == (2, True)
    rules.write_text("shared: {red: fairly}")
    code, _, err = await asyncio.to_thread(run, capsys, "--redis", server.url, "--shared", str(rules))
    assert (code, "shared.red.split: 'fairly' is none of" in err) == (1, True)
    code, _, err = await asyncio.to_thread(
        run, capsys, "--redis", server.url, "--shared", str(rules), "-o", "focus"
    )
    assert code in (1, 2)
