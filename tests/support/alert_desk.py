"""Budgets, spend and alert loops in few words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis

from spendgate.alerts.sender import Timing
from spendgate.alerts.slack import SlackSender
from spendgate.alerts.watcher import AlertLoop
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.ledger.redis.ledger import RedisLedger
from support.asks import T0, end
from support.fake_slack import FakeSlack

USD = 1_000_000_000


@dataclass
class Desk:
    """Budgets, spend and loops in few words. Sleeps of the loops are as if they took no time."""

    client: aioredis.Redis
    ledger: RedisLedger
    slack: FakeSlack
    budgets: dict[str, TeamBudget] = field(default_factory=dict)
    now_ms: int = T0
    counts: dict[str, int] = field(default_factory=dict)
    slept: list[float] = field(default_factory=list)
    _n: int = 0

    def budget(self, team: str = "red", usd: float = 10, **more: Any) -> None:
        self.budgets[team] = TeamBudget(team, round(usd * USD), digest=f"{team}{usd}", **more)

    async def spend(self, usd: float, team: str = "red", at_ms: int = 0, app: str = "chat") -> None:
        self._n += 1
        at = at_ms or self.now_ms
        await self.ledger.settle([end(f"x{self._n}", round(usd * USD), team=team, at_ms=at, app=app)], at)

    def loop(self, data_dir: Path | None = None, sender: Any = None, **more: Any) -> AlertLoop:
        passed = [0.0]

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            passed[0] += seconds

        def count(name: str, n: int) -> None:
            self.counts[name] = n if name == "pending" else self.counts.get(name, 0) + n

        return AlertLoop(
            self.ledger,
            self.client,
            lambda: Policy.of(self.budgets.values()),
            more.pop("senders", None) or [sender or SlackSender(self.slack.webhook)],
            lambda: self.now_ms,
            data_dir,
            count,
            Timing(lambda: passed[0], sleep, lambda: 0.5),
            **more,
        )

    def heads(self) -> list[str]:
        return [text.split(" of team ")[1].split(" reached")[0] for text in self.slack.texts]
