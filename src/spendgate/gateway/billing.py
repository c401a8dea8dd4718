"""What an answer costs: its reading → usage, nano-USD and how sure we are."""

from __future__ import annotations

from dataclasses import dataclass

from spendgate.dialects.base import Reading, StreamMeter
from spendgate.gateway.events import Outcome
from spendgate.gateway.record import UsagePart
from spendgate.money import LEDGER_MAX_NANOUSD
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.table import Price, PriceTable
from spendgate.usage import Usage, input_total

COST_MAX_NANOUSD = LEDGER_MAX_NANOUSD // 1000
"""$9,007 for one exchange: no model costs that; such a usage is not believed."""


@dataclass(frozen=True, slots=True)
class Bill:
    """`unmetered` names why the estimate is charged instead ("" where the usage is true)."""

    usage: Usage
    cost_nanousd: int
    outcome: Outcome
    unmetered: str = ""
    parts: tuple[UsagePart, ...] = ()
    """Where several models were billed: each with its share; their costs add up to the bill's."""


def price_of(prices: PriceTable, sent: str, answered: str) -> Price:
    """The price of the model that was sent, else of the one that answered, else rule 11's stand-in."""
    return (
        prices.find(sent) or (prices.find(answered) if answered else None) or prices.dearest_of_family(sent)
    )


def saved_nanousd(prices: PriceTable, asked: str, bill: Bill) -> int:
    """What the bill's usage would have cost with the model that was asked for, less what it cost: below zero
    where the model chosen was the dearer. 0 where that can not be told (no usage, or no price).

    Taken at the same token counts: another model may answer longer or shorter.
    """
    price = prices.find(asked)
    if price is None or not bill.usage:
        return 0
    return min(cost_nanousd(price, bill.usage), COST_MAX_NANOUSD) - bill.cost_nanousd


def _charge(price: Price, usage: Usage, outcome: Outcome, held: int) -> Bill:
    cost = cost_nanousd(price, usage)
    if cost > COST_MAX_NANOUSD:
        return Bill({}, held, Outcome.UNMETERED, "bad_usage")
    return Bill(usage, cost, outcome)


def whole_answer(prices: PriceTable, sent: str, reading: Reading, held: int) -> Bill:
    """Bill a JSON answer; what can not be metered costs what was held."""
    if reading.problem is not None:
        return Bill({}, held, Outcome.UNMETERED, reading.problem)
    return _complete(prices, sent, reading, held)


def _complete(prices: PriceTable, sent: str, reading: Reading, held: int) -> Bill:
    if not reading.parts:
        return _charge(price_of(prices, sent, reading.model), reading.usage, Outcome.COMPLETE, held)
    parts = []
    for model, usage in reading.parts:
        share = {k: n for k, n in usage.items() if k != "requests"}
        price = price_of(prices, model, sent)
        parts.append(UsagePart(model or sent, share, cost_nanousd(price, share)))
    cost = sum(p.cost_nanousd for p in parts)
    if cost > COST_MAX_NANOUSD:
        return Bill({}, held, Outcome.UNMETERED, "bad_usage")
    return Bill(reading.usage, cost, Outcome.COMPLETE, parts=tuple(parts))


def stream_end(prices: PriceTable, sent: str, meter: StreamMeter, input_tokens: int, held: int) -> Bill:
    """Bill a stream that came to its end: by its usage; cut or failed, by what flowed."""
    reading = meter.result()
    if reading.problem is None and not meter.failed:
        return _complete(prices, sent, reading, held)
    if reading.problem is not None and meter.complete and not meter.failed:
        return Bill({}, held, Outcome.UNMETERED, reading.problem)
    if reading.problem == "bad_usage" or reading.problem == "encoding":
        return Bill({}, held, Outcome.UNMETERED, reading.problem)
    return flowed(prices, sent, meter, input_tokens, held, Outcome.FAILED)


def flowed(
    prices: PriceTable, sent: str, meter: StreamMeter, input_tokens: int, held: int, outcome: Outcome
) -> Bill:
    """Bill what flowed of a stream that ended early: its input and the output tokens streamed.

    A provider that failed before the first token made nothing to charge for.
    """
    usage, streamed = meter.partial()
    usage = dict(usage)
    if outcome is Outcome.FAILED and not streamed and not usage:
        return Bill({}, 0, outcome)
    if not input_total(usage):
        usage["input"] = input_tokens
    counted_output = usage.get("output", 0) + usage.get("reasoning", 0)
    if streamed > counted_output:
        usage["output"] = usage.get("output", 0) + streamed - counted_output
    usage["requests"] = 1
    answered = meter.result().model
    return _charge(price_of(prices, sent, answered), {k: v for k, v in usage.items() if v}, outcome, held)


def input_only(prices: PriceTable, sent: str, input_tokens: int, held: int) -> Bill:
    """Bill a client that left before the answer began: the provider has read the input."""
    usage = {"input": input_tokens, "requests": 1}
    return _charge(price_of(prices, sent, ""), usage, Outcome.ABORTED, held)
