"""Accounting entries: adjustments that stand beside the counters, as cells for reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spendgate.ledger.port import Adjusted, DayCell, Ledger


async def accounting_cells(ledger: Ledger, teams: Sequence[str], month: str) -> list[DayCell]:
    """The entries booked in a month (`YYYYMM`), a cell each; their money is adjusted money. No budget counts them.
    Raises LedgerUnavailable."""
    return [cell for team in teams for cell in entries_of(await ledger.adjustments(team), month)]


def entries_of(audit: Iterable[Adjusted], month: str) -> list[DayCell]:
    """The entries of an audit that were booked in a month (`YYYYMM`), a cell each."""
    out = []
    for made in audit:
        a = made.adjustment
        if a.is_beside and made.booked_day.startswith(month):
            cost = a.cost_nanousd
            out.append(DayCell(a.team, made.booked_day, a.app, a.model, 0, cost, {}, adjusted_nanousd=cost))
    return out
