"""The ledger's port: reserve / settle / release / renew / expire, and what is read from it.

Amounts are nano-USD. Every verb is idempotent by exchange id. The scripts take the time from Redis' own
clock; windows (month, day, hour) are those of the reservation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate, Clamp
from spendgate.money import LEDGER_MAX_NANOUSD
from spendgate.usage import COUNT_MAX, Usage

__all__ = [
    "UNLIMITED",
    "Bound",
    "Candidate",
    "Clamp",
    "DayCell",
    "Expired",
    "Ledger",
    "Refusal",
    "ReserveRequest",
    "ReserveResult",
    "Settlement",
    "TeamMonth",
]


@dataclass(frozen=True, slots=True)
class ReserveRequest:
    """One reservation. `bounds` of every candidate start with the team's month."""

    exchange_id: str
    team: str
    app: str
    ttl_ms: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The bound that refused a candidate, with the ledger's numbers."""

    candidate: int
    bound: Bound
    committed_nanousd: int


@dataclass(frozen=True, slots=True)
class ReserveResult:
    """`candidate` is the index admitted, or -1; `refusals` one a candidate refused, in order.

    `held_nanousd` is what was reserved (less than the estimate when clamped, then `output_cap` is the
    clamped limit in tokens). `committed_nanousd` is the team's month, this reservation included.
    `at_ms` is the ledger's time. `replayed`: the same id had been reserved before; its first answer stands.
    """

    candidate: int
    held_nanousd: int
    output_cap: int | None
    committed_nanousd: int
    at_ms: int
    refusals: tuple[Refusal, ...] = ()
    replayed: bool = False
    expired: tuple[Expired, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of an exchange: the true cost, with its usage. cost 0 and `release` True voids the hold
    and counts nothing. `at_ms` is the reservation's time, for the window if the hold is gone (0: now).

    May be sent again for 7 days: an id that ended changes nothing. Raises ValueError for an amount or a
    count that the ledger can not hold exactly."""

    exchange_id: str
    team: str
    app: str
    model: str
    cost_nanousd: int
    usage: Usage = field(default_factory=dict)
    at_ms: int = 0
    release: bool = False
    scopes: tuple[tuple[str, str], ...] = ()
    """(scope, window) of every bound reserved, so that a hold that Redis lost is still charged rightly."""

    def __post_init__(self) -> None:
        if not 0 <= self.cost_nanousd <= LEDGER_MAX_NANOUSD:
            raise ValueError(
                f"settlement {self.exchange_id}: cost_nanousd {self.cost_nanousd} is not within 0 and "
                f"{LEDGER_MAX_NANOUSD}"
            )
        for kind, n in self.usage.items():
            if not 0 <= n <= COUNT_MAX:
                raise ValueError(
                    f"settlement {self.exchange_id}: usage {kind} {n} is not within 0 and {COUNT_MAX}"
                )


@dataclass(frozen=True, slots=True)
class Expired:
    """A hold whose deadline passed: it was settled at its estimate."""

    exchange_id: str
    team: str
    app: str
    model: str
    charged_nanousd: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class TeamMonth:
    """A team's month as the ledger has it. `models`, `apps` in nano-USD settled; `cells` by (app, model).

    `requests` counts settled exchanges; `open_holds` those in flight now, of whichever month."""

    team: str
    month: str
    settled_nanousd: int
    reserved_nanousd: int
    requests: int
    models: dict[str, int]
    apps: dict[str, int]
    tokens: Usage
    cells: dict[tuple[str, str], int]
    open_holds: int = 0

    @property
    def committed_nanousd(self) -> int:
        """What counts against the month's budget: settled + reserved."""
        return self.settled_nanousd + self.reserved_nanousd


@dataclass(frozen=True, slots=True)
class DayCell:
    """What an app settled with a model on a day (`YYYYMMDD`, UTC, of the reservation): the finest that the
    ledger keeps. `tokens` by kind, zeros left out. A count may be negative where a hold expired in an old
    month was corrected since."""

    team: str
    day: str
    app: str
    model: str
    requests: int
    cost_nanousd: int
    tokens: Usage


class Ledger(Protocol):
    """What the gateway, the controller and the reports need of a ledger."""

    async def reserve(self, request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        """Reserve the first candidate that fits, atomically. Raises LedgerUnavailable."""
        ...

    async def settle(self, batch: list[Settlement], now_ms: int = 0) -> list[str]:
        """Settle or release many; one word each: `settled`, `released`, `corrected` (it had expired),
        `replayed`. Raises LedgerUnavailable; then the whole batch may be sent again."""
        ...

    async def renew(self, holds: list[tuple[str, str]], ttl_ms: int, now_ms: int = 0) -> int:
        """Move the deadlines of (team, exchange id) to now + ttl. Returns how many were still held."""
        ...

    async def expire(self, team: str, now_ms: int = 0, limit: int = 100) -> list[Expired]:
        """Settle at the estimate what nobody settled in time."""
        ...

    async def teams(self) -> list[str]:
        """Every team that the ledger has ever seen, sorted."""
        ...

    async def month(self, team: str, month: str) -> TeamMonth:
        """Read a team's month (`YYYYMM`)."""
        ...

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        """Read many teams' month in one go, in the order given."""
        ...

    async def open_holds(self, team: str) -> int:
        """How many exchanges of the team are in flight."""
        ...

    async def run_id(self) -> str:
        """Names the running store; another one means that it restarted and may have lost its last second."""
        ...

    async def ping(self) -> bool:
        """Does the store answer? Never raises."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
