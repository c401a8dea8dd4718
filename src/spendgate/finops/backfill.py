"""Backfill: what past days should have cost, and the adjustments that make up for it. Pure; nano-USD.

What should have been comes from usage logs (each exchange at the corrected prices of its own moment, exact), or
from a provider's usage export (its tokens of a model and day at that day's corrected prices, shared out to the
apps that used it). Such a day is never priced as one exchange: where a price has context tiers, the part that was
in the tier is told by what the day was metered for at the prices of then (`tiers`), else by the mean exchange. What
an export does not count apart (cached input within the input, searches) is taken to be as it was metered. The target
of a day, team, app and model is what should have been less what was metered; what was backfilled for that
day before is taken off, so that a second run finds nothing to do, whatever the source. The ids tell month and day:
`backfill/202610/20261003/<digest>`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from spendgate.exchange.billing import Tariff
from spendgate.finops.chargeback.chargeback import at_day, price_for
from spendgate.finops.chargeback.tiers import by_mean, cost_at, part_of, with_requests
from spendgate.finops.invoice.line import USAGE, Line
from spendgate.finops.invoice.names import fingerprint
from spendgate.finops.log_cells import is_exchange
from spendgate.finops.reconciliation.reconcile import reconcile
from spendgate.finops.reconciliation.true_up import BACKFILL, TrueUp, Where, targets
from spendgate.ledger.accounts import Adjusted, DayCell
from spendgate.money import NANO_PER_USD
from spendgate.months import day_key, day_text
from spendgate.pricing.cost import cost_nanousd, cost_pico
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Terms
from spendgate.records.record import UsageRecord
from spendgate.usage import INPUT_KINDS, OUTPUT_KINDS
from spendgate.values import dataclass

Days = dict[str, dict[Where, int]]
"""Nano-USD by day (`YYYYMMDD`), team, app and model."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was metered and what should have been, by day and place."""

    metered: Days
    should: Days

    def targets(self) -> Days:
        """Should-be less metered, zeros left out."""
        out: Days = {}
        for day in sorted({*self.metered, *self.should}):
            was, now = self.metered.get(day, {}), self.should.get(day, {})
            gaps = {w: now.get(w, 0) - was.get(w, 0) for w in sorted({*was, *now})}
            if kept := {w: n for w, n in gaps.items() if n}:
                out[day] = kept
        return out


def repriced_nanousd(record: UsageRecord, prices: PriceTable) -> int:
    """What an exchange costs at a price list, under the terms that it was charged by. What was settled at its
    estimate keeps its cost: it has no tokens."""
    if not record.tokens:
        return record.cost_nanousd
    by = record.priced_by
    terms = Terms(by.provider, by.service_tier, by.residency, record.at_ms)
    if record.parts:
        parts = ((price_for(prices, p.model, terms), p.tokens) for p in record.parts)
        return sum(cost_nanousd(price, usage, prices.stand_ins) for price, usage in parts)
    price, _ = Tariff(prices, terms).price_of(record.model, record.model_answered)
    asked = record.model if record.decision in ("route", "downgrade") else record.model_requested
    return cost_nanousd(*prices.with_router(price, record.tokens, asked, terms.provider), prices.stand_ins)


def from_logs(
    records: Iterable[UsageRecord], prices: PriceTable, days: tuple[str, str], ours: Callable[[str], bool]
) -> Outcome:
    """Price every logged exchange of the days (first, last) again."""
    out = Outcome({}, {})
    first, last = days
    for r in records:
        if not is_exchange(r) or not ours(r.model):
            continue
        day = day_key(r.at_ms)
        if first <= day <= last:
            where = (r.team, r.app, r.model)
            _add(out.metered, day, where, r.cost_nanousd)
            _add(out.should, day, where, repriced_nanousd(r, prices))
    return out


def from_usage(
    lines: Iterable[Line],
    cells: Iterable[DayCell],
    prices: PriceTable,
    days: tuple[str, str],
    egress_team: str,
    before: PriceTable | None = None,
) -> Outcome:
    """Price a provider's tokens, day by day; what was never metered is charged to `egress_team`. `before`: the prices
    that were metered by. Both sides are what is charged, markups in it."""
    first, last = days
    by_day: dict[str, list[Line]] = {}
    for line in lines:
        if first <= line.day <= last and line.charge == USAGE:
            by_day.setdefault(line.day, []).append(line)
    of_day: dict[str, list[DayCell]] = {}
    for cell in cells:
        if first <= cell.day <= last:
            of_day.setdefault(cell.day, []).append(replace(cell, markup_nanousd=0))
    counted = _counted(x for some in by_day.values() for x in some)
    out = Outcome({}, {})
    for day in sorted(by_day):
        mine = of_day.get(day, [])
        for cell in mine:
            _add(
                out.metered, day, (cell.team, cell.app, cell.model), cell.cost_nanousd - cell.adjusted_nanousd
            )
        priced = _priced(by_day[day], mine, prices, before or prices, day, counted)
        found = reconcile("", day[:6], mine, priced, prices)
        for where, nano in targets(found, mine, egress_team).items():
            _add(out.should, day, where, nano)
        for where, nano in out.metered.get(day, {}).items():
            _add(out.should, day, where, nano)
    return out


