"""How every bound of a team stands now, and which of them would refuse the next request. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from spendgate.budget.bounds import UNLIMITED, Bound
from spendgate.money import nano_to_usd


class Counted(Protocol):
    """A counter of the ledger (`ledger.holds.Counter`)."""

    @property
    def settled_nanousd(self) -> int: ...

    @property
    def reserved_nanousd(self) -> int: ...


def rows_of(bounds: Sequence[Bound], counters: Mapping[str, Counted]) -> list[dict[str, Any]]:
    """One row a bound, in the order in which a refusal is named. `left_usd` is what one request may cost at most;
    `refuses`: whatever it costs, none is admitted. None where a bound only counts."""
    return [_row(bound, counters[bound.scope]) for bound in bounds]


def _row(bound: Bound, counter: Counted) -> dict[str, Any]:
    committed = counter.settled_nanousd + counter.reserved_nanousd
    bounded = bound.floor_nanousd != UNLIMITED
    refuses = bounded and committed >= bound.floor_nanousd
    left = 0 if refuses else max(0, bound.ceiling_nanousd - committed)
    return {
        "scope": bound.scope,
        "window": bound.window,
        "settled_usd": nano_to_usd(counter.settled_nanousd),
        "held_usd": nano_to_usd(counter.reserved_nanousd),
        "committed_usd": nano_to_usd(committed),
        "limit_usd": nano_to_usd(bound.floor_nanousd) if bounded else None,
        "ceiling_usd": nano_to_usd(bound.ceiling_nanousd) if bounded else None,
        "left_usd": nano_to_usd(left) if bounded else None,
        "refuses": refuses,
        "reason": bound.reason,
    }


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in a sentence."""
    month = next((r for r in rows if r["scope"] == "month"), None)
    if month is not None and month["refuses"]:
        return f"every request is refused: {_words(month)}"
    refusing = [r for r in rows if r["refuses"]]
    if refusing:
        return "requests that meet a bound that is reached are refused: " + "; ".join(map(_words, refusing))
    bounded = [r for r in rows if r["left_usd"] is not None]
    if not bounded:
        return "no request is refused: nothing bounds this team"
    least = min(bounded, key=lambda r: (float(r["left_usd"]), r["scope"]))
    return f"no bound is reached; {least['scope']} is nearest: a request may cost up to ${least['left_usd']} there"


def _words(row: Mapping[str, Any]) -> str:
    return (
        f"{row['reason']} ({row['scope']}: ${row['settled_usd']} settled + ${row['held_usd']} held "
        f"of ${row['limit_usd']})"
    )
