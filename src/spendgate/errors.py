"""The exceptions of spendgate, sorted by who must act.

SpendgateError
├── ConfigurationError   the operator: a file, flag or policy is wrong (exit 1, or 2 for usage)
├── RequestError         the client: its request cannot be read as the dialect demands
│   └── BodyTooLarge     … and would be longer than it may, decoded
└── LedgerError          the store
    └── LedgerUnavailable  Redis did not answer in time; safe to retry, every verb is idempotent

A fault names where it is, what is wrong and what to do.
"""

from __future__ import annotations

from spendgate.values import dataclass


class SpendgateError(Exception):
    """Root of every error that spendgate raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a document: `path:line: field: problem; remedy`."""

    path: str
    line: int
    field: str
    problem: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """Without its place: `field: problem; remedy`."""
        field = f"{self.field}: " if self.field else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{field}{self.problem}{remedy}"

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.text}"


class ConfigurationError(SpendgateError):
    """All faults of a configuration at once."""

    def __init__(self, faults: list[Fault] | str) -> None:
        self.faults: list[Fault] = [] if isinstance(faults, str) else faults
        self.text = faults if isinstance(faults, str) else ""
        super().__init__(str(self))

    def __str__(self) -> str:
        return self.text or "\n".join(str(f) for f in self.faults)


class RequestError(SpendgateError):
    """The request cannot be read in its dialect."""


class BodyTooLarge(RequestError):
    """The request's body is longer than it may be, once it is decoded."""


class LedgerError(SpendgateError):
    """The ledger refused a call or its reply cannot be read."""


class LedgerUnavailable(LedgerError):
    """Redis did not answer in time. The call may or may not have been applied; retry with the same id."""
