"""Which names of an invoice are which metered models, and whose searches a fee is for. Pure; nano-USD.

A name is a model's where their fingerprints are equal (`invoice.names`). What is left over is matched by what no chance
brings about: its days fill the gap of one metered model, day by day. All else that no list of models knows is not
understood, and never taken for traffic past the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache

from spendgate.finops.chargeback.chargeback import at_day, price_for, share
from spendgate.finops.invoice.line import FEE, USAGE, Line
from spendgate.finops.invoice.names import fingerprint
from spendgate.finops.reconciliation.causes import FOLDED, Day
from spendgate.money import NANO_PER_USD
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.table import PriceTable
from spendgate.usage import OTHER_KINDS
from spendgate.values import dataclass

Days = dict[str, Day]
DAYS_MIN = 3
"""So many days must agree before a name is taken for a model's by them (all of them where it has fewer: two)."""
_SOFT = frozenset(("preview", "exp", "experimental", "chat", "live", "hd"))
"""Words that a bill may have more or less of than the id of the same model."""


@dataclass(slots=True)
class Billed:
    """What an invoice bills in a month. `models` by fingerprint; `charges` all that is no model's usage, by (charge,
    kind, name) and day; `inexact` the fingerprints that were only read out of meters."""

    models: dict[str, Days] = field(default_factory=dict)
    charges: dict[tuple[str, str, str], dict[str, int]] = field(default_factory=dict)
    quantum: Decimal = Decimal(1)
    inexact: set[str] = field(default_factory=set)
    notes: dict[str, list[str]] = field(default_factory=dict)


def add_tokens(into: dict[str, int], tokens: Mapping[str, int]) -> None:
    """Add counts by the kinds that providers bill."""
    for kind, n in tokens.items():
        name = FOLDED.get(kind, kind)
        into[name] = into.get(name, 0) + n


def billed(lines: Iterable[Line], month: str, names: dict[str, str], quantum: Decimal = Decimal(1)) -> Billed:
    """Add a month's lines up; new names go into `names` by their fingerprint."""
    out = Billed()
    sums: dict[tuple[str, str], Decimal] = {}
    others: dict[tuple[tuple[str, str, str], str], Decimal] = {}
    exact: set[str] = set()
    finest = 0
    for line in lines:
        if line.day[:6] != month:
            continue
        if line.charge != USAGE:
            which = ((line.charge, line.kind, line.model or line.charge), line.day)
            others[which] = others.get(which, Decimal(0)) + line.cost_usd
            continue
        key = fingerprint(line.model) or line.model
        names.setdefault(key, line.model)
        if line.exact:
            exact.add(key)
        day = out.models.setdefault(key, {}).setdefault(line.day, Day())
        day.requests += line.requests
        if line.tokens:
            add_tokens(day.tokens, {line.kind or "input": line.tokens})
        day.lines += line.amounts
        if line.cost_usd:
            exponent = line.cost_usd.normalize().as_tuple().exponent
            finest = min(finest, exponent) if isinstance(exponent, int) else finest
            sums[key, line.day] = sums.get((key, line.day), Decimal(0)) + line.cost_usd
    for (key, name), usd in sums.items():
        out.models[key][name].cost_nanousd = _nano(usd)
    for (which3, day_name), usd in others.items():
        if usd:
            out.charges.setdefault(which3, {})[day_name] = _nano(usd)
    out.quantum = min(quantum, Decimal(1).scaleb(finest))
    out.inexact = set(out.models) - exact
    return out


def _nano(usd: Decimal) -> int:
    return int((usd * NANO_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))


def by_evidence(found: Billed, metered: Mapping[str, Days], names: Mapping[str, str]) -> None:
    """Give names that were not metered to the metered models that they are: by the same words but for `preview` and the
    like, then by days that agree."""
    for key in [k for k in found.models if k not in metered]:
        plain = _plain(key)
        same = [k for k in metered if _plain(k) == plain and k not in found.models]
        if len(same) == 1:
            _merge(found, key, same[0], names, "by its words")
    for key in sorted((k for k in found.models if k not in metered), key=lambda k: -_cost(found.models[k])):
        days = found.models[key]
        fits = [k for k in metered if _fills(found.models.get(k, {}), days, metered[k], found.quantum)]
        if len(fits) == 1:
            _merge(found, key, fits[0], names, "since its days agree")


