"""Which namespace may hold the budget of which team. Pure.

`open`: any namespace any team, as on a machine of one's own. `strict`: a namespace holds the team of its own name
and those that its annotation grants, which is written by whoever may change namespaces: Kubernetes' own roles for
tenants may not. The namespaces of the administrators hold any team.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from fnmatch import fnmatchcase

from spendgate.budget.model import GROUP
from spendgate.values import dataclass

ANNOTATION = f"{GROUP}/llm-teams"
"""On a Namespace: names and globs (`*`, `?`) of teams, with commas or spaces between."""
UNATTRIBUTED = "unattributed"
"""The team of whoever names none: no glob grants it, for it is the whole cluster's."""
MODES = ("open", "strict")


class Right(StrEnum):
    """By what right a budget is in force, as the snapshot of the policy tells it."""

    UNASKED = ""
    OWNER = "owner"
    KEPT = "kept"


class Lapse(StrEnum):
    """Why a team is refused although a budget is written for it."""

    NOT_OWNER = "not_owner"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Ownership:
    """`annotations`: what each namespace grants, as written; one without is left out."""

    strict: bool = False
    admins: frozenset[str] = frozenset()
    annotations: Mapping[str, str] = field(default_factory=dict)

    def may(self, namespace: str, team: str) -> bool:
        """May a namespace hold a team's budget?"""
        if not self.strict or namespace in self.admins or namespace == team:
            return True
        return any(_grants(word, team) for word in granted(self.annotations.get(namespace, "")))

    def may_hold(self, namespace: str, team: str, *, shared: bool) -> bool:
        """As `may`; what bounds teams of others (`shared`: a template, a group) only administrators may hold."""
        if shared:
            return not self.strict or namespace in self.admins
        return self.may(namespace, team)

    def why_not_shared(self, namespace: str, team: str) -> str:
        """For a template or group that stands where it may not."""
        where = ", ".join(sorted(self.admins)) or "none is named: SPENDGATE_ADMIN_NAMESPACES"
        return (
            f"namespace {namespace} may not hold {team}, which bounds teams of others; templates and groups belong "
            f"into a namespace of the administrators ({where})"
        )

    def why_not(self, namespace: str, team: str) -> str:
        """For who may not: what is missing, and who can give it."""
        return (
            f"namespace {namespace} may not hold the budget of team {team}; who administers the cluster grants it: "
            f"{command(namespace, self.annotations.get(namespace, ''), [team])}"
        )


OPEN = Ownership()


def granted(annotation: str) -> tuple[str, ...]:
    """The names and globs of an annotation, in their order."""
    return tuple(word for word in re.split(r"[,\s]+", annotation) if word)


def command(namespace: str, annotation: str, teams: Iterable[str]) -> str:
    """The command that grants teams, too."""
    words = ", ".join(dict.fromkeys([*granted(annotation), *teams]))
    return f"kubectl annotate --overwrite namespace {namespace} '{ANNOTATION}={words}'"


def _grants(word: str, team: str) -> bool:
    if word == team:
        return True
    return team != UNATTRIBUTED and fnmatchcase(team, word.replace("[", "[[]"))
