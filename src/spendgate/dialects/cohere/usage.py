"""Usage as Cohere reports it: version 2's `usage`, and the `meta` of version 1, embed and rerank.

`billed_units` is the bill; `tokens` counts hidden preambles too, which are not billed (recorded: 2,406 billed
of 2,935), and `cached_tokens` is a part of those, not of the bill: nothing is known to be cheaper. Counts
are written as floats. A search unit of a rerank is a query with up to 100 documents.
"""

from __future__ import annotations

from spendgate.dialects.base import Reading
from spendgate.dialects.wire.json_read import JsonObject, count_of
from spendgate.usage import KINDS

_KINDS = {
    "input_tokens": "input",
    "image_tokens": "input_image",
    "output_tokens": "output",
    "search_units": "searches",
    "images": "images",
}


def read(raw: object) -> Reading:
    """Read a `usage` or `meta`. Never raises."""
    if raw is None:
        return Reading({}, problem="no_usage")
    if not isinstance(raw, dict):
        return Reading({}, problem="bad_usage")
    billed = raw.get("billed_units")
    if billed is None:  # then all tokens are taken to be billed
        billed = raw.get("tokens")
    if billed is None:
        return Reading({}, problem="no_usage")
    counts = {kind: _count(billed, key) for key, kind in _KINDS.items()}
    if None in counts.values():
        return Reading({}, problem="bad_usage")
    usage = {kind: n or 0 for kind, n in counts.items()} | {"requests": 1}
    return Reading({kind: usage[kind] for kind in KINDS if usage.get(kind)})


def _count(billed: object, key: str) -> int | None:
    """A count that may be absent or null; None where it is bad."""
    if not isinstance(billed, dict):
        return None
    document: JsonObject = billed
    return 0 if document.get(key) is None else count_of(document[key])
