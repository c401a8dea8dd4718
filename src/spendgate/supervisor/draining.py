"""Ends an Envoy's work before Envoy itself ends: listeners closed, calls in flight let to their end.

    python -m spendgate.supervisor.draining http://127.0.0.1:9901 610

is the preStop hook of an Envoy's pod: Envoy's admin address, and how many seconds calls may still take.
"""

from __future__ import annotations

import asyncio
import sys
import time

import httpx

LOOK_S = 0.05
ACTIVE = "filter=^http.llm.downstream_rq_active$"
LEAVE_S = 5.0
"""How long a pod goes on taking calls: endpoints leave others' lists a moment after it began to end."""


async def drain(admin: httpx.AsyncClient, limit_s: float, hurry: asyncio.Event | None = None) -> bool:
    """Close the listeners and wait until no call is in flight; False where some are after `limit_s`, or when one is
    to hurry.

    Raises httpx.HTTPError where Envoy does not answer.
    """
    deadline = time.monotonic() + limit_s
    await admin.post("/drain_listeners")
    while True:
        if (await admin.get(f"/stats?{ACTIVE}")).text.strip().endswith(": 0"):
            return True
        if time.monotonic() > deadline or (hurry is not None and hurry.is_set()):
            return False
        await asyncio.sleep(LOOK_S)


async def _hook(url: str, limit_s: float, leave_s: float) -> int:
    async with httpx.AsyncClient(base_url=url, timeout=2, trust_env=False) as admin:
        # answers carry `connection: close` from now on, so that clients leave by themselves
        await admin.post("/drain_listeners?graceful&skip_exit")
        await asyncio.sleep(leave_s)
        return 0 if await drain(admin, limit_s - leave_s) else 1


def main(argv: list[str]) -> int:
    """The hook; 1 where calls were still in flight at the end of the time."""
    try:
        return asyncio.run(_hook(argv[0], float(argv[1]), float(argv[2]) if len(argv) > 2 else LEAVE_S))
    except httpx.HTTPError as e:
        print(f"draining: {argv[0]}: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
