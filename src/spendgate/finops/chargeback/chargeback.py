"""Chargeback: a month's spend by team, app, model and kind, whose parts add up to its totals. Pure.

The ledger knows the cost of an app's day with a model, and its tokens by kind, not the cost of a kind. That is
shared out by the stated rule `RULE`, day by day: in proportion to tokens x the day's list price, rounded to whole
nano-USD by the largest remainder, so that the kinds add up to the cost exactly. Where a price has context tiers, the
day's cost tells which part of it was in the tier (`tiers`); a fee for each request stands as kind `requests`. Usage
logs know each exchange: from them the rule is applied to each. What no tokens explain (an exchange that was settled at
its estimate) stands as kind `requests` too; what was adjusted as kind `adjustment`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime

from spendgate.finops.chargeback.tiers import weights, with_requests
from spendgate.ledger.accounts import DayCell
from spendgate.pricing.table import Price, PriceTable
from spendgate.pricing.terms import ANY, Terms
from spendgate.records.record import UsageRecord
from spendgate.usage import KINDS, Usage
from spendgate.values import dataclass
from spendgate.views.budgets import utilization

RULE = "cost by kind: the exact cost of app and model, shared day by day in proportion to tokens x list price"
UNEXPLAINED = "requests"
"""The kind of cost that no tokens explain."""
ADJUSTMENT = "adjustment"
"""The kind of money that was added or taken back by hand (`spendgate ledger adjust`)."""


@dataclass(frozen=True, slots=True)
class KindShare:
    """One kind's part of a line."""

    kind: str
    tokens: int
    cost_nanousd: int


@dataclass(frozen=True, slots=True)
class Line:
    """What one app spent with one model; the kinds' costs add up to `cost_nanousd`."""

    team: str
    app: str
    model: str
    requests: int
    cost_nanousd: int
    kinds: tuple[KindShare, ...]
    saved_nanousd: int = 0
    """What the models asked for would have cost more, at the same tokens; below zero: less."""
    refused: int = 0
    """Requests for this model that were refused."""
    off_list_nanousd: int = 0
    """By how much the cost is below list prices (below zero: above)."""
    markup_nanousd: int = 0
    """The part of the cost that providers do not bill."""

    @property
    def list_nanousd(self) -> int:
        """What it would have cost at list prices."""
        return self.cost_nanousd + self.off_list_nanousd

    @property
    def effective_nanousd(self) -> int:
        """What providers bill for it."""
        return self.cost_nanousd - self.markup_nanousd

    @property
    def tokens(self) -> int:
        """All tokens (and fees counted by calls) of the line."""
        return sum(k.tokens for k in self.kinds)


@dataclass(frozen=True, slots=True)
class GroupSum:
    """A group's lines: those of its teams. `limit_nanousd` is its budget of the month, None where that is not known."""

    name: str
    limit_nanousd: int | None
    lines: tuple[Line, ...]

    @property
    def teams(self) -> tuple[str, ...]:
        """Those of its teams that have lines."""
        return tuple(dict.fromkeys(x.team for x in self.lines))

    @property
    def cost_nanousd(self) -> int:
        """What its teams cost together."""
        return sum(x.cost_nanousd for x in self.lines)

    @property
    def utilization(self) -> float | None:
        """The cost as a part of the budget; None without one."""
        return utilization(self.cost_nanousd, self.limit_nanousd)


@dataclass(frozen=True, slots=True)
class Chargeback:
    """A month's lines, by team, the dearest first. `month` is `YYYYMM`.

    `days` is the cost of each day (`YYYYMMDD`) by team; `notes` say how shared costs were split.
    """

    month: str
    source: str
    lines: tuple[Line, ...]
    days: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    by: str = "app"
    """What a line's `app` is: the app, or the value of the tag of this name."""
    groups: tuple[GroupSum, ...] = ()
    """The groups of the teams; a team may be in several, so they do not add up to the total."""

    @property
    def cost_nanousd(self) -> int:
        """The sum of all lines."""
        return sum(x.cost_nanousd for x in self.lines)

    @property
    def requests(self) -> int:
        """The settled exchanges of all lines."""
        return sum(x.requests for x in self.lines)

    @property
    def tokens(self) -> int:
        """The tokens of all lines."""
        return sum(x.tokens for x in self.lines)

    @property
    def saved_nanousd(self) -> int:
        """What routing saved, over all lines."""
        return sum(x.saved_nanousd for x in self.lines)

    @property
    def refused(self) -> int:
        """The refused requests of all lines."""
        return sum(x.refused for x in self.lines)

    @property
    def teams(self) -> dict[str, list[Line]]:
        """The lines by team, the dearest team first."""
        by_team: dict[str, list[Line]] = {}
        for line in self.lines:
            by_team.setdefault(line.team, []).append(line)
        spent = {team: sum(x.cost_nanousd for x in lines) for team, lines in by_team.items()}
        return {team: by_team[team] for team in sorted(by_team, key=lambda t: (-spent[t], t))}


def chargeback(month: str, source: str, cells: Iterable[DayCell], prices: PriceTable) -> Chargeback:
    """Add the days up and share the costs out by kind."""
    by_line: dict[tuple[str, str, str], list[DayCell]] = {}
    days: dict[str, dict[str, int]] = {}
    for cell in cells:
        by_line.setdefault((cell.team, cell.app, cell.model), []).append(cell)
        of_day = days.setdefault(cell.day, {})
        of_day[cell.team] = of_day.get(cell.team, 0) + cell.cost_nanousd
    lines = [line for some in by_line.values() if (line := _line(some, prices)) is not None]
    lines.sort(key=lambda x: (x.team, -x.cost_nanousd, x.app, x.model))
    return Chargeback(month, source, tuple(lines), dict(sorted(days.items())))


