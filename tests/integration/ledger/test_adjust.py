"""Corrections: append-only, once by id, whole or not at all, visible beside what was metered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
import redis as sync_redis
from support.asks import T0, ask, bound, candidate, end

from spendgate.cli.main import main
from spendgate.finops.chargeback.chargeback import chargeback
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.redis.codec import team_prefix
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.pricing.load import table

DAY = "20261118"
MONTH = "202611"
POLICY = """
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: payments}
spec:
  team: payments
  monthlyBudgetUSD: 8000
  modelLimits: [{modelPattern: "claude-opus*", maxMonthlyUSD: 1000}]
  apps: [{name: checkout, maxMonthlyUSD: 50}]
"""


def adjustment(name: str = "a1", cost: int = 500, **fields: Any) -> Adjustment:
    return Adjustment(name, "red", cost, **({"reason": "why", "day": DAY} | fields))


def everything(client: sync_redis.Redis) -> dict[bytes, object]:
    """Every key of the team with its value, as a picture to compare with."""
    return {key: client.dump(key) for key in cast("list[bytes]", client.keys(team_prefix("red") + "*"))}


async def test_an_adjustment_counts_in_the_month_and_stands_apart_from_what_was_metered(
    ledger: RedisLedger,
) -> None:
    await ledger.settle([end("x1", 1000)], T0)
    (done,) = await ledger.adjust([adjustment(cost=-300, app="chat", model="gpt-4o")], T0)
    assert (done.outcome, done.day, done.settled_nanousd) == ("adjusted", DAY, 700)
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.adjusted_nanousd, month.requests) == (700, -300, 1)
    assert month.models == {"gpt-4o": 700}
    assert month.apps == {"chat": 700}
    (cell,) = await ledger.cells(["red"], MONTH)
    assert (cell.cost_nanousd, cell.adjusted_nanousd) == (700, -300)
    (line,) = chargeback(MONTH, "ledger", [cell], table()).lines
    assert {k.kind: k.cost_nanousd for k in line.kinds} == {"requests": 1000, "adjustment": -300}


async def test_usage_that_was_missed_counts_as_usage(ledger: RedisLedger) -> None:
    await ledger.adjust([adjustment(usage={"input": 10}, requests=2, app="chat", model="gpt-4o")], T0)
    (cell,) = await ledger.cells(["red"], MONTH)
    assert (cell.cost_nanousd, cell.adjusted_nanousd, cell.requests, cell.tokens) == (
        500,
        0,
        2,
        {"input": 10},
    )


async def test_the_same_again_changes_nothing_and_another_by_its_id_is_told_apart(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    await ledger.adjust([adjustment(usage={"input": 1})], T0)
    before = everything(redis_client)
    (again,) = await ledger.adjust([adjustment(usage={"input": 1}, reason="other words")], T0 + 1)
    assert (again.outcome, again.settled_nanousd) == ("replayed", 500)
    others: dict[str, dict[str, Any]] = {
        "e": {"cost": 501}, "app": {"app": "x"}, "m": {"model": "x"}, "d": {"day": "20261117"},
        "u": {"usage": {"input": 2}}, "q": {"requests": 1},
    }  # fmt: skip
    for field, other in others.items():
        (result,) = await ledger.adjust([adjustment(**({"usage": {"input": 1}} | other))], T0 + 2)
        assert (result.outcome, result.detail) == ("differs", field)
    assert everything(redis_client) == before


async def test_no_counter_falls_below_zero_and_the_first_that_would_is_named(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    scopes = (("month", "month"), ("app:chat", "month"))
    await ledger.settle([end("x1", 1000), end("x2", 100, scopes=scopes)], T0)
    before = everything(redis_client)
    whole = ("month", "app:chat")
    for cost, floor in ((-1101, "month"), (-101, "app:chat")):
        (result,) = await ledger.adjust([adjustment(cost=cost, scopes=whole)], T0)
        assert (result.outcome, result.detail) == ("floor", floor)
    assert everything(redis_client) == before
    (result,) = await ledger.adjust([adjustment(cost=-100, scopes=whole)], T0)
    assert (result.outcome, result.settled_nanousd) == ("adjusted", 1000)


@pytest.mark.parametrize("day", ["20261119", "20251013"])
async def test_a_day_that_is_not_within_400_days_is_refused(ledger: RedisLedger, day: str) -> None:
    (result,) = await ledger.adjust([adjustment(day=day)], T0)
    assert (result.outcome, result.detail) == ("day", "20251014 20261118")
    assert await ledger.adjustments("red") == []


async def test_what_was_taken_back_from_an_estimate_never_brings_the_month_below_zero(
    ledger: RedisLedger,
) -> None:
    await ledger.reserve(ask("x1", candidate(10), ttl_ms=1), T0)
    await ledger.expire("red", T0 + 10)  # charged at its estimate
    (result,) = await ledger.adjust([adjustment(cost=-7, app="chat", model="gpt-4o")], T0 + 20)
    assert result.settled_nanousd == 3
    assert await ledger.settle([end("x1", 2)], T0 + 30) == ["corrected"]
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.adjusted_nanousd) == (0, -2)  # of the 7 only 2 could stand
    assert sum(month.apps.values()) == sum(month.models.values()) == 0


async def test_an_adjusted_month_is_what_the_next_reservation_meets(ledger: RedisLedger) -> None:
    await ledger.adjust([adjustment(cost=900)], T0)
    refused = await ledger.reserve(ask("x1", candidate(200, bound(1000))), T0)
    assert (refused.candidate, refused.committed_nanousd) == (-1, 900)
    await ledger.adjust([adjustment("a2", cost=-100)], T0)
    assert (await ledger.reserve(ask("x2", candidate(200, bound(1000))), T0)).candidate == 0


async def test_the_audit_has_every_adjustment_as_it_was_made(ledger: RedisLedger) -> None:
    made = [
        adjustment("a1", 7, app="日本", model="m\x1f", reason="first\nline", by="ann", usage={"input": 3}),
        adjustment("a2", -2, day="", scopes=("month", "app:x"), requests=1),
    ]
    await ledger.adjust(made[:1], T0)
    (refused,) = await ledger.adjust(made[1:], T0 + 5)
    assert refused.outcome == "floor"  # app:x has nothing yet
    (first,) = await ledger.adjustments("red")
    assert (first.adjustment.reason, first.adjustment.model) == ("first line", "m?")
    assert (first.adjustment.by, first.adjustment.usage, first.booked_day) == ("ann", {"input": 3}, DAY)
    assert (first.at_ms, first.settled_after_nanousd) == (T0, 7)


async def test_the_audit_forgets_after_400_days_and_not_before(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    day_ms = 86_400_000
    await ledger.adjust([adjustment("old", day="")], T0)
    await ledger.adjust([adjustment("mid", day="")], T0 + 399 * day_ms)
    assert [a.adjustment.adjustment_id for a in await ledger.adjustments("red")] == ["old", "mid"]
    await ledger.adjust([adjustment("new", day="")], T0 + 401 * day_ms)
    assert [a.adjustment.adjustment_id for a in await ledger.adjustments("red")] == ["mid", "new"]
    assert 0 < redis_client.ttl(team_prefix("red") + "adj") <= 400 * 86_400


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reason": " "}, "reason"), ({"cost": 0}, "changes nothing"), ({"day": "2026-11-18"}, "not a day"),
        ({"cost": 2**53}, "more than"), ({"name": ""}, "its id"), ({"scopes": ("day",)}, "must be month"),
        ({"usage": {"input": 10**13}}, "beyond"), ({"day": "20261131"}, "not a day"),
    ],
)  # fmt: skip
def test_what_can_not_be_booked_is_refused_before_it_is_sent(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        adjustment(**fields)  # type: ignore[arg-type]


class TestCommand:
    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
        try:
            main(["ledger", *arguments])
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    def test_adjust_once_and_read_it_back(
        self, server: EmbeddedRedis, redis_client: sync_redis.Redis, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked = ("adjust", "--redis", server.url, "--team", "red", "--usd", "12.5", "--reason", "bypass",
                 "--id", "one", "--by", "ann")  # fmt: skip
        code, out, err = self.run(capsys, *asked)
        assert (code, err) == (0, "")
        assert "adjusted by 12.50 USD; red stands at 12.50 USD" in out
        assert "made before, nothing changed" in self.run(capsys, *asked)[1]
        code, _, err = self.run(capsys, *asked[:6], "13", *asked[7:])
        assert (code, err) == (
            1, "spendgate: adjustment one: that id belongs to one with another amount; nothing changed\n",
        )  # fmt: skip
        code, out, _ = self.run(capsys, "adjustments", "--redis", server.url, "-o", "json")
        (row,) = json.loads(out)
        assert (row["id"], row["usd"], row["by"], row["reason"], row["app"]) == (
            "one", "12.50", "ann", "bypass", "(none)",
        )  # fmt: skip
        assert (
            "one,red,12.50,(none),(none)"
            in self.run(capsys, "adjustments", "--redis", server.url, "-o", "csv")[1]
        )
        assert "bypass" in self.run(capsys, "adjustments", "--redis", server.url, "--team", "red")[1]

    def test_the_limits_of_app_and_model_move_by_the_policy_given(
        self,
        server: EmbeddedRedis,
        redis_client: sync_redis.Redis,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
    ) -> None:
        budget = tmp_path / "budget.yaml"
        budget.write_text(POLICY)
        asked = ("adjust", "--redis", server.url, "--team", "payments", "--usd", "5", "--reason", "bypass",
                 "--app", "checkout", "--model", "claude-opus-4-1")  # fmt: skip
        code, _, err = self.run(capsys, *asked, "--policy", str(budget))
        assert (code, err) == (0, "")
        counters = {k.decode().split(":b:")[1] for k in cast("list[bytes]", redis_client.keys("*b:*"))}
        assert {c.rpartition(":")[0] for c in counters} == {"month", "model:claude-opus*", "app:checkout"}
        code, _, err = self.run(capsys, *asked)
        assert code == 0
        assert "no policy found" in err

    def test_wrong_use_is_said(self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]) -> None:
        base = ("adjust", "--redis", server.url, "--team", "red", "--reason", "x")
        for more, words in (
            (("--usd", "much"), "not an amount"),
            (("--usd", "1", "--day", "tomorrow"), "YYYY-MM-DD"),
            (("--usd", "1", "--tokens", "inputs=3"), "no kind 'inputs'"),
            (("--usd", "0"), "changes nothing"),
        ):
            code, _, err = self.run(capsys, *base, *more)
            assert code == 2
            assert words in err
        code, _, err = self.run(capsys, *base, "--usd", "-1")
        assert code == 1
        assert "below zero; nothing changed" in err
