"""What a replay has counted against limits and in groups, by window: as the ledger would, without its holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from spendgate.budget.bounds import Bound
from spendgate.months import day_key, hour_key, month_key, previous_month
from spendgate.values import dataclass

_KEYS = {"month": month_key, "day": day_key, "hour": hour_key}


@dataclass(slots=True)
class Counted:
    """Amounts by account ("" and the team, or a group), scope and window."""

    amounts: dict[tuple[str, str, str, str], int] = field(default_factory=dict)

    def standing(self, team: str, bounds: Iterable[Bound], at_ms: int) -> dict[str, int]:
        """What stands in the counters of limits and groups, by key of a bound."""
        return {b.key: self.amounts.get(_place(team, b, at_ms), 0) for b in bounds if is_counted_here(b)}

    def last_months(self, team: str, bounds: Iterable[Bound], at_ms: int) -> dict[str, int | None]:
        """What last month settled by account ("" or the group's name), where something is carried over."""
        last = previous_month(at_ms)
        return {
            b.group: self.amounts.get((b.group, "" if b.group else team, "month", last))
            for b in bounds
            if b.carry is not None
        }

    def add(self, team: str, bounds: Iterable[Bound], at_ms: int, cost_nanousd: int, tokens: int) -> None:
        """Count one exchange."""
        for b in bounds:
            place = _place(team, b, at_ms)
            amount = {"usd": cost_nanousd, "tokens": tokens, "requests": 1}[b.unit]
            self.amounts[place] = self.amounts.get(place, 0) + amount


def is_counted_here(bound: Bound) -> bool:
    """Is it none of the bounds that a team's own books have?"""
    return bool(bound.group) or bound.subject is not None


def _place(team: str, bound: Bound, at_ms: int) -> tuple[str, str, str, str]:
    window = bound.window_at(at_ms)
    key = _KEYS[window](at_ms) if window in _KEYS else window
    return bound.group, "" if bound.group else team, bound.scope, key
