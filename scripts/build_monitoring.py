"""Write k8s/components/monitoring: the rules and dashboards that spendgate renders, as files to apply.

    .venv/bin/python scripts/build_monitoring.py

A test builds them anew and compares.
"""

from __future__ import annotations

from pathlib import Path

from spendgate.monitoring.catalogue import GROUPS
from spendgate.monitoring.dashboards import DASHBOARDS
from spendgate.monitoring.panels import as_json
from spendgate.monitoring.rules import as_yaml, prometheus_rule, rule_file

TARGET = Path(__file__).resolve().parent.parent / "k8s" / "components" / "monitoring"
NOTE = "# Written by scripts/build_monitoring.py; do not edit.\n"


def files() -> dict[str, str]:
    """Every generated file by its name."""
    return {
        "rules.yaml": NOTE + as_yaml(rule_file(GROUPS)),
        "prometheusrule.yaml": NOTE + as_yaml(prometheus_rule(GROUPS)),
        **{f"{name}.json": as_json(make("")) for name, make in DASHBOARDS.items()},
    }


if __name__ == "__main__":
    TARGET.mkdir(parents=True, exist_ok=True)
    for file_name, text in files().items():
        (TARGET / file_name).write_text(text, encoding="utf-8")
        print(TARGET / file_name)
