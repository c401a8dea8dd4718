"""The limits that a reservation must fit, and the candidates that may fit them. Amounts are nano-USD, or counts of a
bound's own unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

from spendgate.budget.calendar import period_at
from spendgate.values import dataclass

UNLIMITED = -1
Unit = Literal["usd", "requests", "tokens"]
CARRY_PARTS = 10_000
"""Shares of a carry are told in hundredths of a percent."""


@dataclass(frozen=True, slots=True)
class Carry:
    """What was left of last month and raises a bound: at most `most_nanousd` of `budget_nanousd` less what last month
    settled, nothing where the ledger has no such month. Floor and ceiling rise by their parts (of `CARRY_PARTS`)."""

    budget_nanousd: int
    most_nanousd: int
    floor_parts: int
    ceiling_parts: int

    def amount_nanousd(self, last_settled_nanousd: int | None) -> int:
        """What is carried over; None: the ledger has no such month."""
        if last_settled_nanousd is None:
            return 0
        return min(max(self.budget_nanousd - last_settled_nanousd, 0), self.most_nanousd)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a bound of `limits` bounds: one value of a dimension."""

    per: str
    value: str
    window: str
    match: str = ""
    number: int = 0
    """Its place in the document's list."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit that a reservation must fit: admitted iff committed < floor and
    committed + estimate ≤ ceiling.

    `scope` names the counter within the team: `month`, `day`, `hour`, `model:<pattern>`, `app:<app>`,
    `run:<run>`. `window` is `month`, `day`, `hour` or `run` (a run's counter lives 7 days).
    `floor_nanousd` is the bound itself, `ceiling_nanousd` the bound with its overshoot allowance;
    both UNLIMITED: only counted.
    `reason` is the rejection's code where this bound refuses. Where `unit` is another than `usd`, floor and ceiling
    count that: requests when they are admitted, tokens as money.
    """

    scope: str
    window: str
    floor_nanousd: int
    ceiling_nanousd: int
    reason: str
    unit: Unit = "usd"
    group: str = ""
    """The group whose account it stands in; "": the team's own."""
    periods: tuple[int, ...] = ()
    """`calendar.periods`, where the ledger does not know the window."""
    values_of: str = ""
    """The part of the scope that all values of a dimension share, where clients can make up new ones."""
    subject: Subject | None = None
    """Whose it is, of a bound of `limits`."""
    carry: Carry | None = None

    def window_at(self, at_ms: int) -> str:
        """The window as the ledger names it at a time: a period's name, where it is none of the ledger's own."""
        return period_at(self.periods, at_ms) if self.periods else self.window

    @property
    def key(self) -> str:
        """What tells its counter from those of all other bounds of an exchange."""
        return f"group:{self.group}:{self.scope}" if self.group else self.scope

    def raised(self, amount_nanousd: int) -> Bound:
        """The bound where so much is carried over."""
        if self.carry is None or not amount_nanousd or self.floor_nanousd < 0:
            return self
        floor = self.floor_nanousd + amount_nanousd * self.carry.floor_parts // CARRY_PARTS
        ceiling = self.ceiling_nanousd + amount_nanousd * self.carry.ceiling_parts // CARRY_PARTS
        return replace(self, floor_nanousd=floor, ceiling_nanousd=ceiling)


@dataclass(frozen=True, slots=True)
class Clamp:
    """How far an estimate may shrink: its fixed part, the price of an output token, the least cap."""

    fixed_nanousd: int
    output_picousd_per_token: int
    output_tokens_min: int


@dataclass(frozen=True, slots=True)
class LearnedHold:
    """How less than the estimate may be held, where the ledger has so many `samples` of the app and the model: the
    fees, and of the input's and of the output's worst case the ratio that so many percent of the samples do not pass.

    `input_min_nanousd` is the input's bound at the lowest rate that it can be billed at: never less is held for it.
    Fees, input and output add up to the estimate. Nano-USD."""

    fees_nanousd: int
    input_min_nanousd: int
    input_nanousd: int
    output_nanousd: int
    percentile: int
    samples: int

    def amount(self, input_ratio: int, output_ratio: int) -> int:
        """What is held by these ratios (1024ths of the worst case)."""
        learned = -(-self.input_nanousd * input_ratio // WHOLE)
        output = -(-self.output_nanousd * output_ratio // WHOLE)
        return self.fees_nanousd + max(self.input_min_nanousd, learned) + output


WHOLE = 1024
"""A ratio of this many parts is the worst case itself."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model that may serve the request. Tried in order; a candidate is skipped unless
    used_from ≤ what the month has settled + own < used_below (UNLIMITED: no upper end).

    `own_nanousd` is what this request may cost with the model that it asks for: what others hold is not used.
    """

    model: str
    estimate_nanousd: int
    bounds: tuple[Bound, ...]
    used_from_nanousd: int = 0
    used_below_nanousd: int = UNLIMITED
    own_nanousd: int = 0
    clamp: Clamp | None = None
    learned: LearnedHold | None = None
    """None: the estimate is held."""
    tokens: int = 0
    """The most tokens that it is expected to take, input and output."""
    carry_parts: int = 0
    """By which part of the month's carry the ends of its window rise."""

    def need(self, bound: Bound, held_nanousd: int) -> int:
        """What it takes of a bound, in the bound's unit, where so much money is held for it."""
        return {"usd": held_nanousd, "tokens": self.tokens, "requests": 1}[bound.unit]

    def is_open(self, settled_nanousd: int, carried_nanousd: int = 0) -> bool:
        """Is what the month has used, with this request, within the candidate's window? What was carried over raises
        its ends."""
        more = carried_nanousd * self.carry_parts // CARRY_PARTS
        used, below = settled_nanousd + self.own_nanousd, self.used_below_nanousd
        start = self.used_from_nanousd and self.used_from_nanousd + more
        return used >= start and (below < 0 or used < below + more)


class Counted(Protocol):
    """A counter of the ledger."""

    @property
    def settled_nanousd(self) -> int: ...

    @property
    def reserved_nanousd(self) -> int: ...
