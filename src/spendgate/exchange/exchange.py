"""One exchange as a sans-io state machine: events in, one action out, and one ending to take.

It imports no grpc, no redis and no clock. The adapter feeds it with what Envoy says, does what it asks
for (count, reserve), and takes the ending exactly once when there is one. `Admission` has the steps of the request,
`ExchangeContext` what is known, `states` which state follows; the answer and the end are here.
"""

from __future__ import annotations

from dataclasses import replace

from spendgate.exchange import billing, envoy_replies, untold_cost
from spendgate.exchange import events as e
from spendgate.exchange.admission import Admission
from spendgate.exchange.billing import Bill
from spendgate.exchange.context import STREAM_CUT, ExchangeContext
from spendgate.exchange.law import Kind, row_of
from spendgate.exchange.learned import Learned
from spendgate.exchange.rejections import too_busy, too_large, too_large_for_envoy
from spendgate.exchange.response import Response, StreamedResponse, UndecidedResponse, open_response
from spendgate.exchange.snapshot import Snapshot
from spendgate.exchange.states import IDLE, TRANSITIONS, IllegalEvent, RejectedRequest, State, Step, Verdict
from spendgate.exchange.stream_options import REFUSAL_STATUS, Refusal
from spendgate.exchange.undecided import bound
from spendgate.exchange.view import ExchangeView
from spendgate.identity import headers as h
from spendgate.identity.identity import Roster
from spendgate.money import nano_to_usd
from spendgate.records.outcome import Outcome
from spendgate.records.record import ExchangeResult

UNDECIDED = (State.AWAIT_BODY, State.COUNTING, State.RESERVING, State.FORWARDED)
"""States in which Envoy may have had no answer of ours to the request."""
SENT = frozenset({State.FORWARDED, State.JSON, State.STREAM})
"""The provider has the request, and its answer is not over."""


