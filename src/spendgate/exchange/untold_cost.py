"""What an exchange costs whose answer did not tell: by what was seen of it, and by the law (`law.py`). Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from spendgate.dialects.base import Reading, RequestFacts
from spendgate.exchange import billing, tools
from spendgate.exchange.billing import Bill
from spendgate.exchange.context import ExchangeContext
from spendgate.exchange.events import EndedBy
from spendgate.exchange.law import Kind, bill_of, row_of
from spendgate.exchange.response import Response as Body
from spendgate.exchange.response import StreamedResponse
from spendgate.exchange.states import State
from spendgate.pricing.reasoning import may_reason
from spendgate.records.outcome import Outcome
from spendgate.tokens.count import count

Answer = Body | None
UNTOLD = frozenset({"no_usage", "zero_usage"})
"""The end came, and no usage that can be true."""
UNSENT = frozenset({State.START, State.AWAIT_BODY, State.COUNTING, State.RESERVING})


def kind_of(case: ExchangeContext, answer: Answer, state: State) -> Kind:
    """What is known of an exchange."""
    if state in UNSENT:
        return Kind.UNSENT
    if case.facts is None or state is State.JSON or (answer is None and not case.facts.stream):
        return Kind.WHOLE
    if not isinstance(answer, StreamedResponse):
        return Kind.HIDDEN if can_hide(case.facts, case.sent) else Kind.PLAIN
    hides = answer.hidden or _asked_at_once(case) or _can_hide(case, case.facts, answer)
    return Kind.HIDDEN if hides else Kind.PLAIN


def _asked_at_once(case: ExchangeContext) -> int:
    """How many models were asked at once, each of which is billed; 0 where one was."""
    facts = case.facts
    if facts is None or facts.tools or case.sent not in ("", facts.model):
        return 0
    return facts.answers


def _can_hide(case: ExchangeContext, facts: RequestFacts, answer: StreamedResponse) -> bool:
    shown = answer.shows_text and case.tariff(case.sent).terms.provider in SHOWS_REASONING
    return can_hide(facts, case.sent, _told_model(case, facts, answer.model), shown=shown)


def _told_model(case: ExchangeContext, facts: RequestFacts, answered: str) -> str:
    """The model that says it answers, where it is one that is known: a server's own name for what it was asked tells
    nothing. Where the request lets several answer, whatever it says."""
    prices, terms = case.snapshot.prices, case.tariff(case.sent).terms
    return answered if facts.fallbacks or (answered and prices.find(answered, terms) is not None) else ""


def _all_seen(case: ExchangeContext, answer: StreamedResponse) -> bool:
    """Was all that is billed seen of a stream that came to its own end?"""
    facts = case.facts
    if facts is None or answer.hidden or _asked_at_once(case):
        return False
    if facts.unseen_shown:
        facts = replace(facts, unseen_input=False)
    if not _can_hide(case, facts, answer):
        return True
    return not _asks_more(facts) and is_house_model(case, answer.model)


SHOWS_REASONING = frozenset({"openrouter"})
"""Who streams a model's reasoning before its text, unless a request says that it is not to be shown (OpenRouter,
"Reasoning tokens")."""
_KEPT_BACK = re.compile(r"(^|/)(openai/|gpt-|o\d|~?x-ai/|grok|google/|gemini)")
"""Whose reasoning it does not get to show, or not all of it."""


def can_hide(facts: RequestFacts, sent: str, answered: str = "", *, shown: bool = False) -> bool:
    """May more be billed for a stream than is seen of it? It asks for reasoning, for tools that the provider runs,
    for what only the provider has, or its model reasons by itself. `answered`: the model that says it answers, which
    counts alone where the request lets several; `shown`: a reasoning would have been seen."""
    if _asks_more(facts):
        return True
    if facts.output_hidden is False:
        return False
    models: tuple[str, ...] = (sent or facts.model, *facts.other_models, *facts.fallbacks)
    if answered:
        only = facts.fallbacks and not facts.fallbacks_add
        models = (answered, *facts.other_models) if only else (answered, *models)
    if shown and not any(_KEPT_BACK.search(m.lower()) for m in models):
        return False
    return any(map(may_reason, models))


def _asks_more(facts: RequestFacts) -> bool:
    return bool(
        facts.output_hidden
        or facts.unseen_input
        or facts.fee_kinds
        or facts.tool_input_tokens
        or facts.turns > 1
    )


def is_house_model(case: ExchangeContext, answered: str) -> bool:
    """Is it a model of the operator's own: priced by them, known to no vendor and served by none that is known? What
    such a server makes, it sends."""
    sent, terms = case.sent, case.tariff(case.sent).terms
    prices = case.snapshot.prices
    if terms.provider or not prices.is_own(sent) or prices.aliases.get(sent):
        return False
    catalogue = prices.catalogue
    names = (name for name in (sent, answered) if name)
    return not any(catalogue is not None and catalogue.find(name) is not None for name in names)


def ended(case: ExchangeContext, answer: Answer, state: State, by: EndedBy) -> Bill:
    """The bill of a call that ended before its answer told what it cost."""
    if isinstance(answer, StreamedResponse) and state is State.STREAM:
        told = told_by_stream(case, answer)
        if told is not None:
            return told
        if answer.failed:
            by = EndedBy.PROVIDER if by is EndedBy.CLIENT else by
    row = row_of(by, kind_of(case, answer, state), aborted_flowed=case.aborted_flowed)
    return bill_of(row, flowed(case, answer, state), case.held)


def finished(case: ExchangeContext, answer: StreamedResponse, state: State) -> Bill:
    """The bill of a stream that came to its end in good order."""
    bill = ended(case, answer, state, EndedBy.PROVIDER)
    return (
        (answer.told(case.tariff(case.sent), case.sent) or bill)
        if bill.unmetered or bill.outcome is Outcome.FAILED
        else bill
    )


def told_by_stream(case: ExchangeContext, answer: StreamedResponse) -> Bill | None:
    """The bill of a stream by its own usage, or by its own end; None where neither came."""
    sent = case.sent or answer.model
    if case.facts is not None and case.facts.tools:
        return answer.bill_of_calls(case.tariff(sent), sent, case.facts, case.held)
    told = answer.bill(case.tariff(sent), sent, case.input_tokens, case.held)
    if told is not None and told.outcome is Outcome.COMPLETE and told.cost_nanousd < case.held:
        return billing.at_hold(case.held, "no_usage") if _asked_at_once(case) else told
    if told is None or not told.unmetered:
        return told
    if told.unmetered in UNTOLD and _all_seen(case, answer):
        return answer.counted(case.tariff(sent), sent, case.input_tokens, case.held)
    seen = answer.flowed(case.tariff(sent), sent, case.input_tokens, case.held)
    return told if seen.unmetered or seen.cost_nanousd <= told.cost_nanousd else _more(seen, told)


def whole(case: ExchangeContext, reading: Reading) -> Bill:
    """The bill of an answer that is not streamed and came whole."""
    sent = case.sent or reading.model
    tariff, facts = case.tariff(sent), case.facts
    if case.dialect is not None:
        reading = case.dialect.of_model(reading, sent)
    if facts is not None and facts.tools:
        reading = tools.settled(facts, reading)
    if reading.error:
        return Bill({}, 0, Outcome.FAILED)
    if reading.problem is None and len(reading.parts) < _asked_at_once(case):
        reading = Reading({}, reading.model, "no_usage")  # what the others cost is not told
    if facts is not None and facts.known_usage and reading.problem in ("no_usage", "not_json"):
        return billing.known(tariff, sent, facts.known_usage, case.held)
    if facts is not None and "searches" in facts.known_usage and reading.problem is None:
        # a rerank that tells tokens alone: what it is billed by is in the request
        reading = replace(reading, usage={"searches": facts.known_usage["searches"], **reading.usage})
    if reading.problem in UNTOLD and reading.text and _shows_all(case, sent, reading.model):
        return billing.counted(tariff, sent, reading, count(reading.text), case.input_tokens, case.held)
    reading = billing.with_input(reading, case.input_tokens)
    return billing.whole_answer(tariff, sent, reading, case.held)


def _shows_all(case: ExchangeContext, sent: str, answered: str) -> bool:
    """Does an answer that came whole show all that is billed for it?"""
    facts = case.facts
    if facts is None or _asked_at_once(case):
        return False
    if not can_hide(facts, sent, _told_model(case, facts, answered)):
        return True
    return not _asks_more(facts) and is_house_model(case, answered)


def _more(seen: Bill, told: Bill) -> Bill:
    """What was seen costs more than what was held: that is the least that may be billed."""
    return Bill(
        seen.usage, seen.cost_nanousd, told.outcome, told.unmetered, priced_by=seen.priced_by,
        charged_by=seen.charged_by, model_answered=seen.model_answered,
    )  # fmt: skip


def flowed(case: ExchangeContext, answer: Answer, state: State) -> Bill:
    """What was seen to flow: the input, once it was sent, and what was streamed."""
    if state in UNSENT:
        return Bill({}, 0, Outcome.ABORTED)
    if isinstance(answer, StreamedResponse):
        sent = case.sent or answer.model
        return answer.flowed(case.tariff(sent), sent, case.input_tokens, case.held)
    return billing.input_only(case.tariff(case.sent), case.sent, case.input_tokens, case.held)


def unread(case: ExchangeContext, why: str) -> Bill:
    """The bill of an answer whose body is not looked at: by what the request tells, else the hold."""
    if case.facts is not None and case.facts.known_usage and why == "content_type":
        return billing.known(case.tariff(case.sent), case.sent, case.facts.known_usage, case.held)
    return billing.at_hold(case.held, why)
