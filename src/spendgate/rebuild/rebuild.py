"""Fills the ledger up by what teams spent elsewhere: exchanges from usage logs one by one, totals from Prometheus.

Exchanges go first: each by its id, so that none is counted twice however often it comes. Totals then only raise cells
that are still short of them; see `ledger/lua/restore.lua` for how both fit together with what gateways bring home.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from spendgate.budget.limits import month_scopes
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.ledger.accounts import Restored
from spendgate.ledger.exchanges import Settlement, group_account
from spendgate.ledger.recovery.checkpoint import restore_argument
from spendgate.ledger.recovery.heartbeat import Epoch
from spendgate.ledger.redis.codec import clean
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.rebuild.counter_resets import Cell, Totals
from spendgate.values import dataclass

OTHER = "other"
"""The label of teams past `max_label_values`: whose they are is not known, so they are given to nobody."""
BATCH = 1000
ALWAYS_LATE = 1
"""As `acknowledged_us` and `counted_us`: told again long after, so that it takes the place of what was restored."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a rebuild did, or in a dry run would do. `nameless_nanousd`: counted under the team `other`."""

    month: str
    replayed: int
    restored: tuple[Restored, ...]
    total_nanousd: int
    nameless_nanousd: int
    dry: bool

    @property
    def added_nanousd(self) -> int:
        """How much cells were short of the totals."""
        return sum(added for r in self.restored for *_, added in r.rows)

    @property
    def drift_ratio(self) -> float:
        """How much of the totals the ledger lacked, 0 to 1."""
        return self.added_nanousd / self.total_nanousd if self.total_nanousd else 0.0


async def replay(ledger: RedisLedger, settlements: Iterable[Settlement]) -> int:
    """Tell the ledger exchanges again; those it knows change nothing. Returns how many it had not known. Raises
    LedgerUnavailable; then it may be done again."""
    stream, taken = iter(settlements), 0
    while batch := await asyncio.to_thread(lambda: list(islice(stream, BATCH))):
        taken += sum(word != "replayed" for word in await ledger.settle(batch))
    return taken


async def fill_up(
    ledger: RedisLedger, epoch: Epoch, policy: Policy, totals: Totals, *, dry: bool, replayed: int = 0
) -> Difference:
    """Raise every cell that is short of the totals, each team atomically. Raises LedgerUnavailable."""
    teams = _by_team(totals.days)
    nameless = sum(sum(d.values()) for c, d in totals.days.items() if c[0] == OTHER)
    asked = []
    for team, cells in teams.items():
        rows = [_row(policy, totals.month, cell, days) for cell, days in cells]
        asked.append((team, restore_argument(epoch, totals.month, None, rows, totals.reach_us, dry)))
    restored = await ledger.restore(asked)
    groups = [
        (group_account(name), restore_argument(epoch, totals.month, None, rows, totals.reach_us, dry))
        for name, rows in _of_groups(policy, totals.month, teams).items()
    ]
    if groups:
        await ledger.restore(groups)
    return Difference(totals.month, replayed, tuple(restored), totals.total(), nameless, dry)


def _by_team(days: Mapping[Cell, dict[str, int]]) -> dict[str, list[tuple[Cell, dict[str, int]]]]:
    out: dict[str, list[tuple[Cell, dict[str, int]]]] = {}
    for cell in sorted(days):
        if cell[0] != OTHER and sum(days[cell].values()) > 0:
            out.setdefault(cell[0], []).append((cell, days[cell]))
    return out


def _of_groups(
    policy: Policy, month: str, teams: Mapping[str, list[tuple[Cell, dict[str, int]]]]
) -> dict[str, list[list[Any]]]:
    """The rows of each group: its teams stand for apps."""
    days: dict[str, dict[tuple[str, str], dict[str, int]]] = {}
    for team, cells in teams.items():
        for group in policy.groups_of(team):
            own = days.setdefault(group.team, {})
            for (_, _, model), of_cell in cells:
                cell = own.setdefault((team, model), {})
                for day, nano in of_cell.items():
                    cell[day] = cell.get(day, 0) + nano
    return {
        name: [
            _group_row(policy.groups[name], month, team, model, of_cell)
            for (team, model), of_cell in own.items()
        ]
        for name, own in days.items()
    }


def _group_row(group: TeamBudget, month: str, team: str, model: str, days: dict[str, int]) -> list[Any]:
    counters = [[f"b:{clean(scope)}:{month}", "month"] for scope in month_scopes(group, "", model)]
    return [clean(team), clean(model), sorted(days.items()), counters]


def _row(policy: Policy, month: str, cell: Cell, days: dict[str, int]) -> list[Any]:
    team, app, model = cell
    scopes = month_scopes(policy.budget(team), app, model)
    counters = [[f"b:{clean(scope)}:{month}", "month"] for scope in scopes]
    return [clean(app), clean(model), sorted(days.items()), counters]
