"""The groups of a chargeback: what the teams of each cost together, beside its budget. Pure.

A team is in each group whose members its name matches, so groups do not add up to the total. The sums are those of the
report's lines: what a team spent before it became a member is in them, though the group's own budget never counted it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace

from spendgate.budget.policy import Policy
from spendgate.finops.chargeback.chargeback import Chargeback, GroupSum
from spendgate.values import dataclass

GROUP_RULE = "groups: what their teams cost together; a team in two groups is in both, so they do not add up"


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a month: `policy` says which teams are in each, `limits` its budget (nano-USD by name)."""

    policy: Policy = field(default_factory=Policy)
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All groups, sorted."""
        return tuple(self.policy.groups)

    def of(self, team: str) -> tuple[str, ...]:
        """The names of the groups that a team is in, sorted."""
        return tuple(g.team for g in self.policy.groups_of(team))

    def has(self, group: str, team: str) -> bool:
        """Is a team in a group?"""
        return group in self.of(team)


def with_groups(report: Chargeback, groups: Groups) -> Chargeback:
    """The report with the sum of each group; one none of whose teams spent anything is there, too."""
    sums = tuple(
        GroupSum(name, groups.limits.get(name), tuple(x for x in report.lines if groups.has(name, x.team)))
        for name in groups.names
    )
    return replace(report, groups=sums)


def of_teams(report: Chargeback, is_kept: Callable[[str], bool]) -> Chargeback:
    """The part of the report that is about some teams."""
    days = {
        day: of for day, all_ in report.days.items() if (of := {t: n for t, n in all_.items() if is_kept(t)})
    }
    return replace(report, lines=tuple(x for x in report.lines if is_kept(x.team)), days=days)


def of_group(report: Chargeback, groups: Groups, name: str) -> Chargeback:
    """The part of the report that is about a group: its teams, and its sum alone."""
    part = with_groups(of_teams(report, lambda team: groups.has(name, team)), groups)
    return replace(part, groups=tuple(g for g in part.groups if g.name == name))
