"""Alerts about groups, and about the values of a limit: each crossing once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from support.alert_desk import Desk
from support.asks import T0, ask, candidate, end

from spendgate.budget.ask import Ask, DecisionSettings
from spendgate.budget.limits import bounds_of
from spendgate.budget.load import budget_from_document
from spendgate.ledger.exchanges import GroupShare
from spendgate.ledger.redis.codec import text
from spendgate.months import day_key

DAY_MS = 86_400_000
LIMIT = {
    "per": "user", "max": 4, "unit": "requests", "window": "day",
    "thresholds": [{"percent": 50, "notifyChannel": "#people"}, {"percent": 100}],
}  # fmt: skip


def document(desk: Desk, **spec: object) -> None:
    made = budget_from_document(
        {
            "apiVersion": "ai.systemhardening.com/v1",
            "kind": "LLMBudget",
            "spec": {"team": "red", "monthlyBudgetUSD": 10, **spec},
        }
    )
    desk.budgets[made.team] = made


async def call(desk: Desk, name: str, user: str) -> None:
    """One admitted request of a person."""
    asked = Ask(team="red", app="chat", model="gpt-4o", dialect="", input_tokens=0, user=user)
    bounds = bounds_of(desk.budgets["red"], asked, "gpt-4o", T0, DecisionSettings())
    assert (await desk.ledger.reserve(ask(name, candidate(1, *bounds)), desk.now_ms)).candidate == 0


async def test_each_person_s_threshold_is_told_once(desk: Desk) -> None:
    document(desk, limits=[LIMIT])
    loop = desk.loop()
    await loop.begin()
    for n, user in enumerate(["ann", "ann", "bob", "ann", "ann"]):
        await call(desk, f"x{n}", user)
        desk.now_ms += 6_000
        await loop.run_once()
        await desk.loop().run_once()
    assert [t.splitlines()[0] for t in desk.slack.texts] == [
        "User ann of team red has used 2 of 4 requests today: 50 % of its limit are reached.",
        "User ann of team red has used 4 of 4 requests today: 100 % of its limit are reached.",
    ]


async def test_a_group_s_crossing_is_told_as_a_team_s(desk: Desk) -> None:
    document(desk, team="dept", members=["red", "blue"])
    loop = desk.loop()
    await loop.begin()
    share = (GroupShare("dept", (("month", "month"),)),)
    for n, (team, usd) in enumerate([("red", 3), ("blue", 3)]):
        await desk.ledger.settle([replace(end(f"g{n}", usd * 10**9, team=team), groups=share)], T0)
        await loop.run_once()
        await loop.run_once()
    assert desk.heads() == ["dept: 50 %"]
    assert "$6.00 spent of $10.00" in desk.slack.texts[0]
    assert "red" in desk.slack.texts[0] and "blue" in desk.slack.texts[0], "its top apps are its teams"


async def spent_by_blue_in_dept(desk: Desk, count: int) -> None:
    await desk.client.hset("sg1:{%g:dept}:b:limit:requests:team:month::blue:202611", "s", str(count))


async def test_a_group_s_limit_that_a_process_opened_before_it_died_is_told_by_the_next(desk: Desk) -> None:
    limit = {**LIMIT, "per": "team", "window": "month"}
    document(desk, team="dept", members=["red", "blue"], limits=[limit])
    await desk.loop().begin()
    await spent_by_blue_in_dept(desk, 2)
    await desk.loop().look()  # and dies
    desk.budgets.clear()
    await desk.ledger.settle(
        [replace(end("g", 1), groups=(GroupShare("dept", (("month", "month"),)),))], desk.now_ms
    )
    await desk.loop().run_once()
    assert [t.partition(" has used ")[2].splitlines()[0] for t in desk.slack.texts] == [
        "2 of 4 requests this month: 50 % of its limit are reached."
    ]


async def test_a_group_s_limit_stands_apart_from_that_of_a_team_of_its_name(desk: Desk) -> None:
    limit = {**LIMIT, "per": "team", "window": "month"}
    document(desk, team="dept", members=["red", "blue"], limits=[limit])
    await desk.loop().begin()
    await spent_by_blue_in_dept(desk, 2)
    await desk.loop().run_once()
    assert await desk.client.exists("sg1:{dept}:a:202611", "sg1:{dept}:a:limits:202611") == 0
    assert await desk.client.exists("sg1:{%g:dept}:a:limits:202611") == 1


async def test_a_year_s_limit_that_a_process_opened_before_it_died_is_told_by_the_next(desk: Desk) -> None:
    document(desk, limits=[{**LIMIT, "window": "year"}])
    await desk.loop().begin()
    for n in range(2):
        await call(desk, f"x{n}", "ann")
    desk.now_ms += 6_000
    await desk.loop().look()  # and dies
    desk.now_ms += 45 * DAY_MS  # in January: that year is over
    await desk.loop().run_once()
    assert len(desk.slack.texts) == 1 and "User ann of team red" in desk.slack.texts[0]


async def test_what_another_opened_and_left_is_found_by_one_that_runs(desk: Desk) -> None:
    document(desk, limits=[{**LIMIT, "window": "year"}])
    running = desk.loop()
    await running.run_once()
    for n in range(2):
        await call(desk, f"x{n}", "ann")
    desk.now_ms += 1_000
    await desk.loop().look()  # and dies
    await running.run_once()
    assert desk.slack.texts == []
    desk.now_ms += 300_000
    await running.run_once()
    assert len(desk.slack.texts) == 1


async def spent_half(desk: Desk, name: str, user: str = "ann") -> None:
    for n in range(2):
        await call(desk, f"{name}{n}", user)
    desk.now_ms += 6_000


async def test_each_day_is_told_anew(desk: Desk) -> None:
    document(desk, limits=[LIMIT])
    loop = desk.loop()
    await loop.begin()
    for day in ("one", "two"):
        await spent_half(desk, day)
        await loop.run_once()
        desk.now_ms += DAY_MS
    assert len(desk.slack.texts) == 2


@pytest.mark.parametrize("per", ["user", "run"])
async def test_what_never_starts_anew_is_not_told_again_in_another_month(desk: Desk, per: str) -> None:
    document(desk, limits=[{**LIMIT, "per": per, "window": "total"}])
    await desk.loop().begin()
    index = {"user": "limit:requests:user:total::", "run": "limit:requests:run:total::"}[per]
    for _ in range(3):
        await desk.client.sadd(f"sg1:{{red}}:v:{index}:-", f"{index}ann")
        await desk.client.hset(f"sg1:{{red}}:b:{index}ann:-", "s", "2")
        await desk.loop().run_once()
        desk.now_ms += 20 * DAY_MS  # the third look is in another month
    assert len(desk.slack.texts) == 1


async def test_what_is_told_costs_no_further_script_and_no_room_in_the_month(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    document(desk, limits=[LIMIT])
    loop = desk.loop()
    await loop.begin()
    await spent_half(desk, "x")
    await loop.run_once()
    assert len(desk.slack.texts) == 1
    opened = AsyncMock(wraps=loop.claims.open)
    monkeypatch.setattr(loop.claims, "open", opened)
    for _ in range(3):
        desk.now_ms += 6_000
        await loop.run_once()
    assert opened.await_count == 0
    assert not [f for f in await desk.client.hkeys("sg1:{red}:a:202611") if text(f).startswith("limit:")]
    await spent_half(desk, "y", "bob")
    await loop.run_once()
    assert (len(desk.slack.texts), opened.await_count) == (2, 1)


async def test_what_redis_lost_of_what_was_told_is_put_back(desk: Desk, tmp_path: Path) -> None:
    document(desk, limits=[LIMIT])
    loop = desk.loop(tmp_path)
    await loop.begin()
    await spent_half(desk, "x")
    await loop.run_once()
    desk.now_ms += 6_000
    await loop.run_once()
    for again in (loop, desk.loop(tmp_path)):
        assert await desk.client.delete(f"sg1:{{red}}:a:limits:{day_key(T0)}") == 1
        desk.now_ms += 300_000
        await again.run_once()
        assert await desk.client.exists(f"sg1:{{red}}:a:limits:{day_key(T0)}")
    assert len(desk.slack.texts) == 1


async def test_what_was_told_of_a_year_is_known_as_long_as_anybody_looks(desk: Desk) -> None:
    document(desk, limits=[{**LIMIT, "window": "year"}])
    loop = desk.loop()
    await loop.begin()
    await spent_half(desk, "x")
    await loop.run_once()
    await desk.client.expire("sg1:{red}:a:limits:202601", 3600)
    desk.now_ms += 300_000
    await loop.run_once()
    assert await desk.client.ttl("sg1:{red}:a:limits:202601") > 60 * 86_400


async def test_an_alert_of_a_limit_that_cannot_be_delivered_is_counted_as_pending(desk: Desk) -> None:
    document(desk, limits=[LIMIT])
    await desk.loop().begin()
    await spent_half(desk, "x")
    loop = desk.loop()
    await loop.look()
    assert desk.counts["pending"] == 1
    await loop.run_once()
    desk.now_ms += 6_000
    await loop.look()
    assert desk.counts["pending"] == 0
