"""What an exchange costs whose answer did not tell: by what was seen of it, and by the law (`law.py`). Pure."""

from __future__ import annotations

from spendgate.dialects.base import RequestFacts
from spendgate.gateway import billing
from spendgate.gateway.answer import StreamedAnswer, WholeAnswer
from spendgate.gateway.billing import Bill
from spendgate.gateway.case import Case
from spendgate.gateway.events import EndedBy, Outcome
from spendgate.gateway.law import Kind, bill_of, row_of
from spendgate.gateway.transitions import State
from spendgate.pricing.reasoning import may_reason

Answer = WholeAnswer | StreamedAnswer | None
UNSENT = frozenset({State.START, State.AWAIT_BODY, State.COUNTING, State.RESERVING})


def kind_of(case: Case, answer: Answer, state: State) -> Kind:
    """What is known of an exchange."""
    if state in UNSENT:
        return Kind.UNSENT
    if case.facts is None or state is State.JSON or (answer is None and not case.facts.stream):
        return Kind.WHOLE
    hidden = isinstance(answer, StreamedAnswer) and answer.hidden
    return Kind.HIDDEN if hidden or can_hide(case.facts, case.sent) else Kind.PLAIN


def can_hide(facts: RequestFacts, sent: str) -> bool:
    """May more be billed for a stream than is seen of it? It asks for reasoning, for tools that the provider runs,
    for what only the provider has, or its model reasons by itself."""
    if facts.output_hidden or facts.unseen_input or facts.fee_kinds or facts.tool_input_tokens or facts.turns > 1:
        return True
    if facts.output_hidden is False:
        return False
    return any(map(may_reason, (sent or facts.model, *facts.other_models, *facts.fallbacks)))


def ended(case: Case, answer: Answer, state: State, by: EndedBy) -> Bill:
    """The bill of a call that ended before its answer told what it cost."""
    if isinstance(answer, StreamedAnswer) and state is State.STREAM:
        told = told_by_stream(case, answer)
        if told is not None:
            return told
        if answer.failed:
            by = EndedBy.PROVIDER if by is EndedBy.CLIENT else by
    row = row_of(by, kind_of(case, answer, state), aborted_flowed=case.aborted_flowed)
    return bill_of(row, flowed(case, answer, state), case.held)


def told_by_stream(case: Case, answer: StreamedAnswer) -> Bill | None:
    """The bill of a stream by its own usage, or by its own end; None where neither came."""
    sent = case.sent or answer.model
    told = answer.bill(case.tariff(sent), sent, case.held)
    if told is None or not told.unmetered:
        return told
    seen = answer.flowed(case.tariff(sent), sent, case.input_tokens, case.held)
    return told if seen.unmetered or seen.cost_nanousd <= told.cost_nanousd else _more(seen, told)


def _more(seen: Bill, told: Bill) -> Bill:
    """What was seen costs more than what was held: that is the least that may be billed."""
    return Bill(
        seen.usage, seen.cost_nanousd, told.outcome, told.unmetered, priced_by=seen.priced_by,
        charged_by=seen.charged_by, model_answered=seen.model_answered,
    )  # fmt: skip


def flowed(case: Case, answer: Answer, state: State) -> Bill:
    """What was seen to flow: the input, once it was sent, and what was streamed."""
    if state in UNSENT:
        return Bill({}, 0, Outcome.ABORTED)
    if isinstance(answer, StreamedAnswer):
        sent = case.sent or answer.model
        return answer.flowed(case.tariff(sent), sent, case.input_tokens, case.held)
    return billing.input_only(case.tariff(case.sent), case.sent, case.input_tokens, case.held)