class Exchange(ExchangeView):
    """The life of one request and its answer. Not thread-safe; one event at a time."""

    __slots__ = ("_admission", "_ending", "_refusal")

    def __init__(
        self,
        exchange_id: str,
        snapshot: Snapshot,
        request_id: str = "",
        roster: Roster | None = None,
        *,
        fixed: bool = False,
        lean: frozenset[str] = frozenset(),
        learned: Learned | None = None,
    ) -> None:
        """`fixed`: the request cannot be changed and its answer not be seen (ext_authz). `lean`: the answers
        (`json`, `sse`) whose usage Envoy tells, so that they need not be seen. `learned`: what earlier ones taught."""
        self.state = State.START
        self._case = ExchangeContext(exchange_id, request_id, snapshot, lean=lean, learned=learned)
        self._refusal: Refusal | None = None
        self._admission = Admission(self._case, roster, fixed)
        self._last = True
        self._answer_body: Response | None = None
        self._ending: ExchangeResult | None = None

    # -- the one verb and the one ending -----------------------------------------------------------------

    def receive(self, event: e.Event) -> e.Action:
        """Take an event, give the one action it asks for. Raises IllegalEvent."""
        moves = TRANSITIONS[self.state].get(type(event))
        if moves is None:
            raise IllegalEvent(self.state, event)
        step = self._handle(event)
        if step.refused is not None:
            self._refused(step.refused)
        self.state = moves[step.verdict]
        return step.action

    def take_ending(self) -> ExchangeResult | None:
        """Hand out the ending, once."""
        ending, self._ending = self._ending, None
        return ending

    @property
    def is_done(self) -> bool:
        """Is it over, and is its ending taken, so that nothing that comes changes anything?"""
        return self.state is State.ENDED and self._ending is None

    # -- the request ----------------------------------------------------------------------------------------

    def _handle(self, event: e.Event) -> Step:  # noqa: C901  # a table: a case for each event
        if self.state in IDLE:
            return self._idle(event)
        match event:
            case e.ResponseChunk():
                return self._piece(event)
            case e.RequestHeaders():
                self._case.at_ms = event.caller.now_ms
                self._last = event.last
                return self._admission.headers(event)
            case e.RequestBody():
                return self._admission.body(event)
            case e.Busy():
                return Step(Verdict.ANSWER, too_busy(self._case.voice()))
            case e.CountDone():
                self._case.counted = event.counted
                return self._admission.plan()
            case e.ReserveDone():
                return self._holding(self._admission.reserved(event))
            case e.LedgerDown():
                return self._holding(self._admission.ledger_down(event))
            case e.ResponseHeaders():
                return self._answer(event)
            case e.StreamClosed():
                return self._over(event.by)
            case e.Withdrawn():
                return self._withdraw()
            case e.InternalError():
                return self._broke()

    def _idle(self, event: e.Event) -> Step:
        match event:
            case e.RequestBody():
                return Step(Verdict.STAY, e.Forward())
            case e.ResponseHeaders():
                return Step(Verdict.STAY, e.PassResponse(e.BodyMode.NONE))
            case e.ResponseChunk():
                self._look_for_refusal(event.data)
                return Step(Verdict.STAY, e.PassChunk())
            case e.StreamClosed() if self.state is State.PASSING:
                return Step(Verdict.END, e.NoAction())
            case e.StreamClosed(by=e.EndedBy.LATE) if self._was_refused:
                self._sent_as_it_was(event.by)  # nobody heard of the refusal
        return Step(Verdict.STAY, e.NoAction())

    def _holding(self, step: Step) -> Step:
        """Nothing metered is forwarded without a hold."""
        if step.verdict is Verdict.FORWARD and not self._case.held:
            self._case.hold_unmade(bound(self._case).nanousd)
        return step

    # -- the answer -----------------------------------------------------------------------------------------

    def _answer(self, event: e.ResponseHeaders) -> Step:
        case, dialect = self._case, self._case.dialect
        assert dialect is not None
        case.attempts = event.attempts
        limit = case.snapshot.settings.max_body_bytes
        if self.state is State.AWAIT_BODY:
            if event.local and event.status == 413:
                # a length that was told is below our limit: it was looked at with the headers
                refused = too_large_for_envoy if "content-length" in case.headers else too_large
                return Step(Verdict.ANSWER, refused(case.voice(), limit))
            if event.local or not 200 <= event.status < 300:
                return Step(Verdict.PASS, e.PassResponse(e.BodyMode.NONE))
            case.hold_unmade(bound(case).nanousd)  # its body was never shown
        elif self.state is not State.FORWARDED:
            self._end_early(e.EndedBy.ENVOY)
            return Step(Verdict.PASS, e.PassResponse(e.BodyMode.NONE))
        if event.local or event.status >= 300 or event.status < 200:
            self._no_answer(event)
            return Step(Verdict.PASS, e.PassResponse(self._refusal_mode(event)))
        added = case.answer_headers()
        answer = open_response(dialect, event.headers, event.end, case.facts, limit)
        if isinstance(answer, str):
            self._finish(untold_cost.unread(case, answer), case.sent)
            return Step(Verdict.PASS, e.PassResponse(e.BodyMode.NONE, added))
        self._answer_body = answer
        if not isinstance(answer, StreamedResponse):
            return Step(Verdict.COLLECT, e.PassResponse(answer.mode, added))
        may_cost = case.stream_limit_nanousd()
        if may_cost is not None:
            answer.may_cost(may_cost)
        return Step(Verdict.METER, e.PassResponse(answer.mode, added))

    def _refusal_mode(self, event: e.ResponseHeaders) -> e.BodyMode:
        """How an error is to be shown: it is looked at where a field of ours may be what it refuses."""
        case = self._case
        ours = case.facts is not None and case.facts.usage_hidden and case.learned is not None
        if event.local or event.end or not ours or event.status not in REFUSAL_STATUS:
            return e.BodyMode.NONE
        self._refusal = Refusal()
        return e.BodyMode.STREAMED

    def _look_for_refusal(self, data: bytes) -> None:
        case = self._case
        if self._refusal is None or not self._refusal.names_field(data):
            return
        self._refusal = None
        if case.learned is not None and case.facts is not None:
            case.learned.refused(case.snapshot.place(case.facts.model, case.address), case.at_ms)

    def _no_answer(self, event: e.ResponseHeaders) -> None:
        """The provider answered an error before any output, or Envoy answered in its stead."""
        if event.local and envoy_replies.may_be_sent(event.status, event.details):
            self._end_early(e.EndedBy.ENVOY)
        else:
            self._finish(Bill({}, 0, Outcome.FAILED), self._case.sent, release=True)

    def _piece(self, event: e.ResponseChunk) -> Step:
        answer = self._answer_body
        if isinstance(answer, StreamedResponse):
            return self._streamed_piece(answer, event, Verdict.STAY)
        if isinstance(answer, UndecidedResponse):
            return self._decided_piece(answer, event)
        assert answer is not None
        reading = answer.feed(event.data, event.end)
        if reading is None:
            return Step(Verdict.STAY, e.PassChunk())
        bill = untold_cost.whole(self._case, reading)
        self._finish(bill, self._case.sent or reading.model, release=bill.outcome is Outcome.FAILED)
        return Step(Verdict.END, e.PassChunk(None, ((h.COST, nano_to_usd(bill.cost_nanousd)),)))

    def _decided_piece(self, answer: UndecidedResponse, event: e.ResponseChunk) -> Step:
        """A piece of an answer that may show what it is."""
        decided = answer.decide(event.data, event.end)
        if decided is None:
            return Step(Verdict.STAY, e.PassChunk())
        self._answer_body = decided
        if isinstance(decided, StreamedResponse):
            return self._streamed_piece(decided, event, Verdict.METER)
        return self._piece(event)

    def _streamed_piece(self, answer: StreamedResponse, event: e.ResponseChunk, going_on: Verdict) -> Step:
        """A piece of a stream. `going_on`: the verdict where it is not the last."""
        case = self._case
        replacement = answer.feed(event.data, event.end)
        if not event.end and not answer.limited:
            return Step(going_on, e.PassChunk(replacement))
        sent = case.sent or answer.model
        if event.end:
            self._finish(untold_cost.finished(case, answer, State.STREAM), sent)
            return Step(Verdict.END, e.PassChunk(replacement))
        shown = event.data if replacement is None else replacement
        last = answer.end_if_over(case.tariff(sent), sent, case.input_tokens, shown)
        if last is None:
            return Step(going_on, e.PassChunk(replacement))
        case.reason = STREAM_CUT
        self._finish(untold_cost.ended(case, answer, State.STREAM, e.EndedBy.CLIENT), sent)
        return Step(Verdict.END, e.PassChunk(last, cut=True))

    # -- the end --------------------------------------------------------------------------------------------

    @property
    def _was_refused(self) -> bool:
        """Was it refused, and has nobody taken that for its end yet?"""
        ending = self._ending
        return ending is not None and ending.record.outcome is Outcome.REFUSED

    def _over(self, by: e.EndedBy) -> Step:
        """The call ended before the answer did."""
        state = self.state
        if by is e.EndedBy.LATE and state in UNDECIDED:
            self._sent_as_it_was(by)
        elif state in SENT:
            self._end_early(by)
        elif state is State.RESERVING and self._case.planned is not None:
            # The reservation may or may not have been made; nothing was sent. Void it.
            self._case.held_nanousd = 0
            self._finish(Bill({}, 0, Outcome.ABORTED), self._case.sent, release=True)
        return Step(Verdict.END, e.NoAction())

    def _withdraw(self) -> Step:
        """It is refused after all: void what was reserved for it, or may have been."""
        if self._case.planned is not None and self._case.planned.request is not None:
            self._case.held_nanousd = 0
            self._case.decision, self._case.reason = "reject", "ledger_unavailable"
            self._finish(Bill({}, 0, Outcome.REFUSED), self._case.sent, release=True)
        return Step(Verdict.END, e.NoAction())

    def _broke(self) -> Step:
        """A fault of ours, after which everything passes as it is."""
        if self.state in SENT:
            self._end_early(e.EndedBy.FAULT)
        elif self._case.dialect is not None:
            self._sent_as_it_was(e.EndedBy.FAULT)
        return Step(Verdict.BREAK, e.NoAction())

    def _end_early(self, by: e.EndedBy) -> None:
        case, answer = self._case, self._answer_body
        model = answer.model if isinstance(answer, StreamedResponse) else ""
        self._finish(untold_cost.ended(case, answer, self.state, by), case.sent or model)

    def _sent_as_it_was(self, by: e.EndedBy) -> None:
        """The request goes on, or went, as the client sent it: charge the most that it may cost."""
        case = self._case
        row = row_of(by, Kind.UNSENT)
        case.decision, case.reason = "allow", row.unmetered
        found = bound(case)
        case.held_nanousd = found.nanousd
        self._finish(billing.at_hold(found.nanousd, row.unmetered, row.outcome), found.model)

    def _refused(self, refused: RejectedRequest) -> None:
        self._finish(Bill({}, 0, Outcome.REFUSED), refused.model, settle=False)
        assert self._ending is not None
        notes = replace(
            self._ending.notes, refused_nanousd=refused.estimate_nanousd, repeat_key=refused.repeat_key
        )
        record = replace(self._ending.record, estimate_nanousd=refused.estimate_nanousd)
        self._ending = replace(self._ending, record=record, notes=notes)

    def _finish(self, bill: Bill, model: str, *, settle: bool = True, release: bool = False) -> None:
        """Make the ending. Called once an exchange, from every way out."""
        case = self._case
        case.learn(bill.model_answered)
        saved = 0
        if case.facts is not None and case.decision in ("route", "downgrade"):
            saved = billing.saved_nanousd(case.tariff(case.facts.model), case.facts.model, bill)
        self._ending = case.ticket(model).ending(
            bill,
            settle=settle,
            release=release,
            saved_nanousd=saved,
            sample=case.sample(bill),
            attempts=case.attempts,
        )
