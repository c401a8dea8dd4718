"""Numbers and times as people read them. Pure."""

from __future__ import annotations

from spendgate.money import usd_cell, usd_text
from spendgate.months import utc
from spendgate.views.glossary import REFUSALS

CENT = 10_000_000


def usd(nano: int | None) -> str:
    """`$1,234.50`; below a dollar four decimals, so that small spend is not shown as nothing. None: a dash."""
    return "–" if nano is None else usd_cell(nano, "$")


def money(nano: int | None) -> str:
    """`$1,234.50`, two decimals; less than half a cent, but not nothing: `<$0.01`. None: a dash."""
    if nano is None:
        return "–"
    return f"{'-' if nano < 0 else ''}<$0.01" if 0 < abs(nano) < CENT // 2 else usd_text(nano, 2)


def percent(ratio: float | None) -> str:
    """`85.0 %`; None: a dash."""
    return "–" if ratio is None else f"{ratio * 100:.1f} %"


def day(at_ms: int | None) -> str:
    """`2026-12-15`; None: a dash."""
    return "–" if at_ms is None else f"{utc(at_ms):%Y-%m-%d}"


def moment(at_ms: int) -> str:
    """`2026-11-26 05:20:17 UTC`."""
    return f"{utc(at_ms):%Y-%m-%d %H:%M:%S} UTC"


def month_name(key: str) -> str:
    """`202611` → `November 2026`."""
    names = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
             "November", "December")  # fmt: skip
    return f"{names[int(key[4:]) - 1]} {key[:4]}"


def reason(code: str) -> str:
    """A refusal's reason in words; an unknown one as it is."""
    return REFUSALS.get(code, code).replace("`", "")
