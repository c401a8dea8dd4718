"""What a policy or a price list would have done to logged traffic: the gateway's own decision, replayed. Pure.

Exchanges are decided in the order of their time, one after another: each is settled before the next is decided, so
that nothing is held, and nobody waits for room (`budget_held`). The counters start at zero where the log starts. A
budget in audit is shown as if enforced: that is the question. Costs:

- an exchange that keeps its model keeps its logged cost (with `reprice`: its tokens at the new prices);
- one that moves costs its tokens at the other model's price (another model may answer longer or shorter);
- one that was settled at its estimate keeps that cost, it has no tokens to price.

With `holds: learned` every exchange is taken for a stream, and holds are learned from the log as it goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import field, replace

from spendgate.budget.ask import Ask, Choice, Plan, Quote
from spendgate.budget.decide import plan
from spendgate.budget.evaluate import UNLEARNED, evaluate
from spendgate.budget.policy import TeamBudget
from spendgate.budget.ratios import Ratios, ratios_of
from spendgate.exchange.quote import make_quote
from spendgate.exchange.snapshot import Address, Snapshot
from spendgate.finops.chargeback.chargeback import price_for
from spendgate.finops.simulation.counted import Counted, is_counted_here
from spendgate.finops.simulation.logged_request import LoggedRequest
from spendgate.finops.simulation.plan_cache import Decided, PlanCache
from spendgate.months import hour_key
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.table import PriceTable
from spendgate.usage import INPUT_KINDS, Usage, input_total
from spendgate.values import dataclass


@dataclass(slots=True)
class Tally:
    """What became of one app's exchanges. logged = simulated + refused + saved, in nano-USD.

    `saved_nanousd` is negative where routing chose dearer models. `refused_nanousd`: what those cost.
    `simple`: what went to the cheap model for being below the threshold, also where it was asked for."""

    requests: int = 0
    logged_nanousd: int = 0
    simulated_nanousd: int = 0
    refused: int = 0
    refused_nanousd: int = 0
    routed: int = 0
    downgraded: int = 0
    saved_nanousd: int = 0
    simple: int = 0

    def add(self, other: Tally) -> None:
        """Add another's counts."""
        self.requests += other.requests
        self.logged_nanousd += other.logged_nanousd
        self.simulated_nanousd += other.simulated_nanousd
        self.refused += other.refused
        self.refused_nanousd += other.refused_nanousd
        self.routed += other.routed
        self.downgraded += other.downgraded
        self.saved_nanousd += other.saved_nanousd
        self.simple += other.simple


@dataclass(slots=True)
class Simulation:
    """The outcome of a replay. `apps` by (team, app); `refusals` by (team, reason); `moves` by (team, model
    asked, model sent); `first_refused` by team (ms); `other_prices`: exchanges logged at another price list.
    """

    apps: dict[tuple[str, str], Tally] = field(default_factory=dict)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    moves: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    first_refused: dict[str, int] = field(default_factory=dict)
    other_prices: int = 0
    first_ms: int = 0
    last_ms: int = 0

    @property
    def total(self) -> Tally:
        """All apps together."""
        out = Tally()
        for tally in self.apps.values():
            out.add(tally)
        return out

    @property
    def teams(self) -> dict[str, Tally]:
        """The apps of each team together, by team's name."""
        out: dict[str, Tally] = {}
        for (team, _), tally in sorted(self.apps.items()):
            out.setdefault(team, Tally()).add(tally)
        return out


