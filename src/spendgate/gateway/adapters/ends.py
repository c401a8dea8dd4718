"""Who ended a call, and was what Envoy waited for sent on without us?"""

from __future__ import annotations

import time

from spendgate.exchange import events as e
from spendgate.exchange.exchange import SENT, Exchange
from spendgate.exchange.states import State
from spendgate.gateway.decision_driver import DecisionDriver, is_late, late_or_left
from spendgate.gateway.runtime import Runtime


def ended_by(
    run: Runtime,
    exchange: Exchange | None,
    deciding: DecisionDriver | None,
    *,
    has_failed: bool,
    is_sent: bool,
    piece_since: float,
) -> e.EndedBy:
    """Did Envoy send the request on while we were at it? Only where its `failure_mode` is open. Did it show the
    answer without us, since we were away for so long? Then what we saw of it is not what flowed. `has_failed`: the call
    ended with an error of ours; `is_sent`: the request was let go; `piece_since`: since when, by `time.monotonic`, a
    piece of the answer is looked at (infinity: none is)."""
    is_open = run.snapshot.settings.failure_mode == "open"
    if has_failed:  # of what it waits for Envoy has no reply
        return e.EndedBy.FAULT if is_open or is_sent else e.EndedBy.CLIENT
    if deciding is not None:
        return late_or_left(run, deciding)
    if is_open and exchange is not None:
        # a body may have come, and have waited too long to be seen
        may_be_late = exchange.state is State.AWAIT_BODY or exchange.state in SENT
        away_s = max(run.lag.recent_s(), time.monotonic() - piece_since)
        if may_be_late and is_late(run, away_s):
            return e.EndedBy.LATE
        if run.draining and exchange.is_undecided:
            return e.EndedBy.LATE
    return e.EndedBy.DRAIN if run.draining else e.EndedBy.CLIENT
