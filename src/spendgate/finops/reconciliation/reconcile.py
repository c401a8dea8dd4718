"""What was metered against what was invoiced: by model and day, and why they differ. Pure; nano-USD.

Each day of a model is taken apart in this order; what one cause explains is gone for the next, so that the
causes of a drift add up to it exactly. A day whose money agrees has no cause:

1. `time zone edge`: the provider cuts days elsewhere than UTC. With usage logs, hours are tried until its days
   fit; the cause is what that moves over the month's edges. Without, days that only swap amounts are it.
2. `bypassed the gateway`: the invoice has a model that was never metered; or more requests than were metered;
   or, where it does not count requests, more tokens of both sides on a day. At our prices for the tokens missed.
3. `settled at estimates`: exchanges whose usage never came; what their true tokens cost, less what was charged.
4. `billed twice`: every kind of tokens at just double. `cached input billed twice`: the same output, and the
   cached input once more as plain input. Both are the provider's faults.
5. `aborted streams`: the same input, other output: clients left, and the provider counted further.
6. `cache semantics`: the same input in other kinds (cached, written to a cache, plain).
7. `not on the invoice`: metered, and the invoice has nothing of it (yet).
8. `rounding`: what is left is within half of the invoice's last digit a line.
9. `price changed`: what is left where the tokens agree, or where an invoice without tokens is off by the same
   ratio every day.
10. `tools and fees`, `commitments`, `credits`, `refunds and adjustments`, `taxes`: lines that are no model's usage.
    Fees for searches are first given to the models that metered them.
11. `not understood`: lines whose name neither a metered model nor a list of prices knows.
12. `unexplained`: the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from spendgate.finops.chargeback.chargeback import at_day, price_for
from spendgate.finops.invoice.line import USAGE, Line
from spendgate.finops.invoice.names import fingerprint
from spendgate.finops.reconciliation.causes import (
    BYPASS,
    CAUSES,
    OF_CHARGE,
    PRICE,
    TIME_ZONE,
    UNKNOWN,
    Day,
    causes_of,
    slack,
)
from spendgate.finops.reconciliation.matching import (
    Billed,
    Days,
    add_tokens,
    billed,
    by_evidence,
    knows,
    share_searches,
)
from spendgate.ledger.accounts import DayCell
from spendgate.pricing.table import PriceTable
from spendgate.values import dataclass

UNIFORM_PERCENT = 5
"""An invoice without tokens is off by a changed price where its daily ratios differ by no more than this."""


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
    charge: str = USAGE
    """What the line is for, where it is no model's usage (`invoice.line.CHARGES`)."""

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
        never = not self.metered_nanousd and not self.metered_requests and self.invoiced_nanousd > 0
        return never and self.charge == USAGE and BYPASS in self.causes


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
    quantum: Decimal = Decimal(1),
) -> Reconciliation:
    """Compare. `cells` are the provider's metered cells of the month (UTC days); `corrections` what was trued
    up or backfilled for it before, by model; `shifted` the cells of usage logs by a day that begins so many
    minutes after UTC's; `quantum` the unit of the last digit that the invoice prints."""
    metered, names = _metered(cells, month)
    found = billed(lines, month, names, quantum)
    by_shift = {minutes: _metered(x, month)[0] for minutes, x in (shifted or {}).items()}
    offset = _best_shift(metered, found.models, by_shift)
    by_evidence(found, by_shift[offset] if offset else metered, names)
    share_searches(found, by_shift[offset] if offset else metered, names, prices)
    fixed: dict[str, int] = {}
    apart: dict[str, int] = {}
    labels = {label for _, _, label in found.charges}
    for model, nano in (corrections or {}).items():
        into, key = (apart, model) if model in labels else (fixed, _key(model, names))
        into[key] = into.get(key, 0) + nano
    is_known = knows(prices)
    out = []
    for key in sorted({*metered, *found.models, *fixed}):
        name = names.get(key, key)
        ours, theirs = metered.get(key, {}), found.models.get(key, {})
        cut = by_shift[offset].get(key, {}) if offset and theirs else ours
        unknown = not ours and not cut and key in found.inexact and not is_known(key)
        notes = tuple(found.notes.get(key, ()))
        out.append(
            _model(name, ours, theirs, cut, offset, fixed.get(key, 0), prices, found.quantum, unknown, notes)
        )
    out += _charges(found, apart)
    out.sort(key=lambda m: (-abs(m.gap_nanousd), m.model))
    return Reconciliation(provider, month, tuple(out))


