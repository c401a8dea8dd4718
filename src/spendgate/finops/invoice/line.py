"""A line of an invoice: what one model, or one fee, cost on a day. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from spendgate.errors import ConfigurationError, Fault
from spendgate.values import dataclass

Row = Mapping[str, Any]

USAGE = ""
FEE = "fee"
COMMITMENT = "commitment"
CREDIT = "credit"
REFUND = "refund"
TAX = "tax"
UNKNOWN = "unknown"
CHARGES = (USAGE, FEE, COMMITMENT, CREDIT, REFUND, TAX, UNKNOWN)
"""What a line is for. `USAGE` is a model's; `FEE` a tool, storage, hosting, training or other service beside models;
`COMMITMENT` capacity that is paid whether it is used or not; `UNKNOWN` what could not be understood."""


@dataclass(frozen=True, slots=True)
class Line:
    """One model's (and kind's) charge of a day, or of one that is no model's usage. `day` is `YYYYMMDD` as the
    provider cuts days; `model` the name as it is billed; `kind` "" where the file does not tell; `tokens` and
    `requests` 0 where it does not; `cost_usd` 0 in a file of usage alone. `amounts`: how many printed amounts are
    added up in it. `exact`: the name is the provider's own id of a model, not read out of a meter's text."""

    day: str
    model: str
    kind: str = ""
    cost_usd: Decimal = Decimal(0)
    tokens: int = 0
    requests: int = 0
    charge: str = USAGE
    amounts: int = 1
    exact: bool = True


class BadInvoice(ConfigurationError):
    """A file that is not what its provider writes, or that leaves a question open."""

    def __init__(self, where: str, line: int, field: str, problem: str, remedy: str) -> None:
        super().__init__([Fault(where, line, field, problem, remedy)])
