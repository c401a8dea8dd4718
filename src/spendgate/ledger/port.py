"""The ledger's API, as four protocols: reserve, settle, read, recover. Callers name the one that they need.

Amounts are nano-USD. Every verb is idempotent by exchange id. The scripts take the time from Redis' own
clock; windows (month, day, hour) are those of the reservation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spendgate.ledger.accounts import (
    Adjusted,
    Adjustment,
    AdjustResult,
    DayCell,
    OldestHold,
    RefusedRequest,
    TeamMonth,
)
from spendgate.ledger.drift import Drift
from spendgate.ledger.exchanges import Expired, Growing, Grown, ReserveRequest, ReserveResult, Settlement


class Reserve(Protocol):
    """What a request needs: to hold its cost before it is sent, and while it runs."""

    async def reserve(self, request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        """Reserve the first candidate that fits, atomically. Raises LedgerUnavailable."""
        ...

    async def renew(self, holds: list[tuple[str, str]], ttl_ms: int, now_ms: int = 0) -> int:
        """Move the deadlines of (team, exchange id) to now + ttl. Returns how many were still held."""
        ...

    async def grow(self, streams: Sequence[Growing], ttl_ms: int, now_ms: int = 0) -> dict[str, Grown]:
        """Renew the holds of streams, and let them grow; by exchange id, those that were still held. Raises
        LedgerUnavailable."""
        ...


class Settle(Protocol):
    """What ends: holds are settled, released or expire; entries beside them."""

    async def settle(self, batch: list[Settlement], now_ms: int = 0) -> list[str]:
        """Settle or release many; one word each: `settled`, `released`, `corrected` (it had expired),
        `replayed`. Raises LedgerUnavailable; then the whole batch may be sent again."""
        ...

    async def settle_timed(self, batch: list[Settlement], now_ms: int = 0) -> list[tuple[str, int]]:
        """As `settle`, with the ledger's time (us) at which each was taken."""
        ...

    async def expire(self, team: str, now_ms: int = 0, limit: int = 100) -> list[Expired]:
        """Settle at the estimate what nobody settled in time."""
        ...

    async def expire_many(self, teams: Sequence[str], now_ms: int = 0, limit: int = 100) -> list[Expired]:
        """As `expire`, for many teams in one round trip, at most `limit` holds of each."""
        ...

    async def adjust(self, batch: list[Adjustment], now_ms: int = 0) -> list[AdjustResult]:
        """Correct, append-only; each stands for itself. Raises LedgerUnavailable; then all may be sent
        again."""
        ...

    async def note_refusals(self, refused: list[RefusedRequest]) -> None:
        """Add to the teams' lists of recent refusals: the last 50 of each. Raises LedgerUnavailable."""
        ...

    async def first_seen(self, keys: list[tuple[str, str]], ttl_ms: int) -> list[bool]:
        """Was each (team, key) never asked for in the last `ttl_ms`? Asking makes it seen. Raises
        LedgerUnavailable."""
        ...


class Read(Protocol):
    """What stands in the accounts."""

    async def teams(self) -> list[str]:
        """Every team that the ledger has ever seen, sorted."""
        ...

    async def groups(self) -> list[str]:
        """Every group that the ledger has ever seen, sorted."""
        ...

    async def group_months(self, names: Sequence[str], month: str) -> list[TeamMonth]:
        """The month of groups, by their names: teams stand for apps."""
        ...

    async def month(self, team: str, month: str) -> TeamMonth:
        """Read a team's month (`YYYYMM`)."""
        ...

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        """Read many teams' month in one go, in the order given."""
        ...

    async def balances(self, teams: Sequence[str], month: str) -> list[tuple[int, int]]:
        """(settled, reserved) of each team's month (`YYYYMM`) in nano-USD, in the order given. Raises
        LedgerUnavailable."""
        ...

    async def months_settled(self, accounts: Sequence[str], month: str) -> list[int | None]:
        """What teams, or accounts of groups, settled in a month (`YYYYMM`), in the order given; None where the ledger
        has no such month. Raises LedgerUnavailable."""
        ...

    async def cells(self, teams: list[str], month: str) -> list[DayCell]:
        """What every app settled with every model on every day of a month (`YYYYMM`), in the order of teams, days,
        apps and models. Raises LedgerUnavailable."""
        ...

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        """What teams settled on days (`YYYYMMDD`), nano-USD, in the order of the days. Raises
        LedgerUnavailable."""
        ...

    async def adjustments(self, team: str) -> list[Adjusted]:
        """The audit of a team's last 400 days, oldest first."""
        ...

    async def refusals(self, team: str) -> list[RefusedRequest]:
        """The team's recent refusals, the newest first."""
        ...

    async def drifts(self) -> list[Drift]:
        """The last reconciliation with each provider's invoice. Raises LedgerUnavailable."""
        ...

    async def open_holds(self, team: str) -> int:
        """How many exchanges of the team are in flight."""
        ...

    async def oldest_holds(self, teams: Sequence[str], now_ms: int = 0) -> list[OldestHold]:
        """How old the oldest hold of each team is, in the order given. Raises LedgerUnavailable."""
        ...


class Recover(Protocol):
    """Is it there, and is it still the one that was told?"""

    async def run_id(self) -> str:
        """Names the running store; another one means that it restarted and may have lost its last second."""
        ...

    async def ping(self) -> bool:
        """Does the store answer? Never raises."""
        ...


class Ledger(Reserve, Settle, Read, Recover, Protocol):
    """All of it, and its end."""

    async def close(self) -> None:
        """Give connections back."""
        ...
