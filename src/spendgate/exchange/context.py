"""What is known of one exchange, filled in as it goes on: the record that its steps share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from spendgate.budget.ask import Choice
from spendgate.budget.bounds import Bound, Candidate
from spendgate.budget.limits import counted_only, model_scopes
from spendgate.dialects.base import NO_HEADERS, Dialect, RequestFacts
from spendgate.exchange import billing
from spendgate.exchange.billing import Bill, Tariff
from spendgate.exchange.handover import Handover
from spendgate.exchange.learned import Learned
from spendgate.exchange.planning import Planned, ask_of
from spendgate.exchange.rejections import RejectionFormat, format_of
from spendgate.exchange.snapshot import Address, Snapshot
from spendgate.exchange.ticket import MONTH, SettlementTicket
from spendgate.identity import headers as h
from spendgate.identity.identity import UNATTRIBUTED, Identity
from spendgate.ledger.exchanges import GroupShare, Growing, ReserveRequest, ReserveResult, group_account
from spendgate.money import nano_to_usd
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.tokens.count import Counted
from spendgate.values import dataclass

WITHIN_BUDGET = "within_budget"
ESTIMATE_CAPPED = "estimate_capped"
"""The flag of an exchange that was estimated at more than any is believed to cost."""
LEARNED_MODEL = "learned_model"
"""The flag of an exchange that was held as the models are that answered under its name before."""
UNDECIDED = "undecided"
"""The flag of an exchange that went on without a decision."""
NOBODY = Identity(UNATTRIBUTED, UNATTRIBUTED)
NOWHERE = Address("")
UNCOUNTED = Counted(0, True, 0)
STREAM_CUT = "stream_cut"
"""Why a stream ended that had used up its money."""
LEARNT_FROM = frozenset({ChargedBy.USAGE, ChargedBy.COUNTED})
"""What was charged tells what it cost."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision in the usage log's words: `allow`, `route`, `downgrade` or `reject`, and why."""

    decision: str
    reason: str
    model: str
    held_nanousd: int
    kept_because: str


_Asked = tuple[str, int, RequestFacts | None, Address, Tariff]
"""A model, a time, what was asked for and where, and the tariff that follows."""
_Ticket = tuple[tuple[object, ...], SettlementTicket]
"""How things stood, and the ticket that follows."""


