"""What the ledger said last, kept outside of it: counters of every team, read every few seconds.

While Redis is away it says which team is exhausted; when Redis lost its data it is given back (`restore`). A
replica keeps it in one file of its data directory, written whole or not at all, so that it outlives a restart and
all workers of the replica can read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Protocol

import orjson
import structlog

from spendgate.budget.calendar import period_at, periods
from spendgate.budget.policy import TeamBudget
from spendgate.files import write_whole
from spendgate.ledger.exchanges import group_account, is_group
from spendgate.ledger.recovery.heartbeat import Epoch
from spendgate.ledger.redis.codec import clean
from spendgate.months import day_key, hour_key, month_key, previous_month
from spendgate.values import dataclass

_log = structlog.get_logger()
VERSION = 1
FILE = "ledger-memory.json"
Counter = tuple[str, str]
"""A counter without the team's prefix, and its window: `("b:month:202611", "month")`."""


def counter_of(scope: str, window: str, now_ms: int) -> str:
    """The counter of a scope now, as the scripts name it; a period is named by its start."""
    keys = {"month": month_key, "day": day_key, "hour": hour_key}
    start, is_period, _ = window.partition("-")
    key = keys[window](now_ms) if window in keys else start if is_period else "-"
    return f"b:{clean(scope)}:{key}"


def counters_of(budget: TeamBudget | None, now_ms: int) -> list[Counter]:
    """The counters that bound a team, or a group, now, the month's first. Runs are left out, they are many and short,
    and of limits those values that the budget does not name: clients make them up."""
    scopes = [("month", "month")]
    if budget is not None:
        if budget.daily_nanousd is not None:
            scopes.append(("day", "day"))
        if budget.hourly_nanousd is not None:
            scopes.append(("hour", "hour"))
        scopes += [
            (f"model:{r.pattern.text}", "month") for r in budget.model_rules if r.limit_nanousd is not None
        ]
        scopes += [(f"app:{a.name}", "month") for a in budget.apps.values() if a.limit_nanousd is not None]
        members = [p.text for p in budget.members]
        for rule in budget.limits:
            starts = periods(rule.ledger_window, budget.calendar, now_ms)
            window = period_at(starts, now_ms) if starts else rule.ledger_window
            if window != "run":
                scopes += [
                    (rule.scope_of(value), window)
                    for value in rule.named(budget.is_group, budget.team, members)
                ]
    found = [(counter_of(scope, window, now_ms), window) for scope, window in scopes]
    if budget is not None and budget.rollover_percent is not None:
        found.append((f"b:month:{previous_month(now_ms)}", "month"))
    return found


def account_name(team: str) -> str:
    """A team, or a group's account, as it is remembered."""
    return group_account(clean(team[1:])) if is_group(team) else clean(team)


@dataclass(frozen=True, slots=True)
class TeamMemory:
    """A team's counters at `at_us` of the ledger's clock: (counter, window, settled nano-USD)."""

    at_us: int
    counters: tuple[tuple[str, str, int], ...]

    def settled(self, counter: str) -> int:
        """What a counter said; 0 where it was not read."""
        return next((amount for name, _, amount in self.counters if name == counter), 0)


@dataclass(slots=True)
class Checkpoint:
    """All teams, with the epoch they were read in and this replica's own pulse."""

    epoch: Epoch = field(default_factory=Epoch)
    process: str = ""
    acknowledged: int = 0
    month: str = ""
    teams: dict[str, TeamMemory] = field(default_factory=dict)

    def settled(self, team: str, month: str) -> int:
        """The team's month, 0 where nothing is known of it."""
        known = self.teams.get(account_name(team))
        return known.settled(f"b:month:{month}") if known is not None and month == self.month else 0

    def write(self, path: Path) -> None:
        """Write it whole or not at all. Raises OSError."""
        document = {
            "v": VERSION,
            "epoch": [self.epoch.id, self.epoch.number],
            "process": self.process,
            "acknowledged": self.acknowledged,
            "month": self.month,
            "teams": {team: [m.at_us, m.counters] for team, m in self.teams.items()},
        }
        write_whole(path, orjson.dumps(document))

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read it; an empty one where there is none. One that cannot be read is logged and left out."""
        try:
            document = orjson.loads(path.read_bytes())
            if document["v"] != VERSION:
                raise ValueError(f"its version is {document['v']}, this release reads {VERSION}")
            teams = {
                str(team): TeamMemory(int(at), tuple((str(c), str(w), int(n)) for c, w, n in counters))
                for team, (at, counters) in document["teams"].items()
            }
            epoch_id, number = document["epoch"]
            return cls(
                Epoch(str(epoch_id), int(number)),
                str(document["process"]),
                int(document["acknowledged"]),
                str(document["month"]),
                teams,
            )
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as problem:
            _log.error(
                "ledger_memory_unreadable", path=str(path), error=f"{type(problem).__name__}: {problem}"
            )
            return cls()


class Remembering(Protocol):
    """What reading the memory needs of the ledger."""

    async def remember(self, asked: list[tuple[str, list[str]]]) -> list[tuple[int, list[int]]]: ...


async def recall(
    ledger: Remembering, teams: Iterable[str], budgets: Mapping[str, TeamBudget], now_ms: int
) -> dict[str, TeamMemory]:
    """Read the counters of teams, each team's at one instant. Raises LedgerUnavailable."""
    counters = {team: counters_of(budgets.get(team), now_ms) for team in teams}
    replies = await ledger.remember([(team, [c for c, _ in some]) for team, some in counters.items()])
    return {
        account_name(team): TeamMemory(at, tuple((c, w, n) for (c, w), n in zip(some, amounts, strict=True)))
        for (team, some), (at, amounts) in zip(counters.items(), replies, strict=True)
    }


def restore_argument(
    epoch: Epoch,
    month: str,
    memory: TeamMemory | None = None,
    totals: list[Any] | None = None,
    reach_us: int = 0,
    dry: bool = False,
) -> bytes:
    """Write what `restore.lua` reads."""
    row: dict[str, Any] = {"n": epoch.number, "empty": epoch.empty, "month": month, "dry": dry}
    if memory is not None:
        row |= {"t": memory.at_us, "b": memory.counters}
    if totals is not None:
        row |= {"p": reach_us, "c": totals}
    return orjson.dumps(row)