def _plain(key: str) -> str:
    return " ".join(w for w in key.split() if w not in _SOFT)


def _cost(days: Days) -> int:
    return sum(d.cost_nanousd for d in days.values())


def _fills(has: Days, more: Days, ours: Days, quantum: Decimal) -> bool:
    """Do these days, with what the model is billed already, come to what was metered on each of them?"""
    some = {d for d, day in more.items() if day.cost_nanousd}
    if len(some) < min(DAYS_MIN, max(2, len(ours))):
        return False
    if not has and {d for d, day in ours.items() if day.cost_nanousd} != some:
        return False
    for d in some:
        wanted = ours[d].cost_nanousd if d in ours else 0
        got = more[d].cost_nanousd + (has[d].cost_nanousd if d in has else 0)
        lines = more[d].lines + (has[d].lines if d in has else 0)
        slack = int(quantum * NANO_PER_USD * max(1, lines) / 2) + (ours[d].requests if d in ours else 0) + 1
        if not wanted or abs(got - wanted) > max(slack, wanted // 10_000):
            return False
    return True


def _merge(found: Billed, key: str, into: str, names: Mapping[str, str], how: str) -> None:
    target = found.models.setdefault(into, {})
    for day_name, day in found.models.pop(key).items():
        has = target.setdefault(day_name, Day())
        has.cost_nanousd += day.cost_nanousd
        has.requests += day.requests
        has.lines += day.lines
        add_tokens(has.tokens, day.tokens)
    found.notes.setdefault(into, []).append(f"{names.get(key, key)!r} on the invoice is taken for it, {how}")


def share_searches(
    found: Billed, metered: Mapping[str, Days], names: Mapping[str, str], prices: PriceTable
) -> None:
    """Give fees for searches to the models that metered searches, up to what those cost: by day, then what is left over
    the month. The rest stays a fee."""
    for which, days in list(found.charges.items()):
        charge, kind, _ = which
        if charge != FEE or kind not in OTHER_KINDS:
            continue
        worth = {
            (key, d): cost_nanousd(
                price_for(prices, names.get(key, key), at_day(d)), {kind: day.tokens[kind]}, prices.stand_ins
            )
            for key, of in metered.items()
            for d, day in of.items()
            if day.tokens.get(kind, 0) > 0
        }
        for by_day in (True, False):
            for d in sorted(days):
                places = [w for w, n in sorted(worth.items()) if n > 0 and (w[1] == d or not by_day)]
                whole = sum(worth[w] for w in places)
                given = min(days[d], whole)
                if given <= 0:
                    continue
                for (key, on), nano in zip(places, share(given, [worth[w] for w in places]), strict=True):
                    day = found.models.setdefault(key, {}).setdefault(on if by_day else d, Day())
                    day.cost_nanousd += nano
                    day.lines += 1
                    worth[key, on] -= nano
                days[d] -= given
        found.charges[which] = {d: n for d, n in days.items() if n}


def knows(prices: PriceTable) -> Callable[[str], bool]:
    """Is a fingerprint that of a model in the operator's prices or in the catalogue?"""
    own = {fingerprint(name) for name in (*prices.prices, *prices.aliases)}
    listed = _listed(prices)
    return lambda key: key in own or key in listed


@lru_cache(maxsize=4)
def _listed_of(version: str, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(fingerprint(name) for name in names)


def _listed(prices: PriceTable) -> frozenset[str]:
    catalogue = prices.catalogue
    if catalogue is None:
        return frozenset()
    names = [n for p in catalogue.providers for m in catalogue.models(p) for n in (m, *catalogue.also(p, m))]
    return _listed_of(catalogue.version, tuple(names))
