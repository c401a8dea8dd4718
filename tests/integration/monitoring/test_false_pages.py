"""Simulated weeks and months against every rule on money: what a person on call would be woken for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.prometheus import promtool

from spendgate.monitoring import budget_alerts, recorded
from spendgate.monitoring.rules import as_yaml, rule_file

STEP_MIN = 30
DAY = 24 * 60 // STEP_MIN
FIRST_WEEKDAY = 3
"""promtool's time begins on Thursday, the first of January 1970."""


def is_work(step: int) -> bool:
    """Monday to Friday, 9 to 18 o'clock."""
    hour = step % DAY * STEP_MIN / 60
    return (FIRST_WEEKDAY + step // DAY) % 7 < 5 and 9 <= hour < 18


def counter(days: int, usd_an_hour: Callable[[int], float], begins: int = 0) -> str:
    """A counter that grows by each half hour costs; not there before it begins."""
    total, out = 0.0, []
    for step in range(days * DAY):
        total += usd_an_hour(step) * STEP_MIN / 60
        out.append("_" if step < begins else f"{total:.4f}")
    return " ".join(out)


def remaining(days: int, budget: float, usd_an_hour: Callable[[int], float]) -> str:
    return " ".join(str(budget - float(x)) for x in counter(days, usd_an_hour).split())


def cost(app: str, values: str) -> dict[str, str]:
    return {f'llm_cost_usd_total{{team="ml",app="{app}",model="m",instance="a"}}': values}


class Rules:
    """The rendered rules, and which of the asked moments an alert fires at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        groups: Any = rule_file((*budget_alerts.GROUPS, *recorded.GROUPS))
        for group in groups["groups"]:
            for rule in group["rules"]:
                if "annotations" in rule:
                    rule["annotations"] = {}
        (folder / "rules.yaml").write_text(as_yaml(groups))

    def expect(self, alert: str, series: dict[str, str], moments: dict[str, dict[str, str] | None]) -> None:
        """`moments`: by promtool's time the labels of the one alert that fires, None for silence."""
        tests = [
            {
                "eval_time": at,
                "alertname": alert,
                "exp_alerts": [{"exp_labels": labels}] if labels is not None else [],
            }
            for at, labels in moments.items()
        ]
        document = {
            "rule_files": ["rules.yaml"],
            "evaluation_interval": f"{STEP_MIN}m",
            "tests": [
                {
                    "interval": f"{STEP_MIN}m",
                    "input_series": [{"series": k, "values": v} for k, v in series.items()],
                    "alert_rule_test": tests,
                }
            ],
        }
        (self._folder / "test.yaml").write_text(yaml.safe_dump(document))
        promtool("test", "rules", self._folder / "test.yaml")


@pytest.fixture
def rules(tmp_path: Path) -> Iterator[Rules]:
    yield Rules(tmp_path)


ML = {"severity": "warning", "team": "ml"}


def work_pace(step: int) -> float:
    """6,400 USD in a month of 22 working days."""
    return 6400 / 22 / 9 if is_work(step) else 0.0


def test_a_team_that_works_by_day_and_ends_at_80_percent_wakes_nobody_all_month(rules: Rules) -> None:
    series = cost("chat", counter(31, work_pace)) | {
        'llm_budget_remaining_usd{team="ml"}': remaining(31, 8000, work_pace)
    }
    asked: dict[str, dict[str, str] | None] = {
        f"{day * 24 + hour}h": None for day in range(31) for hour in (14, 17)
    }
    rules.expect("LLMBudgetBurnRate", series, asked)


def test_a_new_level_is_told_within_the_working_day(rules: Rules) -> None:
    def pace(step: int) -> float:
        return work_pace(step) * (12 if step >= 14 * DAY else 1)

    series = cost("chat", counter(15, pace)) | {
        'llm_budget_remaining_usd{team="ml"}': remaining(15, 8000, pace)
    }
    rules.expect("LLMBudgetBurnRate", series, {f"{13 * 24 + 17}h": None, f"{14 * 24 + 16}h": ML})


def test_the_same_load_with_a_budget_that_does_not_last_the_month_is_told_in_time(rules: Rules) -> None:
    series = cost("chat", counter(20, work_pace)) | {
        'llm_budget_remaining_usd{team="ml"}': remaining(20, 4500, work_pace)
    }
    rules.expect("LLMBudgetBurnRate", series, {f"{8 * 24 + 16}h": None, f"{15 * 24 + 16}h": ML})


CHAT = {"severity": "warning", "team": "ml", "app": "chat"}


def test_a_standing_share_is_no_spike_after_its_first_hours(rules: Rules) -> None:
    series = cost("chat", counter(12, lambda _: 9.0)) | cost("x", counter(12, lambda _: 1.0))
    rules.expect(
        "LLMAppCostSpike", series, {f"{day * 24 + h}h": None for day in range(1, 12) for h in (2, 14)}
    )


def test_a_batch_of_every_night_is_no_spike_after_the_first(rules: Rules) -> None:
    def batch(step: int) -> float:
        return 20.0 if step % DAY < DAY // 8 else 0.0

    series = cost("chat", counter(8, lambda s: 10.0 if is_work(s) else 0.0)) | cost(
        "batch", counter(8, batch)
    )
    rules.expect("LLMAppCostSpike", series, {f"{day * 24 + 2}h": None for day in range(2, 8)})


def test_a_newborn_app_s_first_dear_hour_is_a_spike(rules: Rules) -> None:
    born = 3 * DAY + 4
    series = (
        cost("x", counter(4, lambda _: 1.0))
        | cost("y", counter(4, lambda _: 1.0))
        | cost("chat", counter(4, lambda s: 200.0 if s == born - 1 else 0.0, born))
    )
    rules.expect("LLMAppCostSpike", series, {"73h": None, "74h30m": CHAT, "78h": None})


def test_a_loop_of_a_known_app_is_a_spike(rules: Rules) -> None:
    loop = cost("chat", counter(4, lambda s: 100.0 if s >= 3 * DAY else 9.0)) | cost(
        "x", counter(4, lambda _: 1.0)
    )
    rules.expect("LLMAppCostSpike", loop, {"71h": None, "74h": CHAT})


@pytest.mark.parametrize("alert", ["LLMBudget50Percent", "LLMBudget80Percent", "LLMBudget100Percent"])
def test_a_budget_of_0_that_refuses_from_the_start_is_no_incident(rules: Rules, alert: str) -> None:
    nothing = {
        'llm_budget_utilization_ratio{team="ml"}': "1x200",
        'llm_budget_remaining_usd{team="ml"}': "0x200",
    }
    rules.expect(alert, nothing, {"1h": None, "40h": None})
    level = {"LLMBudget50Percent": "info", "LLMBudget80Percent": "warning"}.get(alert, "critical")
    spent = nothing | cost("chat", "5x200")
    rules.expect(alert, spent, {"40h": {"severity": level, "team": "ml"}})


def test_a_budget_that_refuses_nothing_is_no_critical_incident(rules: Rules) -> None:
    series = {
        'llm_budget_utilization_ratio{team="ml"}': "1.2x200",
        'llm_budget_remaining_usd{team="ml"}': "-5x200",
        'spendgate_budget_soft{team="ml"}': "1x200",
    }
    rules.expect("LLMBudget100Percent", series, {"40h": None})
    rules.expect("LLMBudget80Percent", series, {"40h": ML})
