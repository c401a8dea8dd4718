"""The controller without Kubernetes: budgets from files to the gateways and to whoever is told of crossings.

For a compose file or a machine of one's own: one process publishes the policy in Redis, where `serve` without
`--policy` follows it, tells crossings, and shows the month's money as metrics. A change of a file is in force
within a second; a file with a fault changes nothing and is named in the log. One at a time: a second one takes
over, and the first says so and ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from spendgate.alerts.sender import Sender
from spendgate.alerts.watcher import AlertLoop
from spendgate.budget.document import plain
from spendgate.budget.load import load_documents
from spendgate.budget.policy import Policy
from spendgate.controller.metrics import Vitals
from spendgate.controller.publisher import Fenced, Publisher
from spendgate.controller.reconcile import Compiler, Past, Reconciled, reconcile
from spendgate.controller.scrape import Scrape
from spendgate.controller.settings import ControllerSettings
from spendgate.controller.web import health_pages, metrics_pages, server
from spendgate.errors import ConfigurationError, LedgerError
from spendgate.ledger.redis import url
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.policy.store import PolicyStore
from spendgate.tasks import cancel_and_wait
from spendgate.views.gauges import BudgetGauges

log = structlog.get_logger()

LOOK_S = 0.5
REDIS_S = 2.0
NAMESPACE = "local"


def objects(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The budgets of files and folders as a cluster would hold them. Raises ConfigurationError with every
    fault of every file."""
    out = []
    for document in load_documents(paths):
        found = plain(document.model_dump(by_alias=True, exclude_unset=True))
        found["metadata"] = {
            "namespace": NAMESPACE, **found["metadata"],
            "uid": f"file:{document.spec.team}", "generation": 1,
        }  # fmt: skip
        out.append(found)
    return out


class LocalController:
    """`run` until `stop` is set. Raises ConfigurationError where the files or REDIS_URL are no good."""

    def __init__(
        self, settings: ControllerSettings, policy: Sequence[Path], senders: Sequence[Sender] = ()
    ) -> None:
        self.settings = settings
        self.paths = tuple(policy)
        self.ledger = RedisLedger.from_url(settings.redis_url, REDIS_S)
        self.redis = url.client(settings.redis_url, REDIS_S)
        self.store = PolicyStore(self.redis)
        self.publisher = Publisher(self.store)
        self.gauges = BudgetGauges(self.ledger, Policy())
        self.alerts = AlertLoop(
            self.ledger, self.redis, lambda: self.gauges.policy, senders, data_dir=settings.data_dir,
            reports=settings.reports,
        )  # fmt: skip
        self.reconciled = Reconciled((), {})
        self.fence = 0
        self._text: Any = None
        self._invalid = 0
        self._published = False

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        self._take(objects(self.paths))
        scrape = Scrape(self.gauges, lambda: True, self.vitals, lambda: time.time_ns() // 1_000_000)
        servers = [
            server(health_pages(list, self._not_ready), self.settings.http),
            server(metrics_pages(scrape.text), self.settings.metrics),
        ]
        tasks = [asyncio.create_task(s.serve()) for s in servers]
        tasks += [asyncio.create_task(self._policy_loop()), asyncio.create_task(self.alerts.run_forever())]
        stopping = asyncio.create_task(stop.wait())
        log.info("controller_started", policy=[str(p) for p in self.paths], mode="local")
        try:
            done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
                raise ConfigurationError("a port of the controller cannot be had; is it taken?")
        finally:
            for s in servers:
                s.should_exit = True
            stopping.cancel()
            await cancel_and_wait(*tasks[len(servers) :])
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.ledger.close()
            await self.redis.aclose()
            log.info("controller_stopped")

    def _take(self, found: list[dict[str, Any]]) -> None:
        self._text, self._invalid = found, 0
        self.reconciled = reconcile(found, Past(), Compiler())
        self.gauges.apply(Policy.of(e.budget for e in self.reconciled.in_force))

    async def _policy_loop(self) -> None:
        while True:
            try:
                found = objects(self.paths)
                if found != self._text:
                    self._take(found)
                    log.info("policy_reloaded", budgets=len(found))
            except ConfigurationError as problem:
                if not self._invalid:
                    log.error("reload_refused", faults=str(problem).splitlines())
                self._invalid = len(problem.faults)
            try:
                await self._publish()
            except Fenced as problem:
                raise ConfigurationError(
                    "another controller publishes the policy to this Redis; run one, or give each a Redis"
                ) from problem
            except LedgerError as problem:
                self._published = False
                log.warning("policy_waits", error=str(problem))
            await asyncio.sleep(LOOK_S)

    async def _publish(self) -> None:
        if not self.fence:
            self.fence = (await self.store.head()).fence + 1
            await self.publisher.begin(self.fence)
        await self.publisher.follow()
        await self.publisher.publish(self.reconciled, self.fence, time.time_ns() // 1_000_000)
        self._published = True

    def _not_ready(self) -> list[str]:
        return [] if self._published else ["Redis has not the policy yet"]

    def vitals(self) -> Vitals:
        """For the metrics: what of a controller there is without a cluster."""
        budgets = len(self.reconciled.in_force)
        return Vitals(
            leading=self._published, budgets=budgets, in_force=budgets, invalid=self._invalid, conflicts=0,
            generation=self.publisher.generation, lists=0, watch_faults=0, patches=0, events=0, backlog=0,
            silent_s=0.0, calls={},
        )  # fmt: skip
