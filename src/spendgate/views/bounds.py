"""How every bound of a team stands now, and which of them would refuse the next request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from spendgate.budget.ask import Ask
from spendgate.budget.bounds import UNLIMITED, Bound, Counted
from spendgate.budget.limit_message import amount_text
from spendgate.budget.limits import all_bounds
from spendgate.exchange.snapshot import Snapshot
from spendgate.ledger.redis.bound_counters import read_all
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.money import nano_to_usd
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class BoundsNow:
    """Every bound as a row (see `rows_of`), what is settled and held by key of a bound in its unit, how many holds are
    open, the ledger's time in ms, and what last month settled where something is carried over."""

    rows: tuple[dict[str, Any], ...]
    settled: dict[str, int]
    held: dict[str, int]
    open_holds: int
    at_ms: int
    last_settled: dict[str, int | None] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The rows in a sentence."""
        return verdict(self.rows)


async def read_bounds(
    ledger: RedisLedger,
    snapshot: Snapshot,
    team: str,
    app: str,
    run: str,
    now_ms: int,
    at_ms: int = 0,
    user: str = "",
) -> BoundsNow:
    """How every bound that could be met stands. `now_ms` says which raises are running; the counters are those of the
    ledger's own time, or of `at_ms`. Raises LedgerUnavailable."""
    policy = snapshot.policy
    asked = Ask(team=team, app=app, model="", dialect="", input_tokens=0, run=run, user=user)
    bounds = all_bounds(policy.budget(team), asked, now_ms, snapshot.decision, policy.groups_of(team))
    read = await read_all(ledger, team, bounds, now_ms, at_ms)
    settled = {key: c.settled_nanousd for key, c in read.counters.items()}
    held = {key: c.reserved_nanousd for key, c in read.counters.items()}
    rows = tuple(rows_of(read.bounds, read.counters))
    return BoundsNow(rows, settled, held, read.holds, read.now_ms, read.last_settled)


def rows_of(bounds: Sequence[Bound], counters: Mapping[str, Counted]) -> list[dict[str, Any]]:
    """One row a bound, in the order in which a refusal is named. `left_usd` is what one request may cost at most;
    `refuses`: whatever it costs, none is admitted, or, where `holds_refuse`, none until what is held has ended. None
    where a bound only counts. What counts requests or tokens has `used`, `held`, `limit` and `left` of them, and no
    USD."""
    return [_row(bound, counters[bound.key]) for bound in bounds]


def _row(bound: Bound, counter: Counted) -> dict[str, Any]:
    committed = counter.settled_nanousd + counter.reserved_nanousd
    bounded = bound.floor_nanousd != UNLIMITED
    refuses = bounded and committed >= bound.floor_nanousd
    left = 0 if refuses else max(0, bound.ceiling_nanousd - committed)
    numbers = {
        "settled": counter.settled_nanousd,
        "held": counter.reserved_nanousd,
        "committed": committed,
        "limit": bound.floor_nanousd if bounded else None,
        "ceiling": bound.ceiling_nanousd if bounded else None,
        "left": left if bounded else None,
    }
    is_usd = bound.unit == "usd"
    row: dict[str, Any] = {
        "scope": bound.key,
        "window": bound.subject.window if bound.subject else bound.window,
    }
    row |= {f"{k}_usd": nano_to_usd(n) if is_usd and n is not None else None for k, n in numbers.items()}
    if not is_usd:
        row |= {"unit": bound.unit, **numbers}
    return row | {
        "refuses": refuses,
        "holds_refuse": refuses and counter.settled_nanousd < bound.floor_nanousd,
        "reason": bound.reason,
    }


def in_words(row: Mapping[str, Any], what: str) -> str:
    """One of a row's numbers in words: `$12.50`, `200 requests`."""
    unit = row.get("unit", "usd")
    return f"${row[f'{what}_usd']}" if unit == "usd" else amount_text(unit, row[what])


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
    settled, held, limit = (in_words(row, w) for w in ("settled", "held", "limit"))
    numbers = f"{settled} settled + {held} held of {limit}"
    return f"{reason} ({row['scope']}: {numbers})"
