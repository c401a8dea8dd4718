"""What all exchanges of one worker share: the snapshot in force, the ledger, the settler, the guard."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import structlog

from spendgate.budget.bounds import UNLIMITED
from spendgate.errors import LedgerError, LedgerUnavailable
from spendgate.exchange import attempts
from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.learned import Learned
from spendgate.exchange.snapshot import Snapshot
from spendgate.exchange.ticket import SettlementTicket
from spendgate.gateway.adapters.patience import Patience
from spendgate.gateway.adapters.redirects import Left
from spendgate.gateway.durations import Lives
from spendgate.gateway.inflight import TICK_S, Lag, Room
from spendgate.gateway.ledger_watch import LedgerWatch
from spendgate.gateway.log_throttle import Throttle
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.settler import Settler
from spendgate.identity import headers as h
from spendgate.identity.credential import is_doctors
from spendgate.identity.extractors import ClaimExtractor, SpiffeExtractor
from spendgate.identity.identity import Caller, Proxy, Roster
from spendgate.ledger.exchanges import (
    Grown,
    ReserveRequest,
    ReserveResult,
    Settlement,
    group_account,
)
from spendgate.ledger.local_guard import LocalGuard
from spendgate.ledger.port import Ledger
from spendgate.money import NANO_PER_USD
from spendgate.months import month_key
from spendgate.records.record import ExchangeResult, expired_ending
from spendgate.rpc.eager import Rest

log = structlog.get_logger()

NO_POLICY = "no policy is known yet; ask another gateway"
"""To an Envoy that asks a gateway which is not ready: it asks the next one, else its failure mode decides."""
BEHIND = 4
"""A loop that was away for a quarter of the message timeout needs the rest for the steps of a decision."""
BREAKER_S = 0.5
"""After a failure the ledger is not asked again for so long: no request waits for a dead Redis twice."""


def share(amount_nanousd: int, workers: int) -> int:
    """One worker's part of what a replica may spend by itself; UNLIMITED stays so."""
    return amount_nanousd if amount_nanousd == UNLIMITED else amount_nanousd // workers


