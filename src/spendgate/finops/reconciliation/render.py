"""A reconciliation as text: JSON, Markdown, and rows for a table. Pure; USD are exact decimal strings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from spendgate.finops.chargeback.render import escape, table_rows
from spendgate.finops.reconciliation.causes import CAUSES
from spendgate.finops.reconciliation.reconcile import ModelDrift, Reconciliation, drift_ratio
from spendgate.finops.reconciliation.true_up import TrueUp
from spendgate.money import nano_to_usd, usd_cell
from spendgate.months import day_text, month_text

HEAD = ("model", "cause", "metered USD", "corrected USD", "invoiced USD", "drift USD", "drift")
EGRESS = "direct egress: never metered"


def document(
    found: Reconciliation, planned: Sequence[TrueUp], applied: bool, said: Sequence[str] = ()
) -> dict[str, Any]:
    """The whole of it as plain data; `said` is what was noticed about the files."""
    return {
        "provider": found.provider,
        "month": month_text(found.month),
        "notes": list(said),
        **_sums(found),
        "causes": {c: nano_to_usd(n) for c, n in found.causes.items()},
        "models": [
            {
                "model": m.model,
                "direct_egress": m.is_egress,
                "charge": m.charge or "usage",
                **_sums(m),
                "metered_requests": m.metered_requests,
                "invoiced_requests": m.invoiced_requests,
                "causes": {c: nano_to_usd(n) for c, n in m.causes.items()},
                "notes": list(m.notes),
                "days": [
                    {
                        "day": day_text(day),
                        "metered_usd": nano_to_usd(metered),
                        "invoiced_usd": nano_to_usd(invoiced),
                        "drift_usd": nano_to_usd(invoiced - metered),
                    }
                    for day, metered, invoiced in m.days
                ],
            }
            for m in found.models
        ],
        "applied": applied,
        "true_ups": [
            {
                "id": t.adjustment_id,
                "team": t.team,
                "app": t.app,
                "model": t.model,
                "usd": nano_to_usd(t.nano),
            }
            for t in planned
        ],
    }


def _sums(of: Reconciliation | ModelDrift) -> dict[str, Any]:
    return {
        "metered_usd": nano_to_usd(of.metered_nanousd),
        "corrected_usd": nano_to_usd(of.corrected_nanousd),
        "invoiced_usd": nano_to_usd(of.invoiced_nanousd),
        "drift_usd": nano_to_usd(of.drift_nanousd),
        "drift_ratio": round(_ratio(of), 6),
    }


def _ratio(of: Reconciliation | ModelDrift) -> float:
    return drift_ratio(of.drift_nanousd, of.invoiced_nanousd, of.metered_nanousd)


def to_json(found: Reconciliation, planned: Sequence[TrueUp], applied: bool, said: Sequence[str] = ()) -> str:
    """Indented JSON."""
    return json.dumps(document(found, planned, applied, said), indent=2, ensure_ascii=False) + "\n"


def rows(found: Reconciliation) -> Iterator[tuple[str, ...]]:
    """A row a model, one for each of its causes below it, and the total."""
    for m in found.models:
        yield _row(m.model, EGRESS if m.is_egress else "", m)
        if not m.is_egress:
            yield from (("", cause, "", "", "", usd_cell(nano), "") for cause, nano in m.causes.items())
    yield _row("total", "", found)
    yield from (("", cause, "", "", "", usd_cell(nano), "") for cause, nano in found.causes.items())


def _row(name: str, cause: str, of: Reconciliation | ModelDrift) -> tuple[str, ...]:
    amounts = (of.metered_nanousd, of.corrected_nanousd, of.invoiced_nanousd, of.drift_nanousd)
    return (name, cause, *(usd_cell(n) for n in amounts), f"{_ratio(of):+.2%}")


def notes(found: Reconciliation) -> Iterator[str]:
    """What else was seen, model by model."""
    for m in found.models:
        yield from (f"{m.model}: {note}." for note in m.notes)


def to_markdown(
    found: Reconciliation, planned: Sequence[TrueUp], applied: bool, said: Sequence[str] = ()
) -> str:
    """Tables for a ticket or a wiki: by model and cause, by day, and the true-ups."""
    out = [f"# {escape(found.provider)} {month_text(found.month)}: metered and invoiced", ""]
    out += table_rows(HEAD, [tuple(x) for x in rows(found)], names=2)
    out += ["", *(f"- {escape(note)}" for note in (*said, *notes(found)))]
    days = [
        (day_text(day), m.model, *(usd_cell(n) for n in (ours, theirs, theirs - ours)))
        for m in found.models
        for day, ours, theirs in m.days
        if ours != theirs
    ]
    if days:
        out += ["", "## Days that differ", ""]
        out += table_rows(("day", "model", "metered USD", "invoiced USD", "drift USD"), days, names=2)
    if planned:
        out += ["", f"## True-ups ({'made' if applied else 'not made: run with --apply'})", ""]
        rows_of = [(t.team, t.app, t.model, usd_cell(t.nano)) for t in planned]
        out += table_rows(("team", "app", "model", "USD"), rows_of, names=3)
    return "\n".join([*out, "", f"Causes are told apart in this order: {', '.join(CAUSES)}.", ""])
