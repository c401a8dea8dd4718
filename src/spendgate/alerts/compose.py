"""Puts an alert together from what the ledger says. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from spendgate.alerts.alert import Alert
from spendgate.alerts.crossings import Crossing
from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.forecast import Forecast
from spendgate.budget.policy import TeamBudget
from spendgate.ledger.accounts import TeamMonth
from spendgate.values import dataclass

TOP = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What else is known: the limit before an edit that brought the alert about (None: no edit, or the budget is new),
    and what the last month had settled by this day of it."""

    was_nanousd: int | None = None
    last_month_nanousd: int = 0


_NOTHING_MORE = Facts()


def compose(
    crossing: Crossing,
    budget: TeamBudget,
    month: TeamMonth,
    outlook: Forecast | None,
    at_ms: int,
    facts: Facts = _NOTHING_MORE,
) -> Alert:
    """The alert of a crossing at `at_ms`. `outlook` None: no forecast is made."""
    limit = budget.limit_nanousd(at_ms)
    bound = budget.month_bound_nanousd(at_ms)
    if bound == UNLIMITED:
        bound = limit
    settled = month.settled_nanousd
    return Alert(
        key=crossing.key,
        kind=crossing.kind,
        team=budget.team,
        month=month.month,
        at_ms=at_ms,
        percent=crossing.percent,
        action=crossing.action,
        channels=crossing.channels,
        settled_nanousd=settled,
        reserved_nanousd=month.reserved_nanousd,
        limit_nanousd=limit,
        forecast_nanousd=outlook.month_end_nanousd if outlook else None,
        exhausted_at_ms=outlook.exhausted_at_ms(bound) if outlook else None,
        top_apps=_top(month.apps),
        top_models=_top(month.models),
        cheaper_model=budget.routing.cheap_model if budget.routing else budget.default_model,
        audit=budget.audit,
        was_limit_nanousd=facts.was_nanousd,
        last_month_nanousd=facts.last_month_nanousd,
        refused=month.refused,
    )


def _top(amounts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    spent = ((name, nano) for name, nano in amounts.items() if nano > 0)
    return tuple(sorted(spent, key=lambda item: (-item[1], item[0]))[:TOP])
