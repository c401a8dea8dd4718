"""What may be billed for an exchange, by how it ended and what kind it is: `docs/reference/ends.md` as data. Pure.

A row holds where the provider's own usage was not seen; where it was, it is the charge, whoever ended the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from types import MappingProxyType

from spendgate.exchange.billing import Bill, at_hold
from spendgate.exchange.events import EndedBy
from spendgate.records.outcome import Outcome
from spendgate.values import dataclass


class Kind(Enum):
    """What is known of an exchange when it ends."""

    __hash__ = object.__hash__

    PLAIN = "plain stream"
    """A stream in which all that is billed is seen."""
    HIDDEN = "output can be hidden"
    """A stream of which more may be billed than is seen: reasoning, tools of the provider's."""
    WHOLE = "not streamed"
    UNSENT = "nothing sent"
    """The provider never got the request."""


class Charge(Enum):
    """What an exchange costs."""

    NOTHING = "nothing"
    FLOWED = "flowed"
    """The input as it was counted, and the output that was streamed."""
    HOLD = "hold"
    """What was held; what flowed, where that is more."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    charge: Charge
    outcome: Outcome
    unmetered: str = ""


_CUT = Row(Charge.HOLD, Outcome.UNMETERED, "truncated")
_LEFT = Row(Charge.HOLD, Outcome.ABORTED, "aborted")
_SENT = (Kind.PLAIN, Kind.HIDDEN, Kind.WHOLE)


def _all(why: str, kinds: tuple[Kind, ...] = _SENT) -> dict[Kind, Row]:
    return {kind: Row(Charge.HOLD, Outcome.UNMETERED, why) for kind in kinds}


LAW: Mapping[EndedBy, Mapping[Kind, Row]] = MappingProxyType(
    {
        EndedBy.CLIENT: {
            Kind.PLAIN: Row(Charge.FLOWED, Outcome.ABORTED),
            Kind.HIDDEN: _LEFT,
            Kind.WHOLE: _LEFT,
            Kind.UNSENT: Row(Charge.NOTHING, Outcome.ABORTED),
        },
        EndedBy.PROVIDER: {
            Kind.PLAIN: Row(Charge.FLOWED, Outcome.FAILED),
            Kind.HIDDEN: _CUT,
            Kind.WHOLE: _CUT,
            Kind.UNSENT: Row(Charge.NOTHING, Outcome.FAILED),
        },
        EndedBy.ENVOY: {**_all("attempts"), Kind.UNSENT: Row(Charge.NOTHING, Outcome.FAILED)},
        EndedBy.DRAIN: {**_all("drained"), Kind.UNSENT: Row(Charge.NOTHING, Outcome.ABORTED)},
        EndedBy.LATE: _all("late", (*_SENT, Kind.UNSENT)),  # what we did not send, Envoy did
        EndedBy.FAULT: _all("internal_error", (*_SENT, Kind.UNSENT)),
    }
)
ABORTED_FLOWED = Row(Charge.FLOWED, Outcome.ABORTED)
"""A client that left, under `abortedAnswers: flowed`: the operator takes the risk."""


def row_of(by: EndedBy, kind: Kind, *, aborted_flowed: bool = False) -> Row:
    """The row of an end. `aborted_flowed`: the policy asks for `abortedAnswers: flowed`."""
    row = LAW[by][kind]
    return ABORTED_FLOWED if aborted_flowed and row is _LEFT else row


def bill_of(row: Row, flowed: Bill, held: int) -> Bill:
    """The bill by a row: what flowed costs `flowed`, `held` was held (nano-USD)."""
    match row.charge:
        case Charge.NOTHING:
            return Bill({}, 0, row.outcome)
        case Charge.FLOWED:
            if flowed.outcome is Outcome.UNMETERED:
                return flowed
            return replace(flowed, outcome=row.outcome, unmetered=row.unmetered)
        case Charge.HOLD:
            if flowed.outcome is not Outcome.UNMETERED and flowed.cost_nanousd > held:
                return replace(flowed, outcome=row.outcome, unmetered=row.unmetered)
            return at_hold(held, row.unmetered, row.outcome)
