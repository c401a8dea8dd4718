"""What the ledger will choose, worked out from given spend: a pure mirror of `reserve.lua`.

For dry runs and as the tests' oracle; the ledger itself never asks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spendgate.budget.bounds import Bound, Candidate


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that one of its bounds refused, with that counter's committed amount."""

    candidate: int
    bound: Bound
    committed_nanousd: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`candidate` is the index admitted, or -1. `held_nanousd` is what is reserved; `output_cap` the clamped
    limit in tokens, None where not clamped; `committed_nanousd` the month with this reservation."""

    candidate: int
    held_nanousd: int
    output_cap: int | None
    committed_nanousd: int
    refusals: tuple[Refused, ...]


def evaluate(candidates: Sequence[Candidate], committed: Mapping[str, int]) -> Verdict:
    """Choose the first candidate whose window is open and whose bounds all admit it.

    `committed` gives nano-USD by scope (`month`, `day`, `model:gpt-4o`, …); a scope left out is 0. Where
    nothing fits whole, the first candidate of which a useful part fits is clamped to it.
    """
    month = committed.get("month", 0)
    refusals: list[Refused] = []
    eligible: list[int] = []
    for i, candidate in enumerate(candidates):
        if not is_open(candidate, month):
            continue
        eligible.append(i)
        refused = _refusing(candidate, committed)
        if refused is None:
            held = candidate.estimate_nanousd
            return Verdict(i, held, None, month + held, tuple(refusals))
        refusals.append(Refused(i, refused, committed.get(refused.scope, 0)))
    for i in eligible:
        clamped = _clamped(candidates[i], committed)
        if clamped is not None:
            held, cap = clamped
            return Verdict(i, held, cap, month + held, tuple(refusals))
    return Verdict(-1, 0, None, month, tuple(refusals))


def is_open(candidate: Candidate, month_nanousd: int) -> bool:
    """Is the month's committed amount within the candidate's window?"""
    below = candidate.committed_below_nanousd
    return month_nanousd >= candidate.committed_from_nanousd and (below < 0 or month_nanousd < below)


def _refusing(candidate: Candidate, committed: Mapping[str, int]) -> Bound | None:
    for bound in candidate.bounds:
        spent = committed.get(bound.scope, 0)
        if bound.floor_nanousd >= 0 and (
            spent >= bound.floor_nanousd or spent + candidate.estimate_nanousd > bound.ceiling_nanousd
        ):
            return bound
    return None


def _clamped(candidate: Candidate, committed: Mapping[str, int]) -> tuple[int, int] | None:
    """(held, output cap) of the part that fits below every floor; None where it is not useful."""
    clamp = candidate.clamp
    if clamp is None:
        return None
    room = candidate.estimate_nanousd
    for bound in candidate.bounds:
        if bound.floor_nanousd >= 0:
            room = min(room, bound.floor_nanousd - committed.get(bound.scope, 0))
    price = clamp.output_picousd_per_token
    tokens = (room - clamp.fixed_nanousd) * 1000 // max(price, 1)
    if tokens < clamp.output_tokens_min or tokens <= 0:
        return None
    return min(room, clamp.fixed_nanousd - (-tokens * price // 1000)), tokens
