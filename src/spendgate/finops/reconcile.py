"""What was metered against what was invoiced: by model and day, and why they differ. Pure; nano-USD.

Each day of a model is taken apart in this order; what one cause explains is gone for the next, so that the
causes of a drift add up to it exactly:

1. `time zone edge`: the provider cuts days elsewhere than UTC. With usage logs, hours are tried until its days
   fit; the cause is what that moves over the month's edges. Without, days that only swap amounts are it.
2. `bypassed the gateway`: the invoice has a model that was never metered; or more requests than were metered;
   or, where it does not count requests, more tokens of both sides on a day. At our prices for the tokens missed.
3. `settled at estimates`: exchanges whose usage never came; what their true tokens cost, less what was charged.
4. `aborted streams`: the same requests, other output: clients left, and the provider counted further.
5. `cache semantics`: the same input in other kinds (cached, written to a cache, plain).
6. `not on the invoice`: metered, and the invoice has nothing of it (yet).
7. `rounding`: what is left is within half of the invoice's last digit a line.
8. `price changed`: what is left where the tokens agree, or where an invoice without tokens is off by the same
   ratio every day.
9. `unexplained`: the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from spendgate.finops.causes import (
    BYPASS,
    CAUSES,
    FOLDED,
    PRICE,
    TIME_ZONE,
    Day,
    causes_of,
)
from spendgate.finops.chargeback import price_for
from spendgate.finops.invoice.line import Line, fingerprint
from spendgate.ledger.port import DayCell
from spendgate.money import NANO_PER_USD
from spendgate.pricing.table import PriceTable

UNIFORM_PERCENT = 5
"""An invoice without tokens is off by a changed price where its daily ratios differ by no more than this."""
Days = dict[str, Day]


@dataclass(frozen=True, slots=True)
class ModelDrift:
    """One model's month. `corrected_nanousd` are true-ups and backfills made before; `causes` add up to the
    invoiced less the metered amount; `days` are (day, metered, invoiced)."""

    model: str
    metered_nanousd: int
    corrected_nanousd: int
    invoiced_nanousd: int
    metered_requests: int
    invoiced_requests: int
    causes: Mapping[str, int]
    days: tuple[tuple[str, int, int], ...]
    notes: tuple[str, ...] = ()

    @property
    def gap_nanousd(self) -> int:
        """Invoiced less metered, before any correction: what the causes explain."""
        return self.invoiced_nanousd - self.metered_nanousd

    @property
    def drift_nanousd(self) -> int:
        """What is still open: invoiced less metered and corrected."""
        return self.gap_nanousd - self.corrected_nanousd

    @property
    def is_egress(self) -> bool:
        """Was the model never metered? Then it is called past the gateway."""
        return not self.metered_nanousd and not self.metered_requests and self.invoiced_nanousd > 0


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A provider's month; the dearest drift first."""

    provider: str
    month: str
    models: tuple[ModelDrift, ...]

    @property
    def metered_nanousd(self) -> int:
        """All models together."""
        return sum(m.metered_nanousd for m in self.models)

    @property
    def corrected_nanousd(self) -> int:
        """All models together."""
        return sum(m.corrected_nanousd for m in self.models)

    @property
    def invoiced_nanousd(self) -> int:
        """All models together."""
        return sum(m.invoiced_nanousd for m in self.models)

    @property
    def drift_nanousd(self) -> int:
        """All models together."""
        return sum(m.drift_nanousd for m in self.models)

    @property
    def causes(self) -> dict[str, int]:
        """All models together, zeros left out, in the order of `CAUSES`."""
        sums = {c: sum(m.causes.get(c, 0) for m in self.models) for c in CAUSES}
        return {c: n for c, n in sums.items() if n}


def drift_ratio(drift_nanousd: int, invoiced_nanousd: int, metered_nanousd: int) -> float:
    """The open drift as a share of the invoice (of the metered amount where nothing is invoiced)."""
    whole = invoiced_nanousd or metered_nanousd
    return drift_nanousd / whole if whole else 0.0


