"""Names of the headers that spendgate reads and writes. All lower case, as Envoy hands them over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

IDENTITY: tuple[str, ...] = ("x-llm-team", "x-llm-app", "x-llm-user")
"""Headers that say who asks, by default. Where they are no source of identity, they are a forgery: stripped."""

REQUIRE_MODEL = "x-require-model"
RUN = "x-llm-run"
TRACEPARENT = "traceparent"
REQUEST_ID = "x-request-id"

UTILIZATION = "x-budget-utilization"
REMAINING = "x-budget-remaining-usd"
DOWNGRADED = "x-model-downgraded"
MODEL = "x-spendgate-model"
REASON = "x-spendgate-reason"
ESTIMATE = "x-spendgate-estimated-cost-usd"
COST = "x-spendgate-cost-usd"
KEPT = "x-spendgate-kept-because"
CLAMPED = "x-spendgate-output-cap"
DECISION = (MODEL, REASON, ESTIMATE, UTILIZATION, REMAINING, DOWNGRADED, KEPT, CLAMPED)
"""What an answer says about the decision."""
RESET = "x-spendgate-reset"
RETRY_AFTER = "retry-after"
SHOULD_RETRY = "x-should-retry"

DOCTOR = "x-spendgate-doctor"
"""The doctor's credential: by it, and by no name, a request is the doctor's."""
HANDOVER = "x-spendgate-handover"
"""From one gateway to the next: this call is counted there (exchange/handover.py)."""

CLUSTER = "x-spendgate-cluster"
"""Chooses the upstream; set by spendgate only. Envoy strips a client's copy before it picks the route."""

INTERNAL_PREFIXES: tuple[str, ...] = ("x-spendgate-", "x-budget-", "x-model-downgraded")
"""Never taken from a client and never sent to a provider."""
ENVOY_PREFIX = "x-envoy-"
"""By these a client would tell Envoy's router to retry, to hedge or to give up: several bills for one hold. The
router adds its own after our filter. https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter"""
BETWEEN_PROXIES: tuple[str, ...] = ("x-envoy-peer-metadata", "x-envoy-peer-metadata-id")
"""What Istio's proxies tell each other of the workload."""
CLIENT_CERTIFICATE = "x-forwarded-client-cert"
"""Whose certificate the proxies before saw. No business of a provider's."""

MAX_VALUE = 128
"""Longest believed identity value in characters; a longer one is not an identity but an attack or a bug."""


def never_sent(names: Iterable[str], *, last: bool = True) -> tuple[str, ...]:
    """Which of a request's headers no provider gets, whoever set or signed them. `last`: no other proxy of ours
    follows."""
    kept = () if last else BETWEEN_PROXIES
    found = [n for n in names if n.startswith(_NEVER_SENT) or n == CLIENT_CERTIFICATE]
    return tuple([n for n in found if n not in kept])


_NEVER_SENT = (ENVOY_PREFIX, *INTERNAL_PREFIXES)


_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def header_value(text: str) -> str:
    """A text as a header's value: what a client named may hold control characters, which break a header (or make
    two of one), and lone surrogates, which are no text: each is percent-encoded."""
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda found: quote(found[0], errors="replace"), text)


def printable(value: str) -> bool:
    """Is a header value a sane identity: 1 to 128 printable characters without control characters?"""
    return 0 < len(value) <= MAX_VALUE and value.isprintable()
