"""Usage: what a provider counted for one exchange, by disjoint kinds.

The kinds of a side add up to the provider's own total of that side. Token kinds start with `input`,
`cache`, `output`, `reasoning` or `tool_input`; the others count calls, seconds and the like.
"""

from __future__ import annotations

from collections.abc import Container

INPUT_KINDS: tuple[str, ...] = (
    "input", "cached_input", "cache_write_5m", "cache_write_1h", "cache_write_12h",
    "input_audio", "input_image", "input_video", "cached_input_audio",
    "cached_input_image", "cached_input_video", "tool_input",
)  # fmt: skip
OUTPUT_KINDS: tuple[str, ...] = ("output", "reasoning", "output_audio", "output_image")
OTHER_KINDS: tuple[str, ...] = (
    "requests", "images", "seconds", "characters", "searches", "preview_searches", "file_searches", "maps",
    "code_runs",
    "guardrail_content", "guardrail_topics", "guardrail_pii", "guardrail_grounding", "guardrail_reasoning",
    "guardrail_images",
)  # fmt: skip
KINDS: tuple[str, ...] = INPUT_KINDS + OUTPUT_KINDS + OTHER_KINDS

_INPUT, _OUTPUT = frozenset(INPUT_KINDS), frozenset(OUTPUT_KINDS)

Usage = dict[str, int]
"""Kind → count; kinds with zero are left out."""

COUNT_MAX = 10**12
"""A count above this is not believed: no model's context or answer comes near (huge values in a hostile
answer would otherwise poison the ledger's integers)."""


def total(usage: Usage, kinds: Container[str]) -> int:
    """Sum the counts of `kinds`."""
    found = 0
    for kind in usage:
        if kind in kinds:
            found += usage[kind]
    return found


def input_total(usage: Usage) -> int:
    """The provider's own total of the input side."""
    return total(usage, _INPUT)


def output_total(usage: Usage) -> int:
    """The provider's own total of the output side."""
    return total(usage, _OUTPUT)
