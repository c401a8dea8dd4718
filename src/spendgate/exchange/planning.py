"""From a request's facts to one atomic ledger call: gather, ask the decision, put the reservation together."""

from __future__ import annotations

from dataclasses import replace

from spendgate.budget.ask import NO_TAGS, Ask, Choice, Plan, Quote
from spendgate.budget.bounds import UNLIMITED, Bound, Candidate
from spendgate.budget.decide import audit_fallback, fail_open_allowance, plan
from spendgate.budget.policy import TeamBudget
from spendgate.dialects.base import RequestFacts
from spendgate.exchange.billing import COST_MAX_NANOUSD
from spendgate.exchange.events import GroupOutage
from spendgate.exchange.learned import Learned
from spendgate.exchange.quote import is_plain, make_quote
from spendgate.exchange.snapshot import Address, Snapshot
from spendgate.identity.identity import Identity
from spendgate.ledger.exchanges import ReserveRequest
from spendgate.tokens.count import Counted
from spendgate.values import dataclass

EXACT_BELOW = 1000
"""An estimate that is more than 1/1000 of the month's budget is counted exactly, not bounded by bytes."""

WOULD_REFUSE = "would_refuse"
"""What an audited request would have met."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with its reservation (None: refused before the ledger was asked)."""

    plan: Plan
    choices: tuple[Choice, ...]
    request: ReserveRequest | None
    allowance_nanousd: int = UNLIMITED
    wants_exact: bool = False
    groups: tuple[GroupOutage, ...] = ()
    """What each group lets pass while the ledger does not answer."""


def gather(
    snapshot: Snapshot,
    identity: Identity,
    dialect: str,
    facts: RequestFacts,
    counted: Counted,
    require_model: str,
    exchange_id: str,
    now_ms: int,
    address: Address | None = None,
    learned: Learned | None = None,
    *,
    seen: bool = True,
) -> Planned:
    """Decide what to ask of the ledger: a plain request by what is kept, which comes to the same. `address`: where it
    is sent, None where only its dialect is known; `learned`: what earlier answers taught; `seen`: is its answer seen as
    it flows? Else its hold waits for Envoy's access log."""
    sent_to = address or Address(dialect)
    plain = is_plain(facts)
    if plain and not require_model:
        kept = _by_frame(snapshot, identity, facts, counted, exchange_id, now_ms, sent_to, seen=seen)
        if kept is not None:
            return kept
    budget = snapshot.policy.budget(identity.team)
    groups = snapshot.policy.groups_of(identity.team)
    prices, settings = snapshot.prices, snapshot.settings
    # only of a stream that is seen can be told what it costs by now; all else holds its worst case
    fits = seen and facts.stream and budget is not None and budget.holds_learned
    shares = budget is not None and budget.holds_learned

    quotes: dict[tuple[str, int | None], Quote] = {}

    def quote(model: str, cap: int | None) -> Quote:
        if facts.body_fixed:
            cap = None  # it cannot be written
        # a cap that the decision asks for only ever lowers the client's own
        own = facts.output_cap if cap is None or facts.output_cap is None else min(cap, facts.output_cap)
        own = cap if own is None else own
        known = quotes.get((model, own))
        if known is None:
            offer = snapshot.offer(model, sent_to, now_ms) if plain and not shares else None
            known = quotes[model, own] = (
                made(model, own) if offer is None else offer.quote(facts, counted, own)
            )
        return known

    def made(model: str, cap: int | None) -> Quote:
        terms = snapshot.terms(model, sent_to, now_ms, facts.service_tier, facts.residency)
        served = learned.serves(snapshot.place(model, sent_to), now_ms) if learned is not None else ()
        most = settings.assumed_output_tokens
        return make_quote(prices, model, facts, counted, cap, most, terms, served, shares=shares)

    def servable(model: str) -> str:
        if model != facts.model and facts.body_fixed:
            return facts.fixed_because
        if model != facts.model and facts.model_fixed:
            return "dialect"  # the path names the deployment; the body cannot change it
        return snapshot.servable(model, dialect, facts.needs, counted.tokens)

    def bounds(model: str) -> tuple[Bound, ...] | None:
        frame = snapshot.frame(identity.team, identity.app, model, now_ms) if plain else None
        return None if frame is None else frame.bounds

    ask = ask_of(
        snapshot, identity, dialect, facts, counted, sent_to, now_ms, require_model=require_model, fits=fits
    )
    decided = plan(ask, budget, now_ms, quote, servable, snapshot.decision, groups, bounds)
    if decided.refusal is not None and not decided.audit:
        return Planned(decided, (), None)
    choices = tuple(map(_storable, _audited(decided) if decided.audit else decided.choices))
    request = ReserveRequest(
        exchange_id=exchange_id,
        team=identity.team,
        app=identity.app,
        ttl_ms=settings.reservation_ttl if seen else settings.unseen_ttl,
        candidates=tuple(c.candidate for c in choices),
    )
    allowance = UNLIMITED if decided.audit else fail_open_allowance(budget, now_ms)
    dearest = max((c.candidate.estimate_nanousd for c in choices), default=0)
    limit = decided.limit_nanousd
    # a budget of 0 admits nothing, however little it is
    exact = limit is not None and 0 < limit < dearest * EXACT_BELOW
    wants_exact = not counted.exact and (exact or any(map(_is_near, (c.candidate for c in choices))))
    others = tuple(_of_group(g, identity.app, now_ms) for g in groups)
    return Planned(decided, choices, request, allowance, wants_exact, others)


