"""How long the exchanges of each team take, as one worker saw them: for telling when a hold may end. Pure."""

from __future__ import annotations

from spendgate.budget.waiting import USUAL_MS

TEAMS_MAX = 10_000
KEPT = (19, 20)
"""What an exchange before counts beside the one that ends: the mean is of about the last twenty."""


class Lives:
    """A mean by team, weighted by what was held: the large holds are those that are waited for."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int]] = {}

    def ended(self, team: str, held_nanousd: int, life_ms: int) -> None:
        """An exchange ended after so long."""
        if held_nanousd <= 0 or life_ms < 0:
            return
        part, whole = KEPT
        lives, weights = self._sums.pop(team, (0, 0))
        if len(self._sums) >= TEAMS_MAX:
            del self._sums[next(iter(self._sums))]  # whose last one ended longest ago
        self._sums[team] = (
            lives * part // whole + life_ms * held_nanousd,
            weights * part // whole + held_nanousd,
        )

    def usual_ms(self, team: str) -> int:
        """How long one takes."""
        lives, weights = self._sums.get(team, (0, 0))
        return lives // weights if weights else USUAL_MS
