"""How every bound of a team stands now, and which of them would refuse the next request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spendgate.budget.bounds import UNLIMITED, Bound, Counted
from spendgate.budget.limits import all_bounds
from spendgate.exchange.snapshot import Snapshot
from spendgate.ledger.redis.holds import read_counters
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.money import nano_to_usd

_COUNTED_ONLY = (Bound("month", "month", UNLIMITED, UNLIMITED, "monthly_budget_exceeded"),)
"""Of a team without a budget."""


@dataclass(frozen=True, slots=True)
class BoundsNow:
    """Every bound as a row (see `rows_of`), what is settled and held by scope in nano-USD, how many holds are open, and
    the ledger's time in ms."""

    rows: tuple[dict[str, Any], ...]
    settled: dict[str, int]
    held: dict[str, int]
    open_holds: int
    at_ms: int

    @property
    def verdict(self) -> str:
        """The rows in a sentence."""
        return verdict(self.rows)


async def read_bounds(
    ledger: RedisLedger, snapshot: Snapshot, team: str, app: str, run: str, now_ms: int, at_ms: int = 0
) -> BoundsNow:
    """How every bound that could be met stands. `now_ms` says which raises are running; the counters are those of the
    ledger's own time, or of `at_ms`. Raises LedgerUnavailable."""
    budget = snapshot.policy.budget(team)
    bounds: Sequence[Bound] = _COUNTED_ONLY
    if budget is not None:
        bounds = all_bounds(budget, app, run, now_ms, snapshot.decision)
    pairs = [(b.scope, b.window) for b in bounds]
    at, holds, counters = await read_counters(ledger, team, pairs, at_ms)
    settled = {scope: c.settled_nanousd for scope, c in counters.items()}
    held = {scope: c.reserved_nanousd for scope, c in counters.items()}
    return BoundsNow(tuple(rows_of(bounds, counters)), settled, held, holds, at)


def rows_of(bounds: Sequence[Bound], counters: Mapping[str, Counted]) -> list[dict[str, Any]]:
    """One row a bound, in the order in which a refusal is named. `left_usd` is what one request may cost at most;
    `refuses`: whatever it costs, none is admitted, or, where `holds_refuse`, none until what is held has ended. None
    where a bound only counts."""
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
        "holds_refuse": refuses and counter.settled_nanousd < bound.floor_nanousd,
        "reason": bound.reason,
    }


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in a sentence."""
    month = next((r for r in rows if r["scope"] == "month"), None)
    if month is not None and month["refuses"]:
        waits = " until enough of what is held has ended" if month["holds_refuse"] else ""
        return f"every request is refused{waits}: {_words(month)}"
    refusing = [r for r in rows if r["refuses"]]
    if refusing:
        waits = (
            ", some until enough of what is held has ended"
            if any(r["holds_refuse"] for r in refusing)
            else ""
        )
        words = "; ".join(map(_words, refusing))
        return f"requests that meet a bound that is reached are refused{waits}: {words}"
    bounded = [r for r in rows if r["left_usd"] is not None]
    if not bounded:
        return "no request is refused: nothing bounds this team"
    least = min(bounded, key=lambda r: (float(r["left_usd"]), r["scope"]))
    return f"no bound is reached; {least['scope']} is nearest: a request may cost up to ${least['left_usd']} there"


def _words(row: Mapping[str, Any]) -> str:
    reason = "budget_held" if row["holds_refuse"] else row["reason"]
    numbers = f"${row['settled_usd']} settled + ${row['held_usd']} held of ${row['limit_usd']}"
    return f"{reason} ({row['scope']}: {numbers})"
