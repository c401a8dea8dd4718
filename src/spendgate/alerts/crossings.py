"""Which thresholds a team's spend has crossed, and which may be told again. Pure.

A crossing is judged by **settled** spend, not by committed (settled + reserved). The decision at the gateway
uses committed, because what is held may be spent; but a hold is often larger than the true cost and is given
back within seconds, and an alert that a released hold caused would have told people of money that was never
spent. Settled spend is the money that finance will see. The price: a post comes when the answer's cost is
known, so up to one exchange's length after the gateway began to downgrade.

One edit of a budget is one message, about what holds now: of the thresholds that it put below the spend, the gravest
is told, and the others are noted quietly.

What was told stays told for the month. Only a limit higher than the one it was told at arms a crossing again,
and only where the spend is below the threshold of the new limit; a correction of the spend (an expired hold
settled at less) never does, so spend that moves around a threshold cannot flap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from spendgate.alerts.alert import Kind
from spendgate.budget.policy import TeamBudget, Threshold
from spendgate.values import dataclass

_SEVERITY = {"alert": 0, "alert_and_downgrade": 1, "reject": 2}


@dataclass(frozen=True, slots=True)
class Crossing:
    """Something that is to be told. Thresholds of one percentage are one crossing: the strongest action, every
    channel."""

    key: str
    kind: Kind
    percent: int
    action: str
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a crossing: `open` (told, or being told), `quiet` (was there before alerting began),
    `armed` (told once, and may be told again). `limit_nanousd` is the limit it was crossed at; `busy`: a
    delivery is not done yet."""

    state: Literal["open", "quiet", "armed"]
    limit_nanousd: int
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`fresh` are to be told, in order of percent; the keys in `quiet` are noted and not told; those in `arm` may be
    told again from now on."""

    fresh: tuple[Crossing, ...] = ()
    arm: tuple[str, ...] = ()
    quiet: tuple[str, ...] = ()


def threshold_key(percent: int) -> str:
    """`80` → `t:80`."""
    return f"t:{percent}"


def is_crossed(settled_nanousd: int, limit_nanousd: int, percent: int) -> bool:
    """Has the spend reached `percent` of the limit? Nothing spent crosses nothing, also for a budget of 0."""
    return settled_nanousd > 0 and settled_nanousd * 100 >= percent * limit_nanousd


def crossings(budget: TeamBudget, settled_nanousd: int, limit_nanousd: int) -> tuple[Crossing, ...]:
    """Every threshold that the spend has reached, in order of percent."""
    return tuple(
        _crossing(percent, group)
        for percent, group in _by_percent(budget).items()
        if is_crossed(settled_nanousd, limit_nanousd, percent)
    )


def judge(
    budget: TeamBudget,
    settled_nanousd: int,
    limit_nanousd: int,
    records: Mapping[str, Record],
    edited: bool = False,
) -> Verdict:
    """Compare what is crossed with what is known of it. `edited`: the budget is another one than at the last look."""
    fresh: list[Crossing] = []
    arm: list[str] = []
    for percent, group in _by_percent(budget).items():
        key = threshold_key(percent)
        record = records.get(key)
        if is_crossed(settled_nanousd, limit_nanousd, percent):
            if record is None or record.state == "armed":
                fresh.append(_crossing(percent, group))
        elif (
            record is not None
            and record.state != "armed"
            and not record.busy
            and limit_nanousd > record.limit_nanousd
        ):
            arm.append(key)
            crossing = _crossing(percent, group)
            if crossing.kind == "exhausted" and record.state == "open":
                recovered = f"recovered:{limit_nanousd}"
                if recovered not in records:
                    fresh.append(
                        Crossing(recovered, "recovered", percent, crossing.action, crossing.channels)
                    )
    if edited:
        told, quiet = _gravest(fresh)
        return Verdict(told, tuple(arm), quiet)
    return Verdict(tuple(fresh), tuple(arm))


def _gravest(fresh: list[Crossing]) -> tuple[tuple[Crossing, ...], tuple[str, ...]]:
    """Of crossings, the one with the strongest action (the highest of equals), to all their channels; and the keys of
    the others. A recovery stays beside it."""
    crossed = [c for c in fresh if c.kind != "recovered"]
    if len(crossed) < 2:
        return tuple(fresh), ()
    one = max(crossed, key=lambda c: (_SEVERITY[c.action], c.percent))
    channels = tuple(dict.fromkeys(channel for c in (one, *crossed) for channel in c.channels))
    told = [replace(one, channels=channels), *(c for c in fresh if c.kind == "recovered")]
    return tuple(told), tuple(c.key for c in crossed if c is not one)


def _by_percent(budget: TeamBudget) -> dict[int, list[Threshold]]:
    groups: dict[int, list[Threshold]] = {}
    for threshold in sorted(budget.thresholds, key=lambda t: t.percent):
        groups.setdefault(threshold.percent, []).append(threshold)
    return groups


def _crossing(percent: int, group: list[Threshold]) -> Crossing:
    action = max((t.action for t in group), key=_SEVERITY.__getitem__)
    channels = tuple(dict.fromkeys(t.channel for t in group if t.channel))
    kind: Kind = "exhausted" if action == "reject" else "threshold"
    return Crossing(threshold_key(percent), kind, percent, action, channels)
