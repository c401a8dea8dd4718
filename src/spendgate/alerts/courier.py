"""Delivers what is open: one target at a time in its own pace, each alert claimed just before it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from spendgate.alerts.claims import Busy, Claim, Claims
from spendgate.alerts.memory import AlertMemory
from spendgate.alerts.sender import Delivered, DeliveryRejected, Outcome, Pace, Retry, Sender, Timing
from spendgate.errors import LedgerError

log = structlog.get_logger()

Count = Callable[[str, int], None]
FRESH = 0.6
"""The share of a claim's life after which no sending is begun: an attempt of 8 s fits into the rest of 30 s."""
IDLE_S = 0.1
STOP_S = 2.0
"""What an attempt under way gets when we are told to stop."""
BUSY_S = 1.0
"""How often a claim of another process is looked at again."""


class DeliveryWorker:
    """`expect` says where something is open; `deliver_all` or `run_forever` sends it."""

    def __init__(
        self, claims: Claims, memory: AlertMemory, senders: Sequence[Sender], timing: Timing, count: Count
    ) -> None:
        self._claims = claims
        self._memory = memory
        self._senders = {s.name: s for s in senders}
        self._timing = timing
        self._count = count
        self._open: dict[str, dict[tuple[str, str], None]] = {}
        self._paces: dict[str, Pace] = {}

    def expect(self, team: str, month: str, targets: Iterable[str]) -> int:
        """Something is open for the team at these targets; those of senders we do not have are others'.
        Returns how many are ours."""
        n = 0
        for target in targets:
            if self._sender(target) is not None:
                n += 1
                self._open.setdefault(target, {})[team, month] = None
        return n

    async def deliver_all(self) -> None:
        """Send to every target until nothing is left, it fails, or another process is at it. Raises
        LedgerUnavailable."""
        await asyncio.gather(*(self._turn(target, patient=False) for target in list(self._open)))

    async def run_forever(self) -> None:
        """Send for ever, every target in a task of its own, so that none waits for another's pace."""
        async with asyncio.TaskGroup() as group:
            tasks: dict[str, asyncio.Task[None]] = {}
            while True:
                for target, waiting in list(self._open.items()):
                    if waiting and (target not in tasks or tasks[target].done()):
                        tasks[target] = group.create_task(self._patiently(target))
                await asyncio.sleep(IDLE_S)

    async def _patiently(self, target: str) -> None:
        try:
            await self._turn(target, patient=True)
        except LedgerError as problem:
            log.error("alerts_claim_failed", target=target, error=str(problem))
            await asyncio.sleep(BUSY_S)

    async def _turn(self, target: str, patient: bool) -> None:
        sender = self._sender(target)
        waiting = self._open.get(target, {})
        if sender is None:
            return
        pace = self._paces.setdefault(target, Pace(sender.min_interval_s, self._timing))
        while waiting:
            busy = 0
            for team, month in list(waiting):
                await pace.wait()
                asked_s = self._timing.now_s()
                claim = await self._claims.claim(team, month, target)
                if claim is None:
                    waiting.pop((team, month), None)
                elif isinstance(claim, Busy):
                    busy += 1
                elif self._timing.now_s() - asked_s > self._claims.claim_ms / 1000 * FRESH:
                    # this process stood still: the claim is over, or would be in the middle of the sending
                    log.warning("alert_claim_too_old", team=team, month=month, crossing=claim.key)
                    await self._claims.finish(claim, "open")
                elif not await self._deliver(sender, claim, pace) and not patient:
                    return
            if waiting and busy == len(waiting):
                if not patient:
                    return
                await asyncio.sleep(BUSY_S)

    async def _deliver(self, sender: Sender, claim: Claim, pace: Pace) -> bool:
        """One attempt; False where it has to be tried again."""
        if self._memory.was_told(claim):
            await self._claims.finish(claim, "delivered")
            return True
        attempt = asyncio.ensure_future(sender.send(claim.alert, claim.target, claim.again))
        try:
            outcome: Outcome = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            await self._last_moment(claim, attempt)
            raise
        return await self._end(claim, pace, outcome)

    async def _last_moment(self, claim: Claim, attempt: asyncio.Future[Outcome]) -> None:
        """We are told to stop in the middle of an attempt: give it a moment, then note how it stands, so that
        the next process neither waits for our claim nor sends what arrived."""
        await asyncio.wait([attempt], timeout=STOP_S)
        if not attempt.done():
            attempt.cancel()
            await self._claims.finish(claim, "open", maybe_sent=True)
            return
        outcome = attempt.result()
        if isinstance(outcome, Retry):
            await self._claims.finish(claim, "open", outcome.maybe_sent)
        else:
            await self._end(claim, Pace(0.0, self._timing), outcome)

    async def _end(self, claim: Claim, pace: Pace, outcome: Outcome) -> bool:
        told = {"team": claim.team, "month": claim.month, "crossing": claim.key, "target": claim.target}
        match outcome:
            case Delivered():
                pace.sent()
                self._memory.ended(claim, "delivered")
                self._count("posted", 1)
                log.info("alert_posted", **told)
                if not await self._claims.finish(claim, "delivered"):
                    log.warning("alert_claim_was_taken_over", **told)
                return True
            case DeliveryRejected():
                pace.sent()
                self._memory.ended(claim, "refused")
                self._count("refused", 1)
                log.error("alert_refused", reason=outcome.reason, **told)
                await self._claims.finish(claim, "refused")
                return True
            case Retry():
                wait_s = pace.failed(outcome.after_s)
                self._count("failed", 1)
                log.error("alert_failed", reason=outcome.reason, next_try_s=round(wait_s, 1), **told)
                await self._claims.finish(claim, "open", outcome.maybe_sent)
                return False

    def _sender(self, target: str) -> Sender | None:
        return self._senders.get(target.partition(":")[0])
