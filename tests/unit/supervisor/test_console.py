"""Decisions as lines that a person reads."""

from __future__ import annotations

import pytest

from spendgate.supervisor.console import readable

ROW: dict[str, object] = {
    "time": "2026-11-24T12:34:56.000Z", "team": "ml", "app": "chat", "model_requested": "gpt-4o",
    "model": "gpt-4o", "tokens": {"input": 10, "output": 5}, "cost_usd": "0.000075", "outcome": "complete",
    "decision": "allow", "reason": "within_budget",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({}, ["12:34:56 ✓ ml/chat gpt-4o", "$0.000075", "15 tokens"]),
        (
            {"outcome": "refused", "reason": "monthly_budget_exceeded"},
            ["✗", "refused: monthly_budget_exceeded"],
        ),
        ({"model": "gpt-4o-mini", "decision": "downgrade"}, ["↓", "gpt-4o → gpt-4o-mini"]),
        ({"outcome": "aborted"}, ["…", "aborted"]),
        ({"outcome": "unmetered"}, ["?", "unmetered"]),
    ],
)
def test_a_line_says_who_what_and_why(change: dict[str, object], parts: list[str]) -> None:
    text = readable(ROW | change).plain
    for part in parts:
        assert part in text
