"""What last month left to budgets that roll over, for whoever shows how a month stands: read once for all, and again
every few minutes, since what was open at midnight settles into last month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from spendgate.budget.policy import TeamBudget
from spendgate.budget.rollover import carried_nanousd, with_carry
from spendgate.ledger.exchanges import group_account
from spendgate.months import previous_month
from spendgate.values import dataclass

FRESH_MS = 300_000
KEPT_MS = 86_400_000
"""What nobody asked for is forgotten after so long."""


class MonthsSettledReader(Protocol):
    """What this asks of a ledger."""

    async def months_settled(self, accounts: Sequence[str], month: str) -> list[int | None]:
        """See `port.Read.months_settled`."""
        ...


@dataclass(slots=True)
class Carries:
    """Refresh it, then ask it; a budget whose last month was never read stands without."""

    ledger: MonthsSettledReader
    _last: dict[tuple[str, str], int | None] = field(default_factory=dict)
    """What an account (a team's name, or a group's account) settled in a month."""
    _read_ms: dict[tuple[str, str], int] = field(default_factory=dict)

    async def refresh(self, budgets: Iterable[TeamBudget], at_ms: int, now_ms: int = 0) -> None:
        """Read what last month left at `at_ms`, of all where one of them is missing or old. `now_ms` says what is old,
        where it is another time. Raises LedgerUnavailable; what was known stays."""
        month, now_ms = previous_month(at_ms), now_ms or at_ms
        keys = sorted({(account_of(b), month) for b in budgets if b.rollover_percent is not None})
        if all(k in self._read_ms and 0 <= now_ms - self._read_ms[k] < FRESH_MS for k in keys):
            return
        found = await self.ledger.months_settled([account for account, _ in keys], month)
        self._last.update(zip(keys, found, strict=True))
        self._read_ms.update(dict.fromkeys(keys, now_ms))
        for key in [k for k, at in self._read_ms.items() if now_ms - at >= KEPT_MS]:
            del self._last[key], self._read_ms[key]

    def carried_nanousd(self, budget: TeamBudget, at_ms: int) -> int:
        """What is carried over into the month of `at_ms`; 0 where that was never read."""
        return carried_nanousd(budget, self._last.get((account_of(budget), previous_month(at_ms))))

    def of(self, budget: TeamBudget, at_ms: int) -> TeamBudget:
        """The budget as its month is bounded (`rollover.with_carry`)."""
        return with_carry(budget, self.carried_nanousd(budget, at_ms), at_ms)


async def bounded_at(
    ledger: MonthsSettledReader, budgets: Mapping[str, TeamBudget], at_ms: int
) -> dict[str, TeamBudget]:
    """Each budget as the month of a time is bounded, by name. Raises LedgerUnavailable."""
    carries = Carries(ledger)
    await carries.refresh(budgets.values(), at_ms)
    return {name: carries.of(b, at_ms) for name, b in budgets.items()}


async def limits_at(
    ledger: MonthsSettledReader, budgets: Mapping[str, TeamBudget], at_ms: int
) -> dict[str, int]:
    """What each budget comes to at a time, nano-USD, by name: with raises in force and what was carried over. Raises
    LedgerUnavailable."""
    return {name: b.limit_nanousd(at_ms) for name, b in (await bounded_at(ledger, budgets, at_ms)).items()}


def account_of(budget: TeamBudget) -> str:
    """The account that a budget bounds."""
    return group_account(budget.team) if budget.is_group else budget.team
