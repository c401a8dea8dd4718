"""Whether a request asks for reasoning, by every spelling."""

from __future__ import annotations

import pytest

from spendgate.dialects import thinking
from spendgate.dialects.thinking import BUDGET, EFFORT, THINK, THINKING, asked


@pytest.mark.parametrize(
    "document",
    [
        {"reasoning_effort": "minimal"},
        {"reasoning": {"effort": "low"}},
        {"reasoning": {"max_tokens": 9}},
        {"reasoning": {"enabled": True}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"thinking": {"type": "adaptive"}},
        {"thinking": True},
        {"think": "high"},
        {"enable_thinking": True},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}},
        {"generation_config": {"thinking_config": {"thinking_budget": 99}}},
        {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}},
        {"generation_config": {"thinking_level": "high"}},
        {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1}}},
        {"additionalModelRequestFields": {"reasoning_config": {"type": "enabled"}}},
        {"extra_body": {"google": {"thinking_config": {"thinking_budget": 5}}}},
        {"reasoning_effort": "none", "thinking": {"type": "enabled"}},
    ],
)
def test_any_spelling_asks(document: dict[str, object]) -> None:
    for off in ("", EFFORT, THINKING, BUDGET, THINK):
        assert asked(document, off) is True


@pytest.mark.parametrize(
    ("document", "off"),
    [
        ({"reasoning_effort": "none"}, EFFORT),
        ({"reasoning": {"effort": "none"}}, EFFORT),
        ({"thinking": {"type": "disabled"}}, THINKING),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, BUDGET),
        ({"think": False}, THINK),
    ],
)
def test_it_is_switched_off_only_in_the_apis_own_way(document: dict[str, object], off: str) -> None:
    assert asked(document, off) is False
    for other in {"", EFFORT, THINKING, BUDGET, THINK} - {off}:
        assert asked(document, other) is None


@pytest.mark.parametrize("document", [{}, {"model": "o3"}, {"reasoning": {}}, {"reasoning": None}, {"thinking": None}])
def test_most_requests_say_nothing_of_it(document: dict[str, object]) -> None:
    assert asked(document, thinking.EFFORT) is None
