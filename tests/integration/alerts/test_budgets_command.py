"""The command `budgets` against a real ledger."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.alert_desk import Desk
from support.asks import end
from support.policy import budget, policy
from support.snapshots import snapshot
from support.spending import spend

from spendgate.cli.main import main
from spendgate.ledger.exchanges import GroupShare
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.months import month_start
from spendgate.policy.store import PolicyStore


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["budgets", *arguments])
    except SystemExit as e:
        code = int(e.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
async def folder(desk: Desk, server: EmbeddedRedis, tmp_path: Path) -> Path:
    """The data dir of an `up` with a spent budget, one in audit and one untouched."""
    desk.now_ms = time.time_ns() // 1_000_000
    await desk.spend(8.5, "red")
    await desk.spend(20, "watched")
    path = tmp_path / "policy.yaml"
    path.write_text(policy(budget("red", 10), budget("watched", 10, mode="audit"), budget("[new]", 10)))
    (tmp_path / "up.json").write_text(json.dumps({"redis": server.url, "policy": [str(path)]}))
    return tmp_path


def test_json_is_exact_with_one_row_a_budget(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--data-dir", str(folder), "-o", "json")
    rows = {row["team"]: row for row in json.loads(out)}
    assert (code, err) == (0, "")
    assert {team: (r["settled_usd"], r["utilization"], r["phase"]) for team, r in rows.items()} == {
        "[new]": ("0.00", 0.0, "Ready"),
        "red": ("8.50", 0.85, "Downgrading"),
        "watched": ("20.00", 2.0, "Audit"),
    }
    assert rows["[new]"]["exhausted_at"] is None


def test_what_last_month_left_is_part_of_the_budget(
    folder: Path, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    last_month_ms = int(month_start(time.time_ns() // 1_000_000).timestamp() * 1000) - 1
    spend(server.url, "red", 8, at_ms=last_month_ms)
    spend(server.url, "red", 1.5)
    (folder / "policy.yaml").write_text(policy(budget("red", 10, rollover={"percent": 100})))
    _, out, _ = run(capsys, "--data-dir", str(folder), "-o", "json")
    (row,) = json.loads(out)
    assert (row["budget_usd"], row["settled_usd"], row["phase"]) == ("12.00", "10.00", "Downgrading")
    main(["spend", "--data-dir", str(folder), "--team", "red", "-o", "json"])
    (spent,) = json.loads(capsys.readouterr().out)
    assert (spent["budget_usd"], spent["utilization"]) == ("12.00", row["utilization"])


async def test_teams_of_a_template_and_groups_have_their_rows(
    folder: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    group = budget("both", 40, members=["red", "watched"])
    (folder / "policy.yaml").write_text(policy(budget("red", 10), budget("w*", 50), group))
    shares = (GroupShare("both", (("month", "month"),)),)
    late = replace(end("g1", 2 * 10**9, team="red", at_ms=desk.now_ms), groups=shares)
    await desk.ledger.settle([late], desk.now_ms)
    rows = [json.loads((await asyncio.to_thread(run, capsys, "--data-dir", str(folder), "-o", "json", *more))[1])
            for more in ((), ("--team", "both"), ("--team", "wide"))]  # fmt: skip
    found = [[(r["team"], r["budget_usd"], r["settled_usd"], r.get("group")) for r in some] for some in rows]
    assert found == [
        [
            ("red", "10.00", "10.50", None),
            ("watched", "50.00", "20.00", None),
            ("both", "40.00", "2.00", True),
        ],
        [("both", "40.00", "2.00", True)],
        [("wide", "50.00", "0.00", None)],
    ]


async def test_in_a_cluster_the_budgets_are_the_controllers_in_redis(
    desk: Desk, server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await PolicyStore(desk.ledger.calls.redis).write(snapshot(1, red=7), after=0, fence=1)
    at = ("--redis", server.url, "--data-dir", str(tmp_path), "-o", "json")
    _, out, _ = await asyncio.to_thread(run, capsys, *at)
    assert [(r["team"], r["budget_usd"]) for r in json.loads(out)] == [("red", "7.00")]


def test_the_table_has_a_line_a_budget(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--data-dir", str(folder))
    line = next(x for x in out.splitlines() if x.startswith("red"))
    assert line.split()[:5] == ["red", "10.00", "8.50", "0.00", "85.0%"]
    assert line.rstrip().endswith("Downgrading")
    assert "[new]" in out


def test_an_unknown_team_is_told_with_the_known_ones(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "--data-dir", str(folder), "--team", "rad")
    assert code == 1
    assert "'rad'; known: [new], red, watched" in err


def test_a_gateway_without_a_policy_is_one_line_that_says_what_to_do(
    server: EmbeddedRedis, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capsys, "--redis", server.url, "--data-dir", str(tmp_path))
    assert (code, err.count("\n")) == (1, 1)
    assert "--policy PATH" in err


def test_a_ledger_that_does_not_answer_is_one_line_that_says_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(
        capsys, "--redis", f"unix://{folder}/none.sock", "--policy", str(folder / "policy.yaml")
    )
    assert (code, err.count("\n")) == (1, 1)
    assert "spendgate up" in err
