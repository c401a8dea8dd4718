"""After a fault of ours: what is charged, and what Envoy is told instead. Nothing here raises.

Before the request is sent, a team with an enforcing budget is refused; all others pass, and are charged the most that
the request may cost. After it, the answer passes, and what was held is charged (`law.py`).
"""

from __future__ import annotations

import structlog

from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.rejections import broken
from spendgate.exchange.states import State
from spendgate.gateway.adapters import codec
from spendgate.gateway.runtime import Runtime
from spendgate.identity import headers as h

log = structlog.get_logger()

BEFORE = ("request_headers", "request_body", "request_trailers")
"""Messages that come before the request is sent."""
PASSES = {
    "request_headers": codec.PASS_ALL,
    "request_body": codec.PASS_REQUEST_BODY,
    "request_trailers": codec.PASS_REQUEST_TRAILERS,
    "response_headers": codec.ANSWER_NONE,
    "response_body": codec.PASS_RESPONSE_BODY,
    "response_trailers": codec.PASS_RESPONSE_TRAILERS,
}
UNAVAILABLE = e.Reject(
    503,
    (("content-type", "application/json"), (h.SHOULD_RETRY, "true")),
    b'{"error":{"message":"internal fault of the gateway","code":"internal_error"}}',
    "internal_error",
)
"""A refusal where not even the request's API may be known."""
REFUSED = codec.reject(UNAVAILABLE)


def report(run: Runtime, exchange: Exchange | None, phase: str, problem: BaseException) -> None:
    """Count a fault, and say where it was."""
    run.metrics.errors.inc()
    log.error(
        "exchange_failed",
        exchange_id=exchange.exchange_id if exchange is not None else "",
        phase=phase,
        error=f"{type(problem).__name__}: {problem}",
        exc_info=problem,
    )


def answer(
    run: Runtime, exchange: Exchange | None, kind: str, problem: Exception, *, is_sent: bool
) -> bytes | None:
    """End an exchange of which this message (`kind`; `over`: its end) met a fault; the reply to Envoy, None where there
    is none. `is_sent`: the request was let go before."""
    report(run, exchange, kind, problem)
    if exchange is None or kind == "request_headers":  # not even its API may be known
        passes = exchange is not None and exchange.state is State.PASSING
        return REFUSED if kind in BEFORE and not passes else PASSES.get(kind)
    try:
        refusal = None
        if kind in BEFORE:
            refusal = broken(run.snapshot, exchange.identity, exchange.dialect, exchange.headers)
        exchange.receive(e.InternalError(kind) if refusal is None or is_sent else e.Withdrawn())
        run.take(exchange)
        return codec.reject(refusal) if refusal is not None else PASSES.get(kind)
    except Exception as again:
        # What it holds is no longer renewed: the ledger charges it when it expires.
        log.critical("exchange_lost", exchange_id=exchange.exchange_id, phase=kind, exc_info=again)
        return REFUSED if kind in BEFORE else PASSES.get(kind)
    finally:
        run.live.discard(exchange)
