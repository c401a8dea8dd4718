"""Edits of a request's body that the dialects share: another model, and a lower output cap."""

from __future__ import annotations

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.request import fallbacks
from spendgate.dialects.wire import json_edit, json_read


def rewrite(
    body: bytes, facts: RequestFacts, key: str, *, model: str | None, output_cap: int | None
) -> bytes:
    """Edit `model` and the cap in the field `key`. Raises RequestError."""
    body = narrowed(body, facts, model)
    changes = renamed(facts, model)
    if output_cap is not None:
        changes[key] = lowered(facts, output_cap)
    return json_edit.edit(body, changes) if changes else body


def narrowed(body: bytes, facts: RequestFacts, model: str | None) -> bytes:
    """The body without the lists of models that might answer in the stead of the one now written. Raises
    RequestError."""
    if model is None or facts.model_fixed or not facts.fallbacks:
        return body
    return json_edit.without(body, (*fallbacks.KEYS, "route", "config"))


def renamed(facts: RequestFacts, model: str | None) -> dict[str, json_edit.Value]:
    """The edit of `model`, where another is asked for and the body says which."""
    if model is None or facts.model_fixed:
        return {}
    return {"model": json_read.dumps(model).encode()}


def lowered(facts: RequestFacts, output_cap: int) -> bytes:
    """A cap as JSON: never above the client's own, nor below what the provider takes (`facts.output_cap_min`)."""
    cap = max(output_cap, facts.output_cap_min)
    return str(cap if facts.output_cap is None else min(cap, facts.output_cap)).encode()


def inside(key: str, value: bytes) -> json_edit.Value:
    """Sets a field of an object, which is made where there is none."""
    return lambda old: json_edit.edit(old if old.startswith(b"{") else b"{}", {key: value})
