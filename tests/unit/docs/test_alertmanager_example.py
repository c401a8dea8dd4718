"""The routes and inhibitions that the page gives Alertmanager choose alerts that there are, by labels of theirs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from spendgate.monitoring.catalogue import ALERTS

Json = dict[str, Any]
PAGE = Path(__file__).resolve().parents[3] / "docs/how-to/dashboards-and-alerts.md"
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]+)"')


def example() -> Json:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [found] = [yaml.safe_load(b) for b in blocks if b.startswith("route:")]
    assert isinstance(found, dict)
    return found


def chosen(matchers: list[str]) -> tuple[set[str], set[str]]:
    """The alerts that matchers of names choose, and the other labels that they ask for."""
    wanted = [m.groups() for m in map(MATCHER.fullmatch, matchers) if m]
    assert len(wanted) == len(matchers), matchers
    [(how, names)] = [(how, value) for label, how, value in wanted if label == "alertname"]
    pattern = names if how == "=~" else re.escape(names)
    found = {a.name for a in ALERTS if re.fullmatch(pattern, a.name)}
    assert found, f"no alert is {names}"
    for name in pattern.split("|") if ".*" not in pattern else ():
        assert name in found, f"no alert is {name}"
    return found, {label for label, _, _ in wanted} - {"alertname"}


def have(names: set[str], labels: set[str]) -> None:
    """What an alert says of a label in its text, it has."""
    for alert in ALERTS:
        if alert.name in names:
            text = alert.summary + alert.description
            assert {x for x in labels if f"$labels.{x} " not in text} == set(), alert.name


def test_each_route_leads_alerts_that_there_are_by_labels_that_they_have() -> None:
    for route in example()["route"]["routes"]:
        have(*chosen(route["matchers"]))


def test_each_inhibition_is_between_alerts_of_one_team() -> None:
    rules = example()["inhibit_rules"]
    for rule in rules:
        sources, none = chosen(rule["source_matchers"])
        targets, nor = chosen(rule["target_matchers"])
        assert not none | nor and not sources & targets
        have(sources | targets, set(rule["equal"]))
    quiet = {t for r in rules for t in chosen(r["target_matchers"])[0]}
    assert quiet >= {"LLMBudget50Percent", "LLMBudget80Percent"}, (
        "of 50, 80 and 100 % only the highest is news"
    )
