"""The CustomResourceDefinition of LLMBudget, made from the pydantic models of the policy. Pure.

What the first release's schema let pass stays valid: none of its fields is required here and none of its
texts is bounded, only its numbers are. A document that lacks what it needs is accepted by the API server and
gets the condition `Invalid` with the field named. No CEL rules: API servers before 1.25 refuse them.
"""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel

from spendgate.budget.forecast import METHOD
from spendgate.budget.model import (
    GROUP,
    KIND,
    AlertThreshold,
    BudgetSpec,
    CostRouting,
    ModelLimit,
)
from spendgate.controller.conditions import CONDITION_TYPES, PHASES

PLURAL = "llmbudgets"
VERSION = "v1"
CRD_NAME = f"{PLURAL}.{GROUP}"

Schema = dict[str, Any]

_FIRST_RELEASE: dict[type[BaseModel], frozenset[str]] = {
    BudgetSpec: frozenset(
        {"team", "monthlyBudgetUSD", "alertThresholds", "modelLimits", "defaultModel", "costRouting"}
    ),
    AlertThreshold: frozenset({"percent", "action", "notifyChannel"}),
    ModelLimit: frozenset({"modelPattern", "maxMonthlyUSD", "allowedApps"}),
    CostRouting: frozenset({"enabled", "cheapModel", "expensiveModel", "complexityThreshold"}),
}
"""Fields that documents of the first release may leave out or write as they like."""
_KEPT = ("type", "enum", "minimum", "maximum", "format", "description")
_READY = '.status.conditions[?(@.type=="Ready")].{}'
_TEXT_BOUNDS = ("minLength", "maxLength")


def custom_resource_definition() -> Schema:
    """The whole CRD as plain data."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": PLURAL,
                "singular": KIND.lower(),
                "kind": KIND,
                "listKind": f"{KIND}List",
                "shortNames": ["lb"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "The LLM budget of one team, enforced by the gateways.",
                            "properties": {"spec": spec_schema(), "status": status_schema()},
                        }
                    },
                }
            ],
        },
    }


def crd_yaml() -> str:
    """The CRD as YAML, as `spendgate render crd` prints it and `k8s/base/crd.yaml` holds it."""
    text = yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=110, allow_unicode=True)
    return "# Made by `spendgate render crd`; do not edit.\n" + text


def spec_schema() -> Schema:
    """The structural schema of `spec`."""
    raw = BudgetSpec.model_json_schema(by_alias=True)
    return _structural(raw, raw.get("$defs", {}), BudgetSpec.__name__)


def status_schema() -> Schema:
    """The structural schema of `status`, the controller's."""
    usd = {"type": "number"}
    return {
        "type": "object",
        "description": "What the controller found; nobody else writes it.",
        "properties": {
            "currentSpendUSD": usd | {"description": "Settled in this UTC month, exact to a micro-dollar."},
            "reservedUSD": usd | {"description": "Held by requests in flight."},
            "budgetUtilization": usd
            | {"description": "settled / this month's budget, increases included; 1 is all."},
            "forecastUSD": usd
            | {
                "description": f"Spend expected at the month's end: {METHOD}. The same that Slack's posts "
                "and spendgate_forecast_usd show."
            },
            "lastUpdated": {"type": "string", "description": "When this status last changed, RFC 3339, UTC."},
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "The metadata.generation that this status speaks of.",
            },
            "enforcedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "The generation in force: lower than observedGeneration where that one is "
                "invalid; 0 where none is.",
            },
            "phase": {"type": "string", "enum": list(PHASES), "description": "The conditions in one word."},
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                    "properties": {
                        "type": {"type": "string", "description": f"One of {', '.join(CONDITION_TYPES)}."},
                        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                        "reason": {"type": "string", "description": "One word for programs."},
                        "message": {"type": "string", "description": "A sentence for people."},
                        "lastTransitionTime": {"type": "string", "format": "date-time"},
                        "observedGeneration": {"type": "integer", "format": "int64"},
                    },
                },
            },
        },
    }


def _structural(node: Schema, definitions: Schema, owner: str = "") -> Schema:
    """One node without $ref, anyOf and titles: Kubernetes knows neither, and says null by leaving out."""
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        return _structural({**definitions[name], **_without_ref(node)}, definitions, name)
    if "anyOf" in node:
        (only,) = [part for part in node["anyOf"] if part.get("type") != "null"]
        rest = {k: v for k, v in node.items() if k != "anyOf"}
        return _structural({**only, **rest}, definitions, owner)
    first = next((fields for model, fields in _FIRST_RELEASE.items() if model.__name__ == owner), frozenset())
    out: Schema = {key: node[key] for key in _KEPT if key in node}
    out |= {key: node[key] for key in _TEXT_BOUNDS if key in node}
    if "const" in node:
        out["enum"] = [node["const"]]
    default = node.get("default")
    if default not in (None, "", []):
        out["default"] = (
            default if not isinstance(default, str) or out["type"] == "string" else float(default)
        )
        if isinstance(out["default"], float) and out["default"].is_integer():
            out["default"] = int(out["default"])
    if out["type"] == "array":
        out["items"] = _structural(node["items"], definitions)
    if out["type"] == "object":
        required = sorted(set(node.get("required", ())) - first)
        if required:
            out["required"] = required
        out["properties"] = {}
        for name, child in node["properties"].items():
            schema = _structural(child, definitions)
            out["properties"][name] = _any_text(schema) if name in first else schema
    return out


def _without_ref(node: Schema) -> Schema:
    return {k: v for k, v in node.items() if k not in ("$ref", "title")}


def _any_text(schema: Schema) -> Schema:
    """Without bounds on texts, here and in a list's entries."""
    out = {k: v for k, v in schema.items() if k not in _TEXT_BOUNDS}
    if out["type"] == "array" and out["items"]["type"] == "string":
        out["items"] = _any_text(out["items"])
    return out


def _columns() -> list[Schema]:
    def column(name: str, kind: str, path: str, wide: bool = False, text: str = "") -> Schema:
        out: Schema = {"name": name, "type": kind, "jsonPath": path}
        if wide:
            out["priority"] = 1
        if text:
            out["description"] = text
        return out

    return [
        column("Team", "string", ".spec.team"),
        column("Budget", "number", ".spec.monthlyBudgetUSD", text="USD a month."),
        column("Spent", "number", ".status.currentSpendUSD", text="USD settled this month."),
        column("Utilization", "number", ".status.budgetUtilization", text="1 is the whole budget."),
        column("Ready", "string", _READY.format("status"), text="True: the gateways enforce it."),
        column("Reason", "string", _READY.format("reason"), text="Why, or why not; describe says more."),
        column("Held", "number", ".status.reservedUSD", wide=True, text="USD of requests in flight."),
        column("Forecast", "number", ".status.forecastUSD", wide=True, text="USD at the month's end."),
        column("Phase", "string", ".status.phase", wide=True),
        column("Age", "date", ".metadata.creationTimestamp", wide=True),
    ]
