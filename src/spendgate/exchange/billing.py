"""What an answer costs: its reading → usage, nano-USD and how sure we are. Nothing is silently free: a model, a
kind of usage or a service tier without a price is charged by a stand-in, and the bill says so."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from spendgate.budget.ask import Shares
from spendgate.budget.ratios import ratios_of
from spendgate.dialects.base import Reading, StreamMeter
from spendgate.money import LEDGER_MAX_NANOUSD
from spendgate.pricing import aliases
from spendgate.pricing.cost import charge, cost_nanousd, rank_picousd
from spendgate.pricing.table import Price, PriceTable
from spendgate.pricing.terms import ANY, Terms
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import PricedBy, UsagePart
from spendgate.usage import INPUT_KINDS, Usage, input_total
from spendgate.values import dataclass

LISTED = PricedBy()
MISMATCH = "usage_mismatch"
OTHER_MODEL = "model_mismatch"
INPUT_MISSING = "input_missing"
ANYWHERE = ("", "global", "not_available")
"""Words of providers for an answer that was bound to no place."""
COST_MAX_NANOUSD = LEDGER_MAX_NANOUSD // 1000
"""$9,007 for one exchange: no model costs that; such a usage is not believed."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """The price table, and the terms that hold for one exchange."""

    prices: PriceTable
    terms: Terms = ANY
    fallbacks: tuple[str, ...] = ()
    """Models that the request let answer in the stead of the one that it was sent to."""
    hoped: bool = False
    """The tier is only what the client asked for: unless the answer says that it was served, the standard price counts
    where that is dearer."""
    long_writes: bool = False
    """The request asked for what it writes into a cache to be kept for more than twelve hours."""

    def kept(self, usage: Usage) -> Usage:
        """A usage whose cache writes are of the kind that the request asked for, which answers do not tell."""
        if not self.long_writes or not usage.get("cache_write_5m"):
            return usage
        rest = {kind: n for kind, n in usage.items() if kind != "cache_write_5m"}
        return rest | {"cache_write_12h": rest.get("cache_write_12h", 0) + usage["cache_write_5m"]}

    def answered(self, reading: Reading) -> Tariff:
        """The same with what the provider says it served: its tier and place before those asked for."""
        tier = reading.service_tier or self.terms.tier
        residency = self.terms.residency if reading.residency in ANYWHERE else reading.residency
        hoped = self.hoped and not reading.service_tier
        if (tier, residency, hoped) == (self.terms.tier, self.terms.residency, self.hoped):
            return self
        return replace(self, terms=replace(self.terms, tier=tier, residency=residency), hoped=hoped)

    def price_of(self, sent: str, answered: str) -> tuple[Price, bool]:
        """The price that the operator gave for the model that was sent; else that of the model that answered, since
        deployments, routers and servers' own fallbacks serve others than they are called; else of the one sent;
        else rule 11's stand-in. And whether it is one of the two's own."""
        if self.fallbacks:
            return self._of_those(sent, answered)
        models = (sent, answered) if self.prices.is_own(sent, self.terms.provider) else (answered, sent)
        for model in models:
            if model and (found := self.prices.find(model, self.terms)) is not None:
                return found, True
        return self._found(sent)

    def _of_those(self, sent: str, answered: str) -> tuple[Price, bool]:
        """The price of the model that answered, where several could; of the dearest, where nothing tells which."""
        if answered:
            return self._found(sent if aliases.same(sent, answered) else answered)
        return max(
            (self._found(m) for m in (sent, *self.fallbacks)), key=lambda found: rank_picousd(found[0])
        )

    def _found(self, model: str) -> tuple[Price, bool]:
        found = self.prices.find(model, self.terms)
        return (
            (found, True) if found is not None else (self.prices.dearest_of_family(model, self.terms), False)
        )


@dataclass(frozen=True, slots=True)
class Bill:
    """`unmetered` names why the estimate is charged instead ("" where the usage is true)."""

    usage: Usage
    cost_nanousd: int
    outcome: Outcome
    unmetered: str = ""
    parts: tuple[UsagePart, ...] = ()
    """Where several models were billed: each with its share; their costs add up to the bill's."""
    priced_by: PricedBy = LISTED
    """Whose price it was, and what was charged by a stand-in."""
    flags: tuple[str, ...] = ()
    """What is odd about it all the same: `usage_mismatch` (the provider's own total is not the sum of its parts;
    the larger reading was charged), `model_mismatch` (another model answered than was asked), `counted` (no usage
    came, what flowed was counted), `zero_usage` (it was all zeros), `input_missing` (the input was counted)."""
    charged_by: ChargedBy = ChargedBy.NOTHING
    model_answered: str = ""
    """The model that the provider says it answered with."""
    off_list_nanousd: int = 0
    """By how much the cost is below what it would be at list prices (below zero: above)."""
    markup_nanousd: int = 0
    """The part of the cost that the provider does not bill."""


