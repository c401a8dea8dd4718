"""A budget's document as text: what a policy is frozen, archived and read back by. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from spendgate.budget.model import LLMBudget


def plain(value: Any) -> Any:
    """A budget's field as JSON has it."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def document_text(document: LLMBudget) -> str:
    """The document as it was written, on one line of JSON with its keys sorted: name, namespace, age and spec.
    `load.budget_from_document` compiles it again."""
    meta = document.metadata
    known = (
        ("name", meta.name),
        ("namespace", meta.namespace),
        ("creationTimestamp", meta.creation_timestamp),
    )
    said = {
        "apiVersion": document.api_version,
        "kind": document.kind,
        "metadata": {k: v for k, v in known if v},
        "spec": plain(document.spec.model_dump(by_alias=True, exclude_unset=True)),
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
