"""values.yaml, values.schema.json and docs/reference/chart.md, written from the model of the values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from helm_chart.values import Values, defaults

NOTE = "Written by scripts/build_chart.py; do not edit."


def _fields(model: BaseModel) -> Iterator[tuple[str, str, Any]]:
    """Name in values.yaml, description and value of each field."""
    for name, field in type(model).model_fields.items():
        yield field.alias or name, field.description or "", getattr(model, name)


def _plain(value: Any) -> str:
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)
    return text.removesuffix("...\n").rstrip("\n")


def _yaml(model: BaseModel, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for name, description, value in _fields(model):
        yield f"{pad}# {description}"
        if isinstance(value, BaseModel):
            yield f"{pad}{name}:"
            yield from _yaml(value, depth + 1)
        elif isinstance(value, dict) and value:
            yield f"{pad}{name}:"
            yield from (f"{pad}  {line}" for line in _plain(value).splitlines())
        else:
            yield f"{pad}{name}: {_plain(value)}"
        if not depth:
            yield ""


def values_yaml() -> str:
    """The chart's defaults, each with what it is for."""
    head = f"# {NOTE} Every value: docs/reference/chart.md.\n\n"
    return head + "\n".join(_yaml(defaults(), 0)).rstrip("\n") + "\n"


def schema() -> str:
    """What Helm holds given values against. Titles are left out; they only repeat the names."""
    document = Values.model_json_schema(by_alias=True)

    def bare(node: Any, properties: bool = False) -> Any:
        if isinstance(node, dict):
            drop = set() if properties else {"title", "default"}
            return {k: bare(v, k in ("properties", "$defs")) for k, v in node.items() if k not in drop}
        return [bare(x) for x in node] if isinstance(node, list) else node

    out = bare(document)
    out["properties"]["global"] = {
        "type": "object",
        "description": "Helm's own, for charts that contain this one.",
    }
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **out}, indent=2) + "\n"


def _rows(model: BaseModel, prefix: str) -> Iterator[str]:
    for name, description, value in _fields(model):
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            shown = "as in k8s/" if name == "resources" else f"`{json.dumps(value, ensure_ascii=False)}`"
            yield f"| `{prefix}{name}` | {shown} | {description.replace('|', chr(92) + '|')} |"


PAGE = f"""<!-- {NOTE} -->

# Values of the Helm chart

How to install it: [with Helm](../how-to/helm.md). A value that is not here is refused, with its name
(`charts/spendgate/values.schema.json`). Names of workloads, Services and ConfigMaps are fixed, so that policies and
commands of these pages fit: one release a namespace, and, since roles and the kind LLMBudget are the cluster's, one a
cluster.
"""


def page() -> str:
    """The reference of all values."""
    out = [PAGE]
    top: list[str] = []
    for name, description, value in _fields(defaults()):
        if isinstance(value, BaseModel):
            out += [f"\n## {name}\n", description, "", "| value | default | meaning |", "| --- | --- | --- |"]
            out += _rows(value, f"{name}.")
        else:
            top.append(f"| `{name}` | `{json.dumps(value, ensure_ascii=False)}` | {description} |")
    whole = ["\n## Of the whole release\n", "| value | default | meaning |", "| --- | --- | --- |", *top]
    return "\n".join([out[0], *whole, *out[1:]]) + "\n"
