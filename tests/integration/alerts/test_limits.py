"""Alerts about groups, and about the values of a limit: each crossing once."""

from __future__ import annotations

from dataclasses import replace

from support.alert_desk import Desk
from support.asks import T0, ask, candidate, end

from spendgate.budget.ask import Ask, DecisionSettings
from spendgate.budget.limits import bounds_of
from spendgate.budget.load import budget_from_document
from spendgate.ledger.exchanges import GroupShare

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
