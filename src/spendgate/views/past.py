"""What teams and groups may spend in a month: as a policy says, and of a month that is over by its own budgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from spendgate.budget.policy import Policy
from spendgate.ledger.accounts import TeamMonth
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_last_ms
from spendgate.policy.month_budgets import budgets_of, compiled, groups_of
from spendgate.values import dataclass
from spendgate.views.carries import limits_at


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets of teams and of groups, with what was carried over: nano-USD by name."""

    teams: Mapping[str, int]
    groups: Mapping[str, int]
    grouping: Policy = field(default_factory=Policy)
    """Says which teams are in the groups."""


@dataclass(frozen=True, slots=True)
class PastMonth:
    """Months of teams, and of groups, and their budgets at the month's end."""

    months: tuple[TeamMonth, ...]
    groups: tuple[TeamMonth, ...]
    limits: Limits


async def limits_in_force(ledger: RedisLedger, policy: Policy, teams: Iterable[str], at_ms: int) -> Limits:
    """What a policy says at a time: of every team that it names, and of those `teams` that a template covers. Raises
    LedgerUnavailable."""
    budgets = {t: b for t in sorted({*policy.teams, *teams}) if (b := policy.budget(t)) is not None}
    return Limits(
        await limits_at(ledger, budgets, at_ms), await limits_at(ledger, policy.groups, at_ms), policy
    )


async def own_limits(ledger: RedisLedger, teams: Sequence[str], month: str) -> Limits | None:
    """The own budgets of a month (`YYYYMM`) that is over, at its end; None where nothing is known of them. Raises
    LedgerUnavailable."""
    own = await budgets_of(ledger.calls.redis, teams, month)
    if own is None:
        return None
    groups, at_ms = compiled(await groups_of(ledger.calls.redis, month)), month_last_ms(month)
    return Limits(
        await limits_at(ledger, own, at_ms),
        await limits_at(ledger, groups, at_ms),
        Policy.of(groups.values()),
    )


async def past_month(ledger: RedisLedger, month: str, instead: Policy) -> PastMonth:
    """Read a month (`YYYYMM`) that is over: teams and groups that had a budget in it, or spent. Where nothing is known
    of its own budgets, `instead` counts, and every team and group is there. Raises LedgerUnavailable."""
    teams = await ledger.teams()
    own = await own_limits(ledger, teams, month)
    limits = own or await limits_in_force(ledger, instead, teams, month_last_ms(month))
    months = await ledger.months(sorted({*teams, *limits.teams}), month)
    groups = await ledger.group_months(await ledger.groups(), month)
    if own is not None:
        months = [m for m in months if _counts(m, limits.teams)]
        groups = [m for m in groups if _counts(m, limits.groups)]
    return PastMonth(tuple(months), tuple(groups), limits)


def _counts(m: TeamMonth, limits: Mapping[str, int]) -> bool:
    return bool(m.team in limits or m.cells or m.committed_nanousd)
