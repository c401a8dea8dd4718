"""The ledger beside the provider's own books, model by model. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spendgate.money import usd_to_nano
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.table import PriceTable


@dataclass(frozen=True, slots=True)
class BookLine:
    """One model; amounts in nano-USD."""

    model: str
    answers: int
    tokens_in: int
    tokens_out: int
    provider_nanousd: int
    ledger_nanousd: int

    @property
    def difference_nanousd(self) -> int:
        """What the ledger has too much (or, below zero, too little)."""
        return self.ledger_nanousd - self.provider_nanousd


def compare(
    invoice: Mapping[str, Any], ledger_rows: Iterable[Mapping[str, Any]], prices: PriceTable
) -> list[BookLine]:
    """Price the provider's tokens by the table, and put the ledger's amounts of all teams beside them.

    `invoice` is `GET /mock/invoice`, a row one of `GET /v1/budgets`. Raises ValueError for a model without a
    price.
    """
    ledger: dict[str, int] = {}
    for row in ledger_rows:
        for model, usd in row["models"].items():
            ledger[model] = ledger.get(model, 0) + usd_to_nano(usd)
    lines = []
    for model in sorted({*invoice["models"], *ledger}):
        bought = invoice["models"].get(model, {"requests": 0, "tokens": {}})
        tokens, price = bought["tokens"], prices.find(model)
        if price is None:
            raise ValueError(f"{model} has no price, so its invoice can not be compared")
        true = cost_nanousd(price, tokens)
        counts = bought["requests"], tokens.get("input", 0), tokens.get("output", 0)
        lines.append(BookLine(model, *counts, true, ledger.get(model, 0)))
    return lines
