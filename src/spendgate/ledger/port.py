"""The ledger's port: reserve / settle / release / renew / expire, and what is read from it.

Amounts are nano-USD. Every verb is idempotent by exchange id. The scripts take the time from Redis' own
clock; windows (month, day, hour) are those of the reservation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate, Clamp
from spendgate.ledger.drift import Drift
from spendgate.money import LEDGER_MAX_NANOUSD
from spendgate.usage import COUNT_MAX, Usage

__all__ = [
    "UNLIMITED",
    "AdjustResult",
    "Adjusted",
    "Adjustment",
    "Bound",
    "Candidate",
    "Clamp",
    "DayCell",
    "Expired",
    "GroupShare",
    "Growing",
    "Grown",
    "Ledger",
    "Loop",
    "Refusal",
    "RefusedRequest",
    "Repeats",
    "ReserveRequest",
    "ReserveResult",
    "Restored",
    "Settlement",
    "TeamMonth",
]


BESIDE = ":attempts"
"""The end of an id that is charged beside an exchange (Envoy's further attempts at it) and counts as none itself."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often the same request may pass: `max` times within a window that begins with the first. `digest` is what
    makes it the same; `refuses` False: it passes all the same, and is told."""

    digest: str
    max: int
    window_ms: int
    refuses: bool = True


@dataclass(frozen=True, slots=True)
class Loop:
    """The same request has passed so often, and may pass again in so many milliseconds."""

    passed: int
    again_ms: int


@dataclass(frozen=True, slots=True)
class ReserveRequest:
    """One reservation. `bounds` of every candidate start with the team's month."""

    exchange_id: str
    team: str
    app: str
    ttl_ms: int
    candidates: tuple[Candidate, ...]
    repeats: Repeats | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose accounts it stands in, too."""
        return tuple(dict.fromkeys(b.group for c in self.candidates for b in c.bounds if b.group))


@dataclass(frozen=True, slots=True)
class Refusal:
    """The bound that refused a candidate, with what the ledger has settled and holds in its counter.

    `held`: it would fit without what others hold; the bound is then the first that refuses, else the first that would
    refuse it without any hold, too."""

    candidate: int
    bound: Bound
    settled_nanousd: int
    reserved_nanousd: int = 0
    held: bool = False
    asked_nanousd: int = 0
    """What was to be held."""

    @property
    def committed_nanousd(self) -> int:
        """Settled + reserved."""
        return self.settled_nanousd + self.reserved_nanousd


@dataclass(frozen=True, slots=True)
class ReserveResult:
    """`candidate` is the index admitted, or -1; `refusals` one a candidate refused, in order.

    `held_nanousd` is what was reserved (less than the estimate when clamped, then `output_cap` is the
    clamped limit in tokens). `settled_nanousd` and `reserved_nanousd` are the team's month, this reservation
    included. `at_ms` is the ledger's time. `replayed`: the same id had been reserved before; its first answer stands.
    `counters`: (settled, reserved) of each bound of the candidate, with this reservation. `in_flight`: (age in ms,
    nano-USD) of what holds the bound of the last refusal that only holds made, at most 64 of them. `worst_nanousd`: its
    worst case, where less is held by what was learned (else 0).
    """

    candidate: int
    held_nanousd: int
    output_cap: int | None
    settled_nanousd: int
    reserved_nanousd: int
    at_ms: int
    refusals: tuple[Refusal, ...] = ()
    replayed: bool = False
    expired: tuple[Expired, ...] = ()
    counters: tuple[tuple[int, int], ...] = ()
    in_flight: tuple[tuple[int, int], ...] = ()
    worst_nanousd: int = 0
    loop: Loop | None = None
    """It has passed as often as it may."""
    carried_nanousd: tuple[int, ...] = ()
    """What last month left and is added: of the team, then of each group of the request; empty where nothing is."""

    @property
    def month_carried_nanousd(self) -> int:
        """By what last month's rest raises the team's month."""
        return self.carried_nanousd[0] if self.carried_nanousd else 0

    @property
    def committed_nanousd(self) -> int:
        """The team's month: settled + reserved."""
        return self.settled_nanousd + self.reserved_nanousd

    @property
    def may_cost_nanousd(self) -> int:
        """What is charged where nobody tells what was spent."""
        return max(self.held_nanousd, self.worst_nanousd)

    @property
    def waits_for(self) -> Refusal | None:
        """The refusal that passes by itself, where only holds keep the request out: the last candidate's of those."""
        return next((r for r in reversed(self.refusals) if r.held), None) if self.candidate < 0 else None


@dataclass(frozen=True, slots=True)
class GroupShare:
    """A group in whose account an exchange stands, too, with the (scope, window) of each of its bounds there."""

    name: str
    scopes: tuple[tuple[str, str], ...] = ()

    def without(self, scopes: Collection[str]) -> GroupShare:
        """The same without some scopes."""
        return replace(self, scopes=tuple(s for s in self.scopes if s[0] not in scopes)) if scopes else self


GROUP_MARK = "\x02"
"""What the account of a group begins with where teams are named: no name of a team does."""


def group_account(name: str) -> str:
    """A group's account, to be used as a team's name."""
    return GROUP_MARK + name


def is_group(account: str) -> bool:
    """Is it a group's account?"""
    return account.startswith(GROUP_MARK)


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of an exchange: the true cost, with its usage. cost 0 and `release` True voids the hold
    and counts nothing. `at_ms` is the reservation's time, for the window if the hold is gone (0: now).

    May be sent again for 7 days: an id that ended changes nothing. Raises ValueError for an amount or a
    count that the ledger cannot hold exactly."""

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
    unspent: tuple[str, ...] = ()
    """Scopes of the hold in which nothing was spent: they are of models that might have answered, and did not."""
    saved_nanousd: int = 0
    """What the usage would have cost with the model that was asked for, less the cost: below zero where the
    model chosen was the dearer."""
    refused: int = 0
    """Other than 0: no exchange, but so many refused requests, counted under an id of their own."""
    acknowledged_us: int = 0
    """When the ledger took it already (its clock, us), or may have taken it at the earliest, where it was sent and no
    answer came; 0: never. After a loss, one that was taken before the memory was read is part of what is restored from
    memory, as far as there is money without an exchange: so one that was not taken after all costs nobody."""
    counted_us: int = 0
    """When it was written to disk and counted into the metrics, 0: not yet. After a loss, one that was counted
    before is part of what is restored from metrics."""
    sample: tuple[int, int] | None = None
    """What the input and the output cost of their worst cases (1024ths, rounded up), to learn holds from."""
    off_list_nanousd: int = 0
    """By how much the cost is below list prices (below zero: above)."""
    markup_nanousd: int = 0
    """The part of the cost that the provider does not bill."""
    tokens: int | None = None
    """Input and output, for limits of tokens; None: those that were held."""
    groups: tuple[GroupShare, ...] = ()

    def of_group(self, share: GroupShare, account: str) -> Settlement:
        """The same in a group's account, whose apps are teams."""
        return replace(self, team=account, app=self.team, scopes=share.scopes, groups=(), sample=None)

    def __post_init__(self) -> None:
        if not (abs(self.saved_nanousd) <= LEDGER_MAX_NANOUSD and 0 <= self.refused <= COUNT_MAX):
            raise ValueError(
                f"settlement {self.exchange_id}: saved_nanousd {self.saved_nanousd} or refused {self.refused} "
                "is out of range"
            )
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
class Growing:
    """A stream whose learned hold may grow: what has flowed is held in any case, `wanted_nanousd` as far as there is
    room below every ceiling (UNLIMITED: none), in the order of its reservation's bounds."""

    exchange_id: str
    team: str
    flowed_nanousd: int
    wanted_nanousd: int
    ceilings: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grown:
    """What is held now, and what the tightest bound has left besides (UNLIMITED: there is no bound)."""

    held_nanousd: int
    room_nanousd: int

    def tightest(self, other: Grown) -> Grown:
        """Of two accounts the one that lets it go on less far."""
        if other.room_nanousd < 0 or self.room_nanousd < 0:
            return self if other.room_nanousd < 0 else other
        return min(self, other, key=lambda g: g.held_nanousd + g.room_nanousd)


@dataclass(frozen=True, slots=True)
class Expired:
    """A hold whose deadline passed: it was settled at its worst case."""

    exchange_id: str
    team: str
    app: str
    model: str
    charged_nanousd: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A correction: an amount added beside what exchanges settled, or taken back (below zero). Nothing edits
    history: another adjustment corrects this one.

    `adjustment_id` makes it idempotent for 400 days. `day` is `YYYYMMDD` ("": the ledger's today) and names
    the month whose budget it counts in. `usage` and `requests` are what was missed: money that comes with
    usage is counted as usage, money alone stands apart as adjusted. `scopes` are the counters of its month
    that move: `month` first, then `model:<pattern>` and `app:<app>` where the policy bounds them. Bounds of
    days, hours and runs are brakes on traffic, and no adjustment moves them. Without scopes it is an accounting entry
    beside the counters, which only reports add. Raises ValueError.
    """

    adjustment_id: str
    team: str
    cost_nanousd: int
    reason: str
    by: str = ""
    app: str = "(none)"
    model: str = "(none)"
    day: str = ""
    usage: Usage = field(default_factory=dict)
    requests: int = 0
    scopes: tuple[str, ...] = ("month",)
    groups: tuple[str, ...] = ()
    """Groups whose month moves, too, as far as it has what is taken back."""

    def of_group(self, name: str) -> Adjustment:
        """The same in a group's account, whose apps are teams."""
        return replace(self, team=group_account(name), app=self.team, scopes=("month",), groups=())

    def __post_init__(self) -> None:
        where = f"adjustment {self.adjustment_id}"
        if not self.adjustment_id or len(self.adjustment_id) > ADJUSTMENT_ID_MAX:
            raise ValueError(f"{where}: its id must have 1 to {ADJUSTMENT_ID_MAX} characters")
        if not self.reason.strip() or len(self.reason) > REASON_MAX:
            raise ValueError(f"{where}: give a reason of 1 to {REASON_MAX} characters")
        if abs(self.cost_nanousd) > LEDGER_MAX_NANOUSD:
            raise ValueError(f"{where}: {self.cost_nanousd} nano-USD is more than {LEDGER_MAX_NANOUSD}")
        if not (self.cost_nanousd or any(self.usage.values()) or self.requests):
            raise ValueError(f"{where}: it changes nothing; give an amount")
        for kind, n in (*self.usage.items(), ("requests", self.requests)):
            if abs(n) > COUNT_MAX:
                raise ValueError(f"{where}: usage {kind} {n} is beyond {COUNT_MAX}")
        if self.scopes and self.scopes[0] != "month":
            raise ValueError(f"{where}: its first scope must be month, found {self.scopes}")
        if self.day:
            try:
                valid = len(self.day) == 8 and bool(datetime.strptime(self.day, "%Y%m%d"))
            except ValueError:
                valid = False
            if not valid:
                raise ValueError(f"{where}: not a day: {self.day!r}; write it as YYYYMMDD")

    @property
    def is_beside(self) -> bool:
        """Is it an accounting entry, beside the counters?"""
        return not self.scopes


AdjustOutcome = Literal["adjusted", "replayed", "differs", "day", "floor"]


@dataclass(frozen=True, slots=True)
class AdjustResult:
    """What became of an adjustment; only `adjusted` moved anything. `day` is where it is booked, and
    `settled_nanousd` its month's settled now.

    `replayed`: the same was made before. `differs`: the id belongs to another; `detail` names the first field
    that differs. `day`: the day is not within the last 400; `detail` names the first and the last that are.
    `floor`: the counter of scope `detail` would fall below zero. In this precedence.
    """

    outcome: AdjustOutcome
    day: str
    settled_nanousd: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A line of the audit: an adjustment as it was made, the day it was booked on, when (ms), and the month's
    settled after it."""

    adjustment: Adjustment
    booked_day: str
    at_ms: int
    settled_after_nanousd: int


@dataclass(frozen=True, slots=True)
class TeamMonth:
    """A team's month as the ledger has it. `models`, `apps` in nano-USD settled; `cells` by (app, model), of
    which `adjusted` is money that adjustments added or took back.

    `requests` counts settled exchanges; `open_holds` those in flight now, of whichever month; `saved_nanousd`
    what other models than those asked for saved; `refused` the requests refused."""

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
    saved_nanousd: int = 0
    refused: int = 0
    adjusted: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def committed_nanousd(self) -> int:
        """What counts against the month's budget: settled + reserved."""
        return self.settled_nanousd + self.reserved_nanousd

    @property
    def adjusted_nanousd(self) -> int:
        """The part of settled that adjustments made."""
        return sum(self.adjusted.values())


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
    saved_nanousd: int = 0
    """See `Settlement.saved_nanousd`; counted at the model that served."""
    refused: int = 0
    """Refused requests, counted at the model that was refused."""
    adjusted_nanousd: int = 0
    """The part of the cost that adjustments made."""
    run: str = ""
    """The run; this and what follows where a source knows it, and keeps it apart: the ledger does not."""
    provider: str = ""
    """Who served it (`azure`, `aws`, …)."""
    asked: str = ""
    """The model that was asked for."""
    tier: str = ""
    """The service tier; "" for the standard one."""
    user: str = ""
    kind_costs: dict[str, int] = field(default_factory=dict)
    """Nano-USD by kind of what was metered."""
    tags: tuple[tuple[str, str], ...] = ()
    """(name, value) of what the setting `tags` names."""
    off_list_nanousd: int = 0
    """By how much the cost is below list prices (below zero: above)."""
    markup_nanousd: int = 0
    """The part of the cost that the provider does not bill."""


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """One refusal, for whoever asks why; `at_ms` is its time (UTC), `reason` one of
    docs/reference/headers-and-reasons.md."""

    team: str
    at_ms: int
    app: str
    model: str
    reason: str
    exchange_id: str
    user: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class OldestHold:
    """A team's holds in numbers. `age_ms` is that of the oldest (of a sample, where there are very many), 0
    where there is none; `overdue` are past their deadline and not swept yet."""

    team: str
    holds: int
    age_ms: int
    overdue: int


ADJUSTMENT_ID_MAX = 200
REASON_MAX = 1000


@dataclass(frozen=True, slots=True)
class Restored:
    """What a team's month was given back: settled before and after, how much of it from memory, and the rows
    (app, model, had, total, added) of cells that were short. Nano-USD."""

    team: str
    before_nanousd: int
    after_nanousd: int
    remembered_nanousd: int
    rows: tuple[tuple[str, str, int, int, int], ...]


class Ledger(Protocol):
    """What the gateway, the controller and the reports need of a ledger."""

    async def reserve(self, request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        """Reserve the first candidate that fits, atomically. Raises LedgerUnavailable."""
        ...

    async def settle(self, batch: list[Settlement], now_ms: int = 0) -> list[str]:
        """Settle or release many; one word each: `settled`, `released`, `corrected` (it had expired),
        `replayed`. Raises LedgerUnavailable; then the whole batch may be sent again."""
        ...

    async def settle_timed(self, batch: list[Settlement], now_ms: int = 0) -> list[tuple[str, int]]:
        """As `settle`, with the ledger's time (us) at which each was taken."""
        ...

    async def renew(self, holds: list[tuple[str, str]], ttl_ms: int, now_ms: int = 0) -> int:
        """Move the deadlines of (team, exchange id) to now + ttl. Returns how many were still held."""
        ...

    async def grow(self, streams: Sequence[Growing], ttl_ms: int, now_ms: int = 0) -> dict[str, Grown]:
        """Renew the holds of streams, and let them grow; by exchange id, those that were still held. Raises
        LedgerUnavailable."""
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

    async def adjustments(self, team: str) -> list[Adjusted]:
        """The audit of a team's last 400 days, oldest first."""
        ...

    async def note_refusals(self, refused: list[RefusedRequest]) -> None:
        """Add to the teams' lists of recent refusals: the last 50 of each. Raises LedgerUnavailable."""
        ...

    async def refusals(self, team: str) -> list[RefusedRequest]:
        """The team's recent refusals, the newest first."""
        ...

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

    async def balances(self, teams: Sequence[str], month: str) -> list[tuple[int, int]]:
        """(settled, reserved) of each team's month (`YYYYMM`) in nano-USD, in the order given. Raises
        LedgerUnavailable."""
        ...

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        """Read many teams' month in one go, in the order given."""
        ...

    async def cells(self, teams: list[str], month: str) -> list[DayCell]:
        """What every app settled with every model on every day of a month (`YYYYMM`), in the order of teams, days,
        apps and models. Raises LedgerUnavailable."""
        ...

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        """What teams settled on days (`YYYYMMDD`), nano-USD, in the order of the days. Raises
        LedgerUnavailable."""
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

    async def run_id(self) -> str:
        """Names the running store; another one means that it restarted and may have lost its last second."""
        ...

    async def first_seen(self, keys: list[tuple[str, str]], ttl_ms: int) -> list[bool]:
        """Was each (team, key) never asked for in the last `ttl_ms`? Asking makes it seen. Raises
        LedgerUnavailable."""
        ...

    async def ping(self) -> bool:
        """Does the store answer? Never raises."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
