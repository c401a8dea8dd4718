"""Usage as Cohere's chat reports it.

`billed_units` is the bill; `tokens` counts hidden preambles too, which are not billed (recorded: 2,406 billed
of 2,935), and `cached_tokens` is a part of those, not of the bill: nothing is known to be cheaper. Counts
are written as floats.
"""

from __future__ import annotations

from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import JsonObject, count_of
from spendgate.usage import KINDS


def read(raw: object) -> Reading:
    """Read a `usage`. Never raises."""
    if raw is None:
        return Reading({}, problem="no_usage")
    if not isinstance(raw, dict):
        return Reading({}, problem="bad_usage")
    billed = raw.get("billed_units")
    if billed is None:  # then all tokens are taken to be billed
        billed = raw.get("tokens")
    if billed is None:
        return Reading({}, problem="no_usage")
    counts = [_count(billed, key) for key in ("input_tokens", "output_tokens", "search_units")]
    if None in counts:
        return Reading({}, problem="bad_usage")
    usage = dict(zip(("input", "output", "searches"), (n or 0 for n in counts), strict=True))
    usage["requests"] = 1
    return Reading({kind: usage[kind] for kind in KINDS if usage.get(kind)})


def _count(billed: object, key: str) -> int | None:
    """A count that may be absent or null; None where it is bad."""
    if not isinstance(billed, dict):
        return None
    document: JsonObject = billed
    return 0 if document.get(key) is None else count_of(document[key])
