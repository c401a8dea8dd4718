"""Durations as people write them: `250ms`, `5s`, `1.5m`, `1h`. Kept as whole milliseconds."""

from __future__ import annotations

import re

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h)$")


def parse_duration_ms(value: object) -> int:
    """Read `250ms`, `5s`, `1.5m`, `1h`, or a bare number of seconds, as whole milliseconds (at least 1)."""
    if isinstance(value, bool):
        raise ValueError("write a duration, for example 5s")
    if isinstance(value, int | float):
        number, unit = float(value), "s"
    else:
        m = _DURATION.match(str(value).strip())
        if m is None:
            raise ValueError(f"not a duration: {value!r}; write for example 250ms, 5s or 1m")
        number, unit = float(m[1]), m[2]
    ms = round(number * _UNITS[unit])
    if ms < 1:
        raise ValueError(f"a duration must be positive: {value!r}")
    return ms
