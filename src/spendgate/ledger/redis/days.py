"""Reading chosen days and audits of many teams at once, for pages and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from spendgate.ledger.accounts import Adjusted
from spendgate.ledger.redis.codec import adjusted, team_prefix, text
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.values import dataclass

DAYS_PER_TRIP = 3_000
AUDITS_PER_TRIP = 500

RawDays = list[tuple[str, str, dict[Any, Any]]]
"""(team, day, the hash as it came): `codec.day_cells` reads it, which may cost time better spent in a thread."""


async def raw_days(
    ledger: RedisLedger, teams: Sequence[str], days: Sequence[str], month: str
) -> tuple[RawDays, list[int]]:
    """The hashes of some days (`YYYYMMDD`) of each team, and what its month (`YYYYMM`) had settled when they were read
    (nano-USD): one round trip for every `DAYS_PER_TRIP` of them. Raises LedgerUnavailable."""
    out, settled = RawDays(), list[int]()
    at_once = max(1, DAYS_PER_TRIP // (len(days) + 1))
    for start in range(0, len(teams), at_once):
        part = teams[start : start + at_once]
        pipe = ledger.calls.redis.pipeline(transaction=False)
        for team in part:
            pipe.hget(f"{team_prefix(team)}b:month:{month}", "s")
            for day in days:
                pipe.hgetall(f"{team_prefix(team)}d:{day}")
        replies = iter(await ledger.calls.bulk("days", pipe.execute))
        for team in part:
            settled.append(int(next(replies) or 0))
            out += [(team, day, next(replies)) for day in days]
    return out, settled


async def audits(ledger: RedisLedger, teams: Sequence[str]) -> dict[str, list[Adjusted]]:
    """The audit of each team that has one, oldest first. Raises LedgerUnavailable."""
    out: dict[str, list[Adjusted]] = {}
    for start in range(0, len(teams), AUDITS_PER_TRIP):
        part = teams[start : start + AUDITS_PER_TRIP]
        pipe = ledger.calls.redis.pipeline(transaction=False)
        for team in part:
            pipe.hgetall(team_prefix(team) + "adj")
        replies = await ledger.calls.bulk("adjustments", pipe.execute)
        out.update({t: adjusted(t, fields) for t, fields in zip(part, replies, strict=True) if fields})
    return out


@dataclass(frozen=True, slots=True)
class Closed:
    """A team's closed month: when, by whom, and what was settled then."""

    at_ms: int
    by: str
    settled_nanousd: int


async def closed_months(ledger: RedisLedger, teams: Sequence[str]) -> dict[str, dict[str, Closed]]:
    """Month (`YYYYMM`) → team → its closing, as far as months are closed. It does not look whether their numbers are
    as they were (`closing.look_at_month`). Raises LedgerUnavailable."""
    out: dict[str, dict[str, Closed]] = {}
    for start in range(0, len(teams), AUDITS_PER_TRIP):
        part = teams[start : start + AUDITS_PER_TRIP]
        pipe = ledger.calls.redis.pipeline(transaction=False)
        for team in part:
            pipe.hgetall(team_prefix(team) + "closed")
        replies = await ledger.calls.bulk("closed", pipe.execute)
        for team, fields in zip(part, replies, strict=True):
            for month, raw in fields.items():
                row = orjson.loads(raw)
                out.setdefault(text(month), {})[team] = Closed(int(row["t"]), row["by"], int(row["s"]))
    return out
