"""The command `spend` against a real ledger."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest
from support.asks import T0, ask, candidate, end
from support.policy import budget, policy
from support.snapshots import snapshot

from spendgate.cli.main import main
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.policy.store import PolicyStore

BUDGET = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: red}
spec: {team: red, monthlyBudgetUSD: 2}
"""


@pytest.fixture
async def spent(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(900_000_000)), T0)
    await ledger.reserve(ask("x2", candidate(500_000_000)), T0)
    await ledger.settle([end("x1", 750_000_001, usage={"input": 10})], T0)
    await ledger.settle([end("x3", 1_234_500, team="blue [bold]")], T0)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["spend", "--month", "2026-11", *arguments])
    except SystemExit as e:
        code = int(e.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def up_json(folder: Path, **fields: object) -> str:
    (folder / "up.json").write_text(json.dumps(fields))
    return str(folder)


@pytest.mark.usefixtures("spent")
class TestSpend:
    def test_json_is_exact_and_includes_teams_without_a_budget(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = tmp_path / "red.yaml"
        path.write_text(BUDGET)
        code, out, err = run(capsys, "--redis", server.url, "--policy", str(path), "-o", "json")
        blue, red = json.loads(out)
        assert (code, err) == (0, "")
        assert (blue["team"], blue["budget_usd"], blue["settled_usd"]) == ("blue [bold]", None, "0.0012345")
        assert (red["budget_usd"], red["settled_usd"], red["reserved_usd"]) == ("2.00", "0.750000001", "0.50")
        assert (red["utilization"], red["requests"], red["tokens"]) == (0.375, 1, {"input": 10})

    def test_the_ledger_of_a_running_up_is_found_by_its_data_dir(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = tmp_path / "red.yaml"
        path.write_text(BUDGET)
        folder = up_json(tmp_path, redis=server.url, admin="127.0.0.1:9090", policy=[str(path)], teams={})
        code, out, _ = run(capsys, "--data-dir", folder, "--team", "red", "-o", "json")
        assert code == 0
        assert [row["budget_usd"] for row in json.loads(out)] == ["2.00"]

    def test_a_policy_of_up_that_broke_since_falls_back_to_what_up_started_with_and_says_so(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        folder = up_json(
            tmp_path,
            redis=server.url,
            policy=[str(tmp_path / "gone.yaml")],
            teams={"red": {"budget_nanousd": 3_000_000_000}},
        )
        code, out, err = run(capsys, "--data-dir", folder, "--team", "red", "-o", "json")
        assert code == 0
        assert json.loads(out)[0]["budget_usd"] == "3.00"
        assert "gone.yaml" in err

    def test_a_budgeted_team_that_spent_nothing_yet_has_a_row(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        folder = up_json(tmp_path, redis=server.url, teams={"new": {"budget_nanousd": 5}})
        _, out, _ = run(capsys, "--data-dir", folder, "-o", "json")
        assert [(r["team"], r["settled_usd"]) for r in json.loads(out)][1] == ("new", "0.00")

    def test_a_team_of_a_template_has_its_budget_and_a_group_its_row_before_it_spent(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text(policy(budget("red", 2), budget("b*", 5), budget("all", 9, members=["*"])))
        given = ("--redis", server.url, "--policy", str(path), "-o", "json")
        rows = json.loads(run(capsys, *given)[1])
        assert [(r["team"], r["budget_usd"], "group" in r) for r in rows] == [
            ("blue [bold]", "5.00", False),
            ("red", "2.00", False),
            ("all", "9.00", True),
        ]
        _, out, err = run(capsys, *given, "--team", "b-new")
        assert [(r["team"], r["budget_usd"]) for r in json.loads(out)] == [("b-new", "5.00")]
        assert "no team 'b-new' in the ledger" in err

    async def test_in_a_cluster_the_budgets_are_the_controllers_in_redis(
        self, server: EmbeddedRedis, ledger: RedisLedger, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await PolicyStore(ledger.calls.redis).write(snapshot(1, red=7), after=0, fence=1)
        _, out, _ = await asyncio.to_thread(run, capsys, "--redis", server.url, "-o", "json")
        assert {r["team"]: r["budget_usd"] for r in json.loads(out)} == {"blue [bold]": None, "red": "7.00"}

    def test_csv_has_one_line_a_team(self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]) -> None:
        _, out, _ = run(capsys, "--redis", server.url, "-o", "csv")
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [(r["team"], r["settled_usd"], r["top_model"]) for r in rows] == [
            ("blue [bold]", "0.0012345", "gpt-4o"),
            ("red", "0.750000001", "gpt-4o"),
        ]

    def test_the_table_shows_every_team_and_a_total(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = tmp_path / "red.yaml"
        path.write_text(BUDGET)
        _, out, _ = run(capsys, "--redis", server.url, "--policy", str(path))
        assert "blue [bold]" in out
        assert "37.5%" in out
        total = next(line for line in out.splitlines() if line.startswith("total"))
        assert total.split() == ["total", "2.00", "0.75", "0.50", "2"]

    def test_an_unknown_team_is_told_with_the_known_ones(
        self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = run(capsys, "--redis", server.url, "--team", "rad", "-o", "json")
        assert (code, json.loads(out)[0]["settled_usd"]) == (0, "0.00")
        assert "known: blue [bold], red" in err


def test_no_ledger_is_one_line_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    code, out, err = run(capsys, "--data-dir", str(tmp_path))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "--redis URL" in err


def test_a_ledger_that_does_not_answer_is_one_line_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capsys, "--redis", f"unix://{tmp_path}/none.sock")
    assert (code, err.count("\n")) == (1, 1)
    assert "spendgate up" in err


@pytest.mark.parametrize("url", ["nonsense", "http://localhost"])
def test_an_url_that_is_no_redis_is_refused(capsys: pytest.CaptureFixture[str], url: str) -> None:
    code, _, err = run(capsys, "--redis", url)
    assert code == 1
    assert "not the URL of a Redis" in err


def test_a_month_written_wrongly_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--month", "11/2026")
    assert code == 2
    assert "YYYY-MM" in err


def test_a_broken_up_json_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text("{}")
    code, _, err = run(capsys, "--data-dir", str(tmp_path))
    assert code == 1
    assert "up.json" in err