class Runtime:
    """One per worker process. `snapshot` is replaced whole by a reload; an exchange keeps the one it began
    with."""

    def __init__(
        self, snapshot: Snapshot, ledger: Ledger, settler: Settler, metrics: Metrics, workers: int = 1
    ) -> None:
        self.workers = workers
        self._snapshot = snapshot
        self.ledger = ledger
        self.settler = settler
        self.metrics = metrics
        self.live: set[Exchange] = set()
        self.calls = 0
        self.open: set[Any] = set()
        """Open calls (`leaving.Open`)."""
        self.guard = LocalGuard()
        self._guarded: dict[str, tuple[int, tuple[str, ...]]] = {}
        """What the guard holds for each exchange (by id, nano-USD), and in which accounts."""
        self.secret = b""
        """What all gateways of the ledger share; b"" while it is not known: nobody's word is believed."""
        self.roster = Roster(snapshot.settings.max_unbudgeted_teams, time.monotonic)
        self.wants_claims = self.wants_proxy = False
        self.gateways: tuple[re.Pattern[str], ...] = ()
        self._kept: set[asyncio.Future[Any] | Rest] = set()
        self._closed_until = 0.0
        self._away = False
        self._known: dict[str, tuple[str, int, int]] = {}
        """Month, settled and committed, as the ledger said last."""
        self.lives = Lives()
        self._said = Throttle()
        self.knows_policy = True
        """False in a cluster until there was one: nothing may be decided by none."""
        self.draining = False
        """The time to drain is over: calls that end now are left behind by us, not by their clients."""
        self.room = Room(lambda: self._snapshot.settings.max_inflight_bytes)
        self.lag = Lag()
        self.patience = Patience()
        self.reading = ThreadPoolExecutor(1, "reading")
        """Long bodies are read here, one at a time: two would only take the interpreter's lock from each other."""
        self.counting = ThreadPoolExecutor(1, "counting")
        """Long texts are counted here, so that no body waits for them."""
        self.slices = asyncio.Lock()
        """Held by the one stream of which a slice was looked at in this round of the loop."""
        self.learned = Learned()
        self.standing: LedgerWatch | None = None
        """None where nobody watches over the ledger (tests of one part)."""
        settler.when_home = self.guard.acknowledged
        self.left = Left(ledger, settler.put, self.keep)
        self.snapshot = snapshot

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot in force."""
        return self._snapshot

    @snapshot.setter
    def snapshot(self, value: Snapshot) -> None:
        self._snapshot = value
        self.wants_claims = any(isinstance(x, ClaimExtractor) for x in value.extractors) or any(
            tag.claim for tag in value.tags
        )
        principals = [x for x in value.extractors if isinstance(x, SpiffeExtractor)]
        self.wants_proxy = any(x.sidecars or x.gateways for x in principals)
        self.gateways = tuple(p for x in principals for p in x.gateways)
        self.metrics.spend_labels.budgeted = lambda team: value.policy.budget(team) is not None
        prices = value.prices
        self.metrics.priced_by(prices.version, prices.catalogue.checked_ms if prices.catalogue else 0)

    def caller(
        self,
        proxy: Proxy,
        headers: Mapping[str, str],
        principal: str,
        claims: tuple[Mapping[str, object], ...],
    ) -> Caller:
        """Who calls, now, as a proxy tells it."""
        caller = Caller.told_by(proxy, self.gateways, headers, principal, claims, self.now_ms())
        word = headers.get(h.DOCTOR)
        if word is not None and is_doctors(self.secret, word, caller.now_ms):
            return replace(caller, doctor=True)
        return caller

    @staticmethod
    def now_ms() -> int:
        """The wall clock; the ledger's own time rules windows."""
        return time.time_ns() // 1_000_000

    @property
    def is_cut_off(self) -> bool:
        """Did the ledger fail a moment ago, so that it is not asked?"""
        return time.monotonic() < self._closed_until

    def is_behind(self) -> bool:
        """Is the loop so far behind that what is taken on now would be decided too late?"""
        return self.lag.waited_s() * BEHIND > self._snapshot.settings.message_timeout / 1000

    async def watch_forever(self) -> None:
        """Know how far the loop is behind, and show how many bytes are being read, and how long decisions took."""
        shown = -1
        while True:
            self.lag.tick()
            self.metrics.flush()
            if shown != self.room.used_bytes:
                shown = self.room.used_bytes
                self.metrics.inflight_bytes.set(shown)
            await asyncio.sleep(TICK_S)

    def keep(self, future: asyncio.Future[Any] | Rest) -> None:
        """Hold on to a task whose call is over."""
        self._kept.add(future)
        future.add_done_callback(self._kept.discard)

    async def reserve(self, need: e.NeedReserve) -> e.ReserveDone | e.LedgerDown:
        """Ask the ledger; where it does not answer in time, the local guard (rule 10)."""
        if self.is_cut_off:
            return self._local(need)
        began = time.perf_counter()
        team = need.request.team
        try:
            if self.standing is not None:
                await self.standing.restore(team)
            result = await self.ledger.reserve(need.request)
        except LedgerUnavailable as problem:
            self._closed_until = time.monotonic() + BREAKER_S
            self.metrics.ledger_failures.labels("reserve").inc()
            self._said(log.error, "ledger_unavailable", error=str(problem))
            self._away = True
            down = self._local(need)
            if not down.admitted:  # it may have been reserved all the same: nobody will settle it
                request = need.request
                self.settler.void(Settlement.void(request.exchange_id, team, request.app, request.groups))
            return down
        if self._away:
            self._away = False
            log.warning("ledger_back")
            self.keep(asyncio.ensure_future(self.hold_again()))  # what passed without it is in flight still
        self.metrics.reserved.observe(time.perf_counter() - began)
        for expired in result.expired:
            self.settler.put(expired_ending(expired, self._snapshot.prices.version))
        month = month_key(result.at_ms)
        known_month, known, _ = self._known.get(team, ("", 0, 0))
        if self.standing is not None and known_month == month and result.settled_nanousd < known // 2:
            self.standing.hurry()
        self._known[team] = (month, result.settled_nanousd, result.committed_nanousd)
        if need.groups:
            self._know_groups(need.request, result, month)
        if result.worst_nanousd and result.candidate >= 0:
            part = result.held_nanousd / result.worst_nanousd
            self.metrics.learned_ratio.labels(self.metrics.team_label(team)).set(part)
        return e.ReserveDone(result, self.lives.usual_ms(team))

    def _know_groups(self, request: ReserveRequest, result: ReserveResult, month: str) -> None:
        """Remember how the groups' months stand, for when the ledger is away."""
        if result.candidate >= 0:
            for bound, (settled, held) in zip(
                request.candidates[result.candidate].bounds, result.counters, strict=False
            ):
                if bound.group and bound.scope == "month":
                    self._known[group_account(bound.group)] = (month, settled, settled + held)
        for refusal in result.refusals:
            if refusal.bound.group and refusal.bound.scope == "month":
                known = (month, refusal.settled_nanousd, refusal.committed_nanousd)
                self._known[group_account(refusal.bound.group)] = known

    async def hold_again(self) -> None:
        """Reserve once more what is in flight: a ledger that knows it changes nothing."""
        asked = [r for r in (exchange.hold_again() for exchange in self.live) if r is not None]
        done = await asyncio.gather(*map(self._hold, asked), return_exceptions=True)
        failed = sum(isinstance(d, BaseException) for d in done)
        log.warning("held_again", exchanges=len(asked), failed=failed)

    async def _hold(self, request: ReserveRequest) -> None:
        if self.standing is not None:
            await self.standing.restore(request.team)  # which drops the holds of an older copy
        await self.ledger.reserve(request)

    def _local(self, need: e.NeedReserve) -> e.LedgerDown:
        now = self.now_ms()
        request = need.request
        this_month = month_key(now)
        month, settled, committed = self._known.get(request.team, ("", 0, 0))
        if month != this_month:
            settled = committed = 0
        if self.standing is not None:
            settled = max(settled, self.standing.remembered(request.team, this_month))
            committed = max(committed, settled)
        first = next((c for c in request.candidates if c.is_open(settled)), request.candidates[-1])
        # what can be written down nowhere is let pass only where the policy sets no limit to it
        allowance = self._outage_allowance(need.allowance_nanousd)
        asked = [(request.team, allowance, committed, need.bound_nanousd)]
        for group in need.groups:
            account = group_account(group.name)
            known = self._known.get(account, ("", 0, 0))
            spent = known[2] if known[0] == this_month else 0
            asked.append(
                (account, self._outage_allowance(group.allowance_nanousd), spent, group.bound_nanousd)
            )
        admitted = self.guard.admit(
            first.estimate_nanousd,
            [
                (name, share(most, self.workers), spent, self._outage_bound(spent, bound))
                for name, most, spent, bound in asked
            ],
        )
        if admitted:
            accounts = tuple(account for account, *_ in asked)
            self._guarded[request.exchange_id] = first.estimate_nanousd, accounts
            usd = first.estimate_nanousd / NANO_PER_USD
            self.metrics.fail_open_usd.labels(self.metrics.team_label(request.team)).inc(usd)
        else:
            self.metrics.fail_closed.labels(self.metrics.team_label(request.team)).inc()
        self._said(
            log.error,
            "passing_without_ledger" if admitted else "refusing_without_ledger",
            team=request.team,
            here_nanousd=self.guard.committed(request.team),
            share_nanousd=share(allowance, self.workers),
            last_known_nanousd=committed,
        )
        return e.LedgerDown(admitted, settled, committed, now)

    def _outage_bound(self, spent_nanousd: int, bound_nanousd: int) -> int:
        if bound_nanousd == UNLIMITED:
            return UNLIMITED
        return spent_nanousd + share(max(bound_nanousd - spent_nanousd, 0), self.workers)

    def _outage_allowance(self, allowance_nanousd: int) -> int:
        return 0 if self.settler.is_full and allowance_nanousd != UNLIMITED else allowance_nanousd

    def take(self, exchange: Exchange) -> None:
        """Hand an exchange's ending, if it has one, to the settler. Never waits."""
        ending = exchange.take_ending()
        if ending is None:
            return
        self.live.discard(exchange)
        self.ended(ending)

    def ended(self, ending: ExchangeResult) -> None:
        """Take an ending of a call that was decided here: for the settler, the guard, and how long calls take."""
        record = ending.record
        self.lives.ended(record.team, ending.held_nanousd or 0, self.now_ms() - record.at_ms)
        held_nanousd, accounts = self._guarded.pop(record.exchange_id, (0, ()))
        for account in accounts:
            self.guard.settle(account, held_nanousd, record.cost_nanousd)
        self.settler.put(ending)

    def charge_beside(
        self, ticket: SettlementTicket, again: ReserveRequest | None, count: int, *, logged: bool
    ) -> None:
        """Envoy made so many attempts beside the one that an exchange is charged for. Where its access log tells
        what became of them, their holds are reserved until it does, else they are charged now."""
        if logged and again is not None and not ticket.fail_open:
            self.keep(asyncio.ensure_future(self._hold_beside(ticket, again, count)))
        elif logged or self.snapshot.settings.unlogged_attempts == "hold":
            self.settler.put(attempts.ending(ticket, count))

    async def _hold_beside(self, ticket: SettlementTicket, again: ReserveRequest, count: int) -> None:
        charge = attempts.ending(ticket, count)
        own = replace(again.candidates[0], estimate_nanousd=charge.held_nanousd)
        ttl_ms = self.snapshot.settings.unseen_ttl
        request = replace(again, exchange_id=charge.record.exchange_id, ttl_ms=ttl_ms, candidates=(own,))
        try:
            await self._hold(request)
        except LedgerError as problem:
            self.metrics.ledger_failures.labels("reserve").inc()
            self._said(log.error, "attempts_not_held", error=str(problem))
            self.settler.put(charge)

    def _grown(self, grown: Mapping[str, Grown]) -> None:
        for exchange in self.live:
            if (now := grown.get(exchange.exchange_id)) is not None:
                exchange.grown(now)

    async def renew_forever(self) -> None:
        """Move the deadlines of what is in flight, three times within each."""
        while True:
            ttl = self.snapshot.settings.reservation_ttl
            await asyncio.sleep(ttl / 3000)
            growing = [g for x in self.live for g in x.growing()]
            grows = {g.exchange_id for g in growing}
            holds = [h for h in (x.holds for x in self.live) if h is not None and h[1] not in grows]
            holds += [h for x in self.live for h in x.holds_in_groups if h[1] not in grows]
            self.metrics.open_calls.set(self.calls)
            try:
                if holds:
                    await self.ledger.renew(holds, ttl)
                if growing:
                    self._grown(await self.ledger.grow(growing, ttl))
            except LedgerUnavailable as problem:
                self.metrics.ledger_failures.labels("renew").inc()
                self._said(log.error, "renew_failed", holds=len(holds) + len(growing), error=str(problem))
