"""What a request may cost that went on before it was decided about: the most that it would have been held at, as it
was asked for, since nothing of it was rewritten. Pure."""

from __future__ import annotations

from typing import NamedTuple

from spendgate.dialects.base import RequestFacts
from spendgate.exchange.billing import COST_MAX_NANOUSD
from spendgate.exchange.context import ExchangeContext
from spendgate.exchange.quote import make_quote
from spendgate.tokens.count import Counted


class Bound(NamedTuple):
    """The model that it asked for ("" where that was not read), and the most that it may cost."""

    model: str
    nanousd: int


def bound(case: ExchangeContext) -> Bound:
    """Bound a request by what is known of it: what is held, what it asks for, or only how long its body is; then at
    the dearest price there is."""
    facts, counted = case.facts, case.counted
    if facts is None:
        size = case.headers.get("content-length", "")
        size_bytes = int(size) if size.isdigit() else case.snapshot.settings.max_body_bytes
        facts = RequestFacts("", False, (), size_bytes, unseen_input=True)
        counted = Counted(size_bytes, False, size_bytes)
    settings = case.snapshot.settings
    terms = case.snapshot.terms(
        facts.model, case.address, case.at_ms or None, facts.service_tier, facts.residency
    )
    quote = make_quote(
        case.snapshot.prices,
        facts.model,
        facts,
        counted,
        facts.output_cap,
        settings.assumed_output_tokens,
        terms,
    )
    return Bound(facts.model, min(max(quote.estimate_nanousd, case.held), COST_MAX_NANOUSD))
