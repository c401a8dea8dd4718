"""Which values of labels are kept apart, so that no client makes series without limit or pushes others out. Pure.

A team with a budget always has its own series. Of the room for combinations of team, app and model no single team takes
more than half, and all teams without a budget together no more than a quarter: names that anybody may invent fill
nobody else's place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from spendgate.budget.policy import DOCTOR
from spendgate.identity.identity import UNATTRIBUTED

OTHER = "other"
OURS = frozenset({UNATTRIBUTED, DOCTOR})


class SpendLabels:
    """The combinations of one process. `budgeted`: has a team a budget?"""

    def __init__(self, limit: int, budgeted: Callable[[str], bool] = lambda _: False) -> None:
        self.budgeted = budgeted
        self._limit = limit
        self._seen: set[tuple[str, str, str]] = set()
        self._of_team: Counter[str] = Counter()
        self._of_strangers = 0

    def of(self, team: str, app: str, model: str) -> tuple[str, str, str]:
        """The labels to count under."""
        key = (team, app, model)
        if key in self._seen:
            return key
        known = team in OURS or self.budgeted(team)
        room = len(self._seen) < self._limit and self._of_team[team] < max(1, self._limit // 2)
        if not known:
            room = room and self._of_strangers < max(1, self._limit // 4)
        if not room:
            named = known or self._of_team[team]
            return (team if named else OTHER, OTHER, OTHER)
        self._seen.add(key)
        self._of_team[team] += 1
        self._of_strangers += not known
        return key
