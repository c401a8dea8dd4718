"""Daily spend for the forecast: whole days are read once, the last two again when they are old."""

from __future__ import annotations

from collections.abc import Sequence

from spendgate.budget.forecast import history_days
from spendgate.ledger.history import FRESH_MS, History

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
    history = History(ledger)  # type: ignore[arg-type]
    await history.refresh(["a"], T0)
    await history.refresh(["a"], T0 + FRESH_MS - 1)
    whole = len(history_days(T0))
    assert ledger.asked == [(("a",), whole)]
    ledger.value = 5
    await history.refresh(["a"], T0 + FRESH_MS)
    assert ledger.asked[1:] == [(("a",), 2)]
    assert history.daily("a") == [1] * (whole - 2) + [5, 5]


async def test_reading_one_team_anew_leaves_no_other_behind() -> None:
    ledger = Ledger()
    history = History(ledger)  # type: ignore[arg-type]
    await history.refresh(["a"], T0)
    await history.refresh(["b"], T0 + FRESH_MS // 2)
    await history.refresh(["b"], T0 + FRESH_MS)
    ledger.asked.clear()
    await history.refresh(["a", "b"], T0 + FRESH_MS)
    assert ledger.asked == [(("a",), 2)]


async def test_a_new_day_reads_everything_again() -> None:
    ledger = Ledger()
    history = History(ledger)  # type: ignore[arg-type]
    await history.refresh(["a"], T0)
    ledger.asked.clear()
    await history.refresh(["a"], T0 + 86_400_000)
    assert ledger.asked == [(("a",), len(history_days(T0)))]
