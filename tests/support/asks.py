"""Short ways to write reservations and settlements. Amounts are nano-USD."""

from __future__ import annotations

from typing import Any

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate, Clamp
from spendgate.ledger.exchanges import ReserveRequest, Settlement

T0 = 1_795_000_000_000
"""2026-11-18T11:06:40Z."""


def bound(
    floor: int = UNLIMITED, ceiling: int | None = None, scope: str = "month", window: str = "month"
) -> Bound:
    return Bound(scope, window, floor, floor if ceiling is None else ceiling, f"{scope}_exceeded")


def candidate(
    estimate: int, *bounds: Bound, model: str = "gpt-4o", clamp: Clamp | None = None, **between: Any
) -> Candidate:
    return Candidate(model, estimate, bounds or (bound(),), clamp=clamp, **between)


def ask(
    exchange_id: str, *candidates: Candidate, team: str = "red", app: str = "chat", ttl_ms: int = 60_000
) -> ReserveRequest:
    return ReserveRequest(exchange_id, team, app, ttl_ms, candidates)


def end(
    exchange_id: str,
    cost: int,
    *,
    team: str = "red",
    app: str = "chat",
    model: str = "gpt-4o",
    usage: dict[str, int] | None = None,
    at_ms: int = T0,
    scopes: tuple[tuple[str, str], ...] = (("month", "month"),),
) -> Settlement:
    return Settlement(exchange_id, team, app, model, cost, usage or {}, at_ms, False, scopes)


def void(exchange_id: str, *, team: str = "red", app: str = "chat", at_ms: int = T0) -> Settlement:
    return Settlement(exchange_id, team, app, "gpt-4o", 0, {}, at_ms, True, (("month", "month"),))