def _by_frame(
    snapshot: Snapshot,
    identity: Identity,
    facts: RequestFacts,
    counted: Counted,
    exchange_id: str,
    now_ms: int,
    address: Address,
    *,
    seen: bool,
) -> Planned | None:
    """The same of a plain request, by what is kept of its team, app and model; None where that does not say it all."""
    team, app, model = identity.team, identity.app, facts.model
    frame = snapshot.frame(team, app, model, now_ms)
    if frame is None or not frame.is_whole:
        return None
    offer = snapshot.offer(model, address, now_ms)
    if offer is None:
        return None
    cap = facts.output_cap
    if cap is None and not facts.body_fixed:
        cap = frame.budget.output_token_cap
    quote = offer.quote(facts, counted, cap)
    estimate = quote.estimate_nanousd
    decided = frame.plan(model, quote, facts.output_cap)
    if decided is None or estimate > COST_MAX_NANOUSD:
        return None
    candidate = decided.choices[0].candidate
    settings = snapshot.settings
    ttl_ms = settings.reservation_ttl if seen else settings.unseen_ttl
    wants_exact = not counted.exact and (
        0 < frame.limit_nanousd < estimate * EXACT_BELOW or _is_near(candidate)
    )
    groups = snapshot.policy.groups_of(team)
    return Planned(
        decided,
        decided.choices,
        ReserveRequest(exchange_id, team, app, ttl_ms, (candidate,)),
        frame.allowance_nanousd,
        wants_exact,
        tuple([_of_group(g, app, now_ms) for g in groups]) if groups else (),
    )


def _is_near(candidate: Candidate) -> bool:
    """Is its count of tokens much of a bound that a rough one would reach too early?"""
    return any(
        b.floor_nanousd < candidate.need(b, candidate.estimate_nanousd) * EXACT_BELOW
        for b in candidate.bounds
        if b.floor_nanousd > 0 and (b.unit == "tokens" or (b.unit == "usd" and b.scope != "month"))
    )


def _of_group(group: TeamBudget, app: str, now_ms: int) -> GroupOutage:
    bound = UNLIMITED if group.audit else group.month_bound_nanousd(now_ms, app)
    return GroupOutage(group.team, fail_open_allowance(group, now_ms), bound)


def ask_of(
    snapshot: Snapshot,
    identity: Identity,
    dialect: str,
    facts: RequestFacts,
    counted: Counted,
    address: Address,
    now_ms: int,
    *,
    require_model: str = "",
    fits: bool = False,
) -> Ask:
    """A request as the decision sees it."""
    return Ask(
        team=identity.team,
        app=identity.app,
        model=facts.model,
        dialect=dialect,
        input_tokens=counted.tokens,
        run=identity.run,
        require_model=require_model,
        client_output_cap=facts.output_cap,
        needs=facts.needs,
        fallbacks=facts.fallbacks,
        other_models=facts.other_models,
        known_as=snapshot.prices.known_as,
        fits=fits,
        user=identity.user,
        tags=dict(identity.tags) if identity.tags else NO_TAGS,
        provider_of=lambda model: snapshot.seller(model, address, now_ms),
    )


def _storable(choice: Choice) -> Choice:
    """A hold that no bound stops is not larger than any exchange is believed to cost: some such would fill a counter
    of the ledger."""
    candidate = choice.candidate
    if candidate.estimate_nanousd <= COST_MAX_NANOUSD or any(
        b.ceiling_nanousd >= 0 and b.unit == "usd" for b in candidate.bounds
    ):
        return choice
    return replace(choice, candidate=replace(candidate, estimate_nanousd=COST_MAX_NANOUSD))


def _audited(decided: Plan) -> tuple[Choice, ...]:
    """In audit the requested model is what is sent, so only its counters may move: first it is tried with its
    bounds (a refusal is then what would have been), then without."""
    requested = audit_fallback(decided)
    own = [c for c in decided.choices if c.candidate.model == requested.candidate.model][-1:]
    bounded = [
        replace(c, candidate=replace(c.candidate, used_from_nanousd=0, used_below_nanousd=UNLIMITED))
        for c in own
    ]
    return (*bounded, requested)


def would_be(planned: Planned, index: int, settled_nanousd: int) -> str:
    """What an audited request would have met: `would_refuse`, or the reason of the model that would serve."""
    choices = planned.plan.choices
    if index == len(planned.choices) - 1 and (planned.plan.refusal is not None or len(planned.choices) > 1):
        return WOULD_REFUSE
    first = next((c for c in choices if c.candidate.is_open(settled_nanousd)), None)
    return first.reason if first is not None else ""


def eligible(planned: Planned, settled_nanousd: int) -> int:
    """The candidate that stands first for what is settled, bounds apart: for when the ledger is away."""
    for i, choice in enumerate(planned.choices):
        if choice.candidate.is_open(settled_nanousd):
            return i
    return len(planned.choices) - 1