@dataclass(slots=True)
class _Books:
    """A team's counters, as the ledger would keep them: scopes of the month, the day and the hour end with
    them; those of a run do not."""

    hour: str = ""
    settled: dict[str, int] = field(default_factory=dict)
    until_ms: int = 0

    def at(self, now_ms: int) -> dict[str, int]:
        """The counters at an instant not before the last one."""
        if now_ms < self.until_ms:
            return self.settled
        hour = hour_key(now_ms)
        kept = self.settled
        if hour[:6] != self.hour[:6]:
            kept = {s: n for s, n in kept.items() if s.startswith("run:")}
        elif hour[:8] != self.hour[:8]:
            kept = {s: n for s, n in kept.items() if s not in ("day", "hour")}
        else:
            kept = {s: n for s, n in kept.items() if s != "hour"}
        self.hour, self.settled = hour, kept
        self.until_ms = (now_ms // 3_600_000 + 1) * 3_600_000
        return kept


class Replay:
    """Decides demands one by one, in the order of their time.

    `logged_at` are the prices that the log was made with, to read its estimates. `shortcuts` False asks the
    decision for every exchange, also where an earlier one's plan certainly holds; the outcome is the same.
    """

    def __init__(
        self, snapshot: Snapshot, logged_at: PriceTable, *, reprice: bool = False, shortcuts: bool = True
    ) -> None:
        self._snapshot = snapshot
        self._logged_at = logged_at
        self._reprice = reprice
        self._default = snapshot.settings.assumed_output_tokens
        self._shortcuts = PlanCache(snapshot, logged_at) if shortcuts else None
        self._budgets: dict[str, TeamBudget | None] = {}
        self._books: dict[str, _Books] = {}
        self._counted = Counted()
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._ratios: dict[tuple[str, str], dict[str, Ratios]] = {}
        """What learned holds rest on, by team and app, then by model."""
        self.result = Simulation(apps=self._tallies)

    def take(self, demand: LoggedRequest) -> None:
        """Decide one exchange and count it."""
        out = self.result
        out.first_ms = out.first_ms or demand.at_ms
        out.last_ms = demand.at_ms
        if demand.price_version != self._snapshot.prices.version:
            out.other_prices += 1
        tally = self._tallies.get((demand.team, demand.app))
        if tally is None:
            tally = self._tallies[demand.team, demand.app] = Tally()
        tally.requests += 1
        tally.logged_nanousd += demand.cost_nanousd
        books = self._books.get(demand.team)
        if books is None:
            books = self._books[demand.team] = _Books()
        settled = books.at(demand.at_ms)
        choice, reason, cap = self._decide(demand, settled)
        if choice is None:
            tally.refused += 1
            tally.refused_nanousd += demand.cost_nanousd
            out.refusals[demand.team, reason] += 1
            out.first_refused.setdefault(demand.team, demand.at_ms)
            return
        model = choice.candidate.model
        cost = self._cost(demand, model, cap)
        tally.simulated_nanousd += cost
        tally.saved_nanousd += demand.cost_nanousd - cost
        tally.simple += reason == "simple_query"
        if model != demand.asked:
            out.moves[demand.team, demand.asked, model] += 1
            if choice.downgraded:
                tally.downgraded += 1
            else:
                tally.routed += 1
        self._learn(demand, choice)
        bounds = choice.candidate.bounds
        for bound in bounds:
            if not is_counted_here(bound):
                settled[bound.scope] = settled.get(bound.scope, 0) + cost
        if not self._is_plain(demand.team, self._budget(demand.team)):
            self._counted.add(
                demand.team, bounds, demand.at_ms, cost, demand.input_tokens + demand.output_tokens
            )

    def _decide(self, demand: LoggedRequest, settled: dict[str, int]) -> Decided:
        budget = self._budget(demand.team)
        quick = self._shortcuts if self._is_plain(demand.team, budget) else None
        if quick is not None:
            decided = quick.decide(demand, budget, settled)
            if decided is not None:
                return decided
        planned = self._plan(demand, budget)
        if quick is not None:
            quick.learn(demand, budget, planned)
        if planned.refusal is not None:
            return None, planned.refusal.reason, None
        ratios = self._ratios.get((demand.team, demand.app), UNLEARNED)
        bounds = [b for c in planned.choices for b in c.candidate.bounds]
        verdict = evaluate(
            [c.candidate for c in planned.choices],
            settled | self._counted.standing(demand.team, bounds, demand.at_ms),
            ratios=ratios,
            last_settled=self._counted.last_months(demand.team, bounds, demand.at_ms),
        )
        if verdict.candidate < 0:
            reason = verdict.refusals[-1].bound.reason if verdict.refusals else "monthly_budget_exceeded"
            return None, reason, None
        choice = planned.choices[verdict.candidate]
        return choice, choice.reason, choice.output_cap if verdict.output_cap is None else verdict.output_cap

    def _is_plain(self, team: str, budget: TeamBudget | None) -> bool:
        """Has the team no limits, no groups, and nothing that is carried over?"""
        if self._snapshot.policy.groups_of(team):
            return False
        return budget is None or not (budget.limits or budget.rollover_percent is not None)

    def _learn(self, demand: LoggedRequest, choice: Choice) -> None:
        """Compare what was billed with its worst case, where the budget learns its holds."""
        shares, model = choice.quote.shares, choice.candidate.model
        brought = {kind: n for kind, n in demand.tokens.items() if kind in INPUT_KINDS}
        if shares is None or not brought or model != demand.model or demand.parts:
            return
        prices = self._snapshot.prices
        cost = cost_nanousd(price_for(prices, model, demand.terms), brought, prices.stand_ins)
        known = self._ratios.setdefault((demand.team, demand.app), {}).setdefault(model, Ratios())
        known.add(ratios_of(shares, input_total(brought), cost, demand.cost_nanousd))

    def _plan(self, demand: LoggedRequest, budget: TeamBudget | None) -> Plan:
        snapshot, default = self._snapshot, self._default
        own = demand.output_cap(self._logged_at, default)
        facts, counted = demand.facts(own), demand.counted()
        learns = budget is not None and budget.holds_learned
        nowhere = Address("")

        def quote(model: str, cap: int | None) -> Quote:
            cap = own if cap is None else cap if own is None else min(cap, own)
            return make_quote(
                snapshot.prices, model, facts, counted, cap, default, demand.terms, shares=learns
            )

        def servable(model: str) -> str:
            return snapshot.servable(model, demand.dialect, facts.needs, counted.tokens)

        ask = Ask(
            team=demand.team,
            app=demand.app,
            model=demand.asked,
            dialect=demand.dialect,
            input_tokens=demand.input_tokens,
            run=demand.run,
            tags=dict(demand.tags),
            known_as=snapshot.prices.known_as,
            require_model=demand.asked if demand.required else "",
            client_output_cap=own,
            fits=learns,  # a log does not tell streams apart
            user=demand.user,
            provider_of=lambda model: demand.provider or snapshot.seller(model, nowhere, demand.at_ms),
        )
        groups = tuple(replace(g, audit=False) for g in snapshot.policy.groups_of(demand.team))
        return plan(ask, budget, demand.at_ms, quote, servable, snapshot.decision, groups)

    def _budget(self, team: str) -> TeamBudget | None:
        if team not in self._budgets:
            budget = self._snapshot.policy.budget(team)
            self._budgets[team] = None if budget is None else replace(budget, audit=False)
        return self._budgets[team]

    def _cost(self, demand: LoggedRequest, model: str, cap: int | None) -> int:
        cut = cap is not None and cap < demand.output_tokens
        same = model == demand.model
        if not demand.tokens or (same and not cut and not self._reprice):
            return demand.cost_nanousd
        prices = self._snapshot.prices
        if same and not cut and demand.parts:
            return sum(
                cost_nanousd(price_for(prices, p.model, demand.terms), p.tokens, prices.stand_ins)
                for p in demand.parts
            )
        tokens = _cut(demand.tokens, demand.output_tokens - cap) if cut and cap is not None else demand.tokens
        tokens = {"requests": 1, **tokens}
        return cost_nanousd(price_for(prices, model, demand.terms), tokens, prices.stand_ins)


def _cut(tokens: Usage, excess: int) -> Usage:
    """The usage without `excess` tokens of output, plain ones first."""
    out = dict(tokens)
    for kind in ("output", "reasoning", "output_audio", "output_image"):
        taken = min(excess, out.get(kind, 0))
        if taken:
            out[kind] -= taken
            excess -= taken
    return out


def simulate(
    demands: Iterable[LoggedRequest],
    snapshot: Snapshot,
    logged_at: PriceTable,
    *,
    reprice: bool = False,
    shortcuts: bool = True,
) -> Simulation:
    """Replay demands that are in the order of their time."""
    replay = Replay(snapshot, logged_at, reprice=reprice, shortcuts=shortcuts)
    for demand in demands:
        replay.take(demand)
    return replay.result
