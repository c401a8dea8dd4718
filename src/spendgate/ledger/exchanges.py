"""What the ledger is told of exchanges: requests to reserve, settlements, streams that grow, holds that expired.

Amounts are nano-USD; windows (month, day, hour) are those of the reservation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import field, replace

from spendgate.budget.bounds import Bound, Candidate
from spendgate.money import LEDGER_MAX_NANOUSD
from spendgate.usage import COUNT_MAX, Usage
from spendgate.values import dataclass

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
    first_candidate: int = 0
    """The number of the first candidate, where one account is asked for some of a request's."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose accounts it stands in, too."""
        found: dict[str, None] = {}
        for c in self.candidates:
            for b in c.bounds:
                if b.group:
                    found[b.group] = None
        return tuple(found)


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
    def has_ended(self) -> bool:
        """An exchange of this id is over: nothing is held, and nothing more is settled for it. What is held has
        counters."""
        return self.replayed and not self.counters

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

    @classmethod
    def void(cls, exchange_id: str, team: str, app: str, groups: Iterable[str]) -> Settlement:
        """Takes back what an exchange holds, in its team's account and those of its groups: a hold that is left in one
        of them is charged there when it expires."""
        return cls(exchange_id, team, app, "", 0, release=True, groups=tuple(map(GroupShare, groups)))

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