@dataclass(slots=True)
class ExchangeContext:
    """One exchange. `snapshot` is the one it began with."""

    exchange_id: str
    request_id: str
    snapshot: Snapshot
    identity: Identity = NOBODY
    dialect: Dialect | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    target: str = ""
    """The raw path with its query."""
    address: Address = NOWHERE
    require_model: str = ""
    facts: RequestFacts | None = None
    """None also where the request could not be read."""
    counted: Counted = UNCOUNTED
    planned: Planned | None = None
    result: ReserveResult | None = None
    """None where the ledger was away."""
    choice: Choice | None = None
    sent: str = ""
    """The model that the request was sent to."""
    held_nanousd: int | None = None
    """What it may cost, held and charged where nobody tells what it did; None: nothing was asked of the ledger."""
    reserved_nanousd: int = 0
    """What the ledger holds for it: less, where that was learned."""
    flowed_nanousd: int = 0
    """What of its answer had flowed when its hold was renewed last."""
    at_ms: int = 0
    """The time of the reservation, by the ledger's clock."""
    decision: str = "allow"
    reason: str = WITHIN_BUDGET
    fail_open: bool = False
    taken_over: Handover | None = None
    """What the gateway before this one said, in whose stead this one meters."""
    lean: frozenset[str] = frozenset()
    """The answers (`json`, `sse`) whose usage Envoy tells, where nobody here looks at them."""
    unseen: bool = False
    """Its answer is not looked at: Envoy's access log tells what it cost."""
    handed_over: bool = False
    """The next gateway was told to meter in this one's stead."""
    flags: tuple[str, ...] = ()
    """What was odd about it beside what reading it showed."""
    attempts: int = 0
    """How often Envoy sent it to a provider; 0 where Envoy does not tell."""
    learned: Learned | None = None
    """What earlier answers taught; None where nothing is remembered (a dry run)."""
    _tariff: _Asked | None = field(default=None, init=False, compare=False, repr=False)
    """The tariff that was asked for last."""
    _ticket: _Ticket | None = field(default=None, init=False, compare=False, repr=False)
    """The ticket that was made last, and how things stood then."""

    def voice(self, body: bytes = b"") -> RejectionFormat:
        """Who words refusals, with which status. `body`: the request's, as far as it is known."""
        assert self.dialect is not None
        return format_of(self.snapshot, self.dialect, self.identity, self.headers, body)

    @property
    def held(self) -> int:
        """What is held, in nano-USD."""
        return self.held_nanousd or 0

    @property
    def input_tokens(self) -> int:
        """The input as counted, in tokens."""
        extra = self.facts.extra_input_tokens if self.facts is not None else 0
        return self.counted.tokens + extra

    def hold_unmade(self, amount_nanousd: int) -> None:
        """Take this for held, though no ledger was asked: what went on undecided."""
        self.held_nanousd = amount_nanousd
        self.flags = (*self.flags, UNDECIDED)

    @property
    def kept_because(self) -> str:
        """Why a cheaper model was not taken, "" where that is no question."""
        kept = self.planned.plan.kept_because if self.planned is not None else ""
        return kept or (self.choice.kept_because if self.choice is not None else "")

    @property
    def decided(self) -> Decided:
        """What was decided about a request that was forwarded."""
        return Decided(self.decision, self.reason, self.sent, self.held, self.kept_because)

    @property
    def aborted_flowed(self) -> bool:
        """Is a client that left charged what flowed only (`abortedAnswers: flowed`)?"""
        budget = self.snapshot.policy.budget(self.identity.team)
        chosen = budget.aborted_answers if budget is not None else None
        return (chosen or self.snapshot.settings.abortedAnswers) == "flowed"

    def learn(self, answered: str) -> None:
        """A model answered: remember it, where the name that was asked of has no price of its own."""
        if self.learned is None or not (answered and self.sent) or self.taken_over is not None:
            return
        provider = self.tariff(self.sent).terms.provider
        if self.snapshot.prices.locate(self.sent, provider) is None:
            place = self.snapshot.place(self.sent, self.address)
            self.learned.answered(place, answered, self.at_ms)

    def tariff(self, model: str) -> Tariff:
        """What this exchange is priced by: at the time of its reservation, on the tier that it asked for."""
        known, facts, address = self._tariff, self.facts, self.address
        if (
            known is None
            or known[:2] != (model, self.at_ms)
            or known[2] is not facts
            or known[3] is not address
        ):
            known = self._tariff = model, self.at_ms, facts, address, self._tariff_of(model)
        return known[4]

    def _tariff_of(self, model: str) -> Tariff:
        facts = self.facts
        tier, place = (facts.service_tier, facts.residency) if facts is not None else ("", "")
        terms = self.snapshot.terms(model, self.address, self.at_ms or None, tier, place)
        hoped = facts is not None and bool(tier) and not facts.batch
        long_writes = facts is not None and "cache_write_12h" in facts.cache_writes
        return Tariff(self.snapshot.prices, terms, self._fallbacks(model), hoped, long_writes)

    def _fallbacks(self, model: str) -> tuple[str, ...]:
        """The models that may answer in the stead of the one sent: those of the request, unless they were taken out."""
        facts = self.facts
        return facts.fallbacks if facts is not None and model == facts.model else ()

    def hold_again(self) -> ReserveRequest | None:
        """What is held, asked for once more without a limit; None where nothing is."""
        if self.choice is None or not self.held:
            return None
        own = self.choice.candidate
        candidate = Candidate(own.model, self.held, counted_only(own.bounds))
        ttl_ms = self.snapshot.settings.reservation_ttl
        return ReserveRequest(self.exchange_id, self.identity.team, self.identity.app, ttl_ms, (candidate,))

    def stream_limit_nanousd(self) -> int | None:
        """What a stream may cost before it is ended (`cutStreams`): what is held for it and what the month
        had left when it began. None: it runs to its own end."""
        budget = self.snapshot.policy.budget(self.identity.team)
        if budget is None or not budget.cut_streams or budget.audit:
            return None
        if self.result is None or self.choice is None:
            return None
        ceiling = self._bounds_now()[0].ceiling_nanousd
        if ceiling < 0:
            return None
        return self.reserved_nanousd + max(0, ceiling - self.result.committed_nanousd)

    @property
    def is_fitted(self) -> bool:
        """Does the ledger hold less for it than it may cost?"""
        result = self.result
        return result is not None and self.choice is not None and result.worst_nanousd > result.held_nanousd

    def _bounds_now(self) -> tuple[Bound, ...]:
        """The bounds of what is held, raised by what was carried over."""
        bounds = self.choice.candidate.bounds if self.choice is not None else ()
        carried = self.result.carried_nanousd if self.result is not None else ()
        if not carried or self.planned is None or self.planned.request is None:
            return bounds
        by_account = dict(zip(("", *self.planned.request.groups), carried, strict=False))
        return tuple(b.raised(by_account.get(b.group, 0)) for b in bounds)

    def growing(self, flowed_nanousd: int) -> tuple[Growing, ...]:
        """What a stream is to hold now that so much of it has flowed: that, and as much again as flowed since its last
        renewal; in each account. Nothing where it holds its worst case."""
        if not self.is_fitted or self.choice is None:
            return ()
        step = max(flowed_nanousd - self.flowed_nanousd, 0)
        self.flowed_nanousd = flowed_nanousd
        wanted = max(flowed_nanousd, min(flowed_nanousd + step, self.held))
        bounds = self._bounds_now()
        return tuple(
            Growing(
                self.exchange_id,
                group_account(group) if group else self.identity.team,
                flowed_nanousd,
                wanted,
                tuple(b.ceiling_nanousd for b in bounds if b.group == group),
            )
            for group in dict.fromkeys(b.group for b in bounds)
        )

    def sample(self, bill: Bill) -> tuple[int, int] | None:
        """How what it cost compares with its worst case, for later holds of its app and model; None where that is not
        known, or nobody asks."""
        choice, result = self.choice, self.result
        if choice is None or choice.quote.shares is None or result is None or result.output_cap is not None:
            return None
        is_whole = bill.outcome is Outcome.COMPLETE or self.reason == STREAM_CUT
        if bill.charged_by not in LEARNT_FROM or bill.parts or not is_whole:
            return None
        return billing.compared(self.tariff(self.sent), self.sent, bill, choice.quote.shares)

    def remaining_nanousd(self) -> int | None:
        """What the tightest bound has left besides what is held, this request's hold included; never below 0. None
        where the ledger was away, or there is no budget."""
        planned, result, choice = self.planned, self.result, self.choice
        if planned is None or result is None or choice is None:
            return None
        pairs = zip(self._bounds_now(), result.counters, strict=False)
        left = [
            b.floor_nanousd - settled - held
            for b, (settled, held) in pairs
            if b.floor_nanousd >= 0 and b.unit == "usd"
        ]
        if not left and planned.plan.limit_nanousd is None:
            return None
        limit = (planned.plan.limit_nanousd or 0) + result.month_carried_nanousd
        return max(0, min(left, default=limit - result.committed_nanousd))

    def answer_headers(self) -> tuple[tuple[str, str], ...]:
        """What the answer says about the decision; nothing where none was made."""
        planned, result = self.planned, self.result
        if planned is None or self.choice is None:
            return ()
        out = [(h.MODEL, self.sent), (h.REASON, self.reason), (h.ESTIMATE, nano_to_usd(self.held))]
        limit = planned.plan.limit_nanousd
        if limit and result is not None:
            limit += result.month_carried_nanousd
            out.append((h.UTILIZATION, ratio(result.settled_nanousd + self.held, limit)))
        left = self.remaining_nanousd()
        if left is not None:
            out.append((h.REMAINING, nano_to_usd(left)))
        if self.decision == "downgrade":
            out.append((h.DOWNGRADED, "true"))
        if kept := self.kept_because:
            out.append((h.KEPT, kept))
        if result is not None and result.output_cap is not None and not planned.plan.audit:
            out.append((h.CLAMPED, str(result.output_cap)))
        return tuple(out)

    def _capped(self) -> tuple[str, ...]:
        choice = self.choice
        is_capped = choice is not None and choice.candidate.estimate_nanousd < choice.quote.estimate_nanousd
        return (ESTIMATE_CAPPED,) if is_capped else ()

    def ticket(self, model: str) -> SettlementTicket:
        """The exchange as it stands, sent to `model`: mostly asked for when it is forwarded and when it ends, and
        nothing is different then."""
        stands = (
            model, self.at_ms, self.held_nanousd, self.decision, self.reason, self.flags, self.handed_over,
            self.fail_open, self.facts, self.choice,
        )  # fmt: skip
        known = self._ticket
        if known is None or known[0] != stands:
            known = self._ticket = stands, self.new_ticket(model)
        return known[1]

    def new_ticket(self, model: str) -> SettlementTicket:
        """The same, made anew."""
        planned, identity, choice, facts = self.planned, self.identity, self.choice, self.facts
        assert self.dialect is not None
        requested = facts.model if facts is not None else ""
        model = model or requested or "unknown"
        decision, reason, told = self.decision, self.reason, self.taken_over
        if told is not None:
            requested = told.model_requested
            decision, reason = told.decision, told.reason
        return SettlementTicket(
            exchange_id=self.exchange_id,
            request_id=self.request_id,
            at_ms=self.at_ms,
            team=identity.team,
            app=identity.app,
            user=identity.user,
            run=identity.run,
            dialect=self.dialect.name,
            model_requested=requested if told is not None else self.require_model or requested,
            model=model,
            upstream=self.snapshot.goes_to(model, self.dialect.name),
            held_nanousd=self.held_nanousd,
            price_version=self.snapshot.prices.version,
            decision=decision,
            reason=reason,
            handed_over=self.handed_over,
            kept_because=self.kept_because,
            unpriced=bool(planned and planned.plan.unpriced),
            fail_open=self.fail_open,
            scopes=self._scopes("") if choice is not None else MONTH,
            held_tokens=choice.candidate.tokens if choice is not None else 0,
            groups=self._shares(),
            input_tokens=self.input_tokens,
            unseen_input=facts is not None and facts.unseen_input,
            known_usage=facts.known_usage if facts is not None else {},
            path=self.address.path,
            host=self.address.host,
            service_tier=facts.service_tier if facts is not None else "",
            batch=facts is not None and facts.batch,
            residency=facts.residency if facts is not None else "",
            flags=(*(facts.flags if facts is not None else ()), *self.flags, *self._capped()),
            fallbacks=self._fallbacks(model),
            limits=self._limits(model),
            end_user=facts.user if facts is not None else "",
            tags=identity.tags,
        )

    def _scopes(self, group: str) -> tuple[tuple[str, str], ...]:
        """(scope, window) of what is held in an account, in the windows of the reservation."""
        bounds = self.choice.candidate.bounds if self.choice is not None else ()
        return tuple([(b.scope, b.window_at(self.at_ms)) for b in bounds if b.group == group])

    def _shares(self) -> tuple[GroupShare, ...]:
        """The groups in whose accounts it stands; where it was let go on undecided, those of its team."""
        if self.choice is None:
            groups = self.snapshot.policy.groups_of(self.identity.team)
            return tuple(GroupShare(g.team, MONTH) for g in groups)
        names = dict.fromkeys([b.group for b in self.choice.candidate.bounds if b.group])
        return tuple([GroupShare(name, self._scopes(name)) for name in names]) if names else ()

    @property
    def held_in_groups(self) -> tuple[str, ...]:
        """The groups in which it is held."""
        return tuple(share.name for share in self._shares()) if self.choice is not None else ()

    def _limits(self, model: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The scopes of the limits of each model that may answer, where the request lets several."""
        fallbacks = self._fallbacks(model)
        if not fallbacks or self.facts is None or self.dialect is None:
            return ()
        policy, who = self.snapshot.policy, self.identity
        budgets = tuple(b for b in (policy.budget(who.team), *policy.groups_of(who.team)) if b is not None)
        if not budgets:
            return ()
        ask = ask_of(
            self.snapshot, who, self.dialect.name, self.facts, self.counted, self.address, self.at_ms
        )
        return tuple((m, model_scopes(budgets, ask, m)) for m in (model, *fallbacks))


def ratio(part: int, whole: int) -> str:
    """A ratio with two to four decimals, rounded half up: 0.85, 1.0432."""
    scaled = (part * 20_000 + whole) // (2 * whole)
    text = f"{scaled // 10_000}.{scaled % 10_000:04d}"
    return text[:-2] if text.endswith("00") else text.rstrip("0")
