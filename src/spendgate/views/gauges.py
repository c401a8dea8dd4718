"""Gauges of budgets, read from the ledger at the scrape: true also after a month's turn, and for a team that
never sent a request.

One process has them under their own names (docs/reference/metrics.md): `up`, a gateway with policy files of its
own, or in a cluster the controller that leads. A gateway beside a controller shows the same numbers as
`spendgate_gateway_…`, so that a sum over all that is scraped counts nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spendgate.budget.forecast import METHOD
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.errors import LedgerError
from spendgate.ledger.accounts import OldestHold, TeamMonth
from spendgate.ledger.drift import Drift
from spendgate.money import NANO_PER_USD
from spendgate.months import month_key
from spendgate.views.budgets import budget_rows, group_rows
from spendgate.views.carries import Carries, MonthsSettledReader
from spendgate.views.history import DailyReader, History

SERIES_MAX = 10_000
COPY = "spendgate_gateway_"
TEAM, CELL, GROUP = ("team",), ("team", "app", "model"), ("group",)


class MonthsReader(DailyReader, MonthsSettledReader, Protocol):
    """What the gauges ask of a ledger."""

    async def group_months(self, names: Sequence[str], month: str) -> list[TeamMonth]: ...

    async def teams(self) -> list[str]:
        """Every team that the ledger knows."""
        ...

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        """See `port.Ledger.months`."""
        ...

    async def oldest_holds(self, teams: list[str]) -> list[OldestHold]:
        """See `port.Ledger.oldest_holds`."""
        ...

    async def drifts(self) -> list[Drift]:
        """See `port.Ledger.drifts`."""
        ...


class BudgetGauges(Collector):
    """Refresh before each scrape, then collect. A ledger that does not answer leaves the last numbers of the
    same month standing, and says so in `spendgate_ledger_up`. `copies`: another process has the originals."""

    def __init__(
        self,
        ledger: MonthsReader,
        policy: Policy,
        history: History | None = None,
        copies: bool = False,
        carries: Carries | None = None,
    ) -> None:
        self._ledger = ledger
        self._history = history or History(ledger)
        self._carries = carries or Carries(ledger)
        self._drifts: list[Drift] = []
        self.policy = policy
        self._copies = copies
        self.months: list[TeamMonth] = []
        self.group_months: list[TeamMonth] = []
        """By the groups' names."""
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
            of_budgets = {m.team: m.settled_nanousd for m in self.months if self.policy.budget(m.team)}
            await self._history.refresh(of_budgets, now_ms)
            if self.policy.groups:
                self.group_months = await self._ledger.group_months([*self.policy.groups], month)
            else:
                self.group_months = []
            await self._carries.refresh([b for _, b in (*self._budgets(), *self._groups())], now_ms)
            self._drifts = await self._ledger.drifts()
            self._up = True
        except LedgerError:
            self._up = False
            known = {m.team for m in self.months}
            for team in self.policy.teams:
                if team not in known:
                    self.months.append(TeamMonth(team, month, 0, 0, 0, {}, {}, {}, {}))
        return self.months

    def rows(self, now_ms: int) -> list[dict[str, Any]]:
        """What was read as `budget_rows` of the teams, and `group_rows`."""
        teams, groups = self._budgets(), self._groups()
        carried = [
            {m.team: self._carries.carried_nanousd(b, now_ms) for m, b in of} for of in (teams, groups)
        ]
        limits = [
            {m.team: self._carries.of(b, now_ms).limit_nanousd(now_ms) for m, b in of}
            for of in (teams, groups)
        ]
        return [
            *budget_rows(self.months, limits[0], carried[0]),
            *group_rows(self.group_months, limits[1], carried[1]),
        ]

    def _budgets(self) -> list[tuple[TeamMonth, TeamBudget]]:
        return [(m, b) for m in self.months if (b := self.policy.budget(m.team)) is not None]

    def _groups(self) -> list[tuple[TeamMonth, TeamBudget]]:
        return [(m, b) for m in self.group_months if (b := self.policy.groups.get(m.team)) is not None]

    def collect(self) -> Iterable[Metric]:
        """The families of docs/reference/metrics.md, each made when it is asked for: of thousands of teams one
        family at a time is in memory."""
        yield from self._of_budgets(int(time.time() * 1000))
        cells = (
            ([m.team, *cell], nano / NANO_PER_USD) for m in self.months for cell, nano in m.cells.items()
        )
        yield self._gauge(
            "spendgate_spend_usd", "Settled this month, from the ledger.", islice(cells, SERIES_MAX), CELL
        )
        yield self._gauge(
            "spendgate_reserved_usd", "Held by requests in flight.",
            (([m.team], m.reserved_nanousd / NANO_PER_USD) for m in self.months),
        )  # fmt: skip
        yield self._gauge(
            "spendgate_open_reservations", "Reservations in flight.",
            (([m.team], m.open_holds) for m in self.months),
        )  # fmt: skip
        yield self._gauge(
            "spendgate_oldest_hold_age_seconds", "Age of the oldest reservation in flight.",
            (([h.team], h.age_ms / 1000) for h in self._oldest),
        )  # fmt: skip
        yield self._gauge(
            "spendgate_overdue_holds", "Reservations past their deadline, not swept yet.",
            (([h.team], h.overdue) for h in self._oldest),
        )  # fmt: skip
        yield self._gauge(
            "spendgate_month_refusals", "Requests refused this month, from the ledger.",
            (([m.team], m.refused) for m in self.months),
        )  # fmt: skip
        yield self._gauge(
            "spendgate_month_saved_usd",
            "Saved this month by other models than those asked for, from the ledger (may be negative).",
            (([m.team], m.saved_nanousd / NANO_PER_USD) for m in self.months),
        )
        yield from self._of_groups(int(time.time() * 1000))
        yield from self._of_invoices()
        yield GaugeMetricFamily("spendgate_ledger_up", "1 where the ledger answered.", float(self._up))
        yield GaugeMetricFamily(
            "spendgate_policy_age_seconds", "Since the policy was loaded.", time.time() - self._loaded_at
        )

    def _of_groups(self, now_ms: int) -> Iterator[Metric]:
        rows = [(m, self._carries.of(b, now_ms).limit_nanousd(now_ms)) for m, b in self._groups()]
        yield self._gauge(
            "spendgate_group_settled_usd", "What the teams of a group settled this month together.",
            (([m.team], m.settled_nanousd / NANO_PER_USD) for m, _ in rows), GROUP,
        )  # fmt: skip
        yield self._gauge(
            "spendgate_group_reserved_usd", "Held by requests in flight of a group's teams.",
            (([m.team], m.reserved_nanousd / NANO_PER_USD) for m, _ in rows), GROUP,
        )  # fmt: skip
        yield self._gauge(
            "spendgate_group_budget_usd", "The month's budget of a group, with what is added to it and carried over.",
            (([m.team], limit / NANO_PER_USD) for m, limit in rows), GROUP,
        )  # fmt: skip

    def _of_invoices(self) -> Iterator[Metric]:
        """Of the last month that `spendgate reconcile invoice` compared, by provider."""
        names = ["provider", "model"]
        ratio = GaugeMetricFamily(
            "spendgate_invoice_drift_ratio",
            "Invoiced less metered and corrected, over invoiced; model `(all)` is the provider's whole.",
            labels=names,
        )
        usd = GaugeMetricFamily(
            "spendgate_invoice_drift_usd", "Invoiced less metered and corrected.", labels=names
        )
        at = GaugeMetricFamily(
            "spendgate_invoice_reconciled_timestamp_seconds",
            "When the provider's invoice was last reconciled.",
            labels=["provider"],
        )
        for d in self._drifts:
            whole = tuple(sum(n[i] for n in d.models.values()) for i in range(3))
            for model, (open_nanousd, invoiced, metered) in {**d.models, "(all)": whole}.items():
                ratio.add_metric([d.provider, model], open_nanousd / (invoiced or metered or 1))
                if model != "(all)":
                    usd.add_metric([d.provider, model], open_nanousd / NANO_PER_USD)
            at.add_metric([d.provider], d.at_ms / 1000)
        if not self._copies:
            yield from (ratio, usd, at)

    def _of_budgets(self, now_ms: int) -> Iterator[Metric]:
        bounded = [(m, self._carries.of(b, now_ms)) for m, b in self._budgets()]
        rows = [(m, b, b.limit_nanousd(now_ms)) for m, b in bounded]
        yield self._gauge(
            "llm_budget_remaining_usd", "What the month's budget has left: budget - settled.",
            (([m.team], (limit - m.settled_nanousd) / NANO_PER_USD) for m, _, limit in rows),
        )  # fmt: skip
        yield self._gauge(
            "llm_budget_utilization_ratio", "Settled / budget.",
            (([m.team], m.settled_nanousd / limit if limit else 1.0) for m, _, limit in rows),
        )  # fmt: skip
        yield self._gauge(
            "spendgate_budget_usd", "The month's budget, with what is added to it and carried over.",
            (([m.team], limit / NANO_PER_USD) for m, _, limit in rows),
        )  # fmt: skip
        yield self._gauge(
            "spendgate_budget_soft", "1 where the month's end refuses nothing: no threshold rejects, or it audits.",
            (([m.team], float(b.audit or b.reject_threshold is None)) for m, b, _ in rows),
        )  # fmt: skip
        outlooks = [(m.team, *self._history.outlook(b, now_ms, m.settled_nanousd)) for m, b, _ in rows]
        yield self._gauge(
            "spendgate_forecast_usd", f"Spend expected by the month's end: {METHOD}.",
            (([team], end / NANO_PER_USD) for team, end, _ in outlooks),
        )  # fmt: skip
        yield self._gauge(
            "spendgate_exhaustion_timestamp_seconds",
            "When the month's bound is expected to be reached; no sample where not within the month.",
            (([team], at / 1000) for team, _, at in outlooks if at is not None),
        )

    def _gauge(
        self, name: str, text: str, samples: Iterable[tuple[list[str], float]], labels: tuple[str, ...] = TEAM
    ) -> GaugeMetricFamily:
        if self._copies:
            name = COPY + name.removeprefix("spendgate_").removeprefix("llm_")
            text = f"{text} A gateway's copy; the controller has the original."
        family = GaugeMetricFamily(name, text, labels=labels)
        for values, number in samples:
            family.add_metric(values, number)
        return family
