"""The overview for who pays: a month by day, team, provider and model, beside the month before. Pure.

Amounts are nano-USD. A running month is compared with the same days of the month before, a past one with all of it.
"""

from __future__ import annotations

import csv
import io
from calendar import monthrange
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from spendgate.console.charts import Part, parts
from spendgate.finops.chargeback.parties import parties
from spendgate.finops.chargeback.render import inert
from spendgate.ledger.port import DayCell
from spendgate.money import nano_to_usd
from spendgate.pricing.table import PriceTable

SHOWN = 8
"""Rows of a mix and of the movers; the rest is summed up."""
OTHERS = "all others"


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the month: `before` the same day of the month before, None where that had none."""

    day: str
    spent_nanousd: int
    before_nanousd: int | None


@dataclass(frozen=True, slots=True)
class Mover:
    """A team, and what it spent in both months."""

    team: str
    spent_nanousd: int
    before_nanousd: int

    @property
    def change_nanousd(self) -> int:
        """More (or less, below zero) than before."""
        return self.spent_nanousd - self.before_nanousd


@dataclass(frozen=True, slots=True)
class Overview:
    """A month at a glance. `before_nanousd` is what the month before had spent by the same day."""

    month: str
    spent_nanousd: int
    before_nanousd: int
    saved_nanousd: int
    days: tuple[Day, ...]
    teams: Mapping[str, int]
    providers: Mapping[str, int]
    models: Mapping[str, int]
    movers: tuple[Mover, ...]

    @property
    def change(self) -> float | None:
        """Against the month before, as a ratio; None where that spent nothing."""
        return None if self.before_nanousd <= 0 else self.spent_nanousd / self.before_nanousd - 1


def month_before(month: str) -> str:
    """`202601` → `202512`."""
    return f"{int(month[:4]) - 1}12" if month[4:] == "01" else f"{month[:4]}{int(month[4:]) - 1:02d}"


def overview(
    month: str, cells: Sequence[DayCell], before: Sequence[DayCell], prices: PriceTable, last_day: int
) -> Overview:
    """Add a month's cells up, until `last_day` (of the month; its last for a past one)."""
    earlier = month_before(month)
    days_before = monthrange(int(earlier[:4]), int(earlier[4:]))[1]
    whole = last_day == monthrange(int(month[:4]), int(month[4:]))[1]
    compared = [c for c in before if whole or int(c.day[6:]) <= last_day]
    by_day = _sums((c.day, c.cost_nanousd) for c in cells)
    by_day_before = _sums((c.day, c.cost_nanousd) for c in before)
    teams = _sums((c.team, c.cost_nanousd) for c in cells)
    teams_before = _sums((c.team, c.cost_nanousd) for c in compared)
    movers = [Mover(t, teams.get(t, 0), teams_before.get(t, 0)) for t in {*teams, *teams_before}]
    sellers = {m: parties(m, prices).service for m in {c.model for c in cells}}
    return Overview(
        month=month,
        spent_nanousd=sum(teams.values()),
        before_nanousd=sum(teams_before.values()),
        saved_nanousd=sum(c.saved_nanousd for c in cells),
        days=tuple(
            Day(
                f"{month}{n:02d}",
                by_day.get(f"{month}{n:02d}", 0),
                by_day_before.get(f"{earlier}{n:02d}", 0) if n <= days_before else None,
            )
            for n in range(1, last_day + 1)
        ),
        teams=teams,
        providers=_sums((sellers[c.model], c.cost_nanousd) for c in cells),
        models=_sums((c.model, c.cost_nanousd) for c in cells),
        movers=tuple(
            sorted((m for m in movers if m.change_nanousd), key=lambda m: (-abs(m.change_nanousd), m.team))
        ),
    )


def mix(amounts: Mapping[str, int]) -> list[Part]:
    """The dearest, and the rest as one."""
    ordered = sorted(amounts.items(), key=lambda a: (-a[1], a[0]))
    rest = sum(n for _, n in ordered[SHOWN:])
    return parts([*ordered[:SHOWN], *([(OTHERS, rest)] if rest else [])])


def days_csv(of: Overview) -> str:
    """The trend as a table."""
    return _csv(
        ("day", "spent_usd", "month_before_usd"),
        (
            (
                f"{d.day[:4]}-{d.day[4:6]}-{d.day[6:]}",
                nano_to_usd(d.spent_nanousd),
                _or_nothing(d.before_nanousd),
            )
            for d in of.days
        ),
    )


def teams_csv(of: Overview) -> str:
    """Every team that spent in one of the two months."""
    return _csv(
        ("team", "spent_usd", "month_before_usd", "change_usd"),
        (
            (t, nano_to_usd(now), nano_to_usd(then), nano_to_usd(now - then))
            for t, now, then in sorted(_both(of), key=lambda x: (-x[1], x[0]))
        ),
    )


def models_csv(of: Overview) -> str:
    """Every model."""
    return _csv(("model", "spent_usd"), _dearest(of.models))


def providers_csv(of: Overview) -> str:
    """Every provider."""
    return _csv(("provider", "spent_usd"), _dearest(of.providers))


DOWNLOADS: Mapping[str, Callable[[Overview], str]] = {
    "days": days_csv, "teams": teams_csv, "models": models_csv, "providers": providers_csv,
}  # fmt: skip


def _both(of: Overview) -> list[tuple[str, int, int]]:
    before = {m.team: m.before_nanousd for m in of.movers}
    return [(t, of.teams.get(t, 0), before.get(t, of.teams.get(t, 0))) for t in {*of.teams, *before}]


def _dearest(amounts: Mapping[str, int]) -> Iterable[tuple[str, str]]:
    return ((name, nano_to_usd(n)) for name, n in sorted(amounts.items(), key=lambda a: (-a[1], a[0])))


def _or_nothing(nano: int | None) -> str:
    return "" if nano is None else nano_to_usd(nano)


def _sums(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    out: dict[str, int] = {}
    for name, nano in amounts:
        out[name] = out.get(name, 0) + nano
    return out


def _csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([inert(row[0]), *row[1:]] for row in rows)
    return out.getvalue()
