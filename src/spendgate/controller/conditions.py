"""Names of conditions, reasons and phases of an LLMBudget's status. Constants only: people alert on them."""

from __future__ import annotations

READY = "Ready"
EXHAUSTED = "Exhausted"
DOWNGRADING = "Downgrading"
CONFLICT = "Conflict"
INVALID = "Invalid"
PRICE_MISSING = "PriceMissing"
STORE_DEGRADED = "StoreDegraded"

CONDITION_TYPES = (READY, EXHAUSTED, DOWNGRADING, CONFLICT, INVALID, PRICE_MISSING, STORE_DEGRADED)

PHASE_READY = "Ready"
PHASE_DOWNGRADING = "Downgrading"
PHASE_EXHAUSTED = "Exhausted"
PHASE_AUDIT = "Audit"
PHASE_CONFLICT = "Conflict"
PHASE_INVALID = "Invalid"
PHASE_NOT_OWNER = "NotOwner"
PHASES = (
    PHASE_READY, PHASE_DOWNGRADING, PHASE_EXHAUSTED, PHASE_AUDIT, PHASE_CONFLICT, PHASE_INVALID, PHASE_NOT_OWNER,
)  # fmt: skip

# Reasons of Ready
NOT_OWNER = "NotOwner"
"""The namespace may not hold the team."""
KEPT_ELSEWHERE = "PolicyKeptElsewhere"
"""Another cluster's or namespace's controllers keep the policy of this ledger."""
NO_GATEWAY = "NoGateway"
"""No gateway has told lately what it enforces."""
GATEWAYS_BEHIND = "GatewaysBehind"
"""Some gateways enforce an earlier policy."""
