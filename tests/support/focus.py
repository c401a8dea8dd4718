"""A month with every kind of charge that the FOCUS export knows: three clouds, corrections, refunds, shared cost, teams
in groups."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from spendgate.budget.load import policy_from_documents
from spendgate.finops.chargeback.allocation import Allocation
from spendgate.finops.chargeback.chargeback import price_for
from spendgate.finops.chargeback.focus import Month
from spendgate.finops.chargeback.groups import Groups
from spendgate.ledger.accounts import Adjusted, Adjustment, DayCell
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from support.policy import budget

PRICES = table()
CLOUDS = {
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0": "Amazon Web Services",
    "azure/gpt-5.6-sol": "Microsoft",
    "gemini-2.5-pro": "Google Cloud",
}
"""Model → who bills it."""
MODELS = (*CLOUDS, "gpt-4o", "unheard-of-1")
SHARED = "platform"
"""The team whose cost the others share."""


def charges() -> Iterator[DayCell]:
    """The lines of the month."""
    chance = random.Random(3)
    for day in range(1, 29, 3):
        for team in ("payments", "search | =1+1", "", SHARED):
            for app in ("checkout", "web"):
                for model in MODELS:
                    kinds = ("input", "cached_input", "cache_write_5m", "output", "reasoning")
                    tokens = {k: chance.randrange(1, 10**6) for k in kinds}
                    cost = cost_nanousd(price_for(PRICES, model), tokens)
                    run = "run-7" if app == "web" else ""
                    more: dict[str, Any] = {}
                    if run:
                        more = {"run": run, "tier": "flex", "user": "kim", "asked": "gpt-5.5"}
                    yield DayCell(team, f"202611{day:02d}", app, model, 9, cost, tokens, 5, 0, 0, **more)
    yield DayCell("payments", "20261105", "batch", "gpt-4o", 1, 77, {})
    yield DayCell(
        "payments", "20261105", "seen", "o3", 1, 123_000, {"input": 5, "searches": 3}, adjusted_nanousd=9
    )
    yield DayCell("search", "20261106", "(none)", "(none)", 0, -50_000_000, {}, adjusted_nanousd=-50_000_000)
    yield DayCell("search", "20261107", "batch", "gpt-4o", -1, -3_500_000, {"input": -1000, "output": -100})
    yield DayCell("search", "20261108", "loop", "gpt-4o", 0, 0, {}, refused=7)


def month(allocations: tuple[Allocation, ...] = ()) -> Month:
    """The month, with a refund of its own and a correction of October among the adjusted money."""
    adjustments = [
        Adjusted(Adjustment("refund", "search", -60_000_000, "a refund", "kim"), "20261106", 1, 0),
        Adjusted(Adjustment("october", "search", 10_000_000, "late bill", day="20261017"), "20261106", 2, 0),
    ]
    groups = [json.loads(budget(n, members=m)) for n, m in (("org", ["*"]), ("shop", ["payments"]))]
    return Month(
        "202611",
        list(charges()),
        PRICES,
        "acme",
        adjustments,
        allocations,
        Groups(policy_from_documents(groups)),
    )
