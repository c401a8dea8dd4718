"""Prometheus rules as typed data, and their two renderings: a plain rule file and a PrometheusRule.

https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

import yaml

from spendgate.values import dataclass

Json = dict[str, Any]
Severity = Literal["info", "warning", "critical"]
RUNBOOKS = "docs/runbooks"
"""Where runbooks are, unless said otherwise: their place in this repository."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A series that Prometheus computes and keeps: `level:metric:operation`."""

    name: str
    expr: str

    def document(self) -> Json:
        """As a rule file has it."""
        return {"record": self.name, "expr": self.expr}


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert. `hold`: how long the condition must last (Prometheus duration). `summary` and `description`
    are Go templates with `$value` and `$labels`."""

    name: str
    expr: str
    hold: str
    severity: Severity
    summary: str
    description: str

    def document(self, runbooks: str) -> Json:
        """As a rule file has it; the runbook is the file of the alert's name under `runbooks`."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbooks.rstrip('/')}/{self.name}.md",
            },
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, in order."""

    name: str
    rules: tuple[Recording | Alert, ...] = field(default=())

    def document(self, runbooks: str) -> Json:
        """As a rule file has it."""
        return {
            "name": self.name,
            "rules": [r.document(runbooks) if isinstance(r, Alert) else r.document() for r in self.rules],
        }


def grown(metric: str, window: str) -> str:
    """How much each counter grew in `window`, a newborn series' first value included.

    `increase` alone needs two samples: it never sees the one event that makes a series. A series that was not
    there an hour before the window is newborn and counts whole; after a pause of Prometheus itself shorter
    than that, nothing old counts anew.
    """
    return f"(({metric} unless last_over_time({metric}[1h] offset {window})) or increase({metric}[{window}]))"


def rule_file(groups: tuple[Group, ...], runbooks: str = RUNBOOKS) -> Json:
    """The document that `rule_files` of a prometheus.yml names."""
    return {"groups": [g.document(runbooks) for g in groups]}


def prometheus_rule(groups: tuple[Group, ...], runbooks: str = RUNBOOKS) -> Json:
    """The same as the Prometheus operator's kind."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "spendgate", "labels": {"app.kubernetes.io/name": "spendgate"}},
        "spec": rule_file(groups, runbooks),
    }


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that a person can read an expression."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(document: Json) -> str:
    """Print a document in the order in which it was written."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
