"""What a dialect is, as data: whose API it is, and which fields of its answers say what was used. Pure.

The reference page of dialects is made of it, Envoy's own filters read the fields that it names, and a test sets each
field in an answer and sees the reading change. A path is dotted; `NAME[]` is a list's element, `NAME[KEY=VALUE]` the
element of which that is so, `header NAME` a header of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from spendgate.usage import OTHER_KINDS

UsageFields = Mapping[str, tuple[str, ...]]
"""Kind of usage, or one of `NOT_USAGE` → paths in an answer, of which any may tell it."""
NO_FIELDS: UsageFields = MappingProxyType({})

MODEL, TIER, PLACE = "model", "service_tier", "residency"
TOLD, TOTAL, PARTS = "told cost", "total", "models billed"
NOT_USAGE = (MODEL, TOTAL, PARTS, TIER, PLACE, TOLD)

_PLAIN_INPUT = "charged as plain input, as far as the input's total has it"
_PLAIN_OUTPUT = "charged as plain output, as far as the output's total has it"
_NOTHING = "not charged: nothing else tells it"
WHEN_MISSING: Mapping[str, str] = MappingProxyType(
    {
        "input": "where output is told: the input as counted here, flagged `input_missing`",
        "cached_input": _PLAIN_INPUT,
        "cached_input_audio": _PLAIN_INPUT,
        "cached_input_image": _PLAIN_INPUT,
        "cached_input_video": _PLAIN_INPUT,
        "cache_write_5m": _PLAIN_INPUT,
        "cache_write_12h": "charged as a write for minutes: the request says how long",
        "cache_write_1h": "charged as a write for minutes, where writes are told; else as plain input",
        "input_audio": _PLAIN_INPUT,
        "input_image": _PLAIN_INPUT,
        "input_video": _PLAIN_INPUT,
        "tool_input": _NOTHING,
        "output": "where input is told: none; without any usage, see below",
        "reasoning": "charged as output, of which it is a part",
        "output_audio": _PLAIN_OUTPUT,
        "output_image": _PLAIN_OUTPUT,
        "searches": _NOTHING,
        "preview_searches": "the price of a search without the preview's surcharge",
        "file_searches": _NOTHING,
        "maps": _NOTHING,
        "code_runs": _NOTHING,
        **dict.fromkeys((k for k in OTHER_KINDS if k.startswith("guardrail")), _NOTHING),
        "images": "the number asked for",
        "seconds": "the length of the sound that was sent, where its bytes tell it; else the hold",
        "characters": "the characters that were sent",
        PARTS: "all of it at the price of the model that answered",
        MODEL: "the model asked for",
        TIER: "the tier asked for, or the standard price where that is dearer",
        PLACE: "the upstream's `residency`, or the place that host or path name",
        TOLD: "the price list",
        TOTAL: "the sum of the parts",
    }
)
"""What is charged where an answer does not tell it."""


class StreamTerminator(Protocol):
    """Ends a stream before its provider would: politely, in the API's own words, as if its length was reached."""

    def see(self, piece: bytes) -> None:
        """Note what goes by."""
        ...

    def end(self, model: str, output_tokens: int) -> bytes:
        """The events that end the stream."""
        ...


def merged(*several: UsageFields) -> UsageFields:
    """The fields of an API that answers in several ways."""
    kinds = dict.fromkeys(kind for fields in several for kind in fields)
    return MappingProxyType(
        {kind: tuple(dict.fromkeys(p for f in several for p in f.get(kind, ()))) for kind in kinds}
    )


def plain_paths(fields: UsageFields, roots: tuple[str, ...]) -> tuple[str, ...]:
    """The paths that need no look into lists, below each of these roots (`` for an answer itself). Amounts of money
    are left out: their fields hold a number or an object."""
    found = [
        p for kind, paths in fields.items() if kind != TOLD for p in paths if "[" not in p and " " not in p
    ]
    return tuple(dict.fromkeys(f"{root}.{p}" if root else p for root in roots for p in found))
