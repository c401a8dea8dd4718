"""Where two books of one month disagree: the ledger's and another source's. Pure."""

from __future__ import annotations

from spendgate.finops.chargeback.chargeback import ADJUSTMENT, Chargeback, Line
from spendgate.money import nano_to_usd

SHOWN_MAX = 20
_Key = tuple[str, str, str]


def differences(report: Chargeback, ledger: Chargeback) -> list[str]:
    """One line a difference of team, app and model, the dearest first; more than 20 are counted.

    Adjustments are left out: only the ledger has them.
    """
    ours, theirs = _lines(report), _lines(ledger)
    found: list[tuple[int, str]] = []
    for key in sorted({*ours, *theirs}):
        mine, other = _facts(ours.get(key)), _facts(theirs.get(key))
        told = [
            f"{name} {_text(name, mine.get(name, 0))} against {_text(name, other.get(name, 0))}"
            for name in sorted({*mine, *other}, key=_place)
            if mine.get(name, 0) != other.get(name, 0)
        ]
        if told:
            away = abs(mine.get("cost_usd", 0) - other.get("cost_usd", 0))
            names = " / ".join(n or "(unnamed)" for n in key)
            found.append((-away, f"{names}: {report.source} has {', '.join(told)} in the ledger"))
    found.sort(key=lambda x: x[0])
    out = [text for _, text in found[:SHOWN_MAX]]
    if len(found) > SHOWN_MAX:
        out.append(f"and {len(found) - SHOWN_MAX} more")
    return out


def _lines(report: Chargeback) -> dict[_Key, Line]:
    return {(x.team, x.app, x.model): x for x in report.lines}


def _facts(line: Line | None) -> dict[str, int]:
    """What both sources know of a line."""
    if line is None:
        return {}
    adjusted = sum(k.cost_nanousd for k in line.kinds if k.kind == ADJUSTMENT)
    facts = {
        "cost_usd": line.cost_nanousd - adjusted,
        "requests": line.requests,
        "saved_usd": line.saved_nanousd,
        "refused": line.refused,
    }
    return facts | {f"{k.kind} tokens": k.tokens for k in line.kinds if k.tokens}


def _place(name: str) -> tuple[int, str]:
    first = ("cost_usd", "requests", "saved_usd", "refused")
    return (first.index(name) if name in first else len(first)), name


def _text(name: str, n: int) -> str:
    return nano_to_usd(n) if name.endswith("_usd") else f"{n:,}"
