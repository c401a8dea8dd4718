"""Between two gateways that see the same call: the first hands it over, the last takes it over (handover.py)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from spendgate.errors import LedgerUnavailable
from spendgate.exchange import events as e
from spendgate.exchange import handover
from spendgate.exchange.exchange import Exchange
from spendgate.gateway.runtime import Runtime
from spendgate.identity import headers as h

LONG = 256 * 1024
"""A longer body is not read on the event loop."""


async def take_over(run: Runtime, exchange: Exchange, body: bytes) -> None:
    """Meter a call that the gateway before this one held, in its stead, where its word (`handover_word`) fits."""
    await asyncio.sleep(0)  # into a task (`rpc.eager`): there are timeouts below
    taken = await _taken(run, exchange, body, handover.read(run.secret, exchange.handover_word))
    run.metrics.handovers.labels("taken" if taken else "refused").inc()


async def _taken(run: Runtime, exchange: Exchange, body: bytes, told: handover.Handover | None) -> bool:
    if told is None or not told.fits(exchange.target, exchange.host, run.now_ms()):
        return False
    if told.digest != await _digest(body) or run.is_cut_off:
        return False
    try:
        async with asyncio.timeout(run.snapshot.settings.ledger_timeout / 1000):
            [result] = await run.ledger.settle([told.void()])
    except (LedgerUnavailable, TimeoutError):
        run.metrics.ledger_failures.labels("take_over").inc()
        return False
    if result not in ("released", "corrected"):  # `replayed`: it works once
        return False
    exchange.take_over(told)
    return True


async def hand_over(run: Runtime, exchange: Exchange, action: e.Forward, body: bytes) -> e.Forward:
    """The same, with the word by which the next gateway meters the call in this one's stead."""
    if not run.secret:
        return action
    path = dict(action.set_headers).get(":path", exchange.target)
    digest = await _digest(body if action.body is None else action.body)
    told = exchange.hand_over(digest, path, run.now_ms() + handover.LIFE_MS)
    if told is None:
        return action
    run.metrics.handovers.labels("given").inc()
    return replace(action, set_headers=(*action.set_headers, (h.HANDOVER, told.word(run.secret))))


async def _digest(body: bytes) -> str:
    if len(body) > LONG:
        return await asyncio.to_thread(handover.digest_of, body)
    return handover.digest_of(body)
