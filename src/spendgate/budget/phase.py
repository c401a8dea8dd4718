"""The state of a budget in one word: the one definition for the console, commands and Kubernetes. Pure; nano-USD.

Whoever asks has no request, so that the answer is what the gateway would do with the next small one.
"""

from __future__ import annotations

from typing import Literal

from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.decide import pressure_from_nanousd
from spendgate.budget.policy import TeamBudget

Phase = Literal["Ready", "Downgrading", "Exhausted", "Audit"]


def phase_of(budget: TeamBudget, settled_nanousd: int, now_ms: int) -> Phase:
    """`Audit` enforces nothing; `Exhausted` refuses; `Downgrading` is under pressure, also where no cheaper model
    is named; `Ready` is none of these. By settled spend: what is held is not used."""
    if budget.audit:
        return "Audit"
    if is_exhausted(budget, settled_nanousd, now_ms):
        return "Exhausted"
    return "Downgrading" if is_under_pressure(budget, settled_nanousd, now_ms) else "Ready"


def is_exhausted(budget: TeamBudget, settled_nanousd: int, now_ms: int) -> bool:
    """Is the month's bound reached (rule 7)? Never of a soft budget; of one in audit mode, too."""
    bound = budget.month_bound_nanousd(now_ms)
    return bound != UNLIMITED and settled_nanousd >= bound


def is_under_pressure(budget: TeamBudget, settled_nanousd: int, now_ms: int) -> bool:
    """Do cheaper models serve from here on (rules 3 and 4)?"""
    start = pressure_from_nanousd(budget, now_ms)
    return start is not None and settled_nanousd >= start
