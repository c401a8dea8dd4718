"""The thresholds of `limits`: which values of a limit have reached which share of their most. Read only.

Values are those that the ledger has counted in the window of now (its index, or the team itself). What was told is
known by key: the limit, its value, its window and the percentage.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

from spendgate.alerts.alert import Alert
from spendgate.budget.ask import Ask
from spendgate.budget.bounds import Bound, Subject
from spendgate.budget.calendar import period_at, periods
from spendgate.budget.limit_message import limit_fact
from spendgate.budget.limit_rules import REASON, LimitRule
from spendgate.budget.policy import TeamBudget
from spendgate.ledger.exchanges import group_account
from spendgate.ledger.recovery.checkpoint import counter_of
from spendgate.ledger.redis.client import Client, answered
from spendgate.ledger.redis.codec import team_prefix, text
from spendgate.months import month_key

EVERY_MS = 5_000
VALUES_PER_TRIP = 1000


class LimitThresholds:
    """Looks every few seconds, by the time it is given."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._looked_ms = 0

    async def due(self, budgets: Iterable[TeamBudget], now_ms: int) -> AsyncIterator[tuple[str, Alert]]:
        """An alert for each threshold that a value has reached, told before or not, with the account that it is
        written down in. Raises LedgerUnavailable."""
        if 0 <= now_ms - self._looked_ms < EVERY_MS:
            return
        self._looked_ms = now_ms
        for budget in budgets:
            for rule in budget.limits:
                if rule.thresholds:
                    async for alert in self._of(budget, rule, now_ms):
                        yield _account(budget), alert

    async def _of(self, budget: TeamBudget, rule: LimitRule, now_ms: int) -> AsyncIterator[Alert]:
        starts = periods(rule.ledger_window, budget.calendar, now_ms)
        window = period_at(starts, now_ms) if starts else rule.ledger_window
        prefix = team_prefix(_account(budget))
        ask = Ask(budget.team, "", "", "", 0)
        scopes = await self._scopes(budget, rule, prefix, counter_of(rule.scope, window, now_ms))
        month = _month_of(window) if starts else month_key(now_ms)
        for start in range(0, len(scopes), VALUES_PER_TRIP):
            some = scopes[start : start + VALUES_PER_TRIP]
            pipe = self._client.pipeline(transaction=False)
            for scope in some:
                pipe.hget(prefix + counter_of(scope, window, now_ms), "s")
            used = [int(n or 0) for n in await answered("limits", pipe.execute())]
            for scope, spent in zip(some, used, strict=True):
                value = scope.removeprefix(rule.scope)
                most = rule.most_for(value, ask)
                for t in rule.thresholds:
                    if most > 0 and spent * 100 >= most * t.percent:
                        yield _alert(
                            budget, rule, value, window, spent, most, t.percent, t.channel, month, now_ms
                        )

    async def _scopes(self, budget: TeamBudget, rule: LimitRule, prefix: str, base: str) -> list[str]:
        if not rule.is_open_ended:
            members = [p.text for p in budget.members]
            return [rule.scope_of(v) for v in rule.named(budget.is_group, budget.team, members)]
        found = await answered("limits", cast(Any, self._client.smembers(f"{prefix}v:{base[2:]}")))
        return sorted(text(scope) for scope in found)


def places(budgets: Iterable[TeamBudget], now_ms: int) -> set[tuple[str, str]]:
    """The accounts and months in which alerts of limits with periods of their own are written down: of the current
    period, and of the one before it."""
    found = set()
    for budget in budgets:
        for rule in budget.limits:
            starts = periods(rule.ledger_window, budget.calendar, now_ms)
            if rule.thresholds and starts:
                windows = period_at(starts, starts[0] * 1000), period_at(starts, now_ms)
                found |= {(_account(budget), _month_of(window)) for window in windows}
    return found


def _account(budget: TeamBudget) -> str:
    return group_account(budget.team) if budget.is_group else budget.team


def _month_of(period: str) -> str:
    return month_key(int(period.partition("-")[0]) * 1000)


def _alert(
    budget: TeamBudget,
    rule: LimitRule,
    value: str,
    window: str,
    spent: int,
    most: int,
    percent: int,
    channel: str,
    month: str,
    now_ms: int,
) -> Alert:
    subject = Subject(rule.per, value, rule.window, rule.match.text if rule.match else "")
    bound = Bound(
        rule.scope_of(value), rule.ledger_window, most, most, REASON, unit=rule.unit,
        group=budget.team if budget.is_group else "", subject=subject,
    )  # fmt: skip
    name = hashlib.sha256(f"{bound.scope} {window}".encode()).hexdigest()[:16]
    detail = f"{limit_fact(bound, budget.team, spent, 0)}: {percent} % of its limit are reached."
    channels = (channel,) if channel else ()
    key = f"limit:{name}:{percent}"
    return Alert(key, "limit", budget.team, month, now_ms, percent=percent, channels=channels, detail=detail)
