"""Teams' months as rows for people and programs: `spend -o json`, `/v1/budgets`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from spendgate.ledger.accounts import TeamMonth
from spendgate.money import nano_to_usd
from spendgate.months import month_text


def utilization(settled_nanousd: int, limit_nanousd: int | None) -> float | None:
    """Settled as a share of the limit, to six digits; None without a budget, 1 for a budget of 0 (which
    admits nothing)."""
    if limit_nanousd is None:
        return None
    return round(settled_nanousd / limit_nanousd, 6) if limit_nanousd > 0 else 1.0


def budget_rows(
    team_months: Iterable[TeamMonth],
    policy_limits: Mapping[str, int],
    carried: Mapping[str, int] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """One row a team, in the order given. `policy_limits` are nano-USD by team; `carried` the part of them that last
    month left, told as `carried_usd` where there is any.

    USD are exact decimal strings; `budget_usd` and `utilization` are None without a budget; models and apps
    stand with the dearest first. Where adjustments were made, `adjustments` lists them by app and model; they
    are part of `settled_usd`, and of the sums of models and apps.
    """
    rows = []
    for m in team_months:
        limit = policy_limits.get(m.team)
        row: dict[str, Any] = {
            "team": m.team,
            "month": month_text(m.month),
            "budget_usd": None if limit is None else nano_to_usd(limit),
            "settled_usd": nano_to_usd(m.settled_nanousd),
            "reserved_usd": nano_to_usd(m.reserved_nanousd),
            "utilization": utilization(m.settled_nanousd, limit),
            "requests": m.requests,
            "models": _usd(m.models),
            "apps": _usd(m.apps),
            "tokens": dict(sorted(m.tokens.items())),
        }
        if m.adjusted:
            row["adjustments"] = [
                {"app": app, "model": model, "usd": nano_to_usd(nano)}
                for (app, model), nano in sorted(m.adjusted.items())
            ]
            row["adjustments_usd"] = nano_to_usd(m.adjusted_nanousd)
        if carried.get(m.team):
            row["carried_usd"] = nano_to_usd(carried[m.team])
        rows.append(row)
    return rows


def group_rows(
    group_months: Iterable[TeamMonth],
    policy_limits: Mapping[str, int],
    carried: Mapping[str, int] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """One row a group, by its name: as a team's, with `teams` where a team has `apps`, and `group` true. Their sums
    are those of teams again."""
    rows = []
    for row in budget_rows(group_months, policy_limits, carried):
        row["teams"] = row.pop("apps")
        rows.append(row | {"group": True})
    return rows


def _usd(amounts: Mapping[str, int]) -> dict[str, str]:
    dearest_first = sorted(amounts.items(), key=lambda item: (-item[1], item[0]))
    return {name: nano_to_usd(nano) for name, nano in dearest_first}