def at_hold(held: int, why: str, outcome: Outcome = Outcome.UNMETERED) -> Bill:
    """Bill what was held, since nobody told what was spent; `why` is the `unmetered` reason."""
    return Bill({}, held, outcome, why, charged_by=ChargedBy.HOLD)


class _Cost(NamedTuple):
    """What a usage costs, by whose price, and the parts of it that discounts and markups make."""

    nanousd: int
    by: PricedBy
    off_list: int = 0
    markup: int = 0


def _cost(tariff: Tariff, sent: str, answered: str, usage: Usage) -> _Cost:
    if tariff.hoped:
        got = replace(tariff, hoped=False)
        standard = replace(got, terms=replace(tariff.terms, tier=""))
        return max(
            (_cost(each, sent, answered, usage) for each in (got, standard)), key=lambda found: found.nanousd
        )
    price, own = tariff.price_of(sent, answered)
    routed, billed = tariff.prices.with_router(price, usage, sent, tariff.terms.provider)
    cost, missing = charge(routed, billed, tariff.prices.stand_ins)
    terms, alone = tariff.terms, tariff
    if terms.provider:
        anywhere = Terms("", terms.tier, terms.residency, terms.at_ms)
        alone = Tariff(tariff.prices, anywhere, tariff.fallbacks, tariff.hoped)
    provider = "" if alone.price_of(sent, answered)[0] is price else price.provider
    if routed is not price:
        provider = terms.provider  # whose router it was
    by = PricedBy(
        provider=provider,
        service_tier=price.tier if price.tier_known else terms.tier,
        residency=terms.residency if price.multiplier != (1, 1) else "",
        stand_in="" if own else price.model,
        unpriced=_unpriced(price, missing) if missing or not price.tier_known else (),
    )
    if routed.before_discounts is None or routed.before_markups is None:
        return _Cost(cost, by)
    listed, true = (
        cost_nanousd(replace(routed, multiplier=m), billed, tariff.prices.stand_ins)
        for m in (routed.before_discounts, routed.before_markups)
    )
    return _Cost(cost, by, listed - cost, cost - true)


def _unpriced(price: Price, missing: frozenset[str]) -> tuple[str, ...]:
    """What a price does not have: kinds of usage, and the service tier."""
    return (*sorted(missing), *(() if price.tier_known else ("service_tier",)))


def saved_nanousd(tariff: Tariff, asked: str, bill: Bill) -> int:
    """What the bill's usage would have cost with the model that was asked for, less what it cost: below zero
    where the model chosen was the dearer. 0 where that cannot be told (no usage, or no price).

    Taken at the same token counts: another model may answer longer or shorter.
    """
    price = tariff.prices.find(asked, tariff.terms)
    if price is None or not bill.usage:
        return 0
    return min(cost_nanousd(price, bill.usage, tariff.prices.stand_ins), COST_MAX_NANOUSD) - bill.cost_nanousd


def compared(tariff: Tariff, sent: str, bill: Bill, shares: Shares) -> tuple[int, int] | None:
    """What input and output cost of their worst cases; None where nothing tells."""
    brought = {kind: n for kind, n in bill.usage.items() if kind in INPUT_KINDS}
    tokens = input_total(brought)
    if tokens == 0:
        return None
    cost = _cost(tariff, sent, bill.model_answered, brought).nanousd
    return ratios_of(shares, tokens, cost, bill.cost_nanousd)


