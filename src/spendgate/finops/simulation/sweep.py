"""Trying one number of a policy over a range: `complexityThreshold=100..2000`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from spendgate.budget.policy import Policy, TeamBudget
from spendgate.values import dataclass

FIELDS = ("complexityThreshold",)
STEPS = 10
"""Values tried where no step is given, the ends included."""
VALUES_MAX = 200
_SPEC = re.compile(r"(?P<field>\w+)=(?P<low>\d{1,9})\.\.(?P<high>\d{1,9})(?::(?P<step>\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Sweep:
    """A field and the values to try, ascending."""

    field: str
    values: tuple[int, ...]


def parse_sweep(text: str) -> Sweep:
    """Read `FIELD=LOW..HIGH` or `FIELD=LOW..HIGH:STEP`. Raises ValueError that says what is wrong."""
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not FIELD=LOW..HIGH[:STEP], for example complexityThreshold=100..2000")
    field, low, high = match["field"], int(match["low"]), int(match["high"])
    if field not in FIELDS:
        raise ValueError(f"{field} cannot be swept; what can: {', '.join(FIELDS)}")
    if low > high:
        raise ValueError(f"the range {low}..{high} is empty; the lower end comes first")
    if match["step"] is None:
        return Sweep(field, tuple(sorted({low + (high - low) * i // (STEPS - 1) for i in range(STEPS)})))
    step = int(match["step"])
    if not step or (high - low) // step >= VALUES_MAX:
        raise ValueError(f"a step of {step} makes more than {VALUES_MAX} values; take a larger one")
    return Sweep(field, tuple(range(low, high + 1, step)))


def with_threshold(policy: Policy, value: int) -> Policy:
    """The policy with another complexityThreshold wherever routing is on."""
    return Policy.of((_with(b, value) for b in policy.every), policy.lapsed)


def routes(budgets: Iterable[TeamBudget]) -> bool:
    """Does any budget route at all?"""
    return any(b.routing is not None for b in budgets)


def _with(budget: TeamBudget, value: int) -> TeamBudget:
    if budget.routing is None:
        return budget
    return replace(budget, routing=replace(budget.routing, complexity_threshold=value))
