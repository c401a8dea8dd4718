"""What the ledger will choose, worked out from given spend: a pure mirror of `reserve.lua`.

For dry runs and as the tests' oracle; the ledger itself never asks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spendgate.budget.bounds import Bound, Candidate
from spendgate.budget.ratios import Ratios
from spendgate.values import dataclass

NOTHING: Mapping[str, int] = {}
UNLEARNED: Mapping[str, Ratios] = {}


@dataclass(frozen=True, slots=True)
class PolicyRefusal:
    """A candidate that one of its bounds refused, with what that counter has settled and holds. `held`: only what
    others hold keeps it out."""

    candidate: int
    bound: Bound
    settled_nanousd: int
    reserved_nanousd: int
    held: bool
    asked_nanousd: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`candidate` is the index admitted, or -1. `held_nanousd` is what is reserved; `output_cap` the clamped
    limit in tokens, None where not clamped; `worst_nanousd` what is charged where nobody settles."""

    candidate: int
    held_nanousd: int
    output_cap: int | None
    refusals: tuple[PolicyRefusal, ...]
    worst_nanousd: int = 0


def evaluate(
    candidates: Sequence[Candidate],
    settled: Mapping[str, int],
    held: Mapping[str, int] = NOTHING,
    ratios: Mapping[str, Ratios] = UNLEARNED,
    last_settled: Mapping[str, int | None] = NOTHING,
) -> Verdict:
    """Choose the first candidate whose window is open and whose bounds all admit it.

    `settled` and `held` give what is counted by a bound's key (`month`, `day`, `model:gpt-4o`, …) in the bound's unit;
    one left out is 0. `last_settled` is what last month settled by account ("" or the group's name; None or left out:
    the ledger has no such month). Where nothing fits whole, the first candidate of which a useful part fits is clamped
    to it. `ratios`: the samples of the app, by model.
    """
    carried = {
        b.group: b.carry.amount_nanousd(last_settled.get(b.group))
        for c in candidates
        for b in c.bounds
        if b.carry is not None
    }
    if carried:
        candidates = [
            replace(c, bounds=tuple(b.raised(carried.get(b.group, 0)) for b in c.bounds)) for c in candidates
        ]
    committed = {s: settled.get(s, 0) + held.get(s, 0) for s in settled.keys() | held.keys()}
    refusals: list[PolicyRefusal] = []
    eligible: list[int] = []
    for i, candidate in enumerate(candidates):
        if not candidate.is_open(settled.get("month", 0), carried.get("", 0)):
            continue
        eligible.append(i)
        worst, amount = candidate.estimate_nanousd, to_hold(candidate, ratios)
        bound, only_held = _refusing(candidate, amount, settled, committed)
        if bound is None:
            return Verdict(i, amount, None, tuple(refusals), worst if worst > amount else 0)
        counted = settled.get(bound.key, 0), held.get(bound.key, 0)
        refusals.append(PolicyRefusal(i, bound, *counted, only_held, candidate.need(bound, amount)))
    for i in eligible:
        clamped = _clamped(candidates[i], committed)
        if clamped is not None:
            return Verdict(i, *clamped, tuple(refusals))
    return Verdict(-1, 0, None, tuple(refusals))


def to_hold(candidate: Candidate, ratios: Mapping[str, Ratios]) -> int:
    """What is to be held for a candidate."""
    learned, known = candidate.learned, ratios.get(candidate.model)
    if learned is None or known is None:
        return candidate.estimate_nanousd
    return known.amount(learned, candidate.estimate_nanousd)


def _refusing(
    candidate: Candidate, amount: int, settled: Mapping[str, int], committed: Mapping[str, int]
) -> tuple[Bound | None, bool]:
    """The bound that refuses a candidate, and whether only holds do: the first that would without them, too, else the
    first. Of what may be clamped it is the first where a useful part would fit without them."""
    refusing = [b for b in candidate.bounds if _refuses(b, committed, candidate.need(b, amount))]
    if not refusing:
        return None, False
    final = [b for b in refusing if _refuses(b, settled, candidate.need(b, amount))]
    if final and _clamped(candidate, settled) is None:
        return final[0], False
    return refusing[0], True


def _refuses(bound: Bound, counted: Mapping[str, int], need: int) -> bool:
    if bound.floor_nanousd < 0:
        return False
    amount = counted.get(bound.key, 0)
    return amount >= bound.floor_nanousd or amount + need > bound.ceiling_nanousd


def _clamped(candidate: Candidate, counted: Mapping[str, int]) -> tuple[int, int] | None:
    """(held, output cap) of the part that fits below every floor; None where it is not useful."""
    clamp = candidate.clamp
    if clamp is None:
        return None
    room = candidate.estimate_nanousd
    for bound in candidate.bounds:
        if bound.floor_nanousd < 0:
            continue
        left = bound.floor_nanousd - counted.get(bound.key, 0)
        if bound.unit == "usd":
            room = min(room, left)
        elif left < candidate.need(bound, 0):
            return None  # less output does not help against a limit of tokens or requests
    price = clamp.output_picousd_per_token
    tokens = (room - clamp.fixed_nanousd) * 1000 // max(price, 1)
    if tokens < clamp.output_tokens_min or tokens <= 0:
        return None
    return min(room, clamp.fixed_nanousd - (-tokens * price // 1000)), tokens