def _charge(
    tariff: Tariff,
    sent: str,
    answered: str,
    usage: Usage,
    outcome: Outcome,
    held: int,
    charged_by: ChargedBy = ChargedBy.COUNTED,
) -> Bill:
    usage = tariff.kept(usage)
    cost = _cost(tariff, sent, answered, usage)
    if cost.nanousd > COST_MAX_NANOUSD:
        return at_hold(held, "bad_usage")
    return Bill(
        usage,
        cost.nanousd,
        outcome,
        priced_by=cost.by,
        charged_by=charged_by,
        model_answered=answered,
        off_list_nanousd=cost.off_list,
        markup_nanousd=cost.markup,
    )


def whole_answer(tariff: Tariff, sent: str, reading: Reading, held: int) -> Bill:
    """Bill a JSON answer; what cannot be metered costs what was held."""
    if reading.problem is not None:
        return at_hold(held, reading.problem)
    return _complete(tariff, sent, reading, held)


def _complete(tariff: Tariff, sent: str, reading: Reading, held: int) -> Bill:
    bill = _priced(tariff, sent, reading, held)
    flags = reading.flags
    if reading.mismatch:
        flags = (*flags, MISMATCH)
    if reading.model != sent:
        flags = (*flags, *_other_model(sent, reading))
    return replace(bill, flags=flags) if flags else bill


def _other_model(sent: str, reading: Reading) -> tuple[str, ...]:
    """The flag of an answer that names another model than it was asked of."""
    other = sent and reading.model and not reading.parts and not aliases.same(sent, reading.model)
    return (OTHER_MODEL,) if other else ()


def _priced(tariff: Tariff, sent: str, reading: Reading, held: int) -> Bill:
    if reading.told_nanousd is not None and reading.told_nanousd <= COST_MAX_NANOUSD:
        return _told(tariff, sent, reading)
    tariff = tariff.answered(reading)
    if not reading.parts:
        return _charge(tariff, sent, reading.model, reading.usage, Outcome.COMPLETE, held, ChargedBy.USAGE)
    parts = []
    asked = _asked_parts(sent, reading)
    whole = LISTED
    off_list = markup = 0
    for model, usage in reading.parts:
        share = {k: n for k, n in tariff.kept(usage).items() if k != "requests"}
        of = _cost(tariff, sent if model in asked else model, model, share)
        parts.append(UsagePart(model or sent, share, of.nanousd))
        off_list, markup = off_list + of.off_list, markup + of.markup
        whole = of.by.joined(whole)
    cost = sum(p.cost_nanousd for p in parts)
    if cost > COST_MAX_NANOUSD:
        return at_hold(held, "bad_usage")
    return Bill(
        tariff.kept(reading.usage),
        cost,
        Outcome.COMPLETE,
        parts=tuple(parts),
        priced_by=whole,
        charged_by=ChargedBy.USAGE,
        model_answered=reading.model,
        off_list_nanousd=off_list,
        markup_nanousd=markup,
    )


def _asked_parts(sent: str, reading: Reading) -> frozenset[str]:
    """The models of an answer's parts that are the one it was asked of: of that name, else the one that answered under
    it (a deployment has a name of its own)."""
    models = {model for model, _ in reading.parts}
    named = {model for model in models if not model or aliases.same(model, sent)}
    return frozenset(named or {model for model in models if aliases.same(model, reading.model)})


def with_input(reading: Reading, input_tokens: int) -> Reading:
    """The reading, with the input as it was counted where the usage has tokens of output and none of input: Ollama
    leaves out a prompt that was cached, and some proxies lose it. Flagged `input_missing`."""
    usage = reading.usage
    if usage.get("input"):
        return reading
    made = usage.get("output", 0) + usage.get("reasoning", 0)
    if reading.problem is not None or reading.told_nanousd is not None or not made or input_total(usage):
        return reading
    if not input_tokens or "unbilled_refusal" in reading.flags:
        return reading
    flags = tuple(dict.fromkeys((*reading.flags, INPUT_MISSING)))
    whole = {"input": input_tokens, **usage}
    if not reading.parts:
        return replace(reading, usage=whole, flags=flags)
    parts = ((reading.parts[0][0], {"input": input_tokens, **reading.parts[0][1]}), *reading.parts[1:])
    return replace(reading, usage=whole, flags=flags, parts=parts)


