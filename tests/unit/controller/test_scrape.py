"""What Prometheus gets of a controller: of the leader the budgets, of every replica its own numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from spendgate.budget.policy import Policy, TeamBudget
from spendgate.controller import gauges as module
from spendgate.controller.gauges import ChangedMonths
from spendgate.controller.metrics import Vitals
from spendgate.controller.scrape import READ_S_PER_TEAM, Scrape
from spendgate.ledger.accounts import OldestHold, TeamMonth
from spendgate.ledger.drift import Drift
from spendgate.views.gauges import BudgetGauges

USD = 10**9
NOW = 1_794_355_200_000


class Ledger:
    """Counts what is read of whom."""

    def __init__(self) -> None:
        self.settled = {"red": 5 * USD, "blue": 7 * USD}
        self.read: list[list[str]] = []

    async def teams(self) -> list[str]:
        return sorted(self.settled)

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        if teams:
            self.read.append(list(teams))
        return [
            TeamMonth(t, month, n, 0, 1, {}, {}, {}, {("app", "m"): n} if n else {})
            for t in teams
            for n in [self.settled.get(t, 0)]
        ]

    async def balances(self, teams: Sequence[str], month: str) -> list[tuple[int, int]]:
        return [(self.settled.get(t, 0), 0) for t in teams]

    async def months_settled(self, accounts: Sequence[str], month: str) -> list[int | None]:
        return [None for _ in accounts]

    async def oldest_holds(self, teams: list[str]) -> list[OldestHold]:
        return []

    async def drifts(self) -> list[Drift]:
        return []

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        return {t: [0] * len(days) for t in teams}


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


async def test_of_many_teams_a_month_is_read_anew_only_where_its_counters_moved(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_TURN", 0)
    months = ChangedMonths(ledger)  # type: ignore[arg-type]
    teams = ["blue", "idle", "red"]
    assert [m.settled_nanousd for m in await months.months(teams, "202611")] == [7 * USD, 0, 5 * USD]
    await months.months(teams, "202611")
    ledger.settled["red"] += USD
    assert [m.settled_nanousd for m in await months.months(teams, "202611")] == [7 * USD, 0, 6 * USD]
    await months.months(teams, "202612")
    assert ledger.read == [["blue", "red"], ["red"], ["blue", "red"]]


async def test_every_team_has_its_turn_for_what_moves_without_spend(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_TURN", 1)
    months = ChangedMonths(ledger)  # type: ignore[arg-type]
    ledger.settled["idle"] = 0
    for _ in range(4):
        await months.months(["blue", "idle", "red"], "202611")
    assert ledger.read == [["blue", "red"], ["idle"], ["red"], ["blue"]]


def vitals(in_force: int) -> Vitals:
    return Vitals(True, in_force, in_force, 0, 0, 1, 0, 0, 0, 0, 0, 0.0, {})


class Replica:
    def __init__(self, ledger: Ledger, in_force: int = 0) -> None:
        policy = Policy.of([TeamBudget("red", 10 * USD), TeamBudget("idle", 3 * USD)])
        self.leads = True
        gauges = BudgetGauges(ChangedMonths(ledger), policy)  # type: ignore[arg-type]
        self.scrape = Scrape(gauges, lambda: self.leads, lambda: vitals(in_force), lambda: NOW)

    async def series(self) -> set[str]:
        text = (await self.scrape.text()).decode()
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


async def test_the_leader_shows_every_budget_and_who_waits_shows_none(ledger: Ledger) -> None:
    replica = Replica(ledger)
    seen = await replica.series()
    assert {'llm_budget_remaining_usd{team="red"}', 'llm_budget_remaining_usd{team="idle"}'} <= seen
    assert "spendgate_controller_leading" in seen
    replica.leads = False
    seen = await replica.series()
    assert "spendgate_controller_leading" in seen
    assert not [s for s in seen if s.startswith(("llm_", "spendgate_spend", "spendgate_budget_usd"))]


async def test_thousands_of_budgets_are_not_read_at_every_scrape(ledger: Ledger) -> None:
    replica = Replica(ledger, in_force=round(3600 / READ_S_PER_TEAM))
    first = await replica.series()
    reads = len(ledger.read)
    ledger.settled["red"] += USD
    assert await replica.series() == first
    assert len(ledger.read) == reads
