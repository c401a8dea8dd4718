"""The thresholds of `limits`: which values of a limit have reached which share of their most. Read only.

Values are those that the ledger has counted in the window of now (its index, or the team itself). What was told is
known by key: the counter of the value in its window, and the percentage. It is written down apart from what was told of
the month, since values are many: by day for days and hours, by the month of its start for what is longer.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, cast

from spendgate.alerts.alert import Alert
from spendgate.budget.ask import Ask
from spendgate.budget.bounds import Bound, Subject
from spendgate.budget.calendar import period_at, periods
from spendgate.budget.forecast import DAY_MS, HOUR_MS
from spendgate.budget.limit_message import limit_fact
from spendgate.budget.limit_rules import REASON, LimitRule, LimitThreshold
from spendgate.budget.policy import TeamBudget
from spendgate.ledger.recovery.checkpoint import counter_of
from spendgate.ledger.redis.client import Client, answered
from spendgate.ledger.redis.codec import team_prefix, text
from spendgate.months import day_key, month_key, month_start
from spendgate.views.carries import account_of

VALUES_PER_TRIP = 1000
TOTAL = "limits:total"


class Place(NamedTuple):
    """Where alerts are written down: an account, and a name in the place of a month."""

    account: str
    name: str


class Places(NamedTuple):
    """Of a limit's current window, and of the one before it."""

    now: Place
    before: Place


class Reached(NamedTuple):
    """A value has reached a threshold: it is told once by `key`. `alert` makes the alert."""

    places: Places
    key: str
    alert: Callable[[], Alert]


async def reached(client: Client, budgets: Iterable[TeamBudget], now_ms: int) -> AsyncIterator[Reached]:
    """Every threshold that a value has reached, told before or not. Raises LedgerUnavailable."""
    for budget in budgets:
        for rule in budget.limits:
            if rule.thresholds:
                async for one in _of(client, budget, rule, now_ms):
                    yield one


def places_of(budget: TeamBudget, rule: LimitRule, now_ms: int) -> Places:
    """Where the alerts of a limit are written down. A run goes on over a month's end, so both places are its own; what
    never starts anew has one."""
    account, window = account_of(budget), rule.ledger_window
    if window == "total":
        return Places(Place(account, TOTAL), Place(account, TOTAL))
    name = _by_day if window in ("hour", "day") else _by_month
    starts = periods(window, budget.calendar, now_ms)
    if starts:
        at_ms, last_ms = _start_ms(period_at(starts, now_ms)), starts[0] * 1000
    else:
        step_ms = {"hour": HOUR_MS, "day": DAY_MS}.get(window, 0)
        at_ms, last_ms = now_ms, now_ms - step_ms if step_ms else _last_month_ms(now_ms)
    return Places(Place(account, name(at_ms)), Place(account, name(last_ms)))


def usual_names(now_ms: int) -> list[str]:
    """The names of most places that may hold something open, whatever budgets are in force."""
    days, months = (now_ms - DAY_MS, now_ms), (_last_month_ms(now_ms), now_ms)
    return [TOTAL, *map(_by_day, days), *map(_by_month, months)]


async def _of(client: Client, budget: TeamBudget, rule: LimitRule, now_ms: int) -> AsyncIterator[Reached]:
    starts = periods(rule.ledger_window, budget.calendar, now_ms)
    window = period_at(starts, now_ms) if starts else rule.ledger_window
    prefix = team_prefix(account_of(budget))
    ask = Ask(budget.team, "", "", "", 0)
    scopes = await _scopes(client, budget, rule, prefix, counter_of(rule.scope, window, now_ms))
    places = places_of(budget, rule, now_ms)
    month = month_key(_start_ms(window) if starts else now_ms)
    for start in range(0, len(scopes), VALUES_PER_TRIP):
        some = scopes[start : start + VALUES_PER_TRIP]
        counters = [counter_of(scope, window, now_ms) for scope in some]
        pipe = client.pipeline(transaction=False)
        for counter in counters:
            pipe.hget(prefix + counter, "s")
        used = [int(n or 0) for n in await answered("limits", pipe.execute())]
        for scope, counter, spent in zip(some, counters, used, strict=True):
            value = scope.removeprefix(rule.scope)
            most = rule.most_for(value, ask)
            for t in rule.thresholds:
                if most > 0 and spent * 100 >= most * t.percent:
                    key = f"limit:{hashlib.sha256(counter.encode()).hexdigest()[:16]}:{t.percent}"
                    make = partial(_alert, key, budget, rule, t, value, spent, most, month, now_ms)
                    yield Reached(places, key, make)


async def _scopes(client: Client, budget: TeamBudget, rule: LimitRule, prefix: str, base: str) -> list[str]:
    if not rule.is_open_ended:
        members = [p.text for p in budget.members]
        return [rule.scope_of(v) for v in rule.named(budget.is_group, budget.team, members)]
    found = await answered("limits", cast(Any, client.smembers(f"{prefix}v:{base[2:]}")))
    return sorted(text(scope) for scope in found)


def _by_day(at_ms: int) -> str:
    return f"limits:{day_key(at_ms)}"


def _by_month(at_ms: int) -> str:
    return f"limits:{month_key(at_ms)}"


def _start_ms(period: str) -> int:
    return int(period.partition("-")[0]) * 1000


def _last_month_ms(now_ms: int) -> int:
    return int(month_start(now_ms).timestamp() * 1000) - 1


def _alert(
    key: str,
    budget: TeamBudget,
    rule: LimitRule,
    threshold: LimitThreshold,
    value: str,
    spent: int,
    most: int,
    month: str,
    now_ms: int,
) -> Alert:
    subject = Subject(rule.per, value, rule.window, rule.match.text if rule.match else "")
    bound = Bound(
        rule.scope_of(value), rule.ledger_window, most, most, REASON, unit=rule.unit,
        group=budget.team if budget.is_group else "", subject=subject,
    )  # fmt: skip
    percent, channels = threshold.percent, (threshold.channel,) if threshold.channel else ()
    detail = f"{limit_fact(bound, budget.team, spent, 0)}: {percent} % of its limit are reached."
    return Alert(key, "limit", budget.team, month, now_ms, percent=percent, channels=channels, detail=detail)
