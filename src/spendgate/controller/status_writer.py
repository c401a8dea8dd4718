"""Writes statuses and events: only what changed, conditions before numbers, never faster than the bound."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import structlog

from spendgate.budget.model import GROUP
from spendgate.budget.policy import TeamBudget
from spendgate.controller import conditions as c
from spendgate.controller import status as rules
from spendgate.controller.confirmation import Confirmation
from spendgate.controller.crd import PLURAL, VERSION
from spendgate.controller.kube.client import Kube, KubeError, KubeUnavailable, Object
from spendgate.controller.kube.events import event, events_path
from spendgate.controller.kube.informer import Informer, Key, key_of, object_path
from spendgate.controller.reconcile import Verdict
from spendgate.controller.status import Numbers
from spendgate.money import percent_of
from spendgate.months import month_key
from spendgate.token_bucket import TokenBucket
from spendgate.values import dataclass

log = structlog.get_logger()

RATE_S = 20.0
"""Patches a second at most, and so many at once."""
BURST = 40.0
QUIET_PERIODS = 20
BACKOFF_S = (2.0, 300.0)
"""How long a budget waits whose status was refused: doubled each time, up to the longest."""
_WARNINGS = {c.EXHAUSTED, c.CONFLICT, c.INVALID, c.PRICE_MISSING, c.STORE_DEGRADED}


@dataclass(frozen=True, slots=True)
class Pending:
    """One status to write. `version`: the resourceVersion it was judged by; `urgent`: more than numbers changed."""

    key: Key
    version: str
    old: Mapping[str, Any]
    new: dict[str, Any]
    urgent: bool


class StatusWriter:
    """Compares what stands with what should stand, and writes the difference."""

    def __init__(
        self,
        kube: Kube,
        informer: Informer,
        identity: str,
        interval_ms: int = 0,
        quantum_percent: Decimal = Decimal(0),
    ) -> None:
        """`interval_ms`: numbers alone are not written more often for one budget; those that moved by less than
        `quantum_percent` of it, `QUIET_PERIODS` times less often."""
        self._interval_ms = interval_ms
        self._quantum_percent = quantum_percent
        self._kube = kube
        self._informer = informer
        self._identity = identity
        self._bucket: TokenBucket | None = None
        self._settled: dict[Key, tuple[Any, ...]] = {}
        self._judged: dict[Key, tuple[tuple[Any, ...], Pending]] = {}
        self._queue: deque[Pending] = deque()
        self._refused: dict[Key, tuple[int, float]] = {}
        self.errors: dict[str, int] = {}
        """Writes that the API server refused, or did not answer, by its word for it."""
        self.patches = 0
        self.events = 0

    @property
    def backlog(self) -> int:
        """How many statuses wait for the bound."""
        return len(self._judged)

    def pending(
        self,
        verdicts: Mapping[Key, Verdict],
        numbers: Mapping[str, Numbers] | None,
        now_ms: int,
        unpriced: Callable[[Verdict], tuple[str, ...]],
        fault: str = "",
        confirmation: Callable[[Verdict], Confirmation | None] = lambda _: None,
    ) -> list[Pending]:
        """What to write of these verdicts, all or some, the most urgent and the longest untouched first."""
        out: list[Pending] = []
        month = month_key(now_ms)
        now = time.monotonic()
        for known in (self._settled, self._judged, self._refused):
            for gone in known.keys() - self._informer.objects.keys():
                del known[gone]
        for key, verdict in verdicts.items():
            obj = self._informer.objects.get(key)
            if obj is None:
                continue
            budget = verdict.in_force.budget if verdict.in_force else None
            found = numbers.get(budget.team, Numbers(0, 0)) if numbers is not None and budget else None
            limit = budget.limit_nanousd(now_ms) + (found.carried_nanousd if found else 0) if budget else 0
            version = str(obj["metadata"].get("resourceVersion") or "")
            confirmed = confirmation(verdict)
            inputs = (version, verdict, found, limit, month, fault, confirmed)
            if self._settled.get(key) == inputs:
                continue
            if key in self._refused and now < self._refused[key][1]:
                continue  # the API server did not take it: it is asked again, less and less often
            waiting = self._judged.pop(key, None)
            if waiting is not None and waiting[0] == inputs:  # it waits for its turn
                self._judged[key] = waiting
                out.append(waiting[1])
                continue
            old = obj.get("status") or {}
            ledger_fault = fault if budget else ""
            new = rules.desired(verdict, found, old, now_ms, unpriced(verdict), ledger_fault, confirmed)
            if not rules.changed(old, new):
                self._settled[key] = inputs
                continue
            urgent = rules.conditions_changed(old, new)
            if not urgent and now_ms < self._due_ms(old, new, budget, limit):
                continue
            pending = Pending(key, version, old, new, urgent)
            self._judged[key] = inputs, pending
            out.append(pending)
        out.sort(key=lambda p: (not p.urgent, str(p.old.get("lastUpdated", ""))))
        return out

    def _due_ms(
        self, old: Mapping[str, Any], new: Mapping[str, Any], budget: TeamBudget | None, limit: int
    ) -> int:
        """When numbers alone are due."""
        written = rules.epoch_ms(str(old.get("lastUpdated", "")))
        if budget is None or not self._quantum_percent:
            return written + self._interval_ms
        quantum = rules.usd(percent_of(limit, self._quantum_percent))
        moved = max(
            abs(float(new.get(name, 0)) - float(old.get(name, 0)))
            for name in ("currentSpendUSD", "reservedUSD")
        )
        return written + self._interval_ms * (1 if moved >= quantum else QUIET_PERIODS)

    async def write(self, todo: list[Pending], may: Callable[[], bool], now_ms: Callable[[], int]) -> None:
        """Write these, then what waits from before, as `go_on` does."""
        keys = {p.key for p in todo}
        self._queue = deque([*todo, *(p for p in self._queue if p.key not in keys)])
        await self.go_on(may, now_ms)

    async def go_on(self, may: Callable[[], bool], now_ms: Callable[[], int]) -> None:
        """Write in order until the bound, the end, or until `may` says that we do not lead any more."""
        now = asyncio.get_running_loop().time()
        self._bucket = self._bucket or TokenBucket(BURST, RATE_S, now)
        while self._queue:
            item = self._queue[0]
            known = self._judged.get(item.key)
            if known is None or known[1] is not item:  # written, or judged anew
                self._queue.popleft()
                continue
            if not may() or not self._bucket.take(asyncio.get_running_loop().time()):
                return
            if not await self._patch(item, now_ms()):
                return
            if self._queue and self._queue[0] is item:
                self._queue.popleft()

    async def _patch(self, item: Pending, now_ms: int) -> bool:
        """False where the API server is away: the rest waits as well."""
        obj = self._informer.objects.get(item.key)
        if obj is None or str(obj["metadata"].get("resourceVersion") or "") != item.version:
            return True  # it changed meanwhile; the next round looks again
        meta = obj["metadata"]
        # uid and resourceVersion: who was deposed, or has an old view, changes nothing
        new = item.new | {"lastUpdated": rules.stamp(now_ms)}
        body: Object = {
            "metadata": {"uid": meta.get("uid"), "resourceVersion": meta.get("resourceVersion")},
            "status": rules.patch_of(item.old, new),
        }
        path = object_path(GROUP, VERSION, PLURAL, item.key) + "/status"
        try:
            answer = await self._kube.merge_patch(path, body)
        except KubeError as problem:
            if problem.conflict or problem.not_found:
                return True  # it changed meanwhile; the watch tells, the next round looks again
            self._count(problem.reason or str(problem.status))
            self._judged.pop(item.key, None)
            times = self._refused.get(item.key, (0, 0.0))[0] + 1
            wait_s = min(BACKOFF_S[0] * 2 ** (times - 1), BACKOFF_S[1]) * (0.75 + random.random() / 2)
            self._refused[item.key] = times, time.monotonic() + wait_s
            log.error(
                "status_refused", budget="/".join(item.key), error=str(problem), again_in_s=round(wait_s)
            )
            return True
        except KubeUnavailable as problem:
            self._count("Unavailable")
            log.warning("status_failed", error=str(problem))
            return False
        self._refused.pop(item.key, None)
        self.patches += 1
        self._judged.pop(item.key, None)
        self._informer.patched(obj, answer)
        for kind, turned, reason, message in rules.transitions(item.old, item.new):
            await self._tell(obj, kind, turned, reason, message)
        return True

    def _count(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1

    async def _tell(self, obj: Object, kind: str, turned: str, reason: str, message: str) -> None:
        """Tell one transition as a core/v1 Event on the budget; best effort, as events are."""
        namespace, name = key_of(obj)
        good = kind == c.READY or (kind == c.DOWNGRADING and turned == "True")
        warning = (kind in _WARNINGS and turned == "True") or (good and turned == "False")
        body = event(
            obj, self._identity, uuid.uuid4().hex[:16], event_reason(kind, turned), message or reason, warning,
            datetime.now(UTC),
        )  # fmt: skip
        try:
            await self._kube.create(events_path(namespace), body)
            self.events += 1
        except (KubeError, KubeUnavailable) as problem:
            log.warning("event_failed", budget=f"{namespace}/{name}", error=str(problem))


def event_reason(kind: str, turned: str) -> str:
    """The event's word for a condition that turned."""
    words = {
        (c.READY, "True"): "Enforced",
        (c.READY, "False"): "NotEnforced",
        (c.EXHAUSTED, "True"): "BudgetExhausted",
        (c.EXHAUSTED, "False"): "BudgetRecovered",
        (c.DOWNGRADING, "True"): "DowngradeStarted",
        (c.DOWNGRADING, "False"): "DowngradeEnded",
        (c.CONFLICT, "True"): "Conflict",
        (c.CONFLICT, "False"): "ConflictResolved",
        (c.INVALID, "True"): "Invalid",
        (c.INVALID, "False"): "ValidAgain",
        (c.PRICE_MISSING, "True"): "PriceMissing",
        (c.PRICE_MISSING, "False"): "PriceFound",
        (c.STORE_DEGRADED, "True"): "StoreDegraded",
        (c.STORE_DEGRADED, "False"): "StoreRecovered",
    }
    return words[kind, turned]
