"""Money as integers: nano-USD for amounts, pico-USD for a price of one unit.

No float ever enters the ledger. 1 USD = 10^9 nano-USD = 10^12 pico-USD; a price of 1 USD per million
tokens is 10^6 pico-USD a token.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache

NANO_PER_USD = 1_000_000_000
CENT = NANO_PER_USD // 100
PICO_PER_NANO = 1_000
LEDGER_MAX_NANOUSD = 2**53 - 1
"""The largest amount that Lua's doubles hold exactly: $9,007,199.25."""


def usd_to_nano(usd: Decimal | int | float | str) -> int:
    """Convert a USD amount to nano-USD, half to even. A float is read by its shortest decimal form."""
    try:
        amount = Decimal(str(usd))
        return int((amount * NANO_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))
    except (InvalidOperation, OverflowError, ValueError) as e:
        raise ValueError(f"not an amount of USD: {usd!r}") from e


def nano_to_usd(nano: int) -> str:
    """Write nano-USD as an exact decimal string of USD with at least two decimals."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO_PER_USD)
    digits = f"{rest:09d}".rstrip("0")
    return f"{sign}{whole}.{digits.ljust(2, '0')}"


def usd_text(nano: int, decimals: int = 6, grouped: bool = True) -> str:
    """Write nano-USD in a sentence: `$8,012.40`; below a dollar as far as needed up to `decimals`, two at least.
    Rounded half up, as people do. `grouped`: thousands are set apart."""
    return _written(nano, decimals if abs(nano) < NANO_PER_USD else 2, "$", "," if grouped else "", trim=True)


def usd_cell(nano: int, sign: str = "") -> str:
    """Write nano-USD in a column for people: `8,012.40`, two decimals, rounded half up as people do; what is less
    than half a cent, but not nothing, is `<0.01`."""
    if 0 < abs(nano) < CENT // 2:
        return f"{'-' if nano < 0 else ''}<{sign}0.01"
    return _written(nano, 2, sign, ",", trim=False)


def _written(nano: int, decimals: int, sign: str, comma: str, *, trim: bool) -> str:
    amount = (Decimal(abs(nano)) / NANO_PER_USD).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    whole, _, part = f"{amount:{comma}f}".partition(".")
    if trim:
        part = part.rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 and amount else ''}{sign}{whole}.{part}"


def pico_to_nano_half_even(pico: int) -> int:
    """Round pico-USD to nano-USD, half to even: once an exchange, for a true cost."""
    quotient, rest = divmod(pico, PICO_PER_NANO)
    twice = rest * 2
    if twice > PICO_PER_NANO or (twice == PICO_PER_NANO and quotient & 1):
        quotient += 1
    return quotient


def pico_to_nano_up(pico: int) -> int:
    """Round pico-USD up to nano-USD: for an estimate."""
    return -(-pico // PICO_PER_NANO)


def percent_of(nano: int, percent: Decimal | int | float) -> int:
    """Take `percent` % of an amount of at least 0, rounded down, exactly (10 % of 1 is 0, never 0.1)."""
    numerator, denominator = _ratio(percent)
    return nano * numerator // (denominator * 100)


@lru_cache(maxsize=1024)
def _ratio(percent: Decimal | int | float) -> tuple[int, int]:
    return Decimal(str(percent)).as_integer_ratio()
