"""Names of the headers that spendgate reads and writes. All lower case, as Envoy hands them over."""

from __future__ import annotations

IDENTITY: tuple[str, ...] = ("x-llm-team", "x-llm-app", "x-llm-user")
"""Headers that say who asks, by default. Where they are no source of identity, they are a forgery: stripped."""

REQUIRE_MODEL = "x-require-model"
RUN = "x-llm-run"
TRACEPARENT = "traceparent"
REQUEST_ID = "x-request-id"

UTILIZATION = "x-budget-utilization"
DOWNGRADED = "x-model-downgraded"
MODEL = "x-spendgate-model"
REASON = "x-spendgate-reason"
ESTIMATE = "x-spendgate-estimated-cost-usd"
COST = "x-spendgate-cost-usd"
KEPT = "x-spendgate-kept-because"
CLAMPED = "x-spendgate-output-cap"
RESET = "x-spendgate-reset"
SHOULD_RETRY = "x-should-retry"

CLUSTER = "x-spendgate-cluster"
"""Chooses the upstream; set by spendgate only. Envoy strips a client's copy before it picks the route."""

INTERNAL_PREFIXES: tuple[str, ...] = ("x-spendgate-", "x-budget-", "x-model-downgraded")
"""Never taken from a client and never sent to a provider."""

MAX_VALUE = 128
"""Longest believed identity value in characters; a longer one is not an identity but an attack or a bug."""


def printable(value: str) -> bool:
    """Is a header value a sane identity: 1 to 128 printable characters without control characters?"""
    return 0 < len(value) <= MAX_VALUE and value.isprintable()
