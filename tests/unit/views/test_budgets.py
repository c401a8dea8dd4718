from __future__ import annotations

import pytest

from spendgate.ledger.accounts import TeamMonth
from spendgate.views.budgets import budget_rows, utilization


def test_a_row_is_the_contract_of_spend_as_json() -> None:
    month = TeamMonth(
        "red", "202611", 1_500_000_001, 250_000_000, 3,
        {"mini": 1, "gpt-4o": 1_500_000_000}, {"chat": 1_500_000_001}, {"output": 5, "input": 9}, {}, 2,
    )  # fmt: skip
    (row,) = budget_rows([month], {"red": 10_000_000_000})
    assert row == {
        "team": "red",
        "month": "2026-11",
        "budget_usd": "10.00",
        "settled_usd": "1.500000001",
        "reserved_usd": "0.25",
        "utilization": 0.15,
        "requests": 3,
        "models": {"gpt-4o": "1.50", "mini": "0.000000001"},
        "apps": {"chat": "1.500000001"},
        "tokens": {"input": 9, "output": 5},
    }
    assert list(row["models"]) == ["gpt-4o", "mini"]


def test_a_team_without_a_budget_has_neither_budget_nor_utilization() -> None:
    (row,) = budget_rows([TeamMonth("blue", "202611", 1, 0, 1, {}, {}, {}, {})], {"red": 1})
    assert (row["budget_usd"], row["utilization"]) == (None, None)


@pytest.mark.parametrize(
    ("settled", "limit", "share"),
    [(1, 3, 0.333333), (0, 0, 1.0), (5, 0, 1.0), (7, None, None), (11, 10, 1.1)],
)
def test_utilization_is_rounded_to_six_digits(settled: int, limit: int | None, share: float | None) -> None:
    assert utilization(settled, limit) == share


def test_adjustments_are_listed_where_there_are_any() -> None:
    month = TeamMonth(
        "red", "202611", 5, 0, 1, {}, {}, {}, {}, adjusted={("chat", "o3"): -4, ("(none)", "(none)"): 3}
    )
    (row,) = budget_rows([month], {})
    assert row["adjustments_usd"] == "-0.000000001"
    assert [(a["app"], a["usd"]) for a in row["adjustments"]] == [
        ("(none)", "0.000000003"),
        ("chat", "-0.000000004"),
    ]
