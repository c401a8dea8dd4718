"""Reads what a caller has left from the ledger, for `GET /spendgate/v1/budget`."""

from __future__ import annotations

from typing import cast

from spendgate.errors import LedgerUnavailable
from spendgate.exchange import events as e
from spendgate.exchange import own_budget
from spendgate.gateway.runtime import Runtime
from spendgate.ledger.redis.bound_counters import read_all
from spendgate.ledger.redis.ledger import RedisLedger


async def respond(run: Runtime, need: e.NeedBudget) -> e.Reject:
    """The answer to the caller, now."""
    snapshot, who = run.snapshot, need.identity
    bounds = own_budget.bounds_asked(snapshot, who, need.model, run.now_ms())
    try:
        read = await read_all(cast(RedisLedger, run.ledger), who.team, bounds, run.now_ms())
    except LedgerUnavailable:
        return own_budget.away()
    return own_budget.answer(snapshot, who, need.model, read.bounds, read.counters, read.now_ms)
