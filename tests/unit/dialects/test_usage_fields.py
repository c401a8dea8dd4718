"""Each field that a dialect says it reads changes the reading of an answer, and in the way that it says."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import pytest

from spendgate.dialects.base import Dialect, Reading
from spendgate.dialects.registry import DIALECTS
from spendgate.dialects.response.header_usage import with_headers
from spendgate.dialects.wire import traits
from spendgate.usage import KINDS, input_total, output_total

LESS, MORE = 7, 1007
"""Counts that are set: a part of a total, or the total itself."""
SPECIAL: dict[str, Any] = {
    "usage.speed": "fast",
    "performanceConfig.latency": "optimized",
    "usage.iterations[]": {"model": "other", "input_tokens": 200, "output_tokens": 300},
    "usage_breakdown.models[]": {"model": "other", "usage": {"prompt_tokens": 7, "completion_tokens": 8}},
    "x_groq.usage_breakdown.models[]": {
        "model": "other",
        "usage": {"prompt_tokens": 7, "completion_tokens": 8},
    },
    "candidates[].groundingMetadata.groundingChunks[].maps": {"title": "here"},
    "candidates[].groundingMetadata.webSearchQueries[]": "who won",
    "steps[type=google_search_call].arguments.queries[]": "who won",
}
"""What is set where a count says nothing."""
NAMED = {"input_tokens": 100, "output_tokens": 50}
MODALITIES = [{"modality": m, "tokenCount": 20} for m in ("AUDIO", "IMAGE", "VIDEO")]
GEMINI = {"promptTokenCount": 100, "candidatesTokenCount": 50}
CACHED = {**GEMINI, "cachedContentTokenCount": 30, "promptTokensDetails": MODALITIES}
BASES: list[dict[str, Any]] = [
    {},
    {"model": "m", "usage": {"prompt_tokens": 100, "completion_tokens": 50}},
    {"model": "m", "usage": NAMED},
    {"model": "m", "usage": {**NAMED, "iterations": [{"model": "m", **NAMED}]}},
    {"usage": {"inputTokens": 100, "outputTokens": 50}},
    {"usage": {"total_input_tokens": 100, "total_output_tokens": 50}},
    {"usage": {"billed_units": {"input_tokens": 100, "output_tokens": 50}}},
    {"usage": {"prompt_tokens": 100}},
    {"model": "m", "usage": NAMED, "output": [{"type": "web_search_call"}]},
    {"meta": {"billed_units": {"input_tokens": 100, "output_tokens": 50}}},
    {"usageMetadata": GEMINI},
    {"usageMetadata": CACHED},
    {"inputTextTokenCount": 100},
]
"""The ways of a usage beside which a field is told."""
HEADERS = {"x-amzn-bedrock-input-token-count": "100", "x-amzn-bedrock-output-token-count": "50"}
STEP = re.compile(r"([^\[\]]+)(?:\[(?:(\w+)=(\w+))?\])?")
FIELDS = [
    pytest.param(dialect, kind, path, id=f"{dialect.name} {kind} {path}")
    for dialect in DIALECTS
    for kind, paths in dialect.usage_fields.items()
    for path in paths
]


def put(document: dict[str, Any], path: str, value: object) -> None:
    """Set the field of a path, on the way making what is not there."""
    steps = [STEP.fullmatch(step) for step in path.split(".")]
    at: Any = document
    for i, step in enumerate(steps):
        assert step is not None, path
        name, key, of = step.groups()
        last = i == len(steps) - 1
        if "[" not in step[0]:
            if last:
                at[name] = value
            else:
                at = at.setdefault(name, {})
            continue
        items = at.setdefault(name, [])
        if last and key is None:
            items.append(value)
        else:
            items.append({key: of} if key is not None else {})
            at = items[-1]


def read(dialect: Dialect, document: dict[str, Any], headers: dict[str, str]) -> Reading:
    return with_headers(dialect.read_answer(json.dumps(document).encode(), headers), headers)


def says(kind: str, value: object, before: Reading, after: Reading) -> bool:
    """Does the later reading say what was set?"""
    match kind:
        case traits.MODEL:
            return after.model == value
        case traits.TIER:
            return after.service_tier == value
        case traits.PLACE:
            return after.residency == value
        case traits.TOLD:
            return before.told_nanousd is None and after.told_nanousd is not None
        case traits.PARTS:
            return "other" in [model for model, _ in after.parts]
        case traits.TOTAL:
            return input_total(after.usage) + output_total(after.usage) == value
    return after.problem is None and after.usage.get(kind, 0) > before.usage.get(kind, 0)


@pytest.mark.parametrize(("dialect", "kind", "path"), FIELDS)
def test_a_field_that_is_said_to_be_read_is_read(dialect: Dialect, kind: str, path: str) -> None:
    words = (traits.MODEL, traits.TIER, traits.PLACE)
    seen = []
    for base, count in product(BASES, (LESS, MORE)):
        value = SPECIAL.get(path, "flex" if kind in words else 150 + count if kind == traits.TOTAL else count)
        for headers in ({}, HEADERS) if dialect.name == "bedrock-invoke" else ({},):
            document = json.loads(json.dumps(base))
            before = read(dialect, document, headers)
            if path.startswith("header "):
                headers = {**headers, path.removeprefix("header "): str(value)}
            else:
                try:
                    put(document, path, value)
                except (TypeError, AttributeError):  # this usage has another shape there
                    continue
            seen.append(says(kind, value, before, read(dialect, document, headers)))
    assert any(seen)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_only_kinds_that_are_known_are_told_and_for_each_it_is_said_what_counts_without(
    dialect: Dialect,
) -> None:
    assert dialect.usage_fields.keys() <= {*KINDS, *traits.NOT_USAGE}
    assert dialect.usage_fields.keys() <= traits.WHEN_MISSING.keys()
