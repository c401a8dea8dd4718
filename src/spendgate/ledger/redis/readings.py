"""What stands in a team's account, as its hashes are read: pure, no connection."""

from __future__ import annotations

from typing import Any

from spendgate.ledger.accounts import DayCell, Restored, TeamMonth
from spendgate.ledger.redis.codec import (
    ADJUSTED,
    COST,
    EXCHANGES,
    MARKUP,
    OFF_LIST,
    REFUSED,
    SAVED,
    SEP,
    text,
)


def restored(team: str, reply: list[Any]) -> Restored:
    """Read the reply of `restore.lua`."""
    before, after, remembered, rows = reply
    return Restored(
        team,
        int(before),
        int(after),
        int(remembered),
        tuple((text(a), text(m), int(had), int(total), int(added)) for a, m, had, total, added in rows),
    )


def team_month(
    team: str, month: str, counter: list[Any], open_holds: int, days: list[dict[Any, Any]]
) -> TeamMonth:
    """Add up the days of a month. A cell whose every count was taken back is left out."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for day in days:
        for field, value in day.items():
            app, model, kind = text(field).split(SEP)
            cell = counts.setdefault((app, model), {})
            cell[kind] = cell.get(kind, 0) + int(value)
    models: dict[str, int] = {}
    apps: dict[str, int] = {}
    tokens: dict[str, int] = {}
    cells: dict[tuple[str, str], int] = {}
    adjusted: dict[tuple[str, str], int] = {}
    requests = saved = refused = 0
    for (app, model), cell in counts.items():
        exchanges, cost, corrected = cell.pop(EXCHANGES, 0), cell.pop(COST, 0), cell.pop(ADJUSTED, 0)
        if corrected:
            adjusted[app, model] = corrected
            cost += corrected
        requests += exchanges
        saved += cell.pop(SAVED, 0)
        refused += cell.pop(REFUSED, 0)
        cell.pop(OFF_LIST, 0)
        cell.pop(MARKUP, 0)
        if exchanges or cost or corrected:
            cells[app, model] = cost
            models[model] = models.get(model, 0) + cost
            apps[app] = apps.get(app, 0) + cost
        for kind, n in cell.items():
            tokens[kind] = tokens.get(kind, 0) + n
    settled, reserved = (int(v or 0) for v in counter)
    return TeamMonth(
        team,
        month,
        settled,
        reserved,
        requests,
        models,
        apps,
        tokens,
        cells,
        open_holds,
        saved,
        refused,
        adjusted,
    )


def day_cells(team: str, day: str, fields: dict[Any, Any]) -> list[DayCell]:
    """Read a day's hash, sorted by app and model. A cell whose every count was taken back is left out."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for field, value in fields.items():
        app, model, kind = text(field).split(SEP)
        if int(value):
            counts.setdefault((app, model), {})[kind] = int(value)
    out = []
    for (app, model), cell in sorted(counts.items()):
        adjusted = cell.pop(ADJUSTED, 0)
        out.append(
            DayCell(
                team,
                day,
                app,
                model,
                requests=cell.pop(EXCHANGES, 0),
                cost_nanousd=cell.pop(COST, 0) + adjusted,
                saved_nanousd=cell.pop(SAVED, 0),
                refused=cell.pop(REFUSED, 0),
                adjusted_nanousd=adjusted,
                off_list_nanousd=cell.pop(OFF_LIST, 0),
                markup_nanousd=cell.pop(MARKUP, 0),
                tokens=cell,
            )
        )
    return out
