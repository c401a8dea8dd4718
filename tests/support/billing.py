"""A month of one provider's traffic as truth, and the invoice that the provider would send for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from spendgate.finops.invoice.line import Line
from spendgate.ledger.accounts import DayCell
from spendgate.pricing.load import table

PRICES = table()
RATES = {
    "gpt-4o": {"input": "2.50", "cached_input": "1.25", "output": "10.00"},
    "gpt-4o-mini": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},
    "claude-sonnet-4-5": {
        "input": "3.00", "cached_input": "0.30", "cache_write_5m": "3.75", "output": "15.00"
    },
}  # fmt: skip
"""USD per million tokens, as the vendors publish them."""


def usd(model: str, tokens: dict[str, int], factor: str = "1") -> Decimal:
    """What tokens cost at the vendor's list, times a factor."""
    return sum(
        (Decimal(RATES[model][k]) * n * Decimal(factor) / 1_000_000 for k, n in tokens.items()), Decimal(0)
    )


@dataclass(frozen=True)
class Use:
    """What was used on a day by one app with one model."""

    day: int
    model: str = "gpt-4o"
    requests: int = 100
    tokens: dict[str, int] = field(
        default_factory=lambda: {"input": 400_000, "cached_input": 80_000, "output": 30_000}
    )
    team: str = "red"
    app: str = "chat"

    def cell(self) -> DayCell:
        """As a gateway meters it."""
        nano = int(usd(self.model, self.tokens) * 10**9)
        return DayCell(
            self.team, f"202610{self.day:02d}", self.app, self.model, self.requests, nano, dict(self.tokens)
        )

    def lines(
        self, factor: str = "1", name: str = "", *, tokens: bool = True, money: bool = True
    ) -> list[Line]:
        """As the provider bills it."""
        day, model = f"202610{self.day:02d}", name or self.model
        out = []
        if money:
            out += [Line(day, model, k, usd(self.model, {k: n}, factor)) for k, n in self.tokens.items()]
        if tokens:
            out += [Line(day, model, k, tokens=n) for k, n in self.tokens.items()]
            out.append(Line(day, model, "input", requests=self.requests))
        return out


def month(model: str = "gpt-4o", days: int = 31) -> list[Use]:
    """Every day a little different."""
    return [
        Use(
            d, model, 100 + d,
            {"input": 400_000 + 1_000 * d, "cached_input": 80_000 + 500 * d, "output": 30_000 + 100 * d * (d % 3)},
        )
        for d in range(1, days + 1)
    ]  # fmt: skip


def cells(uses: Iterable[Use]) -> list[DayCell]:
    """All of them as metered."""
    return [u.cell() for u in uses]


def invoice(uses: Iterable[Use], factor: str = "1", **how: bool) -> list[Line]:
    """All of them as billed, under the dated name of the model."""
    return [x for u in uses for x in u.lines(factor, f"{u.model}-2026-08-06", **how)]


def more(use: Use, **tokens: int) -> Use:
    """The same with so many tokens more (or less)."""
    return replace(use, tokens={k: use.tokens.get(k, 0) + tokens.get(k, 0) for k in {*use.tokens, *tokens}})
