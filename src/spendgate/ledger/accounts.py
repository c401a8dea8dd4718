"""What stands in the ledger's accounts: months, days, adjustments, refusals. Amounts are nano-USD."""

from __future__ import annotations

from dataclasses import field, replace
from datetime import datetime
from typing import Literal

from spendgate.ledger.exchanges import group_account
from spendgate.money import LEDGER_MAX_NANOUSD
from spendgate.usage import COUNT_MAX, Usage
from spendgate.values import dataclass


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

    def corrects(self, month: str) -> bool:
        """Is it for a month (`YYYYMM`), and was booked on another, since that one was closed?"""
        return self.adjustment.day.startswith(month) and not self.booked_day.startswith(month)


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

    @property
    def billed_nanousd(self) -> int:
        """What a provider bills for what was metered: without adjustments and markups."""
        return self.cost_nanousd - self.adjusted_nanousd - self.markup_nanousd


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
