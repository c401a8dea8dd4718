"""A worker's sign of life, from inside its event loop: a byte now and then on a pipe that the supervisor reads.

A process may run, answer pings and hold its socket while its loop does nothing any more; only the loop itself can say
that it turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping

FD = "SPENDGATE_HEARTBEAT_FD"
"""In the environment of a worker: the pipe's end to write to."""
MISSED_TIMEOUTS = 3
"""A worker that is silent for so many message timeouts hangs: Envoy has given up each call that asked it."""


def silence_s(message_timeout_ms: int) -> float:
    """After how long without a beat a worker hangs."""
    return MISSED_TIMEOUTS * message_timeout_ms / 1000


async def beat_forever(environ: Mapping[str, str], message_timeout_ms: int) -> None:
    """Beat four times in a message timeout; without a pipe nobody listens."""
    if FD not in environ:
        return
    pipe = int(environ[FD])
    os.set_blocking(pipe, False)
    while True:
        # full: the supervisor stands still; broken: it is gone, and we are told otherwise
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(pipe, b".")
        await asyncio.sleep(message_timeout_ms / 4000)
