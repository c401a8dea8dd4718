"""Rebuilds the ledger after a loss, and every fifteen minutes says how far it stands from Prometheus.

While the ledger is whole nothing is changed: what Prometheus has more may be right (a credit was booked, an expired
hold was corrected) and is told as drift. After a loss, gateways are given a moment to bring home what they know one by
one; then usage logs at hand are replayed and Prometheus fills up the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spendgate.budget.policy import Policy
from spendgate.errors import SpendgateError
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.recovery.checkpointer import Checkpointer
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.money import usd_text
from spendgate.months import month_key, utc
from spendgate.rebuild.counter_resets import Totals, read_totals
from spendgate.rebuild.prometheus import Counters
from spendgate.rebuild.rebuild import Difference, fill_up, replay

log = structlog.get_logger()

EVERY_S = 900.0
AGAIN_S = 30.0
"""After a rebuild that failed."""
GRACE_S = 5.0
"""Gateways notice a loss within a second and send again at once."""
LOOK_S = 0.5
DRIFT_RATIO = 0.01
"""From here on a difference is told: what is on its way makes less."""
RebuildFinding = Literal["rebuilt", "drift"]
Tell = Callable[[RebuildFinding, str, str], Awaitable[None]]
"""What was found, a key under which it is told once a month, a sentence for people."""
Records = Callable[[int], Iterable[Settlement]]
"""Exchanges of usage logs since a time (ms), as settlements."""


class RebuildJob(Collector):
    """`run` until cancelled. `leads`: is this process the one to do it? `prometheus` "": there is none."""

    def __init__(
        self,
        keeper: Checkpointer,
        ledger: RedisLedger,
        policy: Callable[[], Policy],
        prometheus: str = "",
        records: Records | None = None,
        leads: Callable[[], bool] = lambda: True,
        grace_s: float = GRACE_S,
        tell: Tell | None = None,
    ) -> None:
        self._keeper = keeper
        self._ledger = ledger
        self._policy = policy
        self._prometheus = prometheus
        self._records = records
        self._leads = leads
        self._grace_s = grace_s
        self._tell = tell
        self.drift_ratio = 0.0
        self.done_at_s = 0.0
        self.failures = 0

    async def run(self) -> None:
        """Look twice a second whether there is something to do; no fault ends it."""
        compare_at = rebuild_at = 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            lost = self._keeper.pulse.epoch.lost
            # with neither source only an operator can say more: `spendgate reconcile redis`
            due = (
                now >= rebuild_at and bool(self._prometheus or self._records)
                if lost
                else now >= compare_at and bool(self._prometheus)
            )
            if not due or not self._leads():
                continue
            compare_at, rebuild_at = now + EVERY_S, now + AGAIN_S
            try:
                await self.round()
            except (SpendgateError, OSError) as problem:
                self.failures += 1
                log.error("reconcile_failed", lost=lost, error=str(problem))

    async def round(self) -> Difference | None:
        """Rebuild after a loss, else only compare. Raises LedgerUnavailable, PrometheusError, and what reading a
        usage log raises."""
        epoch = self._keeper.pulse.epoch
        replayed = 0
        if epoch.lost:
            await asyncio.sleep(self._grace_s)
            if self._records is not None:
                since_ms = 0 if epoch.empty else epoch.since_ms - REPLAY_MS
                replayed = await replay(self._ledger, self._records(since_ms))
        difference = None
        if self._prometheus:
            for month in self._months():
                difference = await self._fill_up(month, dry=not epoch.lost, replayed=replayed)
        if epoch.lost and epoch.id == self._keeper.pulse.epoch.id:
            await self._keeper.rebuilt()
            log.warning("ledger_rebuilt", epoch=epoch.number, replayed=replayed)
            await self._say("rebuilt", epoch.id, _rebuilt(difference, replayed))
        elif difference is not None and difference.dry and difference.drift_ratio >= DRIFT_RATIO:
            await self._say(
                "drift", f"prometheus:{time.strftime('%Y%m%d', time.gmtime())}", _drift(difference)
            )
        return difference

    async def _say(self, kind: RebuildFinding, key: str, detail: str) -> None:
        if self._tell is None:
            return
        try:
            await self._tell(kind, key, detail)
        except SpendgateError as problem:  # kept where it is told, and told when Redis is there again
            log.warning("reconcile_not_told", kind=kind, error=str(problem))

    def _months(self) -> list[str]:
        """This month, and on its first day the one before too: the current month last."""
        now_ms = self._keeper.pulse.ledger_us() // 1000
        months = [month_key(now_ms - DAY_MS), month_key(now_ms)]
        return months if utc(now_ms).day == 1 else months[1:]

    async def _fill_up(self, month: str, *, dry: bool, replayed: int) -> Difference:
        began = time.monotonic()
        totals = await asyncio.to_thread(self._read, month)
        read_s = time.monotonic() - began
        difference = await fill_up(
            self._ledger, self._keeper.pulse.epoch, self._policy(), totals, dry=dry, replayed=replayed
        )
        self.drift_ratio, self.done_at_s = difference.drift_ratio, time.time()
        log.info(
            "reconciled",
            month=month,
            dry=dry,
            teams=len(difference.restored),
            cells=len(totals.days),
            added_nanousd=difference.added_nanousd,
            drift_ratio=difference.drift_ratio,
            read_s=round(read_s, 2),
            write_s=round(time.monotonic() - began - read_s, 2),
        )
        return difference

    def _read(self, month: str) -> Totals:
        with Counters(self._prometheus) as counters:
            return read_totals(counters, month, time.time_ns() // 1_000_000)

    def collect(self) -> list[Metric]:
        """The job's metrics."""
        return [
            GaugeMetricFamily(
                "spendgate_reconcile_drift_ratio",
                "How much of this month's spend in Prometheus the ledger lacked at the last look (0 to 1).",
                self.drift_ratio,
            ),
            GaugeMetricFamily(
                "spendgate_reconcile_timestamp_seconds",
                "When the ledger was last compared with Prometheus (0: never).",
                self.done_at_s,
            ),
            CounterMetricFamily(
                "spendgate_reconcile_failures", "Comparisons or rebuilds that failed.", self.failures
            ),
        ]


def _rebuilt(difference: Difference | None, replayed: int) -> str:
    """What a rebuild did."""
    told = f"{replayed} exchanges of usage logs were told again"
    if difference is None:
        return f"{told}; what else was lost is only in Prometheus, and none is named."
    added, teams = usd_text(difference.added_nanousd), sum(bool(r.rows) for r in difference.restored)
    return f"{told}, {added} of {teams} teams were filled up from Prometheus."


def _drift(difference: Difference) -> str:
    """How far the two books are apart."""
    return (
        f"Prometheus counted {usd_text(difference.added_nanousd)} that the ledger lacks, "
        f"{difference.drift_ratio:.1%} of {usd_text(difference.total_nanousd)}. Nothing was changed: look with "
        "`spendgate reconcile redis --dry-run`."
    )


DAY_MS = 86_400_000
REPLAY_MS = 6 * DAY_MS
"""Exchanges older than this are not told again to a ledger that kept something: marks live for seven days."""
