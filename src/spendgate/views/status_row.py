"""A budget's status as a row, for `spendgate budgets`. Pure; amounts are nano-USD."""

from __future__ import annotations

from typing import Any

from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.forecast import Forecast
from spendgate.budget.phase import phase_of
from spendgate.budget.policy import TeamBudget
from spendgate.money import nano_to_usd
from spendgate.months import month_text, utc
from spendgate.views.budgets import utilization


def status_row(
    budget: TeamBudget, month: str, settled_nanousd: int, reserved_nanousd: int, outlook: Forecast
) -> dict[str, Any]:
    """A budget's status: USD as exact decimal strings, utilization a ratio, `exhausted_at` a date or None; `group`
    where it is one's."""
    now_ms = outlook.now_ms
    limit = budget.limit_nanousd(now_ms)
    bound = budget.month_bound_nanousd(now_ms)
    end_ms = outlook.exhausted_at_ms(limit if bound == UNLIMITED else bound)
    return {
        "team": budget.team,
        "month": month_text(month),
        "budget_usd": nano_to_usd(limit),
        "settled_usd": nano_to_usd(settled_nanousd),
        "reserved_usd": nano_to_usd(reserved_nanousd),
        "utilization": utilization(settled_nanousd, limit),
        "forecast_usd": nano_to_usd(outlook.month_end_nanousd),
        "exhausted_at": None if end_ms is None else f"{utc(end_ms):%Y-%m-%d}",
        "phase": phase_of(budget, settled_nanousd, now_ms),
        **({"group": True} if budget.is_group else {}),
    }
