"""What pydantic found, in words for the person who wrote the document: the problem, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from spendgate.budget import model

_PARTS: dict[str, type[BaseModel]] = {
    "": model.LLMBudget,
    "metadata": model.Metadata,
    "spec": model.BudgetSpec,
    "alertThresholds": model.AlertThreshold,
    "modelLimits": model.ModelLimit,
    "costRouting": model.CostRouting,
    "apps": model.App,
    "downgrades": model.Downgrade,
    "increase": model.Increase,
    "limits": model.Limit,
    "overrides": model.LimitOverride,
    "thresholds": model.LimitThreshold,
    "rollover": model.Rollover,
}

_EXAMPLES = {
    "apiVersion": f"apiVersion: {model.API_VERSION}",
    "kind": f"kind: {model.KIND}",
    "team": "team: ml-team",
    "monthlyBudgetUSD": "monthlyBudgetUSD: 8000",
    "percent": "percent: 80",
    "action": "action: alert",
    "modelPattern": 'modelPattern: "claude-opus*"',
    "until": "until: 2026-12-01T00:00:00Z",
    "usd": "usd: 500",
    "from": 'from: "claude-opus*"',
    "to": "to: claude-haiku",
    "name": "name: chatbot",
    "per": "per: user",
    "max": "max: 50",
    "match": 'match: "ann@*"',
    "members": 'members: ["payments", "search-*"]',
}

_UNITS = {"USD": "USD", "Percent": "percent", "percent": "percent", "usd": "USD", "Cap": "tokens"}


def problem_and_remedy(kind: str, loc: tuple[int | str, ...], error: Mapping[str, Any]) -> tuple[str, str]:  # noqa: C901  # a table: a case for each error
    """Say what is wrong at `loc`, given pydantic's error type and error."""
    names = [p for p in loc if isinstance(p, str)]
    name = names[-1] if names else ""
    value = error.get("input")
    context = error.get("ctx", {})
    if kind == "missing":
        return "is missing", f"add it, for example `{_EXAMPLES.get(name, name + ': …')}`"
    if kind == "extra_forbidden":
        return "is not a field of an LLMBudget", _nearest_field(names)
    if kind == "literal_error":
        return f"is {_show(value)}", f"use {context.get('expected', '').replace(chr(39), '')}"
    if kind in ("greater_than_equal", "less_than_equal"):
        limit = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        unit = next((f" {u}" for ending, u in _UNITS.items() if name.endswith(ending)), "")
        return f"is {_show(value)}", f"give {limit}{unit}"
    if kind == "no_wildcard":
        return f"is the pattern {_show(value)}, but names the model to send", "give one model's full name"
    if kind in ("number", "integer"):
        what = "a number" if kind == "number" else "a whole number"
        quoted = isinstance(value, str) and value.replace(".", "", 1).isdecimal()
        remedy = "write it without quotes" if quoted else f"give {what}"
        return f"is {_show(value)}, not {what}", remedy
    if kind in ("bool_type", "bool_parsing"):
        return f"is {_show(value)}, not true or false", "write true or false, without quotes"
    if kind == "string_type":
        return f"is {_show(value)}, not text", "put it in quotes"
    if kind in ("tuple_type", "list_type"):
        return f"is {_show(value)}, not a list", "start each entry with `- `"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"is {_show(value)}, not an object", "give its fields, indented, one a line"
    if kind.startswith(("datetime", "timezone")):
        return f"is {_show(value)}, not a time with zone", "write it as 2026-12-01T00:00:00Z"
    if kind == "string_pattern_mismatch" and name == "per":
        return f"is {_show(value)}", "use team, app, user, run, model, provider, or tag:NAME"
    if kind == "too_long":
        most = context.get("max_length")
        return f"has {context.get('actual_length')} entries", f"keep it to {most}" + (
            "; one limit is a default for every value, and overrides name others" if name == "limits" else ""
        )
    if kind == "too_short":
        return "is empty", f"name at least one, for example `{_EXAMPLES.get(name, name + ': …')}`"
    if kind == "string_too_short":
        return "is empty", f"give a value, for example `{_EXAMPLES.get(name, name + ': …')}`"
    if kind == "string_too_long":
        return "is too long", f"keep it to {context.get('max_length')} characters"
    return str(error.get("msg", kind)), "see `spendgate render crd` for the fields"


def _nearest_field(names: list[str]) -> str:
    known = _fields(names[-2] if len(names) > 1 else "")
    close = get_close_matches(names[-1], known, n=1, cutoff=0.5) or get_close_matches(
        names[-1].lower(), [k.lower() for k in known], n=1, cutoff=0.5
    )
    if close:
        meant = next(k for k in known if k.lower() == close[0].lower())
        return f"did you mean {meant}?"
    return f"remove it; known here: {', '.join(known)}"


def _fields(part: str) -> list[str]:
    cls = _PARTS.get(part)
    return [f.alias or name for name, f in cls.model_fields.items()] if cls else []


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    text = text if len(text) <= 60 else text[:57] + "…"
    return repr(text) if isinstance(value, str) else text
