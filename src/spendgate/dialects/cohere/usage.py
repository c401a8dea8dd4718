"""Usage as Cohere reports it: version 2's `usage`, and the `meta` of version 1, embed and rerank.

`billed_units` is the bill; `tokens` counts hidden preambles too, which are not billed (recorded: 2,406 billed
of 2,935), and `cached_tokens` is a part of those, not of the bill: nothing is known to be cheaper. Counts
are written as floats. A search unit of a rerank is a query with up to 100 documents.
"""

from __future__ import annotations

from types import MappingProxyType

from spendgate.dialects.base import Reading
from spendgate.dialects.response.counts import BadUsage, optional, tidy
from spendgate.dialects.wire.traits import UsageFields

_KINDS = {
    "input_tokens": "input",
    "image_tokens": "input_image",
    "output_tokens": "output",
    "search_units": "searches",
    "images": "images",
}


def _fields(holder: str) -> UsageFields:
    paths = {kind: [f"{holder}.billed_units.{key}"] for key, kind in _KINDS.items()}
    for kind in ("input", "output"):
        paths[kind].append(f"{holder}.tokens.{kind}_tokens")
    return MappingProxyType({kind: tuple(found) for kind, found in paths.items()})


FIELDS, META_FIELDS = _fields("usage"), _fields("meta")
"""Where an answer tells what was used: version 2's chat, and all else."""


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
    if not isinstance(billed, dict):
        return Reading({}, problem="bad_usage")
    try:
        usage = {kind: optional(billed, key) for key, kind in _KINDS.items()}
    except BadUsage:
        return Reading({}, problem="bad_usage")
    return Reading(tidy(usage | {"requests": 1}))