def _counted(lines: Iterable[Line]) -> dict[str, set[str]]:
    """The kinds that an export counts, by the fingerprint of each model; all of them under ""."""
    out: dict[str, set[str]] = {"": set()}
    for line in lines:
        if line.tokens:
            for key in ("", fingerprint(line.model)):
                out.setdefault(key, set()).add(line.kind or "input")
    return out


def _priced(
    lines: Iterable[Line],
    cells: Iterable[DayCell],
    prices: PriceTable,
    before: PriceTable,
    day: str,
    counted: Mapping[str, set[str]],
) -> list[Line]:
    """A day's lines with what each model's tokens cost. The price is that of the name as it is billed (dated), which
    finds its model's; where that was read out of a meter's text, that of the model as it was metered."""
    of_model: dict[str, list[Line]] = {}
    for line in lines:
        of_model.setdefault(fingerprint(line.model), []).append(line)
    metered: dict[str, list[DayCell]] = {}
    for cell in cells:
        metered.setdefault(fingerprint(cell.model), []).append(cell)
    out = []
    for key, some in of_model.items():
        out += [replace(x, cost_usd=Decimal(0), amounts=0) for x in some]
        cost = _day_cost(
            some, metered.get(key, []), prices, before, day, (counted.get(key, set()), counted[""])
        )
        if cost:
            out.append(Line(day, some[0].model, "", Decimal(cost) / NANO_PER_USD))
    return out


def _day_cost(
    lines: Iterable[Line],
    cells: list[DayCell],
    prices: PriceTable,
    before: PriceTable,
    day: str,
    counted_kinds: tuple[set[str], set[str]],
) -> int:
    """Nano-USD of a model's day. What differs from the metered cost only by rounding is the metered cost."""
    tokens: dict[str, int] = {}
    requests, name = 0, ""
    for line in lines:
        name = name or (line.model if line.exact or not cells else cells[0].model)
        requests += line.requests
        if line.tokens:
            tokens[line.kind or "input"] = tokens.get(line.kind or "input", 0) + line.tokens
    counted = sum(c.requests for c in cells)
    cost = sum(c.cost_nanousd - c.adjusted_nanousd for c in cells)
    mine: dict[str, int] = {}
    for cell in cells:
        for kind, n in cell.tokens.items():
            mine[kind] = mine.get(kind, 0) + n
    tokens = _apart(tokens, mine, *counted_kinds)
    terms = at_day(day)
    price = price_for(prices, name, terms)
    usage = with_requests(tokens, requests or counted)
    part = part_of(price_for(before, name, terms), with_requests(mine, counted), cost) if mine else None
    if part is None:
        part = by_mean(price, usage)
    found = cost_at(price, usage, part)
    unpriced = cost_pico(price, usage)[1]
    found += sum(usage[k] * (prices.stand_ins.get(k, 0)) for k in unpriced) // 1000
    return cost if mine and abs(found - cost) <= counted else found


def _apart(
    tokens: Mapping[str, int], mine: Mapping[str, int], of_model: set[str], of_export: set[str]
) -> dict[str, int]:
    """An export's tokens with the kinds that it does not count apart: tokens of them are within the plain ones of their
    side, fees are not in it at all."""
    out = dict(tokens)
    for kind, n in mine.items():
        if n <= 0 or kind == "requests":
            continue
        side = "input" if kind in INPUT_KINDS else "output" if kind in OUTPUT_KINDS else ""
        if not side and kind not in of_export:
            out[kind] = n
        elif side and kind != side and kind not in of_model:
            moved = min(n, out.get(side, 0))
            out[side] = out.get(side, 0) - moved
            out[kind] = out.get(kind, 0) + moved
    return {k: n for k, n in out.items() if n}


def _add(days: Days, day: str, where: Where, nano: int) -> None:
    into = days.setdefault(day, {})
    into[where] = into.get(where, 0) + nano


def plan(wanted: Mapping[str, Mapping[Where, int]], audit: Iterable[Adjusted], reason: str) -> list[TrueUp]:
    """The adjustments that are still to make. `wanted` are targets of whole days; days that are not in it are
    left alone."""
    done: Days = {}
    times: dict[tuple[str, Where], int] = {}
    for made in audit:
        a = made.adjustment
        parts = a.adjustment_id.split("/")
        if parts[0] == BACKFILL and len(parts) == 4:
            where = (a.team, a.app, a.model)
            _add(done, parts[2], where, a.cost_nanousd)
            times[parts[2], where] = times.get((parts[2], where), 0) + 1
    out = []
    for day, places in sorted(wanted.items()):
        for where, target in sorted(places.items()):
            nano = target - done.get(day, {}).get(where, 0)
            if nano:
                key = f"{where}|{times.get((day, where), 0)}|{target}"
                digest = hashlib.sha256(key.encode()).hexdigest()[:20]
                said = f"{reason}: backfill of {day_text(day)}"
                out.append(TrueUp(f"{BACKFILL}/{day[:6]}/{day}/{digest}", *where, nano, said))
    return out
