"""`grown` counts what `increase` misses, and nothing twice: promtool evaluates it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.prometheus import promtool

from spendgate.monitoring.rules import grown


@pytest.mark.parametrize(
    ("name", "samples", "at", "expected"),
    [
        ("the event that makes a series", "_x25 3x20", "30m", 3),
        ("a newborn series that goes on to grow", "_x25 3 4 5x20", "30m", 5),
        ("a series that stood still", "7x60", "50m", 0),
        ("a series that stood still for long", "7x600", "10h", 0),
        ("nothing old after a pause of Prometheus", "7x25 _x20 7x60", "50m", 0),
        ("a restarted process", "7x25 0x4 2x60", "40m", 2),
    ],
)
def test_growth_of_a_counter(name: str, samples: str, at: str, expected: float, tmp_path: Path) -> None:
    test = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "name": name,
                "interval": "1m",
                "input_series": [{"series": "events_total", "values": samples}],
                "promql_expr_test": [
                    {
                        # to whole events: increase extrapolates to the window's edges
                        "expr": f"round({grown('events_total', '20m')})",
                        "eval_time": at,
                        "exp_samples": [{"labels": "{}", "value": expected}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    promtool("test", "rules", tmp_path / "test.yaml")
