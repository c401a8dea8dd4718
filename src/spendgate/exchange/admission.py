"""A request's way to its provider: whose it is, what it may cost, what is asked of the ledger, what is sent on or
answered instead. Each step says what it decided; the exchange keeps the state. Pure."""

from __future__ import annotations

from dataclasses import replace

from spendgate.budget.policy import DOCTOR, TeamBudget
from spendgate.dialects import registry
from spendgate.dialects.base import Dialect, RequestFacts
from spendgate.dialects.request import free_paths
from spendgate.dialects.request.free_paths import Cost
from spendgate.dialects.request.readable import Readable
from spendgate.dialects.request.switches import usage_switch
from spendgate.dialects.request.texts import NO_MODEL
from spendgate.errors import BodyTooLarge, RequestError
from spendgate.exchange import events as e
from spendgate.exchange import own_budget, repeats, stream_options, tools, unknown_apis, websockets
from spendgate.exchange.context import LEARNED_MODEL, WITHIN_BUDGET, ExchangeContext
from spendgate.exchange.lean import may_go_unseen
from spendgate.exchange.planning import WOULD_REFUSE, Planned, eligible, gather, would_be
from spendgate.exchange.rejections import (
    RejectionFormat,
    ledger_away,
    looping,
    over_limit,
    planned_refusal,
    too_large,
    unidentified,
    unpriced_tool,
    unreadable,
)
from spendgate.exchange.request_facts import read_facts, signed_names, unread_facts
from spendgate.exchange.sdk_retries import is_repeat, repeat_key
from spendgate.exchange.snapshot import Address
from spendgate.exchange.states import RejectedRequest, Step, Verdict
from spendgate.identity import headers as h
from spendgate.identity.identity import UNATTRIBUTED, Caller, Roster, identify, sane
from spendgate.identity.tags import tags_of
from spendgate.ledger.exchanges import Repeats
from spendgate.tokens.count import INLINE_BYTES, measure

SWITCHED_OFF = "{} makes the provider leave the usage out of its answer; take it off"


