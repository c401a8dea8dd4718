"""How an exchange ended, and what its cost was made from: the words that the machine, the log and the books share."""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from spendgate.values import dataclass


class ChargedBy(Enum):
    """What an exchange's cost was made from, as the usage log says it."""

    USAGE = "usage"
    """The usage that the provider reported."""
    COUNTED = "counted"
    """What was counted here: of what flowed, or by the request alone."""
    HOLD = "hold"
    """What was held, since what was spent is not known."""
    TOLD = "told"
    """The amount that the provider itself says it charges."""
    NOTHING = ""
    """Nothing was charged."""


class Outcome(Enum):
    """How an exchange ended, as the usage log says it."""

    COMPLETE = "complete"
    ABORTED = "aborted"
    FAILED = "failed"
    REFUSED = "refused"
    UNMETERED = "unmetered"


@dataclass(frozen=True, slots=True)
class MetricFlags:
    """Counted once an exchange, for metrics."""

    unmetered: str = ""
    unpriced: bool = False
    fail_open: bool = False
    handed_over: bool = False
    """The next gateway was told to meter it instead: nothing counts here where the ledger says that it did."""
    kept_because: str = ""
    flags: tuple[str, ...] = field(default=())
    refused_nanousd: int = 0
    """The estimate of a refused request; 0 for a try that its SDK says to be a repetition."""
    repeat_key: str = ""
    """What is the same in every try of a refused call, where the SDK does not number them."""
