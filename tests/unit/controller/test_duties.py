from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from spendgate.alerts.alert import Alert
from spendgate.alerts.watcher import house_alert
from spendgate.controller.duties import Context, Duties
from spendgate.errors import LedgerUnavailable

CONTEXT = cast(Any, None)


class Work:
    """A duty that counts its runs, and waits where it is told to."""

    name = "work"

    def __init__(self, every_s: float = 0.0, fails: int = 0, stuck: bool = False) -> None:
        self.every_s, self.fails, self.stuck = every_s, fails, stuck
        self.runs = self.ended = 0

    async def run(self, context: Context) -> Sequence[Alert]:
        self.runs += 1
        if self.fails:
            self.fails -= 1
            raise LedgerUnavailable("away")
        if self.stuck:
            try:
                await asyncio.sleep(60)
            finally:
                self.ended += 1
        return [house_alert("drift", "prometheus", "2 % apart", 0, "red")]


class House:
    def __init__(self, *duties: Work) -> None:
        self.leading = True
        self.told: list[Alert] = []
        self.duties = Duties(duties, lambda: self.leading, lambda: CONTEXT, self._tell)

    async def _tell(self, alert: Alert) -> None:
        self.told.append(alert)

    async def until(self, good: Any) -> None:
        running = asyncio.create_task(self.duties.run())
        async with asyncio.timeout(20):
            while not good():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_a_duty_finds_is_told_and_its_runs_are_counted() -> None:
    work = Work()
    house = House(work)
    await house.until(lambda: work.runs >= 2)
    assert {a.kind for a in house.told} == {"drift"}
    assert house.duties.done["work"] >= 1


async def test_a_duty_waits_for_its_interval() -> None:
    slow, quick = Work(every_s=3600), Work()
    await House(slow, quick).until(lambda: quick.runs >= 3)
    assert slow.runs == 1


async def test_a_replica_that_does_not_lead_does_nothing() -> None:
    work = Work()
    house = House(work)
    house.leading = False
    try:
        async with asyncio.timeout(0.5):
            await house.duties.run()
    except TimeoutError:
        assert work.runs == 0


async def test_a_run_is_stopped_where_leading_ends_and_begun_anew_with_the_next_leadership() -> None:
    work = Work(every_s=3600, stuck=True)
    house = House(work)

    def lose() -> bool:
        if work.runs == 1 and not work.ended:
            house.leading = False
        if work.ended:
            house.leading = True
        return work.runs >= 2

    await house.until(lose)
    assert work.ended >= 1


async def test_a_duty_that_fails_is_tried_again_and_hurts_no_other() -> None:
    broken, fine = Work(fails=1), Work()
    house = House(broken, fine)
    await house.until(lambda: broken.runs >= 2 and fine.runs >= 1)
    assert house.duties.failed == {"work": 1}