def reconcile(
    provider: str,
    month: str,
    cells: Iterable[DayCell],
    lines: Iterable[Line],
    prices: PriceTable,
    corrections: Mapping[str, int] | None = None,
    shifted: Mapping[int, Iterable[DayCell]] | None = None,
) -> Reconciliation:
    """Compare. `cells` are the provider's metered cells of the month (UTC days); `corrections` what was trued
    up or backfilled for it before, by model; `shifted` the cells of usage logs by a day that begins so many
    minutes after UTC's."""
    metered, names = _metered(cells, month)
    invoiced, quantum = _invoiced(lines, month, names)
    by_shift = {minutes: _metered(x, month)[0] for minutes, x in (shifted or {}).items()}
    fixed = {_key(m, names): 0 for m in corrections or {}}
    for model, nano in (corrections or {}).items():
        fixed[_key(model, names)] += nano
    offset = _best_shift(metered, invoiced, by_shift)
    out = []
    for key in sorted({*metered, *invoiced, *fixed}):
        name = names.get(key, key)
        ours, theirs = metered.get(key, {}), invoiced.get(key, {})
        cut = by_shift[offset].get(key, {}) if offset else ours
        out.append(_model(name, ours, theirs, cut, offset, fixed.get(key, 0), prices, quantum))
    out.sort(key=lambda m: (-abs(m.gap_nanousd), m.model))
    return Reconciliation(provider, month, tuple(out))


def _key(model: str, names: Mapping[str, str]) -> str:
    key = fingerprint(model)
    return key if key in names else key or model


def _metered(cells: Iterable[DayCell], month: str) -> tuple[dict[str, Days], dict[str, str]]:
    """Days by fingerprint, and the name that was metered most under each. Money that was adjusted is no
    metering."""
    found: dict[str, Days] = {}
    spent: dict[str, dict[str, int]] = {}
    for cell in cells:
        if cell.day[:6] != month:
            continue
        cost = cell.cost_nanousd - cell.adjusted_nanousd
        if not (cost or cell.requests or any(cell.tokens.values())):
            continue
        key = fingerprint(cell.model)
        by_name = spent.setdefault(key, {})
        by_name[cell.model] = by_name.get(cell.model, 0) + cost
        day = found.setdefault(key, {}).setdefault(cell.day, Day())
        day.cost_nanousd += cost
        day.requests += cell.requests
        if not any(cell.tokens.values()):
            day.estimated_nanousd += cost
        _add(day.tokens, cell.tokens)
    return found, {key: max(sorted(n), key=lambda x: n[x]) for key, n in spent.items()}


def _add(into: dict[str, int], tokens: Mapping[str, int]) -> None:
    for kind, n in tokens.items():
        name = FOLDED.get(kind, kind)
        into[name] = into.get(name, 0) + n


def _invoiced(lines: Iterable[Line], month: str, names: dict[str, str]) -> tuple[dict[str, Days], Decimal]:
    """Days by fingerprint, and the unit of the last digit that the invoice prints."""
    sums: dict[tuple[str, str], Decimal] = {}
    found: dict[str, Days] = {}
    finest = 0
    for line in lines:
        if line.day[:6] != month:
            continue
        key = fingerprint(line.model) or line.model
        names.setdefault(key, line.model)
        day = found.setdefault(key, {}).setdefault(line.day, Day())
        day.requests += line.requests
        if line.tokens:
            _add(day.tokens, {line.kind or "input": line.tokens})
        if line.cost_usd:
            exponent = line.cost_usd.normalize().as_tuple().exponent
            finest = min(finest, exponent) if isinstance(exponent, int) else finest
            sums[key, line.day] = sums.get((key, line.day), Decimal(0)) + line.cost_usd
            day.lines += 1
    for (key, name), usd in sums.items():
        nano = (usd * NANO_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN)
        found[key][name].cost_nanousd = int(nano)
    return found, Decimal(1).scaleb(finest)


def _best_shift(
    metered: Mapping[str, Days], invoiced: Mapping[str, Days], by_shift: Mapping[int, dict[str, Days]]
) -> int:
    """The minutes after UTC midnight at which the provider's day begins, as far as its days tell; 0 unless
    another fits at least twice as well."""
    if not by_shift:
        return 0

    def misfit(ours: Mapping[str, Days]) -> Decimal:
        total = Decimal(0)
        for key, theirs in invoiced.items():
            mine = ours.get(key)
            if not mine:
                continue
            a = {d: Decimal(x.cost_nanousd) for d, x in mine.items()}
            b = {d: Decimal(x.cost_nanousd) for d, x in theirs.items()}
            whole_a, whole_b = sum(a.values()), sum(b.values())
            if whole_a and whole_b:  # shapes are compared, so that a changed price is no misfit
                total += sum(
                    abs(a.get(d, Decimal(0)) / whole_a - b.get(d, Decimal(0)) / whole_b) for d in {*a, *b}
                )
        return total

    fits = {minutes: misfit(ours) for minutes, ours in by_shift.items()}
    best = min(fits, key=lambda m: (fits[m], abs(m)))
    now = misfit(metered)
    return best if best and now > Decimal("0.005") and fits[best] * 2 <= now else 0