class Admission:
    """The steps of one request, in the order of its events."""

    __slots__ = (
        "_case", "_fixed", "_given", "_known", "_looked", "_need", "_read", "_renamed", "_roster", "_switch", "_told",
        "_unpriced",
    )  # fmt: skip

    def __init__(self, case: ExchangeContext, roster: Roster | None, fixed: bool) -> None:
        self._case = case
        self._roster = roster
        self._fixed = fixed
        self._given = b""
        """The body as the client sent it."""
        self._read = Readable(b"")
        self._known: tuple[Repeats | None, ...] = ()
        """How the ledger is to know the request again, as soon as that was looked at."""
        self._looked = False
        self._need: e.NeedReserve | None = None
        """What was asked of the ledger last."""
        self._renamed = False
        """Was its id that of an exchange that is over?"""
        self._switch = ""
        """What of the request switches its usage off."""
        self._told = False
        """Is it a call of a tool by the client's header alone? (`tools.Claim`)"""
        self._unpriced = False
        """Does it call a tool without a price, too?"""

    def headers(self, event: e.RequestHeaders) -> Step:
        """Whose request it is, and whether it is ours."""
        case, headers = self._case, event.caller.headers
        path = event.path.partition("?")[0]
        if own_budget.is_ours(path):
            return self._own_budget(event, path)
        if websockets.is_upgrade(headers):
            return self._websocket(event.caller, path)
        found = registry.find(event.method, path, headers.get("content-type", ""))
        dialect, self._told = tools.claim(
            found, event.method, event.path, headers, case.snapshot, fixed=self._fixed
        )
        if dialect is None or event.end:
            return self._unclaimed(event, path)
        if self._told and (step := self._unclaimed(event, path)).action != e.Pass(unknown=True):
            return step
        case.dialect, case.target, case.headers = dialect, event.path, headers
        case.address = Address(dialect.name, path, headers.get(":authority", ""))
        self._identify(event.caller)
        if h.REQUIRE_MODEL in headers:
            case.require_model = sane(headers[h.REQUIRE_MODEL])
        size = headers.get("content-length", "")
        limit = case.snapshot.settings.max_body_bytes
        if size.isdigit() and int(size) > limit:
            return Step(Verdict.ANSWER, too_large(self._voice, limit))
        stripped = case.snapshot.strip_of(event.caller)
        if signed := signed_names(dialect, headers, case.snapshot):
            stripped = tuple(n for n in stripped if n not in signed)
        stripped += h.never_sent(headers, last=event.last)
        self._switch = usage_switch(dialect.provider, event.path, headers)
        if self._switch and (refusal := self._unreadable(SWITCHED_OFF.format(self._switch))) is not None:
            return self._unread(refusal)
        return Step(Verdict.AWAIT_BODY, e.AwaitBody(stripped))

    def _own_budget(self, event: e.RequestHeaders, path: str) -> Step:
        """What is below our own prefix is answered here, whatever it is."""
        case = self._case
        self._identify(event.caller)
        refusal = own_budget.refusal(case.snapshot, case.identity, event.method, path)
        need = e.NeedBudget(case.identity, own_budget.model_of(event.path))
        return Step(Verdict.ANSWER, refusal or need)

    def _identify(self, caller: Caller) -> None:
        case = self._case
        identity = identify(caller, case.snapshot.extractors)
        if caller.doctor:
            identity = replace(identity, team=DOCTOR, app=DOCTOR)
        if self._roster is not None:
            has_budget = case.snapshot.policy.budget(identity.team) is not None
            identity = self._roster.admit(identity, has_budget)
        tags = tags_of(caller, case.snapshot.tags)
        case.identity = replace(identity, tags=tags) if tags else identity

    def _unclaimed(self, event: e.RequestHeaders, path: str) -> Step:
        """A call that no dialect meters: not ours, unless only known callers may use such paths, or it may cost money
        and the budget refuses what nobody here can meter."""
        case, headers = self._case, event.caller.headers
        target = case.snapshot.without_prefix(event.path)
        cost = free_paths.cost(
            event.method, target, headers, has_body=not event.end, claimed=registry.claims(path)
        )
        unmetered = cost is not free_paths.Cost.FREE
        identified = case.snapshot.settings.passthrough == "identified"
        if not (unmetered or identified):
            return Step(Verdict.PASS, e.Pass())
        self._identify(event.caller)
        refusal = None
        if identified and case.identity.team == UNATTRIBUTED:
            refusal = unidentified()
        elif unmetered:
            refusal = unknown_apis.refusal(case.snapshot, case.identity, headers, event.method, path, cost)
        if refusal is None:
            return Step(Verdict.PASS, e.Pass(unknown=unmetered))
        return Step(Verdict.ANSWER, refusal)

    def _websocket(self, caller: Caller, path: str) -> Step:
        """Nobody here looks into a socket: it passes whole, or not at all."""
        case = self._case
        self._identify(caller)
        if case.snapshot.settings.passthrough == "identified" and case.identity.team == UNATTRIBUTED:
            return Step(Verdict.ANSWER, unidentified())
        refusal = websockets.refusal(case.snapshot, case.identity, path)
        if refusal is not None:
            return Step(Verdict.ANSWER, refusal)
        return Step(Verdict.PASS, e.Pass(unknown=True, websocket=True))

    def body(self, event: e.RequestBody) -> Step:
        """What it asks for, and what that may cost at most."""
        case = self._case
        assert case.dialect is not None
        case.at_ms = event.now_ms
        self._given = event.body
        read = self._facts(case.dialect, event.body)
        if isinstance(read, RequestFacts) and read.tools:
            read = self._tools(read)
        if isinstance(read, Step):
            return read
        if read.free:
            return Step(Verdict.PASS, e.Forward(unknown=self._told))
        case.unseen = self._fixed or (not self._switch and may_go_unseen(case, read, read.model))
        facts = stream_options.as_it_goes(case, read, self._read.body, bool(self._switch), self._fixed)
        if facts.user and not case.identity.user and case.snapshot.settings.trust_request_user:
            case.identity = replace(case.identity, user=sane(facts.user))
        case.facts = facts
        case.counted = measure(facts.texts, facts.text_bytes)
        return self.plan()

    def _facts(self, dialect: Dialect, body: bytes) -> RequestFacts | Step:
        """What it asks for, or at most may where it cannot be read; or what ends it here."""
        case = self._case
        try:
            asked = read_facts(dialect, body, case.address.path, case.headers, case.snapshot)
        except BodyTooLarge:
            return self._unread(too_large(self._voice, case.snapshot.settings.max_body_bytes))
        except RequestError as problem:
            if self._told:
                return Step(Verdict.PASS, e.Forward(unknown=True))
            refusal = self._unreadable(str(problem))
            return unread_facts(dialect, body, case.headers) if refusal is None else self._unread(refusal)
        self._read = asked.readable
        return asked.facts

    def _tools(self, facts: RequestFacts) -> RequestFacts | Step:
        """The same with what its calls of tools cost; or what ends it here."""
        case = self._case
        facts, unpriced = tools.priced(facts, case.snapshot, case.target, case.address.host, case.at_ms)
        if unpriced and unknown_apis.refuses(case.snapshot, case.identity, case.headers, Cost.UNKNOWN):
            return self._unread(unpriced_tool(self._voice, case.identity, self._budget, unpriced, case.at_ms))
        if facts.free:
            return Step(Verdict.PASS, e.Forward(unknown=True))
        self._unpriced = bool(unpriced)
        return facts

    def _unreadable(self, problem: str) -> e.Reject | None:
        """The refusal of what cannot be read; None where it passes, held and charged at a bound."""
        case, budget = self._case, self._budget
        if not self._enforces or budget is None or case.snapshot.settings.unreadable == "estimate":
            return None
        return unreadable(self._voice, case.identity, budget, problem)

    def _unread(self, action: e.Reject) -> Step:
        """Refused before anybody knew what it may cost."""
        case = self._case
        case.decision, case.reason = "reject", action.reason
        return Step(Verdict.ANSWER, action, RejectedRequest(NO_MODEL))

    def plan(self) -> Step:
        """What to ask of the ledger, by what was counted."""
        case = self._case
        facts, dialect = self._asked()
        planned = gather(
            case.snapshot, case.identity, dialect.name, facts, case.counted,
            case.require_model, case.exchange_id, case.at_ms, case.address, case.learned, seen=not case.unseen,
        )  # fmt: skip
        if planned.wants_exact and not self._looked:
            return self._look(facts)
        case.planned = planned
        if planned.request is None:
            refusal = planned.plan.refusal
            assert refusal is not None
            action = planned_refusal(self._voice, case.identity, self._budget, refusal, case.at_ms)
            return self._refuse(action, refusal.model, refusal.estimated_nanousd)
        if case.identity.run and not self._known:  # once: it reads the whole body
            self._known = (repeats.asked(self._budget, case.identity, facts.model, self._body),)
        again = self._known[0] if self._known else None
        request = planned.request if again is None else replace(planned.request, repeats=again)
        bound = -1 if planned.plan.bound_nanousd is None else planned.plan.bound_nanousd
        self._need = e.NeedReserve(request, planned.allowance_nanousd, bound, groups=planned.groups)
        return Step(Verdict.RESERVE, self._need)

    def _look(self, facts: RequestFacts) -> Step:
        """A rough count would decide: count exactly, once."""
        self._looked = True
        return Step(Verdict.COUNT, e.NeedCount(facts.texts, facts.text_bytes))

    def reserved(self, event: e.ReserveDone) -> Step:
        """The ledger took one of the candidates, or none."""
        case, planned, result = self._case, self._plan, event.result
        facts, _ = self._asked()
        case.result, case.at_ms = result, result.at_ms
        if result.has_ended and not self._renamed:
            return self._anew()
        if result.candidate >= 0:
            case.held_nanousd, case.reserved_nanousd = result.may_cost_nanousd, result.held_nanousd
            return self._forward(result.candidate, result.output_cap)
        if result.loop is not None:
            action = looping(self._voice, case.identity, self._budget, facts.model, result.loop, result.at_ms)
            return self._refuse(action, facts.model, 0)
        is_full = all(r.committed_nanousd >= r.bound.floor_nanousd for r in result.refusals)
        if not case.counted.exact and not self._looked and not is_full:
            return self._look(facts)
        refusal = result.waits_for
        if refusal is not None and event.may_wait:
            assert self._need is not None
            return Step(Verdict.RESERVE, replace(self._need, again=True))
        if refusal is None and result.refusals:
            refusal = result.refusals[-1]
        choice = planned.choices[refusal.candidate] if refusal else None
        model = choice.candidate.model if choice else facts.model
        action = over_limit(
            self._voice, case.identity, self._budget, model, result, planned.choices, event.usual_ms,
            case.snapshot.policy.groups,
        )  # fmt: skip
        return self._refuse(action, model, choice.candidate.estimate_nanousd if choice is not None else 0)

    def _anew(self) -> Step:
        """An exchange of this id is over, and nothing more is settled for it (Envoy sent the call again, and the first
        was taken for one that its client left): this is an exchange of its own."""
        case, planned, need = self._case, self._plan, self._need
        assert need is not None
        self._renamed = True
        case.exchange_id = f"{case.exchange_id}:{case.at_ms}"
        request = replace(need.request, exchange_id=case.exchange_id)
        case.planned = replace(planned, request=request)
        self._need = replace(need, request=request, again=False)
        return Step(Verdict.RESERVE, self._need)

    def ledger_down(self, event: e.LedgerDown) -> Step:
        """The ledger is away; the local guard has decided."""
        case, planned = self._case, self._plan
        index = eligible(planned, event.settled_nanousd)
        choice = planned.choices[index]
        if not event.admitted:
            action = ledger_away(
                self._voice, case.identity, self._budget, choice, event.settled_nanousd,
                planned.allowance_nanousd, event.now_ms,
            )  # fmt: skip
            return self._refuse(action, choice.candidate.model, choice.candidate.estimate_nanousd)
        case.fail_open = True
        case.held_nanousd = choice.candidate.estimate_nanousd
        return self._forward(index, None)

    def _forward(self, index: int, clamped: int | None) -> Step:
        case, planned = self._case, self._plan
        facts, dialect = self._asked()
        case.choice = choice = planned.choices[index]
        if choice.quote.learned:
            case.flags = (*case.flags, LEARNED_MODEL)
        case.sent = choice.candidate.model
        cap = clamped if clamped is not None else choice.output_cap
        if planned.plan.audit:
            settled = case.result.settled_nanousd if case.result is not None else 0
            case.sent = planned.choices[-1].candidate.model
            loops = case.result is not None and case.result.loop is not None
            would = WOULD_REFUSE if loops else would_be(planned, index, settled)
            case.reason = f"audit:{would or WITHIN_BUDGET}"
            cap = None
        else:
            case.reason = choice.reason or planned.plan.note or WITHIN_BUDGET
            if choice.downgraded:
                case.decision = "downgrade"
            elif case.sent != facts.model:
                case.decision = "route"
        case.unseen = self._fixed or (case.unseen and may_go_unseen(case, facts, case.sent))
        model = case.sent if case.sent != facts.model else None
        body = self._rewritten(model, cap)
        if facts.text_bytes > INLINE_BYTES:
            case.facts = replace(facts, texts=())  # they were counted, and an answer may take minutes
        target = dialect.rewrite_path(case.target, model) if model is not None else None
        moved: tuple[tuple[str, str], ...] = ((":path", target),) if target is not None else ()
        upstream = case.snapshot.goes_to(case.sent, dialect.name)
        if facts.tools:
            upstream = ""  # its path leads there
        remove: tuple[str, ...] = ()
        if body is not None:
            remove = self._read.remove
            moved += (("content-type", self._read.content_type),) if self._read.content_type else ()
        self._given, self._read = b"", Readable(b"")
        if upstream and len(case.snapshot.routes) > 1:
            moved += ((h.CLUSTER, upstream),)
            return Step(Verdict.FORWARD, e.Forward(body, moved, route=True, remove_headers=remove))
        return Step(Verdict.FORWARD, e.Forward(body, moved, remove_headers=remove, unknown=self._unpriced))

    def _rewritten(self, model: str | None, cap: int | None) -> bytes | None:
        """The body to send; None: the client's own. What parsers read differently goes on as it was read here, unless
        the client signed it or nothing may be changed for this team."""
        facts, dialect = self._asked()
        if facts.body_fixed:
            return None
        body = read = self._read.body
        if model is not None or cap is not None or facts.usage_hidden:
            body = dialect.rewrite(read, facts, model=model, output_cap=cap, ask_usage=facts.usage_hidden)
        if body is read and not (self._read.ambiguous and self._enforces):
            return None
        return body

    def _refuse(self, action: e.Reject, model: str, estimate_nanousd: int) -> Step:
        case = self._case
        case.decision, case.reason = "reject", action.reason
        refused = RejectedRequest(model)
        if not is_repeat(case.headers):
            _, dialect = self._asked()
            team, app = case.identity.team, case.identity.app
            key = repeat_key(dialect, team, app, case.address.path, self._given)
            refused = RejectedRequest(model, estimate_nanousd, key)
        self._given, self._read = b"", Readable(b"")
        return Step(Verdict.ANSWER, action, refused)

    @property
    def _voice(self) -> RejectionFormat:
        return self._case.voice(self._body)

    @property
    def _body(self) -> bytes:
        """The body as it was read, else as it came."""
        return self._read.body or self._given

    @property
    def _enforces(self) -> bool:
        """Has the team a budget that refuses?"""
        return self._budget is not None and not self._budget.audit

    @property
    def _budget(self) -> TeamBudget | None:
        return self._case.snapshot.policy.budget(self._case.identity.team)

    @property
    def _plan(self) -> Planned:
        planned = self._case.planned
        assert planned is not None
        return planned

    def _asked(self) -> tuple[RequestFacts, Dialect]:
        case = self._case
        assert case.facts is not None and case.dialect is not None
        return case.facts, case.dialect
