"""Bedrock's guardrails, whose checks are billed beside the model: by units of a thousand characters, for each policy.

An answer tells them in its trace, where the request asks for one (`guardrailConfig.trace`, `x-amzn-bedrock-trace`).
Sources: Bedrock's API reference, "GuardrailUsage"; "Guardrails" of its price list: words and regular expressions are
free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spendgate.dialects.response.counts import BadUsage, optional
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
from spendgate.usage import Usage

UNITS = {
    "contentPolicyUnits": "guardrail_content",
    "topicPolicyUnits": "guardrail_topics",
    "sensitiveInformationPolicyUnits": "guardrail_pii",
    "contextualGroundingPolicyUnits": "guardrail_grounding",
    "automatedReasoningPolicyUnits": "guardrail_reasoning",
    "contentPolicyImageUnits": "guardrail_images",
}
"""Counter of a trace → kind of usage."""
UNIT_CHARACTERS = 1_000
TOKEN_CHARACTERS = 8
"""What a token of an answer has at most, on the average of one."""
_TEXT_KINDS = tuple(kind for kind in UNITS.values() if kind != "guardrail_images")
_HEADER = "x-amzn-bedrock-guardrailidentifier"


def read(trace: object) -> Usage:
    """The units that a trace's `guardrail` tells; none where it tells nothing that can be read. Never raises."""
    found: Usage = {}
    for usage in _usages(object_of(object_of(trace).get("guardrail"))):
        for counter, kind in UNITS.items():
            try:
                found[kind] = found.get(kind, 0) + optional(usage, counter)
            except BadUsage:
                continue
    return {kind: n for kind, n in found.items() if n}


def _usages(guardrail: JsonObject) -> Iterator[JsonObject]:
    """The usage of each check: of the input, by guardrail, and of each output, by guardrail."""
    checks = [v for key in ("inputAssessment", "input") for v in object_of(guardrail.get(key)).values()]
    for assessed in object_of(guardrail.get("outputAssessments")).values():
        checks += assessed if isinstance(assessed, list) else [assessed]
    outputs = guardrail.get("outputs")
    for output in list_of(outputs):
        checks += object_of(output).values()
    for check in checks:
        yield object_of(object_of(object_of(check).get("invocationMetrics")).get("usage"))


def bound(document: JsonObject, headers: Mapping[str, str], text_bytes: int, output_tokens: int) -> Usage:
    """The most units that a request's guardrail may bill; none without one."""
    named = object_of(document.get("guardrailConfig")).get("guardrailIdentifier") or headers.get(_HEADER)
    if not named:
        return {}
    sides = -(-text_bytes // UNIT_CHARACTERS) + -(-output_tokens * TOKEN_CHARACTERS // UNIT_CHARACTERS) + 2
    return dict.fromkeys(_TEXT_KINDS, sides)
