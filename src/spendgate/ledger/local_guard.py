"""What a replica may spend by itself while Redis is away (rule 10): pure, one event loop. Nano-USD."""

from __future__ import annotations

from collections.abc import Sequence

from spendgate.budget.bounds import UNLIMITED


class LocalGuard:
    """Counts, by team, what this replica let pass without the ledger and the ledger does not know yet.

    It outlives an outage: until the ledger took what was spent (`acknowledged`), the same money is not given out
    again by the next outage, however often Redis comes and goes.
    """

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._spent: dict[str, int] = {}

    def committed(self, team: str) -> int:
        """Held and spent here, unknown to the ledger."""
        return self._held.get(team, 0) + self._spent.get(team, 0)

    def admit(self, estimate_nanousd: int, asked: Sequence[tuple[str, int, int, int]]) -> bool:
        """Hold the estimate for a team and its groups where it fits them all, else change nothing. Each of `asked`:
        its name, the replica's allowance, what the ledger last said is committed, and the bound: it has to fit the
        allowance and, on top of what is committed, the bound. UNLIMITED lifts either; an allowance of 0 admits
        nothing."""
        if not all(self._fits(name, estimate_nanousd, *numbers) for name, *numbers in asked):
            return False
        for name, *_ in asked:
            self._held[name] = self._held.get(name, 0) + estimate_nanousd
        return True

    def _fits(
        self,
        team: str,
        estimate_nanousd: int,
        allowance_nanousd: int,
        committed_nanousd: int,
        bound_nanousd: int,
    ) -> bool:
        here = self.committed(team)
        if bound_nanousd != UNLIMITED:
            known = committed_nanousd + here
            if known >= bound_nanousd or known + estimate_nanousd > bound_nanousd:
                return False
        return allowance_nanousd == UNLIMITED or (
            here < allowance_nanousd and here + estimate_nanousd <= allowance_nanousd
        )

    def settle(self, team: str, held_nanousd: int, cost_nanousd: int) -> None:
        """Replace a hold by its true cost (0: it was released)."""
        held = max(0, self._held.get(team, 0) - held_nanousd)
        spent = self._spent.get(team, 0) + cost_nanousd
        for amounts, amount in ((self._held, held), (self._spent, spent)):
            if amount:
                amounts[team] = amount
            else:
                amounts.pop(team, None)

    def acknowledged(self) -> None:
        """The ledger took all that was spent here: forget it. What is held is still unknown to it."""
        self._spent.clear()
