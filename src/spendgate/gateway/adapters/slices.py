"""Long pieces of streams, looked at in slices, so that one stream does not keep the event loop from all others."""

from __future__ import annotations

import asyncio

from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.gateway.runtime import Runtime

SLICE_BYTES = 64 * 1024
"""So much of a stream is looked at at once: some hundred events, about a millisecond."""


async def sliced(run: Runtime, exchange: Exchange, data: bytes, is_end: bool) -> e.PassChunk:
    """Let the exchange see a long piece of a stream slice by slice, and other calls have their turn in between."""
    sent: list[bytes] = []
    same_till, cut = 0, False
    for at in range(0, len(data), SLICE_BYTES):
        end = min(at + SLICE_BYTES, len(data))
        action = exchange.receive(e.ResponseChunk(data[at:end], is_end and end == len(data)))
        assert isinstance(action, e.PassChunk)
        if action.replacement is not None:
            sent += (data[same_till:at], action.replacement)
            same_till = end
        if cut := action.cut:
            break
        async with run.slices:  # one slice of all streams each time the loop comes round
            await asyncio.sleep(0)
    if not same_till:
        return e.PassChunk()
    return e.PassChunk(b"".join((*sent, b"" if cut else data[same_till:])), cut=cut)
