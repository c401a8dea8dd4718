"""What the validating webhook answers: an AdmissionReview in, an AdmissionReview out. Pure.

Refused is what `spendgate validate` refuses, in the same words: what the CRD's schema cannot say (a budget
without a team, `costRouting` enabled without `cheapModel`). Warned of is what is allowed and rarely meant: a
second budget for a team, and the notes of `spendgate validate`. A document whose spec does not change is let
through, however wrong: labels and finalizers must stay editable, and the condition `Invalid` tells the rest.

Source: kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers (admission.k8s.io/v1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spendgate.budget.load import budget_from_document
from spendgate.budget.model import API_VERSION, KIND
from spendgate.controller.kube.informer import Key, key_of
from spendgate.errors import ConfigurationError

API = "admission.k8s.io/v1"
WARNING_MAX = 250
"""Kubernetes shows about so many characters of a warning."""

Others = Callable[[str], Iterable[Key]]
"""The budgets that a team has now."""


class BadReview(ValueError):
    """The body is no AdmissionReview of admission.k8s.io/v1."""


def answer(review: object, others: Others) -> dict[str, Any]:
    """The AdmissionReview to send back. Raises BadReview."""
    if not isinstance(review, Mapping) or review.get("apiVersion") != API:
        raise BadReview(f"not an AdmissionReview of {API}")
    request = review.get("request")
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        raise BadReview("an AdmissionReview without request.uid")
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    faults, warnings = judged(request, others)
    if faults:
        response["allowed"] = False
        response["status"] = {"code": 422, "reason": "Invalid", "message": "\n".join(faults)}
    elif warnings:
        response["warnings"] = [_cut(w) for w in warnings]
    return {"apiVersion": API, "kind": "AdmissionReview", "response": response}


def judged(request: Mapping[str, Any], others: Others) -> tuple[list[str], list[str]]:
    """Faults, a line each, and warnings of one request."""
    new = request.get("object")
    if request.get("operation") not in ("CREATE", "UPDATE") or not isinstance(new, Mapping):
        return [], []
    old = request.get("oldObject")
    if isinstance(old, Mapping) and old.get("spec") == new.get("spec"):
        return [], []
    meta = dict(new.get("metadata") or {})
    meta.setdefault("name", meta.get("generateName") or request.get("name") or "")
    document = {
        "apiVersion": new.get("apiVersion", API_VERSION),
        "kind": new.get("kind", KIND),
        "metadata": meta,
        "spec": new.get("spec") or {},
    }
    try:
        budget = budget_from_document(document, "")
    except ConfigurationError as e:
        return [f.text for f in e.faults] or [str(e)], []
    me = key_of({"metadata": {"namespace": request.get("namespace") or meta.get("namespace"), **meta}})
    rivals = sorted("/".join(key) for key in others(budget.team) if key != me)
    warnings = [
        f"team {budget.team} already has a budget in {where}; keep one of the two: the older is enforced, the "
        "other gets the condition Conflict"
        for where in rivals
    ]
    return [], [*warnings, *budget.advice]


def _cut(text: str) -> str:
    return text if len(text) <= WARNING_MAX else text[: WARNING_MAX - 1] + "…"
