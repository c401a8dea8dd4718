"""Days as tables write them. Pure.

`03/10/2026` is 3 October or 10 March: such a date is read only by an order that is known (the provider's own, the
file's other dates, or who asked), never guessed.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache

DAY_FIRST, MONTH_FIRST = "dmy", "mdy"
ORDERS = (DAY_FIRST, MONTH_FIRST)
_SLASHED = re.compile(r"(\d{1,2})([/-])(\d{1,2})\2(\d{4}|\d{2})(?=$|[ T])")
_FORMS = (
    "%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%d-%b-%Y", "%d-%b-%y", "%Y.%m.%d",
)  # fmt: skip


class TwoDates(ValueError):
    """A date that could be two days."""


def order_of(text: str) -> str:
    """The order that a date proves: one part above 12 tells; "" where it could be two."""
    found = _SLASHED.match(text.strip())
    if found is None:
        return ""
    first, second = int(found[1]), int(found[3])
    if first > 12 >= second:
        return DAY_FIRST
    return MONTH_FIRST if second > 12 >= first else ""


@lru_cache(maxsize=4096)
def parse(text: str, order: str = "") -> str:
    """`YYYYMMDD` of a date, an ISO time (taken to UTC), or Unix seconds or milliseconds. `order` is that of
    `03/10/2026`. Raises TwoDates where it is needed and not known, ValueError for what is no date."""
    text = text.strip()
    if re.fullmatch(r"\d{9,11}(\.\d+)?|\d(\.\d+)?E\+?9", text):
        return datetime.fromtimestamp(int(float(text)), UTC).strftime("%Y%m%d")
    if re.fullmatch(r"\d{13}", text):
        return datetime.fromtimestamp(int(text) / 1000, UTC).strftime("%Y%m%d")
    if slashed := _SLASHED.match(text):
        a, b, year = int(slashed[1]), int(slashed[3]), int(slashed[4])
        year += 2000 if year < 100 else 0
        if a == b:
            return date(year, a, b).strftime("%Y%m%d")
        proven = order_of(text) or order
        if not proven:
            raise TwoDates(text)
        day, month = (a, b) if proven == DAY_FIRST else (b, a)
        return date(year, month, day).strftime("%Y%m%d")
    for form in _FORMS:
        try:
            return datetime.strptime(text, form).strftime("%Y%m%d")
        except ValueError:
            continue
    at = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    return (at.astimezone(UTC) if at.tzinfo else at).strftime("%Y%m%d")
