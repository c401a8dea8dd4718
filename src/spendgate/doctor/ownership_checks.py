"""Budgets in namespaces that may not hold their team, by the snapshot of the policy: what is to be annotated. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from spendgate.controller.ownership import Lapse, Right, command
from spendgate.doctor.finding import Finding, error, info, warning
from spendgate.protos.policy_pb2 import PolicySnapshot

FILE = "file:"
"""How the uid of a budget begins that comes from a file, not from a cluster."""


def check_ownership(snapshot: PolicySnapshot) -> Iterator[Finding]:
    """Refused teams, budgets that are in force without a right, and what `strict` would ask for where it is off."""
    kept: dict[str, list[str]] = {}
    unasked: dict[str, list[str]] = {}
    granted: dict[str, str] = {}
    for entry in snapshot.budgets:
        granted[entry.namespace] = entry.granted or granted.get(entry.namespace, "")
        if entry.right == Right.KEPT:
            kept.setdefault(entry.namespace, []).append(entry.team)
        elif (
            entry.right == Right.UNASKED and entry.team != entry.namespace and not entry.uid.startswith(FILE)
        ):
            unasked.setdefault(entry.namespace, []).append(entry.team)
    for lapsed in snapshot.lapsed:
        budget = f"{lapsed.namespace}/{lapsed.name}"
        if lapsed.reason == Lapse.INVALID:
            why = f"its only budget, {budget}, is not valid"
            fix = f"kubectl describe lb {lapsed.name} -n {lapsed.namespace} says what is wrong"
        else:
            why = f"its only budget, {budget}, lost its right to the team"
            grant = command(lapsed.namespace, lapsed.granted, [lapsed.team])
            fix = f"give it a budget in a namespace that may, or: {grant}"
        yield error("team-lapsed", f"team {lapsed.team}", f"is refused: {why}", fix)
    for namespace, teams in sorted(kept.items()):
        names = ", ".join(teams)
        yield warning("budget-not-owned", f"namespace {namespace}",
                      f"holds teams that it may not: {names}; an edit of their budgets refuses them",
                      command(namespace, granted[namespace], teams))  # fmt: skip
    for namespace, teams in sorted(unasked.items()):
        names = ", ".join(teams)
        grant = command(namespace, granted[namespace], teams)
        yield info("ownership-open", f"namespace {namespace}",
                   f"holds teams of another name ({names}), as any namespace may: nobody asks whose a team is",
                   f"{grant}; then set SPENDGATE_OWNERSHIP=strict at the controllers")  # fmt: skip