def told(tariff: Tariff, sent: str, reading: Reading) -> Bill | None:
    """The bill of a stream that ended cleanly, though it never said that it finished: what the provider told so far
    that it charges; None where it told nothing."""
    if reading.told_nanousd is None or reading.problem != "truncated":
        return None
    return _told(tariff, sent, reading) if reading.told_nanousd <= COST_MAX_NANOUSD else None


def _told(tariff: Tariff, sent: str, reading: Reading) -> Bill:
    """What the provider told, and the markup on it; what the list price would have been is not known."""
    assert reading.told_nanousd is not None
    true = cost = reading.told_nanousd
    price, _ = tariff.price_of(sent, reading.model)
    if price.before_markups is not None:
        (n, d), (n_before, d_before) = price.multiplier, price.before_markups
        cost = (2 * true * n * d_before + d * n_before) // (2 * d * n_before) if n_before else true
    return Bill(
        reading.usage,
        cost,
        Outcome.COMPLETE,
        charged_by=ChargedBy.TOLD,
        model_answered=reading.model,
        off_list_nanousd=true - cost,
        markup_nanousd=cost - true,
    )


def flowed(
    tariff: Tariff,
    sent: str,
    meter: StreamMeter,
    reading: Reading,
    input_tokens: int,
    held: int,
    outcome: Outcome,
) -> Bill:
    """Bill what flowed of a stream that ended early: its input and the output tokens streamed."""
    usage, streamed = meter.partial()
    usage = dict(usage)
    if input_total(usage) == usage.get("tool_input", 0):
        usage["input"] = input_tokens
    counted_output = usage.get("output", 0) + usage.get("reasoning", 0)
    if streamed > counted_output:
        usage["output"] = usage.get("output", 0) + streamed - counted_output
    usage["requests"] = usage.get("requests") or 1
    usage = {k: v for k, v in usage.items() if v}
    return _charge(tariff.answered(reading), sent, reading.model, usage, outcome, held)


def counted(tariff: Tariff, sent: str, reading: Reading, made: int, input_tokens: int, held: int) -> Bill:
    """Bill a whole answer without usage by its text, all of which was seen: `made` tokens."""
    usage = {k: n for k, n in (("input", input_tokens), ("output", made), ("requests", 1)) if n}
    bill = _charge(tariff.answered(reading), sent, reading.model, usage, Outcome.COMPLETE, held)
    return by_count(bill, reading)


def by_count(bill: Bill, reading: Reading) -> Bill:
    """The bill of what flowed whole and told no usage."""
    if bill.unmetered:
        return bill
    why = ("zero_usage",) if reading.problem == "zero_usage" else ()
    return replace(bill, outcome=Outcome.COMPLETE, flags=("counted", *why))


def metered(tariff: Tariff, sent: str, meter: StreamMeter, reading: Reading, held: int) -> Bill | None:
    """Bill a stream by the usage that came in it, or, where its end came without one, by the hold; None where
    neither came. A provider that failed before the first token made nothing to charge for."""
    if reading.problem is None and not meter.failed:
        return _complete(tariff, sent, reading, held)
    if reading.problem in ("bad_usage", "encoding"):
        return at_hold(held, reading.problem)
    usage, streamed = meter.partial()
    if meter.failed:
        return None if usage or streamed or meter.hidden else Bill({}, 0, Outcome.FAILED)
    if reading.problem is not None and meter.complete:
        return at_hold(held, reading.problem)
    return None


def known(tariff: Tariff, sent: str, usage: Usage, held: int) -> Bill:
    """Bill an answer by what the request alone tells (characters spoken, images made)."""
    return _charge(tariff, sent, "", usage, Outcome.COMPLETE, held)


def input_only(tariff: Tariff, sent: str, input_tokens: int, held: int) -> Bill:
    """Bill a client that left before the answer began: the provider has read the input."""
    usage = {"input": input_tokens, "requests": 1}
    return _charge(tariff, sent, "", usage, Outcome.ABORTED, held)
