"""No recorded request was billed for more than is held for it, in tokens and in money."""

from __future__ import annotations

from collections.abc import Iterator

from support.recorded import Exchange, exchanges

from spendgate.exchange.quote import make_quote
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.tokens.bound import input_bound
from spendgate.tokens.count import Counted, measure
from spendgate.usage import input_total, output_total

EDITED = "test_invoke_model_cache_tokens"
"""Its recorded request was cut by hand to "very very long system prompt"; the answer still counts 18,135."""


def billed() -> Iterator[Exchange]:
    """The exchanges whose request says what it sends: all but references to stored input."""
    for exchange in exchanges():
        facts = exchange.facts
        if facts is None or facts.unseen_input or EDITED in exchange.recording.source:
            continue
        if exchange.reading().usage:
            yield exchange


def counts(exchange: Exchange) -> tuple[Counted, Counted]:
    """The exact count, and the bound by bytes that stands in for it where money is plenty."""
    facts = exchange.facts
    assert facts is not None
    return measure(facts.texts, facts.text_bytes, exact=True), Counted(0, False, facts.text_bytes)


def test_no_input_is_billed_above_its_hold() -> None:
    faults, checked = [], 0
    for exchange in billed():
        facts = exchange.facts
        assert facts is not None
        told = input_total(exchange.reading().usage)
        for counted in counts(exchange):
            held = input_bound(counted, facts.model, "tools" in facts.needs)
            held += facts.extra_input_tokens + facts.tool_input_tokens
            if told > held:
                faults.append(f"{exchange.recording.source}: {facts.model}: {told} billed, {held} held")
        checked += 1
    assert not faults, "\n".join(faults)
    assert checked > 2_000


def test_no_output_is_billed_above_the_clients_cap() -> None:
    faults = []
    for exchange in billed():
        facts = exchange.facts
        assert facts is not None
        if facts.output_cap is None:
            continue
        told, most = output_total(exchange.reading().usage), facts.output_cap * facts.choices
        if told > most + facts.extra_output_tokens:
            faults.append(f"{exchange.recording.source}: {told} billed, {most} held")
    assert not faults, "\n".join(faults)


def test_no_exchange_costs_more_than_its_estimate() -> None:
    prices = table()
    faults, checked = [], 0
    for exchange in billed():
        facts, usage = exchange.facts, exchange.reading().usage
        assert facts is not None
        price = prices.find(facts.model)
        if price is None:
            continue
        cap = facts.output_cap if facts.output_cap is not None else max(4096, output_total(usage))
        quote = make_quote(prices, facts.model, facts, counts(exchange)[0], cap, 4096)
        cost = cost_nanousd(price, usage)
        if cost > quote.estimate_nanousd:
            faults.append(
                f"{exchange.recording.source}: {cost} nano-USD, {quote.estimate_nanousd} held: {usage}"
            )
        checked += 1
    assert not faults, "\n".join(faults)
    assert checked > 1_500
