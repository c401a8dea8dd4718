"""What is in flight can be seen: by hold, by number, and by what it does to every bound."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
import redis as sync_redis
from prometheus_client import CollectorRegistry
from support.asks import T0, ask, bound, candidate, end

from spendgate.cli.main import main
from spendgate.gateway.metrics import Metrics
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.holds import read_counters, read_holds
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.records.writer import UsageLog
from spendgate.supervisor.sweeper import TEAMS_PER_SWEEP, Sweeper

POLICY = """
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: red}
spec:
  team: red
  monthlyBudgetUSD: 10
  overshootPercent: 0
  dailyBudgetUSD: 5
  modelLimits: [{modelPattern: "gpt-*", maxMonthlyUSD: 3}]
  apps: [{name: chat, maxMonthlyUSD: 2}]
"""
SCOPES = (("month", "month"), ("day", "day"), ("model:gpt-*", "month"), ("app:chat", "month"))
USD = 10**9


async def test_a_hold_is_listed_with_who_holds_what_since_when_until_when(ledger: RedisLedger) -> None:
    hour = bound(scope="hour", window="hour")
    await ledger.reserve(ask("x1", candidate(500, bound(), hour), ttl_ms=5000), T0)
    await ledger.reserve(ask("x2", candidate(70, model="o3"), app="日本", ttl_ms=1000), T0 + 100)
    await ledger.settle([end("gone", 1)], T0)
    (holds,) = await read_holds(ledger, ["red"], now_ms=T0 + 200)
    assert (holds.total, holds.now_ms) == (2, T0 + 200)
    second, first = holds.holds  # the nearest deadline first
    assert (first.exchange_id, first.team, first.app, first.model) == ("x1", "red", "chat", "gpt-4o")
    assert (first.amount_nanousd, first.at_ms, first.deadline_ms) == (500, T0, T0 + 5000)
    assert first.counters == ("month:202611", "hour:2026111811")
    assert (second.exchange_id, second.app, second.model, second.amount_nanousd) == ("x2", "日本", "o3", 70)
    (few,) = await read_holds(ledger, ["red"], limit=1)
    assert (few.total, [h.exchange_id for h in few.holds]) == (2, ["x2"])
    assert (await read_holds(ledger, ["nobody"]))[0].holds == ()


async def test_the_oldest_and_the_overdue_are_told_in_numbers(ledger: RedisLedger) -> None:
    for i in range(3):
        await ledger.reserve(ask(f"x{i}", candidate(1), ttl_ms=1000 * (i + 1)), T0 + i * 100)
    await ledger.renew([("red", "x0")], 60_000, T0 + 500)
    red, nobody = await ledger.oldest_holds(["red", "nobody"], T0 + 2200)
    assert (red.holds, red.age_ms, red.overdue) == (3, 2200, 1)  # x1's deadline passed, x0 was renewed
    assert (nobody.holds, nobody.age_ms, nobody.overdue) == (0, 0, 0)


async def test_of_very_many_holds_a_sample_tells_the_age(ledger: RedisLedger) -> None:
    for i in range(1500):
        await ledger.reserve(ask(f"x{i}", candidate(1)), T0 + i)
    (red,) = await ledger.oldest_holds(["red"], T0 + 2000)
    assert red.holds == 1500
    assert 500 < red.age_ms <= 2000


async def test_counters_of_all_bounds_are_read_at_one_instant(ledger: RedisLedger) -> None:
    bounds = tuple(bound(scope=scope, window=window) for scope, window in SCOPES)
    await ledger.settle([end("x0", 7, scopes=SCOPES[:2])], T0)
    await ledger.reserve(ask("x1", candidate(500, *bounds)), T0)
    now, holds, counters = await read_counters(ledger, "red", [*SCOPES, ("hour", "hour")], T0 + 1)
    assert (now, holds) == (T0 + 1, 1)
    found = {scope: (c.settled_nanousd, c.reserved_nanousd) for scope, c in counters.items()}
    assert found == {
        "month": (7, 500), "day": (7, 500), "model:gpt-*": (0, 500), "app:chat": (0, 500), "hour": (0, 0),
    }  # fmt: skip
    _, _, tomorrow = await read_counters(ledger, "red", SCOPES, T0 + 86_400_000)
    assert tomorrow["day"].committed_nanousd == 0


async def test_a_step_of_the_sweep_is_constant_work_and_every_team_has_its_turn(
    ledger: RedisLedger, redis_client: sync_redis.Redis, tmp_path: Path
) -> None:
    teams = [f"t{i:04d}" for i in range(2 * TEAMS_PER_SWEEP + 10)]
    for team in teams:
        await ledger.reserve(ask(f"x{team}", candidate(3), team=team, ttl_ms=1), T0)
    registry = CollectorRegistry()
    sweeper = Sweeper(ledger, UsageLog(str(tmp_path / "usage.jsonl")), Metrics(registry), "prices")
    assert [await sweeper.sweep() for _ in range(4)] == [TEAMS_PER_SWEEP, TEAMS_PER_SWEEP, 10, 0]
    assert registry.get_sample_value("spendgate_holds_expired_total", {"team": teams[0]}) == 1
    assert len((tmp_path / "usage.jsonl").read_text().splitlines()) == len(teams)
    months = await ledger.months(teams, "202611")
    assert {(m.settled_nanousd, m.reserved_nanousd) for m in months} == {(3, 0)}


class TestCommands:
    """`spendgate holds` and `spendgate explain --live`."""

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
        try:
            main(list(arguments))
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    @pytest.fixture
    async def in_flight(self, ledger: RedisLedger) -> None:
        """Now, by the server's own clock: 1 USD settled, 1.5 USD held."""
        bounds = tuple(bound(scope=scope, window=window) for scope, window in SCOPES)
        await ledger.settle([end("x0", USD, scopes=SCOPES, at_ms=0)])
        await ledger.reserve(ask("x1", candidate(3 * USD // 2, *bounds), ttl_ms=600_000))

    @pytest.mark.usefixtures("in_flight")
    def test_holds_in_three_forms(self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = self.run(capsys, "holds", "--redis", server.url, "-o", "json")
        assert (code, err) == (0, "")
        (row,) = json.loads(out)
        assert (row["exchange_id"], row["team"], row["usd"], row["counters"][0][:6]) == (
            "x1", "red", "1.50", "month:",
        )  # fmt: skip
        assert 0 <= row["age_s"] < 600 and 0 < row["deadline_in_s"] <= 600
        (line,) = csv.DictReader(
            io.StringIO(self.run(capsys, "holds", "--redis", server.url, "-o", "csv")[1])
        )
        assert (line["exchange_id"], line["usd"]) == ("x1", "1.50")
        table = self.run(capsys, "holds", "--redis", server.url, "--team", "red")[1]
        assert "x1" in table and "1.50" in table
        assert "Nothing is in flight" in self.run(capsys, "holds", "--redis", server.url, "--team", "blue")[1]

    @pytest.mark.usefixtures("in_flight")
    def test_explain_live_has_every_number_and_names_the_bound_that_refuses(
        self,
        server: EmbeddedRedis,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        (tmp_path / "red.yaml").write_text(POLICY)
        asked = (
            "explain",
            "--live",
            "--team",
            "red",
            "--redis",
            server.url,
            "--policy",
            str(tmp_path / "red.yaml"),
        )
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        code, out, err = self.run(capsys, *asked, "-o", "json")
        assert (code, err) == (0, "")
        live = json.loads(out)["live"]
        assert live["open_holds"] == 1
        rows = {b["scope"]: b for b in live["bounds"]}
        assert set(rows) == {"month", "day", "model:gpt-*", "app:chat"}
        assert rows["month"] == {
            "scope": "month", "window": "month", "settled_usd": "1.00", "held_usd": "1.50",
            "committed_usd": "2.50", "limit_usd": "10.00", "ceiling_usd": "10.00", "left_usd": "7.50",
            "refuses": False, "holds_refuse": False, "reason": "monthly_budget_exceeded",
        }  # fmt: skip
        assert (rows["app:chat"]["refuses"], rows["app:chat"]["left_usd"]) == (True, "0.00")
        assert "budget_held (app:chat: $1.00 settled + $1.50 held of $2.00)" in live["verdict"]

        request = {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(request).encode())))
        code, out, _ = self.run(capsys, *asked, "--app", "chat")
        assert code == 0
        assert "decision   reject: budget_held" in out
        assert "app:chat: $1.00 settled + $1.50 held = $2.50 of $2.00 (at most $2.00): REFUSES" in out
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(request).encode())))
        assert "decision   allow" in self.run(capsys, *asked, "--app", "other")[1]

    def test_explain_live_of_a_team_without_a_budget_says_that_nothing_bounds_it(
        self,
        server: EmbeddedRedis,
        redis_client: sync_redis.Redis,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        (tmp_path / "red.yaml").write_text(POLICY)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        asked = ("explain", "--live", "--team", "blue", "--redis", server.url)
        code, out, _ = self.run(capsys, *asked, "--policy", str(tmp_path / "red.yaml"))
        assert code == 0
        assert "nothing bounds this team" in out
        code, _, err = self.run(capsys, *asked)
        assert (code, err) == (1, "spendgate: no policy found: give --policy PATH\n")
        assert self.run(capsys, *asked, "--spent", "3")[0] == 2
