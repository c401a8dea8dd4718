"""Numbers as people and programs write them in tables. Pure.

`1,234.56`, `1.234,56`, `1 234,56`, `1'234.56`, `$0.02`, `12.50 €`, `(12.50)` and `12.50-` (below zero), `3e-7`.
Which of comma and point is the decimal one is told by the file's other numbers: a cell with both, with groups, or with
other than three digits behind it says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

POINT, COMMA = ".", ","
_MONEY = re.compile(r"(?i)\b(?:usd|eur|gbp|chf|jpy|us)\b|[$€£¥₹]|\xa0|\u202f|'|’|\s")
_NUMBER = re.compile(r"[-+(]*\d[\d.,]*[-)]?$")
_DATE = re.compile(r"\d{1,4}\.\d{1,2}\.\d{2,4}$")
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?$")


def stripped(text: str) -> str:
    """The text without currency signs and the spaces and apostrophes that group thousands."""
    return _MONEY.sub("", text)


def evidence(text: str) -> str:
    """The decimal sign that a cell proves: `.`, `,`, or "" where it could be either or is no number."""
    bare = stripped(text)
    if not _NUMBER.match(bare) or _DATE.match(bare):
        return ""
    body = bare.strip("-+()")
    points, commas = body.count(POINT), body.count(COMMA)
    if points and commas:
        return POINT if body.rindex(POINT) > body.rindex(COMMA) else COMMA
    if points + commas == 0:
        return ""
    sign, other = (POINT, COMMA) if points else (COMMA, POINT)
    if points + commas > 1:
        return other  # groups of thousands
    whole, _, part = body.partition(sign)
    if len(part) != 3 or len(whole) > 3 or whole.startswith("0") or not whole:
        return sign
    return ""


def decimal_sign(cells: Iterable[str]) -> str:
    """The decimal sign of a file by its cells; "" where none tells."""
    votes = {POINT: 0, COMMA: 0}
    for cell in cells:
        if (found := evidence(cell)) != "":
            votes[found] += 1
    if votes[POINT] == votes[COMMA]:
        return ""
    return max(votes, key=lambda sign: votes[sign])


def parse(value: object, sign: str = POINT) -> Decimal:
    """The exact number. Raises ValueError."""
    if isinstance(value, Decimal):
        found = value
    else:
        text = str(value).strip()
        if sign == POINT and _PLAIN.match(text):
            return Decimal(text)
        bare = stripped(text) or "0"
        negative = (bare.startswith("(") and bare.endswith(")")) or (bare[-1] == "-" and len(bare) > 1)
        bare = bare.strip("()").rstrip("-")
        bare = bare.replace(COMMA if sign == POINT else POINT, "")
        try:
            found = Decimal(bare.replace(sign, POINT))
        except InvalidOperation as e:
            raise ValueError(f"{value!r} is not a number") from e
        found = -found if negative else found
    if not found.is_finite():
        raise ValueError(f"{value!r} is not a number")
    return found
