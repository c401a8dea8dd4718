"""Accounting entries: adjustments that stand beside the counters, as cells for reports."""

from __future__ import annotations

from collections.abc import Sequence

from spendgate.ledger.port import DayCell, Ledger


async def accounting_cells(ledger: Ledger, teams: Sequence[str], month: str) -> list[DayCell]:
    """The entries booked in a month (`YYYYMM`), a cell each; their money is adjusted money. No budget counts them.
    Raises LedgerUnavailable."""
    out = []
    for team in teams:
        for made in await ledger.adjustments(team):
            a = made.adjustment
            if a.is_beside and made.booked_day.startswith(month):
                cost = a.cost_nanousd
                out.append(DayCell(team, made.booked_day, a.app, a.model, 0, cost, {}, adjusted_nanousd=cost))
    return out
