"""How bounds stand, the team's and those of its groups: each account in one script, at one instant."""

from __future__ import annotations

from collections.abc import Sequence

from spendgate.budget.bounds import Bound
from spendgate.ledger.exchanges import group_account
from spendgate.ledger.redis.holds import Counter, read_counters
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import previous_month
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class BoundCounters:
    """At `now_ms` of the ledger's clock: how many holds the team has, the counters by a bound's key, and the bounds as
    what last month left has raised them."""

    now_ms: int
    holds: int
    counters: dict[str, Counter]
    bounds: tuple[Bound, ...]
    last_settled: dict[str, int | None]
    """What last month settled by account ("" or the group's name), where something is carried over."""


async def read_all(
    ledger: RedisLedger, team: str, bounds: Sequence[Bound], now_ms: int, at_ms: int = 0
) -> BoundCounters:
    """Read them; the first bound is the team's month. `now_ms` is by the caller's clock, and names periods; `at_ms`
    other than 0: the ledger's clock is not asked. Raises LedgerUnavailable."""
    read_at, holds = at_ms, 0
    last: dict[str, int | None] = {}
    counters: dict[str, Counter] = {}
    raised: dict[str, int] = {}
    for group in dict.fromkeys(b.group for b in bounds):
        own = [b for b in bounds if b.group == group]
        account = group_account(group) if group else team
        now, n, found = await read_counters(
            ledger, account, [(b.scope, b.window_at(now_ms)) for b in own], at_ms
        )
        counters |= {b.key: found[b.scope] for b in own}
        if not group:
            read_at, holds = now, n
        carry = next((b.carry for b in own if b.carry is not None), None)
        if carry is not None:
            (last[group],) = await ledger.months_settled([account], previous_month(now))
            raised[group] = carry.amount_nanousd(last[group])
    now_bounds = tuple(b.raised(raised.get(b.group, 0)) for b in bounds)
    return BoundCounters(read_at, holds, counters, now_bounds, last)
