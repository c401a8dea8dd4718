"""Usage logs as settlements, to tell a ledger again what it lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spendgate.budget.limits import month_scopes
from spendgate.budget.policy import Policy
from spendgate.ledger.port import Settlement
from spendgate.rebuild.rebuild import ALWAYS_LATE
from spendgate.records.outcome import Outcome
from spendgate.records.reader import read


def settlements(paths: tuple[Path, ...], policy: Policy, since_ms: int = 0) -> Iterator[Settlement]:
    """Every exchange that cost something or used tokens, once, since a time. Raises ConfigurationError.

    The bounds of the month are those of the policy given; days and hours that are over bound nobody, so of them only
    what the policy names is counted.
    """
    for record in read(paths):
        if record.outcome is Outcome.REFUSED or record.at_ms < since_ms:
            continue
        if not record.cost_nanousd and not record.tokens:
            continue
        budget = policy.budget(record.team)
        scopes = [(scope, "month") for scope in month_scopes(budget, record.app, record.model)]
        if budget is not None:
            windows = (("day", budget.daily_nanousd), ("hour", budget.hourly_nanousd))
            scopes += [(name, name) for name, limit in windows if limit is not None]
            if record.run and budget.run_nanousd is not None:
                scopes.append((f"run:{record.run}", "run"))
        yield Settlement(
            record.exchange_id,
            record.team,
            record.app,
            record.model,
            record.cost_nanousd,
            {kind: n for kind, n in record.tokens.items() if kind != "requests"},
            record.at_ms,
            scopes=tuple(scopes),
            acknowledged_us=ALWAYS_LATE,
            counted_us=ALWAYS_LATE,
        )