def _charges(found: Billed, fixed: Mapping[str, int]) -> list[ModelDrift]:
    """What is no model's usage, by its name; corrections made before stand with the first line of a name."""
    left = dict(fixed)
    out = []
    for (charge, _, label), days in sorted(found.charges.items()):
        nano = sum(days.values())
        corrected = left.pop(label, 0)
        if not nano and not corrected:
            continue
        cause = OF_CHARGE[charge]
        rows = tuple((d, 0, n) for d, n in sorted(days.items()))
        notes = (_UNKNOWN_NOTE,) if cause == UNKNOWN else ()
        causes = {cause: nano} if nano else {}
        out.append(ModelDrift(label, 0, corrected, nano, 0, 0, causes, rows, notes, charge))
    return out


_UNKNOWN_NOTE = "no model that is known: if it is one of yours, name it under `models` of --map"


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
        cost = cell.billed_nanousd
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
        add_tokens(day.tokens, cell.tokens)
    return found, {key: max(sorted(n), key=lambda x: n[x]) for key, n in spent.items()}


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
    unknown: bool,
    said: tuple[str, ...],
) -> ModelDrift:
    metered, invoiced = _cost(ours), _cost(theirs)
    causes: dict[str, int] = {}
    notes = list(said)
    if offset and theirs and (ours or cut):
        causes[TIME_ZONE] = _cost(cut) - metered
        sign, (hours, minutes) = "-+"[offset > 0], divmod(abs(offset), 60)
        notes.append(f"the provider's days begin {sign}{hours:02d}:{minutes:02d} after midnight UTC")
    kinds = {k for d in theirs.values() for k, n in d.tokens.items() if n}
    counts_requests = any(d.requests for d in theirs.values())
    swaps = not offset and _swaps(ours, theirs, quantum)
    uniform = not kinds and _is_uniform(cut, theirs)
    for day in sorted({*cut, *theirs}):
        mine, bill = cut.get(day, Day()), theirs.get(day, Day())
        if not ours and not cut:
            found = {UNKNOWN if unknown else BYPASS: bill.cost_nanousd}
        elif swaps:
            found = {TIME_ZONE: bill.cost_nanousd - mine.cost_nanousd}
        else:
            price = price_for(prices, name, at_day(day))
            found = causes_of(mine, bill, price, kinds, counts_requests, uniform, quantum)
        for cause, nano in found.items():
            causes[cause] = causes.get(cause, 0) + nano
    if swaps:
        notes.append("days only swap amounts: give --log to size the month's edges")
    if unknown:
        notes.append(_UNKNOWN_NOTE)
    if causes.get(PRICE):
        notes += _price_notes(cut, theirs, metered, invoiced, bool(kinds))
    assert sum(causes.values()) == invoiced - metered, (name, causes, invoiced - metered)
    days = {*ours, *theirs}
    return ModelDrift(
        name, metered, fixed, invoiced,
        sum(d.requests for d in ours.values()), sum(d.requests for d in theirs.values()),
        {c: causes[c] for c in CAUSES if causes.get(c)},
        tuple((d, ours.get(d, Day()).cost_nanousd, theirs.get(d, Day()).cost_nanousd) for d in sorted(days)),
        tuple(notes), "unknown" if unknown else USAGE,
    )  # fmt: skip


def _cost(days: Days) -> int:
    return sum(d.cost_nanousd for d in days.values())


def _swaps(ours: Days, theirs: Days, quantum: Decimal) -> bool:
    """Do days differ, by more than rounding, while the month, all but its edges, agrees? Two neighbours at the least
    must."""
    gaps = {}
    for d in {*ours, *theirs}:
        mine, bill = ours.get(d, Day()), theirs.get(d, Day())
        gap = bill.cost_nanousd - mine.cost_nanousd
        gaps[d] = gap if abs(gap) > slack(mine, bill, quantum) else 0
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
