"""One replica: follows the cluster's LLMBudgets, and as the leader keeps the policy in Redis and every status.

Four loops, each of which waits out its own faults: the informer, the Lease, the policy (on every change, and
as a net every few seconds), the statuses. A replica that does not lead does all but write.
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog
from starlette.types import ASGIApp

from spendgate.alerts.sender import Sender
from spendgate.alerts.watcher import AlertLoop, system_alert
from spendgate.budget.model import GROUP
from spendgate.budget.policy import Policy
from spendgate.controller.crd import PLURAL, VERSION
from spendgate.controller.gauges import ChangedMonths
from spendgate.controller.kube.access import Access, cluster_of
from spendgate.controller.kube.client import Kube, Object
from spendgate.controller.kube.events import EventSender
from spendgate.controller.kube.informer import Delta, Informer, Key, resource_path
from spendgate.controller.kube.leader import WITHOUT_STORE_S, Leadership
from spendgate.controller.metrics import Vitals
from spendgate.controller.ownership import ANNOTATION, Ownership
from spendgate.controller.policy_map import PolicyMap
from spendgate.controller.publisher import Fenced, KeptElsewhere, Publisher
from spendgate.controller.reconcile import Compiler, DesiredState, Reconciled, reconcile, spec_team
from spendgate.controller.scrape import Scrape
from spendgate.controller.settings import ControllerSettings
from spendgate.controller.status_loop import StatusLoop
from spendgate.controller.status_writer import StatusWriter
from spendgate.controller.web import health_pages, metrics_pages, server
from spendgate.errors import ConfigurationError, LedgerError
from spendgate.ledger.recovery.checkpoint import FILE as MEMORY_FILE
from spendgate.ledger.recovery.checkpointer import Checkpointer
from spendgate.ledger.redis import url
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.policy.store import PolicyStore
from spendgate.pricing.load import table
from spendgate.pricing.table import PriceTable
from spendgate.rebuild.job import RebuildFinding, RebuildJob
from spendgate.tasks import cancel_and_wait
from spendgate.views.carries import Carries
from spendgate.views.gauges import BudgetGauges
from spendgate.views.history import History

log = structlog.get_logger()

COALESCE_S = 0.02
"""Changes that come together are one policy."""
NET_S = 2.0
"""How often the policy in Redis is looked at without a change: it may have been lost."""
SILENT_MAX_S = 180.0
"""An API server without a sign of life for so long makes a replica not ready."""
REDIS_S, ALERT_S = 3.0, 1.0
ALERT_S_PER_TEAM = 0.001
"""Between two looks for crossings: a second, more where there are thousands of budgets."""


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


MakeConsole = Callable[[RedisLedger, Callable[[], Policy], PriceTable], ASGIApp]
"""The console over a ledger and whatever policy is in force; made by who knows of it."""


class Controller:
    """`run` until `stop` is set. Raises ConfigurationError where it cannot begin."""

    def __init__(
        self,
        settings: ControllerSettings,
        access: Access,
        senders: Sequence[Sender] = (),
        console: MakeConsole | None = None,
    ) -> None:
        self._make_console = console
        self.settings = settings
        self.identity = f"{settings.pod_name or socket.gethostname()}_{uuid.uuid4().hex[:12]}"
        self.kube = Kube(access)
        self._access = access
        try:
            self.redis = url.client(settings.redis_url, REDIS_S)
        except ConfigurationError as e:
            raise ConfigurationError(f"REDIS_URL: {e}") from e
        self.ledger = RedisLedger.from_url(settings.redis_url, REDIS_S)
        self.prices = table(settings.prices)
        self.informer = Informer(
            self.kube, resource_path(GROUP, VERSION, PLURAL, settings.namespace), self._on_deltas
        )
        self.namespaces = Informer(
            self.kube, "/api/v1/namespaces", self._on_namespaces, annotations=(ANNOTATION,)
        )
        cluster = settings.cluster or cluster_of(access)
        home = settings.pod_namespace or access.namespace or "default"
        self.publisher = Publisher(PolicyStore(self.redis, f"{cluster}/{home}"))
        self.policy_map = PolicyMap(self.kube, settings.pod_namespace)
        self.writer = StatusWriter(
            self.kube, self.informer, self.identity, settings.reconcile_interval_ms, settings.status_quantum
        )
        self.history = History(self.ledger)
        self.carries = Carries(self.ledger)
        self.gauges = BudgetGauges(ChangedMonths(self.ledger), Policy(), self.history, carries=self.carries)
        self.alerts = AlertLoop(
            self.ledger,
            self.redis,
            lambda: self.gauges.policy,
            [*senders, EventSender(self.kube, self.identity, self._budget_of)],
            data_dir=settings.data_dir, count=self._count_alerts, owner=self.identity, reports=settings.reports,
        )  # fmt: skip
        memory = settings.data_dir / MEMORY_FILE if settings.data_dir is not None else None
        self.keeper = Checkpointer(self.ledger, lambda: self.gauges.policy, memory)
        self.rebuild = RebuildJob(
            self.keeper,
            self.ledger,
            lambda: self.gauges.policy,
            settings.prometheus,
            leads=self._acts,
            tell=self._tell_of_the_ledger,
        )
        self.compiler = Compiler()
        self.reconciled = Reconciled((), {})
        self.leadership = Leadership(
            self.kube,
            home,
            self.identity,
            store_silent_s=self._store_silent_s,
            wall_ms=now_ms,
        )
        self.statuses = StatusLoop(
            self.ledger, self.redis, self.writer, self.history, self.carries, self.prices, lambda: self.reconciled,
            self._reports, self.leadership.leads, now_ms, settings.reconcile_interval_ms,
            lambda: self.publisher.elsewhere,
        )  # fmt: skip
        self._dirty = asyncio.Event()
        self._judged = False
        self._ownership = Ownership(settings.strict, settings.admin_namespaces)
        self._begun_fence: int | None = None
        self._store_answered_at = time.monotonic()
        self._keys: dict[str, Key] = {}
        self._alert_counts: dict[str, int] = {}

    # -- run ------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, then give the Lease up."""
        scrape = Scrape(self.gauges, self._acts, self.vitals, now_ms, (self.keeper, self.rebuild))
        servers = [
            server(health_pages(self._not_alive, self._not_ready, self._console()), self.settings.http),
            server(metrics_pages(scrape.text), self.settings.metrics),
        ]
        log.info("controller_started", identity=self.identity, namespace=self.settings.namespace or "(all)")
        loops = [
            asyncio.create_task(self.informer.run(), name="informer"),
            *(
                [asyncio.create_task(self.namespaces.run(), name="namespaces")]
                if self.settings.strict
                else []
            ),
            asyncio.create_task(self.leadership.run(), name="lease"),
            asyncio.create_task(self._policy_loop(), name="policy"),
            asyncio.create_task(self._tell_statuses(), name="status"),
            asyncio.create_task(self._ping_loop(), name="ping"),
            asyncio.create_task(self._alert_loop(), name="alerts"),
            asyncio.create_task(self.keeper.run(), name="memory"),
            asyncio.create_task(self.rebuild.run(), name="rebuild"),
        ]
        pages = [asyncio.create_task(s.serve(), name="pages") for s in servers]
        stopping = asyncio.create_task(stop.wait())
        self._loops = loops
        try:
            await asyncio.wait([stopping, *loops, *pages], return_when=asyncio.FIRST_COMPLETED)
            for task in (*loops, *pages):
                if task.done():
                    task.result()
                    raise ConfigurationError(f"the {task.get_name()} ended; is a port taken?")
        finally:
            stopping.cancel()
            await cancel_and_wait(*loops)
            await self.leadership.release()
            for s in servers:
                s.should_exit = True
            await asyncio.gather(*pages, return_exceptions=True)
            await self.kube.close()
            await self.ledger.close()
            await self.redis.aclose()
            log.info("controller_stopped")

    def _on_deltas(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            old = delta.old["metadata"].get("generation") if delta.old else None
            new = delta.new["metadata"].get("generation") if delta.new else None
            if old != new or delta.old is None:
                self._dirty.set()  # a status alone is no change of the policy
                return

    def _on_namespaces(self, _: list[Delta]) -> None:
        grants = {
            name: text
            for (_, name), obj in self.namespaces.objects.items()
            if (text := obj["metadata"]["annotations"].get(ANNOTATION))
        }
        if grants != self._ownership.annotations:
            self._ownership = replace(self._ownership, annotations=grants)
            self._dirty.set()

    # -- policy ---------------------------------------------------------------------------------------------

    async def _policy_loop(self) -> None:
        await self.informer.synced.wait()
        if self.settings.strict:
            await self.namespaces.synced.wait()
        self._dirty.set()
        while True:
            fresh = self._dirty.is_set()
            if fresh:
                await asyncio.sleep(COALESCE_S)
                self._dirty.clear()
            try:
                await self._policy_round(fresh)
            except Fenced as problem:
                log.error("write_refused", why=str(problem), fence=self.leadership.elector.fence)
                self.leadership.elector.fenced_by(problem.number)
                self._begun_fence = None
            except KeptElsewhere:
                self._begun_fence = None
                await self.policy_map.keep(self.publisher.snapshot)
            except LedgerError as problem:
                log.warning("policy_waits", error=str(problem))
                if not self.leadership.leads():
                    self._begun_fence = None
                if fresh:
                    self._judge()
            await self._next_round()

    async def _next_round(self) -> None:
        """A change, a new leadership, or the net."""
        waits = [
            asyncio.ensure_future(self._dirty.wait()),
            asyncio.ensure_future(self.leadership.changed.wait()),
        ]
        try:
            await asyncio.wait(waits, timeout=NET_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self.leadership.changed.clear()

    async def _policy_round(self, fresh: bool) -> None:
        news = await self.publisher.follow()
        self.statuses.published(self.publisher.snapshot)
        if fresh or news or not self._judged:
            self._judge()
        if not self.leadership.leads():
            self._begun_fence = None
            return
        fence = self.leadership.elector.fence
        if self._begun_fence != fence:
            await self.publisher.begin(fence)
            self._begun_fence = fence
        await self.publisher.publish(self.reconciled, fence, now_ms())
        self.statuses.published(self.publisher.snapshot)
        await self.policy_map.keep(self.publisher.snapshot)

    def _judge(self) -> None:
        if self.settings.strict and not self.publisher.followed:
            return  # nobody knows yet what was in force before
        objects = list(self.informer.objects.values())
        self.publisher.believe(objects)
        result = reconcile(objects, self.publisher.past, self.compiler, self._ownership)
        self._judged = True
        self.reconciled = result
        self.publisher.learn(result, (str(o["metadata"].get("uid", "")) for o in objects))
        self.compiler.tidy(objects)
        self._keys = {e.budget.team: e.key for e in result.in_force}
        self.gauges.apply(Policy.of((e.budget for e in result.in_force), (e.team for e in result.lapsed)))

    async def _tell_statuses(self) -> None:
        await self.informer.synced.wait()
        await self.statuses.run()

    # -- alerts ---------------------------------------------------------------------------------------------

    def _budget_of(self, team: str) -> Object | None:
        """The object whose budget is in force for a team."""
        key = self._keys.get(team)
        return self.informer.objects.get(key) if key is not None else None

    async def _tell_of_the_ledger(self, kind: RebuildFinding, key: str, detail: str) -> None:
        await self.alerts.notify(system_alert(kind, key, detail, now_ms()))

    def _count_alerts(self, name: str, n: int) -> None:
        self._alert_counts[name] = n if name == "pending" else self._alert_counts.get(name, 0) + n

    def _reports(self) -> bool:
        """May statuses be written? Also without Redis, to say that it is away: an older leader's write is
        refused by the object's resourceVersion."""
        told = self._store_silent_s() > WITHOUT_STORE_S or bool(self.publisher.elsewhere)
        return self._acts() or (self.leadership.leads() and told)

    def _acts(self) -> bool:
        """Leading, and the policy is this leadership's own."""
        return self.leadership.leads() and self._begun_fence is not None

    async def _alert_loop(self) -> None:
        """Tell crossings while leading. Claims in Redis keep a leader that does not know yet that it was
        deposed from telling one twice."""
        while True:
            if self._acts():
                telling = asyncio.create_task(self.alerts.run_forever(ALERT_S, ALERT_S_PER_TEAM))
                try:
                    while self._acts() and not telling.done():
                        await asyncio.wait([telling], timeout=0.2)
                    if telling.done():
                        telling.result()
                finally:
                    await cancel_and_wait(telling)
            await asyncio.sleep(0.2)

    # -- health ---------------------------------------------------------------------------------------------

    async def _ping_loop(self) -> None:
        while True:
            if await self.ledger.ping():
                self._store_answered_at = time.monotonic()
            await asyncio.sleep(1.0)

    def _store_silent_s(self) -> float:
        return time.monotonic() - self._store_answered_at

    def _silent_s(self) -> float:
        return max(0.0, time.monotonic() - self.informer.contact_at)

    def _not_alive(self) -> list[str]:
        return [t.get_name() for t in self._loops if t.done()]

    def _not_ready(self) -> list[str]:
        missing = self._not_alive()
        if not self.informer.synced.is_set():
            missing.append("the budgets are not listed yet")
        elif self.settings.strict and not self.namespaces.synced.is_set():
            missing.append("the namespaces are not listed yet (may the controller list and watch them?)")
        elif self._silent_s() > SILENT_MAX_S:
            missing.append(f"no word of the API server for {self._silent_s():.0f} s")
        return missing

    def _console(self) -> ASGIApp | None:
        """The pages, over the policy in force here."""
        make = self._make_console
        if make is None:
            return None
        return make(self.ledger, lambda: self.gauges.policy, self.prices)

    def vitals(self) -> Vitals:
        """For the metrics."""
        states = [v.state for v in self.reconciled.verdicts.values()]
        return Vitals(
            leading=self.leadership.leads(),
            budgets=len(states),
            in_force=len(self.reconciled.in_force),
            invalid=states.count(DesiredState.INVALID),
            conflicts=states.count(DesiredState.CONFLICT),
            not_owner=states.count(DesiredState.NOT_OWNER),
            lapsed=len(self.reconciled.lapsed),
            faulty=tuple(
                (*key, spec_team(self.informer.objects.get(key)), v.state.value)
                for key, v in sorted(self.reconciled.verdicts.items())
                if v.state is not DesiredState.READY
            ),
            generation=self.publisher.generation,
            elsewhere=bool(self.publisher.elsewhere),
            lists=self.informer.lists,
            watch_faults=self.informer.faults,
            patches=self.writer.patches,
            events=self.writer.events,
            backlog=self.writer.backlog,
            status_errors=dict(self.writer.errors),
            silent_s=self._silent_s() if self.informer.synced.is_set() else 0.0,
            calls=dict(self.kube.calls),
            alerts=dict(self._alert_counts),
        )
