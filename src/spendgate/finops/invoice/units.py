"""How many tokens a meter's unit has. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_UNIT = re.compile(r"(?:^|\b)(\d*)\s*([km])\b|(\d*)\s*(thousand|million)", re.IGNORECASE)
_NO_TOKENS = re.compile(
    r"hour|\bhrs?\b|month|\bgb\b|second|minute|day|image|page|\bh\b|\bmo\b|byte", re.IGNORECASE
)


def tokens_per_unit(unit: str) -> int:
    """`1K tokens` → 1,000; a unit that does not say counts one by one, and one of time or space has none."""
    if _NO_TOKENS.search(unit):
        return 0
    found = _UNIT.search(unit)
    if found is None:
        return 1
    many = int(found[1] or found[3] or 1)
    scale = (found[2] or found[4][0]).lower()
    return many * (1_000 if scale in ("k", "t") else 1_000_000)


def tokens(quantity: Decimal, unit: str, kind: str) -> int:
    """The tokens of a quantity, 0 where the meter's kind is not known."""
    return int((quantity * tokens_per_unit(unit)).to_integral_value()) if kind else 0
