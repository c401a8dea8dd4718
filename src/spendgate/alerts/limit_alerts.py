"""Tells what the values of limits have reached, each once: what this process knows to be told costs no further look."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import structlog

from spendgate.alerts.alert import Alert
from spendgate.alerts.claims import Claims, alert_fields, open_deliveries
from spendgate.alerts.courier import DeliveryWorker
from spendgate.alerts.limit_thresholds import Place, Reached, places_of, reached
from spendgate.alerts.memory import AlertMemory
from spendgate.budget.policy import TeamBudget
from spendgate.ledger.redis.client import Client
from spendgate.values import dataclass

log = structlog.get_logger()

EVERY_MS = 5_000
READ_MS = 300_000
"""What is known of a place is read anew after so long, at the latest; then it lives on, too."""
OPENED_PER_TRIP = 100


@dataclass(slots=True)
class _Told:
    """What is written down in a place: the keys, and how many deliveries of ours are open."""

    keys: set[str]
    pending: int
    read_ms: int


class LimitAlerts:
    """Looks every few seconds, by the time it is given."""

    def __init__(
        self,
        client: Client,
        claims: Claims,
        memory: AlertMemory,
        courier: DeliveryWorker,
        targets: Callable[[Alert], tuple[str, ...]],
    ) -> None:
        self._client = client
        self._claims = claims
        self._memory = memory
        self._courier = courier
        self._targets = targets
        self._told: dict[Place, _Told] = {}
        self._looked_ms = 0

    @property
    def pending(self) -> int:
        """Deliveries that were open at the last look."""
        return sum(told.pending for told in self._told.values())

    @property
    def names(self) -> set[str]:
        """The names of the places that are looked at."""
        return {place.name for place in self._told}

    async def look(self, budgets: Collection[TeamBudget], now_ms: int, quiet: bool) -> None:
        """Open what was not told before; `quiet`: note it only. Raises LedgerUnavailable; then the next look does
        it."""
        if 0 <= now_ms - self._looked_ms < EVERY_MS:
            return
        rules = ((b, rule) for b in budgets for rule in b.limits if rule.thresholds)
        places = {place for b, rule in rules for place in places_of(b, rule, now_ms)}
        self._told = {place: told for place, told in self._told.items() if place in places}
        found: dict[Place, list[Reached]] = {}
        async for one in reached(self._client, budgets, now_ms):
            found.setdefault(one.places.now, []).append(one)
        await self._read([p for p in places if self._is_to_read(p, found.get(p, ()), now_ms)], now_ms)
        for place, some in found.items():
            fresh = [one for one in some if not self._is_told(one)]
            for start in range(0, len(fresh), OPENED_PER_TRIP):
                await self._open(place, fresh[start : start + OPENED_PER_TRIP], quiet)
        self._looked_ms = now_ms

    def _is_to_read(self, place: Place, found: Iterable[Reached], now_ms: int) -> bool:
        told = self._told.get(place)
        return (
            told is None
            or told.pending > 0
            or not 0 <= now_ms - told.read_ms < READ_MS
            or not all(self._is_told(one) for one in found)
        )

    def _is_told(self, one: Reached) -> bool:
        return any(one.key in told.keys for place in one.places if (told := self._told.get(place)))

    async def _read(self, places: Sequence[Place], now_ms: int) -> None:
        for place, fields in zip(places, await alert_fields(self._client, places, keep=True), strict=True):
            if await self._memory.mend(self._claims, place.name, place.account, fields):
                (fields,) = await alert_fields(self._client, [place])
            if fields:
                self._memory.note(place.name, place.account, fields)
            targets = [target for _, target in open_deliveries(fields)]
            pending = self._courier.expect(place.account, place.name, targets)
            self._told[place] = _Told({f for f in fields if "@" not in f}, pending, now_ms)

    async def _open(self, place: Place, some: Sequence[Reached], quiet: bool) -> None:
        told = self._told[place]
        if quiet:
            await self._claims.open(place.account, place.name, quiet=[(one.key, 0) for one in some])
        else:
            alerts = [(alert, self._targets(alert)) for alert in (one.alert() for one in some)]
            opened = await self._claims.open(place.account, place.name, alerts)
            for alert, targets in alerts:
                if alert.key in opened:
                    log.info("limit_alert_opened", team=alert.team, month=alert.month, key=alert.key)
                    told.pending += self._courier.expect(place.account, place.name, targets)
        told.keys |= {one.key for one in some}
