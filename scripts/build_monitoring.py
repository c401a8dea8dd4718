"""Write k8s/components/monitoring, the rules and dashboards that spendgate renders as files to apply, and
docs/runbooks/README.md, the list of all alerts.

    .venv/bin/python scripts/build_monitoring.py

A test builds them anew and compares.
"""

from __future__ import annotations

import re
from pathlib import Path

from spendgate.monitoring.catalogue import ALERTS, GROUPS
from spendgate.monitoring.dashboards import DASHBOARDS
from spendgate.monitoring.panels import as_json
from spendgate.monitoring.rules import as_yaml, prometheus_rule, rule_file

ROOT = Path(__file__).resolve().parent.parent
COMPONENT = "k8s/components/monitoring"
NOTE = "# Written by scripts/build_monitoring.py; do not edit.\n"


INTRODUCTION = """<!-- Written by scripts/build_monitoring.py; do not edit. -->

# Alerts and their runbooks

```bash
spendgate render rules > spendgate-rules.yaml                        # for rule_files of a prometheus.yml
spendgate render rules -o prometheusrule | kubectl apply -f -        # for the Prometheus operator
spendgate render dashboard --name chargeback > chargeback.json       # for Grafana; and --name operations
```

`--runbooks URL` makes alerts and panels link to where you publish these pages. All the rules need is that
Prometheus scrapes `/metrics` of every gateway's and controller's admin address; they name no job. An alert on a
budget comes once a team, however many instances are scraped. Let Alertmanager inhibit the lower of two
thresholds of the same `team`.

| alert | severity | lasts | says |
| --- | --- | --- | --- |
"""


def index() -> str:
    """The page of all alerts."""
    return INTRODUCTION + "".join(
        f"| [{a.name}]({a.name}.md) | {a.severity} | {a.hold} | {plain(a.summary)} |\n" for a in ALERTS
    )


def plain(template: str) -> str:
    """A summary for a page: its values as names."""
    named = re.sub(r"\{\{ *\$labels\.(\w+) *\}\}", lambda m: m[1].upper(), template)
    return re.sub(r"\{\{.*?\}\}", "N", named)


def files() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    return {
        f"{COMPONENT}/rules.yaml": NOTE + as_yaml(rule_file(GROUPS)),
        f"{COMPONENT}/prometheusrule.yaml": NOTE + as_yaml(prometheus_rule(GROUPS)),
        **{f"{COMPONENT}/{name}.json": as_json(make("")) for name, make in DASHBOARDS.items()},
        "docs/runbooks/README.md": index(),
    }


if __name__ == "__main__":
    for file_name, text in files().items():
        (ROOT / file_name).write_text(text, encoding="utf-8")
        print(file_name)
