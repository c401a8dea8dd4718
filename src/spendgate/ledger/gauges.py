"""Gauges of budgets, read from the ledger at the scrape: true also after a month's turn, and for a team that
never sent a request."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.policy import Policy
from spendgate.errors import LedgerError
from spendgate.ledger.history import History
from spendgate.ledger.port import Ledger, OldestHold, TeamMonth
from spendgate.money import NANO_PER_USD
from spendgate.months import month_key

SERIES_MAX = 10_000


class BudgetGauges(Collector):
    """Refresh before each scrape, then collect. A ledger that does not answer leaves the last numbers of the
    same month standing, and says so in `spendgate_ledger_up`."""

    def __init__(self, ledger: Ledger, policy: Policy) -> None:
        self._ledger = ledger
        self._history = History(ledger)
        self.policy = policy
        self.months: list[TeamMonth] = []
        self._oldest: list[OldestHold] = []
        self._month = ""
        self._up = False
        self._loaded_at = time.time()

    def apply(self, policy: Policy) -> None:
        """A new policy is in force."""
        self.policy = policy
        self._loaded_at = time.time()

    async def refresh(self, now_ms: int) -> list[TeamMonth]:
        """Read every team's month, budgets and spenders alike."""
        month = month_key(now_ms)
        if month != self._month:
            self.months, self._month = [], month
        try:
            teams = sorted({*self.policy.teams, *await self._ledger.teams()})
            self.months = await self._ledger.months(teams, month)
            self._oldest = await self._ledger.oldest_holds([m.team for m in self.months if m.open_holds])
            await self._history.refresh([t for t in teams if self.policy.budget(t) is not None], now_ms)
            self._up = True
        except LedgerError:
            self._up = False
            known = {m.team for m in self.months}
            for team in self.policy.teams:
                if team not in known:
                    self.months.append(TeamMonth(team, month, 0, 0, 0, {}, {}, {}, {}))
        return self.months

    def collect(self) -> Iterable[Metric]:
        """The families of the contract."""
        now_ms = int(time.time() * 1000)
        yield from self._of_budgets(now_ms)
        spend = GaugeMetricFamily(
            "spendgate_spend_usd", "Settled this month, from the ledger.", labels=["team", "app", "model"]
        )
        held = GaugeMetricFamily("spendgate_reserved_usd", "Held by requests in flight.", labels=["team"])
        holds = GaugeMetricFamily("spendgate_open_reservations", "Reservations in flight.", labels=["team"])
        age = GaugeMetricFamily(
            "spendgate_oldest_hold_age_seconds", "Age of the oldest reservation in flight.", labels=["team"]
        )
        overdue = GaugeMetricFamily(
            "spendgate_overdue_holds", "Reservations past their deadline, not swept yet.", labels=["team"]
        )
        for oldest in self._oldest:
            age.add_metric([oldest.team], oldest.age_ms / 1000)
            overdue.add_metric([oldest.team], oldest.overdue)
        series = 0
        for m in self.months:
            held.add_metric([m.team], m.reserved_nanousd / NANO_PER_USD)
            holds.add_metric([m.team], m.open_holds)
            for (app, model), nano in m.cells.items():
                series += 1
                if series <= SERIES_MAX:
                    spend.add_metric([m.team, app, model], nano / NANO_PER_USD)
        yield from (spend, held, holds, age, overdue)
        yield GaugeMetricFamily("spendgate_ledger_up", "1 where the ledger answered.", float(self._up))
        yield GaugeMetricFamily(
            "spendgate_policy_age_seconds", "Since the policy was loaded.", time.time() - self._loaded_at
        )

    def _of_budgets(self, now_ms: int) -> Iterator[Metric]:
        remaining = GaugeMetricFamily(
            "llm_budget_remaining_usd", "What is left of the month's budget.", labels=["team"]
        )
        used = GaugeMetricFamily(
            "llm_budget_utilization_ratio", "Committed (settled + reserved) / budget.", labels=["team"]
        )
        limit_usd = GaugeMetricFamily("spendgate_budget_usd", "The month's budget.", labels=["team"])
        ahead = GaugeMetricFamily(
            "spendgate_forecast_usd", "Spend expected by the month's end.", labels=["team"]
        )
        ends = GaugeMetricFamily(
            "spendgate_exhaustion_timestamp_seconds",
            "When the month's bound is expected to be reached; no sample where not within the month.",
            labels=["team"],
        )
        for m in self.months:
            budget = self.policy.budget(m.team)
            if budget is None:
                continue
            limit = budget.limit_nanousd(now_ms)
            remaining.add_metric([m.team], (limit - m.committed_nanousd) / NANO_PER_USD)
            used.add_metric([m.team], m.committed_nanousd / limit if limit else 1.0)
            limit_usd.add_metric([m.team], limit / NANO_PER_USD)
            outlook = self._history.forecast(m.team, now_ms, m.settled_nanousd)
            ahead.add_metric([m.team], outlook.month_end_nanousd / NANO_PER_USD)
            bound = budget.month_bound_nanousd(now_ms)
            end_ms = outlook.exhausted_at_ms(limit if bound == UNLIMITED else bound)
            if end_ms is not None:
                ends.add_metric([m.team], end_ms / 1000)
        yield from (remaining, used, limit_usd, ahead, ends)
