"""What usage logs add to a reconciliation: which costs were estimates, and days cut at other hours than UTC's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from spendgate.finops.log_cells import cells_of, is_exchange
from spendgate.ledger.accounts import DayCell
from spendgate.months import day_key
from spendgate.records.reader import read

SHIFTS = tuple(m for m in range(-14 * 60, 12 * 60 + 1, 30) if m)
"""Minutes after UTC midnight at which days may begin: local midnights of all time zones, west is positive."""
MINUTE_MS = 60_000
SLOT_MS = 30 * MINUTE_MS


def with_estimates_apart(
    cells: Iterable[DayCell], logs: Iterable[Path], month: str, ours: Callable[[str], bool]
) -> list[DayCell]:
    """The cells, with what was settled without tokens taken out into cells of its own."""
    estimated: dict[tuple[str, str, str, str], DayCell] = {}
    records = (r for r in read(logs) if ours(r.model) and is_exchange(r) and not r.tokens)
    for cell in cells_of(records, month):
        estimated[cell.team, cell.day, cell.app, cell.model] = cell
    out = []
    for cell in cells:
        guess = estimated.get((cell.team, cell.day, cell.app, cell.model))
        if guess is None or guess.cost_nanousd > cell.cost_nanousd or not any(cell.tokens.values()):
            out.append(cell)
            continue
        rest = replace(
            cell,
            cost_nanousd=cell.cost_nanousd - guess.cost_nanousd,
            requests=cell.requests - guess.requests,
            markup_nanousd=cell.markup_nanousd - guess.markup_nanousd,
        )
        out += [rest, guess]
    return out


def day_shifts(logs: Iterable[Path], month: str, ours: Callable[[str], bool]) -> dict[int, list[DayCell]]:
    """The month's cells (of no team or app) for days that begin so many minutes after midnight UTC."""
    slots: dict[tuple[int, str], DayCell] = {}
    for r in read(logs):
        if ours(r.model) and is_exchange(r):
            key = (r.at_ms // SLOT_MS, r.model)
            known = slots.get(key)
            if known is None:
                known = slots[key] = DayCell("", "", "", r.model, 0, 0, {})
            tokens = known.tokens
            for kind, n in r.tokens.items():
                tokens[kind] = tokens.get(kind, 0) + n
            slots[key] = replace(
                known,
                requests=known.requests + 1,
                cost_nanousd=known.cost_nanousd + r.cost_nanousd,
                markup_nanousd=known.markup_nanousd + r.markup_nanousd,
            )
    if not slots:
        return {}
    out = {}
    for minutes in SHIFTS:
        found = [
            replace(cell, day=day)
            for (slot, _), cell in slots.items()
            if (day := day_key(slot * SLOT_MS - minutes * MINUTE_MS))[:6] == month
        ]
        out[minutes] = found
    return out
