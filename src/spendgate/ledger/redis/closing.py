"""A month's close: its numbers are frozen, and what comes later falls into the open month.

Frozen means that no script changes the month's counters and cells any more; the closing keeps a digest of them, so
that a change by other means is told. The budget that each team's month is judged by is frozen with it
(`month_budgets`). The cells live for 400 days, closed or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from spendgate.ledger.redis.calls import Script
from spendgate.ledger.redis.codec import text
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.values import dataclass

CLOSE = Script("close")
Word = Literal["closed", "again", "changed", "open", "holds"]


@dataclass(frozen=True, slots=True)
class Closing:
    """How a team's month stands. `state`: `closed` now, `again` (it was before, unchanged since), `changed` (it was
    before, but its numbers differ from what was closed, `was_nanousd`), `open`, `holds` (it cannot be closed while
    `in_flight` of its requests are in flight).

    `settled_nanousd` is the budget's counter, `cells_nanousd` what the lines of reports add up to.
    """

    team: str
    month: str
    state: Word
    settled_nanousd: int
    cells_nanousd: int
    requests: int
    digest: str
    closed_ms: int
    by: str
    in_flight: int = 0
    was_nanousd: int = 0

    @property
    def is_closed(self) -> bool:
        """Are its numbers frozen?"""
        return self.closed_ms > 0


async def close_month(
    ledger: RedisLedger,
    teams: Sequence[str],
    month: str,
    by: str,
    now_ms: int = 0,
    budgets: Mapping[str, str] | None = None,
) -> list[Closing]:
    """Close a month (`YYYYMM`) for teams, each by itself; again closes what is still open. `budgets` are the documents
    that it is judged by from then on, by team. Raises LedgerUnavailable."""
    if not by:
        raise ValueError("close_month: say who closes it")
    return await _run(ledger, teams, month, by, now_ms, budgets or {})


async def look_at_month(
    ledger: RedisLedger, teams: Sequence[str], month: str, now_ms: int = 0
) -> list[Closing]:
    """How the month stands for teams; changes nothing. Raises LedgerUnavailable."""
    return await _run(ledger, teams, month, "", now_ms, {})


async def _run(
    ledger: RedisLedger, teams: Sequence[str], month: str, by: str, now_ms: int, budgets: Mapping[str, str]
) -> list[Closing]:
    asked: list[tuple[str, list[Any]]] = [(t, [now_ms, month, by, budgets.get(t, "")]) for t in teams]
    replies = await ledger.calls.ask("close", CLOSE, asked)
    out = []
    for team, reply in zip(teams, replies, strict=True):
        word, settled, cells, exchanges, digest, at, who, n = (text(x) for x in reply)
        out.append(
            Closing(
                team,
                month,
                word,  # type: ignore[arg-type]  # the script's own words
                int(settled),
                int(cells),
                int(exchanges),
                digest,
                int(at),
                who,
                in_flight=int(n) if word == "holds" else 0,
                was_nanousd=int(n) if word == "changed" else 0,
            )
        )
    return out