def _line(cells: Sequence[DayCell], prices: PriceTable) -> Line | None:
    """The days of one team, app and model together; None where nothing is left of them."""
    tokens: dict[str, int] = {}
    for cell in cells:
        for kind, n in cell.tokens.items():
            if kind != UNEXPLAINED:  # exchanges have a column of their own
                tokens[kind] = tokens.get(kind, 0) + n
    requests, cost = sum(c.requests for c in cells), sum(c.cost_nanousd for c in cells)
    adjusted, refused = sum(c.adjusted_nanousd for c in cells), sum(c.refused for c in cells)
    if not (requests or cost or adjusted or refused or any(tokens.values())):
        return None
    of = cells[0]
    kinds = _kinds(cells, tokens, prices, adjusted)
    saved = sum(c.saved_nanousd for c in cells)
    off_list, markup = sum(c.off_list_nanousd for c in cells), sum(c.markup_nanousd for c in cells)
    return Line(of.team, of.app, of.model, requests, cost, kinds, saved, refused, off_list, markup)


def _kinds(
    cells: Sequence[DayCell], tokens: Mapping[str, int], prices: PriceTable, adjusted: int
) -> tuple[KindShare, ...]:
    """The kinds of all days together, each day shared out at its own prices."""
    costs: dict[str, int] = {}
    for cell in cells:
        for kind, nano in cell_costs(cell, prices).items():
            costs[kind] = costs.get(kind, 0) + nano
    kinds = sorted({*(k for k, n in tokens.items() if n), *(k for k, n in costs.items() if n)}, key=_place)
    metered = tuple(KindShare(k, tokens.get(k, 0), costs.get(k, 0)) for k in kinds)
    return (*metered, KindShare(ADJUSTMENT, 0, adjusted)) if adjusted else metered


def cell_costs(cell: DayCell, prices: PriceTable) -> Mapping[str, int]:
    """Nano-USD by kind of what a cell was metered for: as its source knows it, else by `RULE`."""
    cost = cell.cost_nanousd - cell.adjusted_nanousd
    if cell.kind_costs and sum(cell.kind_costs.values()) == cost:
        return cell.kind_costs
    tokens = {k: n for k, n in cell.tokens.items() if k != UNEXPLAINED}
    price = price_for(prices, cell.model, at_day(cell.day))
    return {s.kind: s.cost_nanousd for s in share_by_kind(cost, tokens, price, cell.requests)}


def exchange_costs(record: UsageRecord, prices: PriceTable) -> Mapping[str, int]:
    """Nano-USD by kind of one exchange, at the prices of its own moment and terms."""
    by = record.priced_by
    terms = Terms(by.provider, by.service_tier, by.residency, record.at_ms)
    parts = [(p.model, p.tokens, p.cost_nanousd) for p in record.parts] or [
        (record.model, record.tokens, record.cost_nanousd)
    ]
    out: dict[str, int] = {}
    for model, tokens, cost in parts:
        for shared in share_by_kind(cost, tokens, price_for(prices, model, terms), 1):
            out[shared.kind] = out.get(shared.kind, 0) + shared.cost_nanousd
    return out


def at_day(day: str) -> Terms:
    """The terms of a day (`YYYYMMDD`, UTC) in the ledger, which keeps no hours: those of its noon."""
    return Terms(at_ms=int(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).timestamp() + 43_200) * 1000)


def price_for(prices: PriceTable, model: str, terms: Terms = ANY) -> Price:
    """The price of a model, or the stand-in that an unpriced model is charged by (rule 11)."""
    return prices.find(model, terms) or prices.dearest_of_family(model, terms)


def share_by_kind(cost_nanousd: int, tokens: Usage, price: Price, requests: int = 0) -> tuple[KindShare, ...]:
    """Share a cost out to the kinds by `RULE`; kinds in the order of the vocabulary, zeros left out. `requests`: how
    many exchanges it was, for a price with a fee for each."""
    kinds = sorted((k for k, n in tokens.items() if n), key=_place)
    usage = {k: tokens[k] for k in kinds}
    by_kind = weights(price, with_requests(usage, requests), cost_nanousd)
    fee = by_kind.get(UNEXPLAINED, 0) if UNEXPLAINED not in usage else 0
    shared = [by_kind[k] for k in kinds]
    if cost_nanousd and not any(shared):
        counted = tuple(KindShare(k, tokens[k], 0) for k in kinds)
        return (*counted, KindShare(UNEXPLAINED, 0, cost_nanousd))
    costs = share(cost_nanousd, [*shared, fee])
    out = tuple(KindShare(k, tokens[k], cost) for k, cost in zip(kinds, costs, strict=False))
    return (*out, KindShare(UNEXPLAINED, 0, costs[-1])) if costs[-1] else out


def share(amount: int, weights: Sequence[int]) -> list[int]:
    """Share whole units out in proportion to weights (not all zero, unless the amount is), by the largest
    remainder, the first of equals first. The shares add up to `amount`; a negative one is shared likewise."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    sign, amount = (-1, -amount) if amount < 0 else (1, amount)
    shares = [amount * w // whole for w in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(amount * weights[i] % whole))
    for i in by_remainder[: amount - sum(shares)]:
        shares[i] += 1
    return [sign * s for s in shares]


_PLACES: Mapping[str, int] = {kind: i for i, kind in enumerate(KINDS)}


def _place(kind: str) -> tuple[int, str]:
    return _PLACES.get(kind, len(_PLACES)), kind
