"""Runs for the Lease, round after round, and gives it up where another replica would serve better."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import structlog

from spendgate.controller.kube.client import Kube, KubeError, KubeUnavailable
from spendgate.controller.kube.election import Elector, Lease, Timing
from spendgate.errors import SpendgateError

log = structlog.get_logger()

LEASE_NAME = "llm-budget-controller"
STAND_BACK_S = 4.0
"""How long a replica without Redis leaves a free Lease to others."""
WITHOUT_STORE_S = 5.0
"""A leader cut off from Redis for so long hands over; where it comes to lead again in the same outage, at most once
in HAND_OVER_EVERY_S: if none has Redis, one must still lead, to say so."""
HAND_OVER_EVERY_S = 30.0


class Leadership:
    """`run` for ever; ask `leads` before every write that only the leader may make.

    `store_silent_s` tells for how many seconds the store has not answered (0: it does).
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        identity: str,
        *,
        store_silent_s: Callable[[], float] = lambda: 0.0,
        wall_ms: Callable[[], int],
        timing: Timing | None = None,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._folder = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._folder}/{LEASE_NAME}"
        self._store_silent_s = store_silent_s
        self._wall_ms = wall_ms
        self.elector = Elector(identity, timing)
        self.changed = asyncio.Event()
        """Set at every gain or loss; whoever waits clears it."""
        self._was_leading = False
        self._free_since: float | None = None
        self._handed_over_at = float("-inf")

    def leads(self) -> bool:
        """Is this replica the leader, by its own clock, now?"""
        return self.elector.leads(self._now())

    async def run(self) -> None:
        """Run for ever; a fault of the API server is waited out."""
        while True:
            try:
                async with asyncio.timeout(self.elector.timing.renew_deadline_s):
                    await self._round()
            except (KubeError, KubeUnavailable, TimeoutError) as problem:
                log.warning("lease_failed", error=str(problem) or type(problem).__name__)
            except SpendgateError as problem:
                log.error("lease_failed", error=str(problem))
            self._tell()
            wait = self.elector.wait_s(self._now(), random.random())
            await asyncio.sleep(wait)
            self._tell()

    async def _round(self) -> None:
        elector = self.elector
        # As client-go does: a leader writes by what it last saw, without reading first.
        if not elector.leads(self._now()):
            elector.observe(await self._read(), self._now())
        leading = elector.leads(self._now())
        if self._should_yield():
            if leading:
                log.warning("handing_over", why="Redis does not answer")
                await self.release()
            return
        lease = elector.attempt(self._now(), self._wall_ms())
        if lease is None:
            return
        asked_at = self._now()
        body = lease.write(LEASE_NAME, self._namespace)
        try:
            if lease.version:
                answer = await self._kube.update(self._path, body)
            else:
                answer = await self._kube.create(self._folder, body)
        except KubeError as problem:
            if problem.conflict or problem.not_found:  # someone else was faster, or it was deleted
                elector.observe(await self._read(), self._now())
                return
            raise
        elector.won(Lease.read(answer), asked_at)

    def _should_yield(self) -> bool:
        """Without Redis: hand over if leading, leave a free Lease to others for a while."""
        silent, now = self._store_silent_s(), self._now()
        free = not self.elector.holder
        if not free:
            self._free_since = None
        elif self._free_since is None:
            self._free_since = now
        if silent < WITHOUT_STORE_S:
            self._handed_over_at = float("-inf")
            return False
        if self.leads() and now - self._handed_over_at > HAND_OVER_EVERY_S:
            self._handed_over_at = now
            self._free_since = now
            return True
        return self._free_since is not None and now - self._free_since < STAND_BACK_S

    async def _read(self) -> Lease | None:
        try:
            return Lease.read(await self._kube.get(self._path))
        except KubeError as problem:
            if problem.not_found:
                return None
            raise

    async def release(self) -> None:
        """Give the Lease up, so that the next leader need not wait; an API server that is away has its way."""
        lease = self.elector.release(self._wall_ms())
        self._tell()
        if lease is None:
            return
        try:
            answer = await self._kube.update(self._path, lease.write(LEASE_NAME, self._namespace))
            self.elector.observe(Lease.read(answer), self._now())
            log.info("lease_released")
        except (KubeError, KubeUnavailable) as problem:
            log.warning("lease_release_failed", error=str(problem))

    def _tell(self) -> None:
        leads = self.leads()
        if leads != self._was_leading:
            self._was_leading = leads
            self.changed.set()
            log.info(
                "leading" if leads else "not_leading",
                identity=self.elector.identity,
                fence=self.elector.fence,
            )

    @staticmethod
    def _now() -> float:
        return time.monotonic()
