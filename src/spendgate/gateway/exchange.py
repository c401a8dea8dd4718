"""One exchange as a sans-io state machine: events in, one action out, and one ending to take.

It imports no grpc, no redis and no clock. The adapter feeds it with what Envoy says, does what it asks
for (count, reserve), and takes the ending exactly once when there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from spendgate.budget.ask import Choice, PlannedRefusal
from spendgate.budget.bounds import Candidate
from spendgate.budget.limits import counted_only
from spendgate.budget.policy import DOCTOR
from spendgate.dialects import registry
from spendgate.dialects.base import NO_HEADERS, Dialect, RequestFacts
from spendgate.dialects.free import is_free
from spendgate.errors import RequestError
from spendgate.gateway import billing, unknown
from spendgate.gateway import events as e
from spendgate.gateway import headers as h
from spendgate.gateway.answer import StreamedAnswer, WholeAnswer, open_answer
from spendgate.gateway.billing import Bill, Tariff
from spendgate.gateway.identity import UNATTRIBUTED, Caller, Identity, Roster, identify
from spendgate.gateway.planning import Planned, eligible, gather, would_be
from spendgate.gateway.reading import read_facts, signed_names
from spendgate.gateway.record import Ending
from spendgate.gateway.refusing import (
    Voice,
    ledger_away,
    over_limit,
    planned_refusal,
    too_large,
    unidentified,
)
from spendgate.gateway.repeats import is_repeat, repeat_key
from spendgate.gateway.snapshot import Address, Snapshot
from spendgate.gateway.ticket import MONTH, Ticket
from spendgate.gateway.transitions import TRANSITIONS, IllegalEvent, State
from spendgate.ledger.port import ReserveRequest, ReserveResult
from spendgate.money import nano_to_usd, usd_to_nano
from spendgate.tokens.count import Counted, measure

WITHIN_BUDGET = "within_budget"
NOBODY = Identity(UNATTRIBUTED, UNATTRIBUTED)


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision in the usage log's words: `allow`, `route`, `downgrade` or `reject`, and why."""

    decision: str
    reason: str
    model: str
    held_nanousd: int
    kept_because: str