def _model(
    name: str,
    ours: Days,
    theirs: Days,
    cut: Days,
    offset: int,
    fixed: int,
    prices: PriceTable,
    quantum: Decimal,
) -> ModelDrift:
    metered, invoiced = _cost(ours), _cost(theirs)
    causes: dict[str, int] = {}
    notes = []
    if offset and theirs and ours:
        causes[TIME_ZONE] = _cost(cut) - metered
        sign, (hours, minutes) = "-+"[offset > 0], divmod(abs(offset), 60)
        notes.append(f"the provider's days begin {sign}{hours:02d}:{minutes:02d} after midnight UTC")
    has_tokens = any(any(d.tokens.values()) for d in theirs.values())
    counts_requests = any(d.requests for d in theirs.values())
    price = price_for(prices, name)
    swaps = not offset and _swaps(ours, theirs)
    uniform = not has_tokens and _is_uniform(cut, theirs)
    for day in sorted({*cut, *theirs}):
        mine, billed = cut.get(day, Day()), theirs.get(day, Day())
        if not ours:
            found = {BYPASS: billed.cost_nanousd}
        elif swaps:
            found = {TIME_ZONE: billed.cost_nanousd - mine.cost_nanousd}
        else:
            found = causes_of(mine, billed, price, has_tokens, counts_requests, uniform, quantum)
        for cause, nano in found.items():
            causes[cause] = causes.get(cause, 0) + nano
    if swaps:
        notes.append("days only swap amounts: give --log to size the month's edges")
    if causes.get(PRICE):
        notes += _price_notes(cut, theirs, metered, invoiced, has_tokens)
    assert sum(causes.values()) == invoiced - metered, (name, causes, invoiced - metered)
    days = {*ours, *theirs}
    return ModelDrift(
        name, metered, fixed, invoiced,
        sum(d.requests for d in ours.values()), sum(d.requests for d in theirs.values()),
        {c: causes[c] for c in CAUSES if causes.get(c)},
        tuple((d, ours.get(d, Day()).cost_nanousd, theirs.get(d, Day()).cost_nanousd) for d in sorted(days)),
        tuple(notes),
    )  # fmt: skip


def _cost(days: Days) -> int:
    return sum(d.cost_nanousd for d in days.values())


def _swaps(ours: Days, theirs: Days) -> bool:
    """Do days differ while the month, all but its edges, agrees? Two neighbours at the least must."""
    gaps = {d: theirs.get(d, Day()).cost_nanousd - ours.get(d, Day()).cost_nanousd for d in {*ours, *theirs}}
    apart = sum(abs(n) for n in gaps.values())
    whole = max(_cost(ours), 1)
    signs = {n > 0 for n in gaps.values() if n}
    if len(signs) < 2 or len([n for n in gaps.values() if n]) < 4 or apart * 100 < whole:
        return False
    reached = 0
    for day in sorted(gaps):
        reached += gaps[day]
        if abs(reached) > max(d.cost_nanousd for d in ours.values()):
            return False  # more than what a day's edge can hold
    return abs(reached) * 5 <= apart


def _is_uniform(ours: Days, theirs: Days) -> bool:
    ratios = [
        Decimal(theirs[d].cost_nanousd) / ours[d].cost_nanousd
        for d in {*ours, *theirs}
        if d in ours and d in theirs and ours[d].cost_nanousd > 0 and theirs[d].cost_nanousd > 0
    ]
    return len(ratios) >= 3 and (max(ratios) - min(ratios)) * 100 <= UNIFORM_PERCENT * max(ratios)


def _price_notes(ours: Days, theirs: Days, metered: int, invoiced: int, has_tokens: bool) -> list[str]:
    if not has_tokens:
        return [f"every day by the same factor, {invoiced / metered:.4f}"] if metered else []
    tokens = sum(sum(d.tokens.values()) for d in theirs.values())
    mine = sum(sum(d.tokens.values()) for d in ours.values())
    if not tokens or not mine:
        return []
    return [
        f"a million tokens are billed at {invoiced / tokens / 1000:.4f} USD in the mean, "
        f"metered at {metered / mine / 1000:.4f}"
    ]
