"""When a request that only others' holds keep out may be asked again. Pure.

A hold ends with its answer, and nobody knows when that is. What is known: how long such answers took lately, and how
long each that is running has run. One that has outlived the usual is given as long again as it has had.
"""

from __future__ import annotations

from collections.abc import Sequence

RETRY_MIN_S, RETRY_MAX_S = 1, 30
USUAL_MS = 5_000
"""How long an answer takes, as long as none of the team's has been seen."""


def needed_nanousd(
    committed_nanousd: int, estimate_nanousd: int, floor_nanousd: int, ceiling_nanousd: int
) -> int:
    """How much of what is held has to end until the estimate fits."""
    return max(committed_nanousd + estimate_nanousd - ceiling_nanousd, committed_nanousd - floor_nanousd + 1)


def retry_after_s(needed_nanousd: int, in_flight: Sequence[tuple[int, int]], usual_ms: int = USUAL_MS) -> int:
    """Whole seconds until so much is expected to have ended, from 1 to 30. `in_flight`: (age in ms, nano-USD) of each
    hold; where they are not all of them and too little, the time by which these end."""
    rests = sorted((usual_ms - age if age < usual_ms else age, amount) for age, amount in in_flight)
    wait_ms = freed = 0
    for rest, amount in rests:
        wait_ms, freed = rest, freed + amount
        if freed >= needed_nanousd:
            break
    return min(max(-(-wait_ms // 1000), RETRY_MIN_S), RETRY_MAX_S)
