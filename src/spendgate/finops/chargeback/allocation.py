"""Shared costs: what a shared team spent, charged to the teams that it works for, by a stated rule. Pure.

Double entry: the shared team keeps its lines and gets one that takes their sum back; each other team gets one
with its part. So every total stays what it was, and the shared team comes to zero. Parts are whole nano-USD by
the largest remainder. Only what teams spent themselves is a measure: no share is shared on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal

from spendgate.errors import ConfigurationError, Fault
from spendgate.finops.chargeback.chargeback import Chargeback, KindShare, Line, share
from spendgate.money import nano_to_usd
from spendgate.values import dataclass

Split = Literal["spend", "evenly", "weights"]
SPLITS: tuple[Split, ...] = ("spend", "evenly", "weights")
SHARED = "shared"
"""The kind of a part."""
ALL_MODELS = "(all)"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one team's cost is split: by what the others spent, evenly, or by fixed weights.

    `among` names the teams that share it (none: all that spent and are not shared themselves)."""

    team: str
    split: Split = "spend"
    among: tuple[str, ...] = ()
    weights: Mapping[str, int] = field(default_factory=dict)


def parse_rules(document: Any, where: str) -> tuple[Rule, ...]:
    """Read `shared: {TEAM: {split, among, weights}}`. Raises ConfigurationError with every fault."""
    faults: list[Fault] = []

    def fault(path: str, problem: str, remedy: str) -> None:
        faults.append(Fault(where, 0, path, problem, remedy))

    teams = document.get("shared") if isinstance(document, dict) else None
    if not isinstance(teams, dict) or not teams:
        raise ConfigurationError(
            [Fault(where, 0, "shared", "is missing or empty", "name the shared teams under `shared:`")]
        )
    rules = []
    for team, spec in teams.items():
        path = f"shared.{team}"
        spec = {"split": spec} if isinstance(spec, str) else spec
        if not isinstance(spec, dict) or spec.keys() - {"split", "among", "weights"}:
            fault(path, f"{spec!r} is not a rule", "give `split`, and with it `among` or `weights`")
            continue
        weights, among = spec.get("weights") or {}, spec.get("among") or []
        split = spec.get("split", "weights" if weights else "spend")
        if split not in SPLITS:
            fault(f"{path}.split", f"{split!r} is none of {', '.join(SPLITS)}", "choose one")
            continue
        if not isinstance(among, list) or not all(isinstance(t, str) for t in among):
            fault(f"{path}.among", f"{among!r} is not a list of teams", "list the teams that share it")
        elif not _are_weights(weights) or bool(weights) != (split == "weights"):
            fault(
                f"{path}.weights",
                "must be whole numbers from 1 on, and belong to `split: weights`",
                "mend it",
            )
        elif str(team) in (*among, *weights):
            fault(path, "shares with itself", "take the team out of its own rule")
        else:
            rules.append(Rule(str(team), split, tuple(among), {str(t): int(n) for t, n in weights.items()}))
    if faults:
        raise ConfigurationError(faults)
    return tuple(rules)


def _are_weights(weights: object) -> bool:
    return isinstance(weights, dict) and all(type(n) is int and n > 0 for n in weights.values())


@dataclass(frozen=True, slots=True)
class Allocation:
    """How a shared team's cost is split: each team's weight, not all zero; none where no team shares it."""

    team: str
    split: Split
    weights: Mapping[str, int]

    @property
    def teams(self) -> list[str]:
        """Who shares it, by name."""
        return sorted(self.weights)

    def parts(self, amount: int) -> list[int]:
        """An amount split among `teams`, whole units by the largest remainder."""
        return share(amount, [self.weights[t] for t in self.teams])


def allocations(spent: Mapping[str, int], rules: Sequence[Rule]) -> tuple[Allocation, ...]:
    """The rules over what teams spent themselves (nano-USD)."""
    shared = {rule.team for rule in rules}
    own = {team: nano for team, nano in spent.items() if team not in shared}
    return tuple(_allocation(rule, own) for rule in rules)


def split_shared(report: Chargeback, rules: Sequence[Rule]) -> Chargeback:
    """Charge the shared teams' cost to the others; `notes` of what comes back say how."""
    spent = {team: sum(x.cost_nanousd for x in lines) for team, lines in report.teams.items()}
    added: list[Line] = []
    notes = []
    for rule, made in zip(rules, allocations(spent, rules), strict=True):
        amount = spent.get(rule.team, 0)
        if not amount:
            notes.append(f"shared: {rule.team} spent nothing")
            continue
        if not made.weights:
            notes.append(f"shared: {nano_to_usd(amount)} USD of {rule.team} stay there, no team shares them")
            continue
        how = {"spend": "in proportion to their own spend", "evenly": "evenly", "weights": "by fixed weights"}
        words = how[made.split]
        if made.split != rule.split:
            words = "evenly, since none of them spent anything"
        lines = report.teams[rule.team]
        sums = amount, sum(x.off_list_nanousd for x in lines), sum(x.markup_nanousd for x in lines)
        added.append(_part(rule.team, "shared out", *(-n for n in sums)))
        added += [
            _part(team, f"shared: {rule.team}", *parts)
            for team, *parts in zip(made.teams, *map(made.parts, sums), strict=True)
            if any(parts)
        ]
        notes.append(
            f"shared: {nano_to_usd(amount)} USD of {rule.team} split among {', '.join(made.teams)} {words}"
        )
    every = sorted((*report.lines, *added), key=lambda x: (x.team, -x.cost_nanousd, x.app, x.model))
    return replace(report, lines=tuple(every), notes=(*report.notes, *notes))


def _allocation(rule: Rule, own: Mapping[str, int]) -> Allocation:
    if rule.split == "weights":
        return Allocation(rule.team, "weights", dict(rule.weights))
    among = rule.among or tuple(own)
    if rule.split == "spend":
        by_spend = {t: max(0, own.get(t, 0)) for t in among}
        if any(by_spend.values()):
            return Allocation(rule.team, "spend", by_spend)
    return Allocation(rule.team, "evenly", dict.fromkeys(among, 1))


def _part(team: str, app: str, nano: int, off_list: int, markup: int) -> Line:
    kinds = (KindShare(SHARED, 0, nano),)
    return Line(team, app, ALL_MODELS, 0, nano, kinds, off_list_nanousd=off_list, markup_nanousd=markup)
