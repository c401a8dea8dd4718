"""Accounting entries: adjustments that stand beside the counters, as cells for reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spendgate.ledger.accounts import Adjusted, DayCell
from spendgate.ledger.port import Read


async def accounting_cells(ledger: Read, teams: Sequence[str], month: str) -> list[DayCell]:
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
