"""What the alerts read of the ledger, in few round trips: a month's counters for every team with what was told
of it. Read only; the layout is that of ledger/lua/common.lua.
"""

from __future__ import annotations

from collections.abc import Iterable

from spendgate.alerts.claims import Fields, alert_key
from spendgate.ledger.redis.client import Client, answered
from spendgate.ledger.redis.codec import team_prefix, text
from spendgate.values import dataclass

TEAMS_PER_TRIP = 500


@dataclass(frozen=True, slots=True)
class TeamMonthRow:
    """A team's month: its counters (nano-USD) and its alerts."""

    team: str
    month: str
    settled_nanousd: int
    reserved_nanousd: int
    fields: Fields


async def standings(client: Client, teams: Iterable[str], month: str) -> list[TeamMonthRow]:
    """Read many teams at once, in the order given. Raises LedgerUnavailable."""
    names = list(teams)
    out: list[TeamMonthRow] = []
    for start in range(0, len(names), TEAMS_PER_TRIP):
        part = names[start : start + TEAMS_PER_TRIP]
        pipe = client.pipeline(transaction=False)
        for team in part:
            pipe.hmget(f"{team_prefix(team)}b:month:{month}", "s", "r")
            pipe.hgetall(alert_key(team, month))
        replies = await answered("alerts", pipe.execute())
        for i, team in enumerate(part):
            settled, reserved = (int(v or 0) for v in replies[2 * i])
            fields = {text(k): text(v) for k, v in replies[2 * i + 1].items()}
            out.append(TeamMonthRow(team, month, settled, reserved, fields))
    return out
