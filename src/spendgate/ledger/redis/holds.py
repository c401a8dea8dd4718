"""What is in flight, and how every bound stands: read in one script, at one instant, by Redis' clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from spendgate.ledger.redis.calls import Script
from spendgate.ledger.redis.codec import text
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.values import dataclass

HOLDS, COUNTERS = (Script(v) for v in ("holds", "counters"))


@dataclass(frozen=True, slots=True)
class OpenHold:
    """A hold in flight. `counters` are those that it stands in, as `month:202611`. Times are the ledger's (ms)."""

    exchange_id: str
    team: str
    app: str
    model: str
    amount_nanousd: int
    at_ms: int
    deadline_ms: int
    counters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holds:
    """A team's holds at `now_ms`, the nearest deadline first; `total` counts also those left out."""

    team: str
    now_ms: int
    total: int
    holds: tuple[OpenHold, ...]


@dataclass(frozen=True, slots=True)
class Counter:
    """One bound's counter in the window of now, nano-USD."""

    settled_nanousd: int
    reserved_nanousd: int

    @property
    def committed_nanousd(self) -> int:
        """Settled + reserved."""
        return self.settled_nanousd + self.reserved_nanousd


async def read_holds(
    ledger: RedisLedger, teams: Sequence[str], limit: int = 1000, now_ms: int = 0
) -> list[Holds]:
    """The holds of teams, at most `limit` of each, in the order given. Raises LedgerUnavailable."""
    replies = await ledger.calls.ask("holds", HOLDS, [(team, [now_ms, limit]) for team in teams])
    return [
        Holds(team, int(now), int(total), tuple(_hold(team, row) for row in rows))
        for team, (now, total, *rows) in zip(teams, replies, strict=True)
    ]


async def read_counters(
    ledger: RedisLedger, team: str, bounds: Sequence[tuple[str, str]], now_ms: int = 0
) -> tuple[int, int, dict[str, Counter]]:
    """(time in ms, open holds, counter by scope) of (scope, window) pairs. Raises LedgerUnavailable."""
    flat: list[Any] = [now_ms, *(part for pair in bounds for part in pair)]
    ((now, holds, *rows),) = await ledger.calls.ask("counters", COUNTERS, [(team, flat)])
    found = {scope: Counter(int(s), int(r)) for (scope, _), (s, r) in zip(bounds, rows, strict=True)}
    return int(now), int(holds), found


def _hold(team: str, row: list[Any]) -> OpenHold:
    exchange_id, raw, deadline = row
    record = orjson.loads(raw)
    counters = tuple(text(c[0]).removeprefix("b:") for c in record["c"])
    return OpenHold(
        text(exchange_id), team, record["a"], record["m"], int(record["e"]), int(record["t"]),
        int(float(deadline)), counters,
    )  # fmt: skip
