"""Daily spend for the forecast: whole days are read once, the last two again when they are old."""

from __future__ import annotations

from collections.abc import Sequence

from spendgate.budget.forecast import HOUR_MS, forecast, history_days
from spendgate.budget.policy import TeamBudget
from spendgate.views.history import FRESH_MS, History

T0 = 1_795_000_000_000


class Ledger:
    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], int]] = []
        self.value = 1

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        if teams:
            self.asked.append((tuple(teams), len(days)))
        return {t: [self.value] * len(days) for t in teams}


async def test_a_team_is_read_whole_once_and_its_last_two_days_when_they_are_old() -> None:
    ledger = Ledger()
    history = History(ledger)
    await history.refresh({"a": 0}, T0)
    await history.refresh({"a": 0}, T0 + FRESH_MS - 1)
    whole = len(history_days(T0))
    assert ledger.asked == [(("a",), whole)]
    ledger.value = 5
    await history.refresh({"a": 0}, T0 + FRESH_MS)
    assert ledger.asked[1:] == [(("a",), 2)]
    assert history.daily("a") == [1] * (whole - 2) + [5, 5]


async def test_reading_one_team_anew_leaves_no_other_behind() -> None:
    ledger = Ledger()
    history = History(ledger)
    await history.refresh({"a": 0}, T0)
    await history.refresh({"b": 0}, T0 + FRESH_MS // 2)
    await history.refresh({"b": 0}, T0 + FRESH_MS)
    ledger.asked.clear()
    await history.refresh({"a": 0, "b": 0}, T0 + FRESH_MS)
    assert ledger.asked == [(("a",), 2)]


async def test_a_new_day_reads_everything_again() -> None:
    ledger = Ledger()
    history = History(ledger)
    await history.refresh({"a": 0}, T0)
    ledger.asked.clear()
    await history.refresh({"a": 0}, T0 + 86_400_000)
    assert ledger.asked == [(("a",), len(history_days(T0)))]


async def test_a_team_whose_month_moved_is_read_anew_at_once_and_alone() -> None:
    ledger = Ledger()
    history = History(ledger)
    await history.refresh({"a": 0, "b": 0}, T0)
    ledger.asked.clear()
    await history.refresh({"a": 7, "b": 0}, T0 + 1)
    await history.refresh({"a": 7, "b": 0}, T0 + 2)
    assert ledger.asked == [(("a",), 2)]


async def test_an_outlook_is_the_forecast_and_made_anew_with_spend_hour_and_bound() -> None:
    ledger = Ledger()
    ledger.value = 10**9
    history = History(ledger)
    await history.refresh({"a": 5 * 10**9}, T0)
    budget = TeamBudget("a", 20 * 10**9)

    def expected(settled: int, at: int, bound: int) -> tuple[int, int | None]:
        found = forecast(history.daily("a"), at, settled)
        return found.month_end_nanousd, found.exhausted_at_ms(bound)

    for settled, at in ((5 * 10**9, T0), (6 * 10**9, T0), (6 * 10**9, T0 + HOUR_MS)):
        bound = budget.month_bound_nanousd(at)
        assert history.outlook(budget, at, settled) == expected(settled, at, bound)
        assert history.outlook(budget, at, settled) is history.outlook(budget, at, settled)
    raised = TeamBudget("a", 900 * 10**9)
    assert history.outlook(raised, T0, 6 * 10**9)[1] is None
