"""Numbers and times as people read them. Pure."""

from __future__ import annotations

from spendgate.budget.limit_message import amount_text
from spendgate.budget.limit_rules import LimitRule
from spendgate.money import usd_cell, usd_text, usd_to_nano
from spendgate.months import utc
from spendgate.views.glossary import REFUSALS

KINDS = {
    "input": "input", "cached_input": "input, from a cache", "cache_write_5m": "cache write, 5 minutes",
    "cache_write_1h": "cache write, 1 hour", "tool_input": "input, of tools", "output": "output",
    "reasoning": "output, reasoning", "input_audio": "input, sound", "input_image": "input, images",
    "input_video": "input, video", "output_audio": "output, sound", "output_image": "output, images",
    "requests": "by the request, or unmetered", "adjustment": "adjustments",
}  # fmt: skip


def limit(nano: int | None) -> str:
    """What a policy says: `$1,234.50`, below a dollar as exact as it was written. None: a dash."""
    return "–" if nano is None else usd_text(nano, 9)


def money(nano: int | None) -> str:
    """`$1,234.50`, two decimals; less than half a cent, but not nothing: `<$0.01`. None: a dash."""
    return "–" if nano is None else usd_cell(nano, "$")


def percent(ratio: float | None) -> str:
    """`85.0 %`; None: a dash."""
    return "–" if ratio is None else f"{ratio * 100:.1f} %"


def cents(usd: str) -> str:
    """An exact decimal of USD as people read it: `1,234.57`."""
    return money(usd_to_nano(usd)).replace("$", "")


def signed(nano: int | None) -> str:
    """A change: `+$1.20`, `-$3.00`, `$0.00`; None: a dash."""
    return f"{'+' if nano and nano > 0 else ''}{money(nano)}"


def change(ratio: float | None) -> str:
    """`+8.5 %`; None: a dash."""
    return "–" if ratio is None else f"{'+' if ratio > 0 else ''}{percent(ratio)}"


def count(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def limit_text(rule: LimitRule) -> str:
    """What a limit bounds: `$50.00 a month; $500.00 for ann@*`, `200 requests in all`."""

    def amount(most: int) -> str:
        return limit(most) if rule.unit == "usd" else amount_text(rule.unit, most)

    window = "in all" if rule.window == "total" else f"{'an' if rule.window == 'hour' else 'a'} {rule.window}"
    others = "".join(f"; {amount(o.most)} for {o.pattern.text}" for o in rule.overrides)
    return f"{amount(rule.most)} {window}{others}"


def kind(name: str) -> str:
    """A kind of usage in words: `cache_write_5m` is `cache write, 5 minutes`."""
    return KINDS.get(name, name.replace("_", " "))


def plural(number: int, one: str, many: str = "") -> str:
    """`1 team`, `2 teams`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


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