class Exchange:
    """The life of one request and its answer. Not thread-safe; one event at a time."""

    __slots__ = (
        "_address", "_answer_body", "_at_ms", "_body", "_choice", "_counted", "_decision", "_dialect", "_ending",
        "_facts", "_fail_open", "_fixed", "_headers", "_held", "_identity", "_looked", "_path", "_planned", "_reason",
        "_require_model", "_result", "_roster", "_sent", "_snapshot", "_target", "exchange_id", "request_id",
        "state",
    )  # fmt: skip

    def __init__(
        self,
        exchange_id: str,
        snapshot: Snapshot,
        request_id: str = "",
        roster: Roster | None = None,
        *,
        fixed: bool = False,
    ) -> None:
        """`fixed`: the request can not be changed and its answer not be seen (ext_authz)."""
        self._roster = roster
        self._fixed = fixed
        self.exchange_id = exchange_id
        self.request_id = request_id
        self.state = State.START
        self._snapshot = snapshot
        self._identity = NOBODY
        self._dialect: Dialect | None = None
        self._path = ""
        self._headers: Mapping[str, str] = NO_HEADERS
        self._target = ""
        self._address = Address("")
        self._require_model = ""
        self._body = b""
        self._facts: RequestFacts | None = None
        self._counted = Counted(0, True, 0)
        self._planned: Planned | None = None
        self._result: ReserveResult | None = None
        self._choice: Choice | None = None
        self._sent = ""
        self._held: int | None = None
        self._at_ms = 0
        self._decision = "allow"
        self._reason = WITHIN_BUDGET
        self._fail_open = False
        self._answer_body: WholeAnswer | StreamedAnswer | None = None
        self._ending: Ending | None = None
        self._looked = False

    # -- the one verb and the one getter --------------------------------------------------------------------

    def receive(self, event: e.Event) -> e.Action:
        """Take an event, give the one action it asks for. Raises IllegalEvent."""
        targets = TRANSITIONS[self.state].get(type(event))
        if targets is None:
            raise IllegalEvent(self.state, event)
        action = self._handle(event)
        if self.state not in targets:
            raise AssertionError(f"{type(event).__name__} led to {self.state.value}: not in the table")
        return action

    def take_ending(self) -> Ending | None:
        """Hand out the ending, once."""
        ending, self._ending = self._ending, None
        return ending

    @property
    def holds(self) -> tuple[str, str] | None:
        """(team, exchange id) while a reservation is held, for renewing."""
        if self._held is None or self.state in (State.ENDED, State.BROKEN):
            return None
        return (self._identity.team, self.exchange_id)

    def hold_again(self) -> ReserveRequest | None:
        """What is held, asked for once more without a limit: for a ledger that does not know it (any more)."""
        if self.holds is None or self._choice is None or not self._held:
            return None
        own = self._choice.candidate
        candidate = Candidate(own.model, self._held, counted_only(own.bounds))
        ttl_ms = self._snapshot.settings.reservation_ttl
        return ReserveRequest(self.exchange_id, self._identity.team, self._identity.app, ttl_ms, (candidate,))

    @property
    def identity(self) -> Identity:
        """Who asks."""
        return self._identity

    @property
    def decided(self) -> Decided:
        """What was decided about a request that was forwarded."""
        return Decided(self._decision, self._reason, self._sent, self._held or 0, self._kept_because())

    @property
    def ticket(self) -> Ticket:
        """What another worker needs to end a forwarded exchange, whose answer this one will not see."""
        if self.state is not State.FORWARDED:
            raise ValueError(f"no ticket in state {self.state.value}")
        return self._ticket(self._sent)

    @property
    def answer_headers(self) -> tuple[tuple[str, str], ...]:
        """What the answer of a forwarded request says about the decision."""
        return self._answer_headers()

    @property
    def dialect(self) -> Dialect | None:
        """The request's dialect, None where no dialect claims it."""
        return self._dialect

    @property
    def _voice(self) -> Voice:
        """Who words refusals, with which status."""
        assert self._dialect is not None
        return Voice(self._dialect, self._snapshot.settings.reject_status.get(self._dialect.name, 0))

    def _handle(self, event: e.Event) -> e.Action:
        if self.state in (State.PASSING, State.ENDED, State.BROKEN):
            return self._idle(event)
        match event:
            case e.ResponsePiece():
                return self._piece(event)
            case e.RequestHeaders():
                return self._request(event)
            case e.RequestBody():
                return self._request_body(event)
            case e.CountDone():
                self._counted = event.counted
                return self._plan(self._at_ms)
            case e.ReserveDone():
                return self._reserved(event.result)
            case e.LedgerDown():
                return self._ledger_down(event)
            case e.ResponseHeaders():
                return self._answer(event)
            case e.Over():
                return self._over()
            case e.Broke():
                return self._broke()

    def _idle(self, event: e.Event) -> e.Action:
        match event:
            case e.RequestBody():
                return e.Forward()
            case e.ResponseHeaders():
                return e.Answer(e.BodyMode.NONE)
            case e.ResponsePiece():
                return e.Piece()
            case e.Over() if self.state is State.PASSING:
                self.state = State.ENDED
        return e.Nothing()

    # -- the request ----------------------------------------------------------------------------------------

    def _request(self, event: e.RequestHeaders) -> e.Action:
        headers = event.caller.headers
        path = event.path.partition("?")[0]
        dialect = registry.find(event.method, path, headers.get("content-type", ""))
        if dialect is None or event.end:
            return self._pass(event, path, claimed=dialect is not None)
        self._dialect, self._path, self._target, self._headers = dialect, path, event.path, headers
        self._address = Address(dialect.name, path, headers.get(":authority", ""))
        self._identify(event.caller)
        require = headers.get(h.REQUIRE_MODEL, "").strip()
        self._require_model = require if h.printable(require) else ""
        size = headers.get("content-length", "")
        limit = self._snapshot.settings.max_body_bytes
        if size.isdigit() and int(size) > limit:
            self.state = State.ENDED
            return too_large(Voice(dialect), limit)
        self.state = State.AWAIT_BODY
        signed = signed_names(headers)
        return e.AwaitBody(tuple(n for n in self._snapshot.strip_of(event.caller) if n not in signed))

    def _identify(self, caller: Caller) -> None:
        identity = identify(caller, self._snapshot.extractors)
        if identity.app == DOCTOR:
            identity = replace(identity, team=DOCTOR)
        if self._roster is not None:
            has_budget = self._snapshot.policy.budget(identity.team) is not None
            identity = self._roster.admit(identity, has_budget)
        self._identity = identity

    def _pass(self, event: e.RequestHeaders, path: str, *, claimed: bool) -> e.Action:
        """A path that no dialect claims (or a request without a body): not ours, unless only known callers may
        use such paths, or it may cost money and the budget refuses what nobody here can meter."""
        websocket = event.caller.headers.get("upgrade", "").lower() == "websocket"
        unmetered = not claimed and not is_free(event.method, path, websocket=websocket)
        identified = self._snapshot.settings.passthrough == "identified"
        self.state = State.PASSING
        if not (unmetered or identified):
            return e.Pass()
        self._identify(event.caller)
        refusal = None
        if identified and self._identity.team == UNATTRIBUTED:
            refusal = unidentified()
        elif unmetered:
            budget = self._snapshot.policy.budget(self._identity.team)
            refusal = unknown.refusal(self._identity, budget, event.method, path)
        if refusal is None:
            return e.Pass(unknown=unmetered)
        self.state = State.ENDED
        return refusal

    def _request_body(self, event: e.RequestBody) -> e.Action:
        dialect = self._dialect
        assert dialect is not None
        self._at_ms = event.now_ms
        try:
            facts = read_facts(dialect, event.body, self._path, self._headers, self._snapshot.settings)
        except RequestError:
            # The provider will most likely refuse it too; if it answers, the answer is metered all the same.
            self.state = State.FORWARDED
            return e.Forward()
        if facts.free:
            self.state = State.PASSING
            return e.Forward()
        if self._fixed:
            facts = replace(facts, body_fixed=True, fixed_because="entry", usage_hidden=False)
        self._facts = facts
        self._body = event.body
        self._counted = measure(facts.texts, facts.text_bytes)
        return self._plan(event.now_ms)

    def _plan(self, now_ms: int) -> e.Action:
        facts, dialect = self._facts, self._dialect
        assert facts is not None and dialect is not None
        planned = gather(
            self._snapshot, self._identity, dialect.name, facts, self._counted,
            self._require_model, self.exchange_id, now_ms, self._address,
        )  # fmt: skip
        if planned.wants_exact and not self._looked:
            return self._look(facts)
        self._planned = planned
        if planned.request is None:
            refusal = planned.plan.refusal
            assert refusal is not None
            budget = self._snapshot.policy.budget(self._identity.team)
            action = planned_refusal(self._voice, self._identity, budget, refusal, now_ms)
            return self._refuse(action, refusal.model, _estimated(refusal))
        request = planned.request
        if self._fixed:  # nobody will renew it
            request = replace(request, ttl_ms=self._snapshot.settings.unseen_ttl)
        self.state = State.RESERVING
        return e.NeedReserve(
            request,
            planned.allowance_nanousd,
            -1 if planned.plan.bound_nanousd is None else planned.plan.bound_nanousd,
        )

    def _look(self, facts: RequestFacts) -> e.Action:
        """A rough count would decide: count exactly, once."""
        self._looked = True
        self.state = State.COUNTING
        return e.NeedCount(facts.texts, facts.text_bytes)

    def _reserved(self, result: ReserveResult) -> e.Action:
        planned, facts, dialect = self._planned, self._facts, self._dialect
        assert planned is not None and facts is not None and dialect is not None
        self._result = result
        self._at_ms = result.at_ms
        if result.candidate < 0:
            if not self._counted.exact and not self._looked:
                return self._look(facts)
            budget = self._snapshot.policy.budget(self._identity.team)
            choice = planned.choices[result.refusals[-1].candidate] if result.refusals else None
            model = choice.candidate.model if choice else facts.model
            action = over_limit(self._voice, self._identity, budget, model, result, planned.choices)
            estimate = choice.candidate.estimate_nanousd if choice is not None else 0
            return self._refuse(action, model, estimate)
        self._held = result.held_nanousd
        return self._forward(result.candidate, result.output_cap)

    def _ledger_down(self, event: e.LedgerDown) -> e.Action:
        planned, facts, dialect = self._planned, self._facts, self._dialect
        assert planned is not None and facts is not None and dialect is not None
        index = eligible(planned, event.committed_nanousd)
        if not event.admitted:
            budget = self._snapshot.policy.budget(self._identity.team)
            choice = planned.choices[index]
            action = ledger_away(
                self._voice, self._identity, budget, choice, event.committed_nanousd,
                planned.allowance_nanousd, event.now_ms,
            )  # fmt: skip
            return self._refuse(action, choice.candidate.model, choice.candidate.estimate_nanousd)
        self._fail_open = True
        self._held = planned.choices[index].candidate.estimate_nanousd
        return self._forward(index, None)

    def _forward(self, index: int, clamped: int | None) -> e.Action:
        planned, facts, dialect = self._planned, self._facts, self._dialect
        assert planned is not None and facts is not None and dialect is not None
        choice = planned.choices[index]
        plan = planned.plan
        self._choice = choice
        self._sent = choice.candidate.model
        cap = clamped if clamped is not None else choice.output_cap
        if plan.audit:
            before = self._result.committed_nanousd - (self._held or 0) if self._result is not None else 0
            self._sent = planned.choices[-1].candidate.model
            self._reason = f"audit:{would_be(planned, index, before) or WITHIN_BUDGET}"
            cap = None
        else:
            self._reason = choice.reason or plan.note or WITHIN_BUDGET
            if choice.downgraded:
                self._decision = "downgrade"
            elif self._sent != facts.model:
                self._decision = "route"
        model = self._sent if self._sent != facts.model else None
        self.state = State.FORWARDED
        body: bytes | None = None
        if model is not None or cap is not None or facts.usage_hidden:
            body = dialect.rewrite(
                self._body, facts, model=model, output_cap=cap, ask_usage=facts.usage_hidden
            )
            if body is self._body:
                body = None
        self._body = b""
        target = dialect.rewrite_path(self._target, model) if model is not None else None
        moved = ((":path", target),) if target is not None else ()
        upstream = self._snapshot.goes_to(self._sent, dialect.name)
        if upstream and len(self._snapshot.routes) > 1:
            return e.Forward(body, (*moved, (h.CLUSTER, upstream)), route=True)
        return e.Forward(body, moved)

    def _refuse(self, action: e.Reject, model: str, estimate_nanousd: int) -> e.Action:
        dialect, identity = self._dialect, self._identity
        assert dialect is not None
        self._decision, self._reason = "reject", action.reason
        self._finish(Bill({}, 0, e.Outcome.REFUSED), model, settle=False)
        if self._ending is not None and not is_repeat(self._headers):
            key = repeat_key(dialect.name, identity.team, identity.app, self._path, self._body)
            notes = replace(self._ending.notes, refused_nanousd=estimate_nanousd, repeat_key=key)
            self._ending = replace(self._ending, notes=notes)
        self._body = b""
        return action

    # -- the answer -----------------------------------------------------------------------------------------

    def _answer(self, event: e.ResponseHeaders) -> e.Action:
        dialect = self._dialect
        assert dialect is not None
        if self.state is State.AWAIT_BODY:
            self.state = State.PASSING
            if event.local and event.status == 413:
                self.state = State.ENDED
                return too_large(Voice(dialect), self._snapshot.settings.max_body_bytes)
            return e.Answer(e.BodyMode.NONE)
        if event.local or event.status >= 300 or event.status < 200:
            self._finish(Bill({}, 0, e.Outcome.FAILED), self._sent, release=True)
            self.state = State.PASSING
            return e.Answer(e.BodyMode.NONE)
        added = self._answer_headers()
        answer = open_answer(
            dialect,
            event.headers,
            event.end,
            self._facts,
            self._snapshot.settings.max_body_bytes,
        )
        if isinstance(answer, str):
            self._finish(self._unread(answer), self._sent)
            self.state = State.PASSING
            return e.Answer(e.BodyMode.NONE, added)
        self._answer_body = answer
        if isinstance(answer, StreamedAnswer):
            limit = self._stream_limit_nanousd()
            if limit is not None:
                answer.may_cost(dialect.name, limit)
        self.state = State.STREAM if isinstance(answer, StreamedAnswer) else State.JSON
        return e.Answer(answer.mode, added)

    def _unread(self, why: str) -> Bill:
        """The bill of an answer whose body is not looked at: by what the request tells, else the estimate."""
        held = self._held or 0
        if self._facts is not None and self._facts.known_usage and why == "content_type":
            return billing.known(self._tariff(self._sent), self._sent, self._facts.known_usage, held)
        return Bill({}, held, e.Outcome.UNMETERED, why)

    def _stream_limit_nanousd(self) -> int | None:
        """What a stream may cost before it is ended (`cutStreams`): what is held for it and what the month
        had left when it began. None: it runs to its own end."""
        budget = self._snapshot.policy.budget(self._identity.team)
        if budget is None or not budget.cut_streams or budget.audit:
            return None
        if self._result is None or self._choice is None:
            return None
        ceiling = self._choice.candidate.bounds[0].ceiling_nanousd
        if ceiling < 0:
            return None
        return (self._held or 0) + max(0, ceiling - self._result.committed_nanousd)

    def _answer_headers(self) -> tuple[tuple[str, str], ...]:
        planned, choice = self._planned, self._choice
        if planned is None or choice is None:
            return ()
        out = [
            (h.MODEL, self._sent),
            (h.REASON, self._reason),
            (h.ESTIMATE, nano_to_usd(self._held or 0)),
        ]
        limit = planned.plan.limit_nanousd
        if limit and self._result is not None:
            out.append((h.UTILIZATION, ratio(self._result.committed_nanousd, limit)))
        if self._decision == "downgrade":
            out.append((h.DOWNGRADED, "true"))
        if self._kept_because():
            out.append((h.KEPT, self._kept_because()))
        if self._result is not None and self._result.output_cap is not None and not planned.plan.audit:
            out.append((h.CLAMPED, str(self._result.output_cap)))
        return tuple(out)

    def _kept_because(self) -> str:
        kept = self._planned.plan.kept_because if self._planned is not None else ""
        return kept or (self._choice.kept_because if self._choice is not None else "")

    def _piece(self, event: e.ResponsePiece) -> e.Action:
        answer, held = self._answer_body, self._held or 0
        if isinstance(answer, StreamedAnswer):
            replacement = answer.feed(event.data, event.end)
            if not event.end and not answer.limited:
                return e.Piece(replacement)
            sent = self._sent or answer.model
            tariff = self._tariff(sent)
            if event.end:
                self._finish(answer.bill(tariff, sent, self._input_tokens(), held), sent)
                return e.Piece(replacement)
            shown = event.data if replacement is None else replacement
            last = answer.end_if_over(tariff, sent, self._input_tokens(), shown)
            if last is None:
                return e.Piece(replacement)
            self._reason = "stream_cut"
            self._finish(answer.bill_cut(tariff, sent, self._input_tokens(), held), sent)
            return e.Piece(last, cut=True)
        assert answer is not None
        reading = answer.feed(event.data, event.end)
        if reading is None:
            return e.Piece()
        sent = self._sent or reading.model
        known = self._facts.known_usage if self._facts is not None else {}
        if known and reading.problem == "no_usage":
            bill = billing.known(self._tariff(sent), sent, known, held)
        else:
            bill = billing.whole_answer(self._tariff(sent), sent, reading, held)
        self._finish(bill, sent)
        return e.Piece(None, ((h.COST, nano_to_usd(bill.cost_nanousd)),))

    # -- the end --------------------------------------------------------------------------------------------

    def _tariff(self, sent: str) -> Tariff:
        """What this exchange is priced by: at the time of its reservation, on the tier that it asked for."""
        facts = self._facts
        tier, place = (facts.service_tier, facts.residency) if facts is not None else ("", "")
        terms = self._snapshot.terms(sent, self._address, self._at_ms or None, tier, place)
        return Tariff(self._snapshot.prices, terms)

    def _input_tokens(self) -> int:
        extra = self._facts.extra_input_tokens if self._facts is not None else 0
        return self._counted.tokens + extra

    def _unseen(self, answer: WholeAnswer | StreamedAnswer | None) -> bool:
        """Was input used that only the provider knows, and has not told? Then the hold is the best bound."""
        if self._facts is None or not self._facts.unseen_input:
            return False
        if isinstance(answer, StreamedAnswer):
            return self.state is State.STREAM and not answer.metered
        return self.state is State.FORWARDED

    def _over(self) -> e.Action:
        """The call ended before the answer did: the client left, or the provider broke off."""
        held, answer = self._held, self._answer_body
        if self._unseen(answer):
            self._finish(Bill({}, held or 0, e.Outcome.UNMETERED, "truncated"), self._sent)
        elif self.state is State.FORWARDED and self._facts is not None:
            tariff = self._tariff(self._sent)
            self._finish(billing.input_only(tariff, self._sent, self._input_tokens(), held or 0), self._sent)
        elif isinstance(answer, StreamedAnswer) and self.state is State.STREAM:
            sent = self._sent or answer.model
            bill = answer.bill_cut(self._tariff(sent), sent, self._input_tokens(), held or 0)
            self._finish(bill, sent)
        elif self.state is State.JSON:
            self._finish(Bill({}, held or 0, e.Outcome.UNMETERED, "truncated"), self._sent)
        elif self.state is State.RESERVING and self._planned is not None:
            # The reservation may or may not have been made; nothing was sent. Void it.
            self._held = 0
            self._finish(Bill({}, 0, e.Outcome.ABORTED), self._sent, release=True)
        self.state = State.ENDED
        return e.Nothing()

    def _broke(self) -> e.Action:
        state = self.state
        if state in (State.FORWARDED, State.JSON, State.STREAM) and self._ending is None:
            bill = Bill({}, self._held or 0, e.Outcome.UNMETERED, "internal_error")
            self._finish(bill, self._sent)
        elif state is State.RESERVING and self._planned is not None and self._planned.request is not None:
            # It will be sent on unread by us: charge what would have been held.
            estimate = self._planned.request.candidates[-1].estimate_nanousd
            model = self._planned.request.candidates[-1].model
            self._held = estimate
            self._finish(Bill({}, estimate, e.Outcome.UNMETERED, "internal_error"), model)
        self.state = State.BROKEN
        return e.Nothing()

    def _finish(self, bill: Bill, model: str, *, settle: bool = True, release: bool = False) -> None:
        """Make the ending. Called once an exchange, from every way out."""
        saved = 0
        if self._facts is not None and self._decision in ("route", "downgrade"):
            saved = billing.saved_nanousd(self._tariff(self._facts.model), self._facts.model, bill)
        self._ending = self._ticket(model).ending(bill, settle=settle, release=release, saved_nanousd=saved)
        self.state = State.ENDED

    def _ticket(self, model: str) -> Ticket:
        """The exchange as it stands, sent to `model`."""
        planned, identity, choice = self._planned, self._identity, self._choice
        facts, dialect = self._facts, self._dialect
        assert dialect is not None
        requested = facts.model if facts is not None else ""
        model = model or requested or "unknown"
        return Ticket(
            exchange_id=self.exchange_id,
            request_id=self.request_id,
            at_ms=self._at_ms,
            team=identity.team,
            app=identity.app,
            user=identity.user or (facts.user if facts is not None else ""),
            run=identity.run,
            dialect=dialect.name,
            model_requested=self._require_model or requested,
            model=model,
            upstream=self._snapshot.goes_to(model, dialect.name),
            held_nanousd=self._held,
            price_version=self._snapshot.prices.version,
            decision=self._decision,
            reason=self._reason,
            kept_because=self._kept_because(),
            unpriced=bool(planned and planned.plan.unpriced),
            fail_open=self._fail_open,
            scopes=tuple((b.scope, b.window) for b in choice.candidate.bounds)
            if choice is not None
            else MONTH,
            input_tokens=self._input_tokens(),
            unseen_input=facts is not None and facts.unseen_input,
            known_usage=facts.known_usage if facts is not None else {},
            path=self._address.path,
            host=self._address.host,
            service_tier=facts.service_tier if facts is not None else "",
            residency=facts.residency if facts is not None else "",
        )


def _estimated(refusal: PlannedRefusal) -> int:
    """What a request was estimated at that the plan refused; 0 where it was refused before that."""
    usd = refusal.details.get("estimated_usd")
    return usd_to_nano(Decimal(usd)) if isinstance(usd, str) else 0


def ratio(part: int, whole: int) -> str:
    """A ratio with two to four decimals, rounded half up: 0.85, 1.0432."""
    scaled = (part * 20_000 + whole) // (2 * whole)
    text = f"{scaled // 10_000}.{scaled % 10_000:04d}"
    return text[:-2] if text.endswith("00") else text.rstrip("0")
