"""Gauges of budgets come from the ledger at the scrape: also for a team without traffic, also in a new month."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from unit.exchange.driver import policy_of

from spendgate.errors import LedgerUnavailable
from spendgate.ledger.accounts import OldestHold, TeamMonth
from spendgate.ledger.drift import Drift
from spendgate.months import month_key, previous_month
from spendgate.views.gauges import BudgetGauges
from spendgate.views.history import History

USD = 1_000_000_000


def ms(month: int) -> int:
    return int(datetime(2026, month, 15, tzinfo=UTC).timestamp() * 1000)


class Ledger:
    def __init__(self) -> None:
        self.away = False
        self.spent = {"202611": 5 * USD}

    async def teams(self) -> list[str]:
        if self.away:
            raise LedgerUnavailable("away")
        return ["ml"]

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        out = []
        for team in teams:
            spent = self.spent.get(month, 0) if team == "ml" else 0
            cells = {("chat", "gpt-4o"): spent} if spent else {}
            out.append(TeamMonth(team, month, spent, 0, 1, {}, {}, {}, cells, open_holds=team == "ml"))
        return out

    async def months_settled(self, accounts: Sequence[str], month: str) -> list[int | None]:
        return [self.spent.get(month) if a == "ml" else None for a in accounts]

    async def group_months(self, names: Sequence[str], month: str) -> list[TeamMonth]:
        return await self.months(list(names), month)

    async def oldest_holds(self, teams: list[str]) -> list[OldestHold]:
        return [OldestHold(team, 1, 90_000, 0) for team in teams]

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        return {team: [USD // 2 if team == "ml" else 0] * len(days) for team in teams}

    async def drifts(self) -> list[Drift]:
        return [
            Drift(
                "openai", "202610", 5000, {"gpt-4o": (-10 * USD, 40 * USD, 50 * USD), "o3": (0, 10 * USD, 0)}
            )
        ]


def gauges() -> tuple[BudgetGauges, Ledger, CollectorRegistry]:
    ledger = Ledger()
    policy = policy_of("{team: ml, monthlyBudgetUSD: 10}\n---\n{team: quiet, monthlyBudgetUSD: 7}")
    found = BudgetGauges(ledger, policy)
    registry = CollectorRegistry()
    registry.register(found)
    return found, ledger, registry


async def test_a_team_has_its_gauges_before_its_first_request() -> None:
    found, _, registry = gauges()
    await found.refresh(ms(11))
    assert registry.get_sample_value("llm_budget_remaining_usd", {"team": "quiet"}) == 7
    assert registry.get_sample_value("llm_budget_utilization_ratio", {"team": "quiet"}) == 0
    assert registry.get_sample_value("llm_budget_utilization_ratio", {"team": "ml"}) == 0.5
    labels = {"team": "ml", "app": "chat", "model": "gpt-4o"}
    assert registry.get_sample_value("spendgate_spend_usd", labels) == 5


async def test_the_oldest_hold_has_an_age_where_there_is_one() -> None:
    found, _, registry = gauges()
    await found.refresh(ms(11))
    assert registry.get_sample_value("spendgate_oldest_hold_age_seconds", {"team": "ml"}) == 90
    assert registry.get_sample_value("spendgate_oldest_hold_age_seconds", {"team": "quiet"}) is None
    assert registry.get_sample_value("spendgate_overdue_holds", {"team": "ml"}) == 0


async def test_the_forecast_and_the_date_of_exhaustion_stand_beside_the_budget() -> None:
    found, _, registry = gauges()
    await found.refresh(ms(11))
    metrics = {m.name: m for m in found.collect()}
    ahead = registry.get_sample_value("spendgate_forecast_usd", {"team": "ml"})
    assert ahead is not None and ahead >= 5
    assert registry.get_sample_value("spendgate_forecast_usd", {"team": "quiet"}) == 0
    ends = metrics["spendgate_exhaustion_timestamp_seconds"].samples
    assert all(s.labels["team"] == "ml" for s in ends)


async def test_a_team_of_a_template_is_forecast_by_its_days_as_one_with_a_budget_of_its_own() -> None:
    history = History(Ledger())
    found = BudgetGauges(Ledger(), policy_of("{team: 'm*', monthlyBudgetUSD: 10}"), history)
    await found.refresh(ms(11))
    assert set(history.daily("ml")) == {USD // 2}


async def test_the_last_reconciliation_stands_by_model_and_in_all() -> None:
    found, _, registry = gauges()
    await found.refresh(ms(11))

    def ratio(model: str) -> float | None:
        labels = {"provider": "openai", "model": model}
        return registry.get_sample_value("spendgate_invoice_drift_ratio", labels)

    assert (ratio("gpt-4o"), ratio("o3"), ratio("(all)")) == (-0.25, 0, -0.2)
    at = registry.get_sample_value("spendgate_invoice_reconciled_timestamp_seconds", {"provider": "openai"})
    assert at == 5


async def test_a_new_month_starts_at_zero() -> None:
    found, _, registry = gauges()
    await found.refresh(ms(11))
    await found.refresh(ms(12))
    assert registry.get_sample_value("llm_budget_remaining_usd", {"team": "ml"}) == 10


async def test_what_last_month_left_is_part_of_the_budget() -> None:
    now, ledger = int(time.time() * 1000), Ledger()
    ledger.spent = {previous_month(now): 20 * USD, month_key(now): 120 * USD}
    found = BudgetGauges(ledger, policy_of("{team: ml, monthlyBudgetUSD: 100, rollover: {percent: 50}}"))
    registry = CollectorRegistry()
    registry.register(found)
    await found.refresh(now)
    of = {"team": "ml"}
    assert registry.get_sample_value("spendgate_budget_usd", of) == 150
    assert registry.get_sample_value("llm_budget_remaining_usd", of) == 30
    assert registry.get_sample_value("llm_budget_utilization_ratio", of) == 0.8
    [row] = found.rows(now)
    assert (row["budget_usd"], row["carried_usd"], row["utilization"]) == ("150.00", "50.00", 0.8)


async def test_without_the_ledger_the_last_numbers_of_the_month_stand_and_it_is_said() -> None:
    found, ledger, registry = gauges()
    await found.refresh(ms(11))
    ledger.away = True
    await found.refresh(ms(11))
    assert registry.get_sample_value("llm_budget_utilization_ratio", {"team": "ml"}) == 0.5
    assert registry.get_sample_value("spendgate_ledger_up") == 0
    await found.refresh(ms(12))
    assert registry.get_sample_value("llm_budget_utilization_ratio", {"team": "ml"}) == 0


def test_copies_have_names_of_their_own_so_that_a_sum_counts_nothing_twice() -> None:
    originals = {f.name for f in BudgetGauges(Ledger(), policy_of()).collect()}
    copies = {f.name for f in BudgetGauges(Ledger(), policy_of(), copies=True).collect()}
    of_the_process = {"spendgate_ledger_up", "spendgate_policy_age_seconds"}
    assert originals & copies == of_the_process
    assert all(n.startswith("spendgate_gateway_") for n in copies - of_the_process)
