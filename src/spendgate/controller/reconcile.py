"""From the cluster's LLMBudgets to the policy in force, and a verdict for each. Pure.

Rules, one a line of the tests:
1. A valid document is in force at its own generation.
2. An invalid one keeps its last valid generation in force (found by uid, so also after a rename or a restart,
   since the snapshot in Redis remembers it); one that never was valid enforces nothing.
3. Of two for one team the older is in force (creationTimestamp, then namespace and name); the other gets
   `Conflict`. When the older goes, the other takes over.
4. What is not in the cluster any more is not in the policy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spendgate.budget.load import budget_from_document
from spendgate.budget.model import API_VERSION, KIND
from spendgate.budget.policy import TeamBudget
from spendgate.controller.informer import Key, key_of
from spendgate.errors import ConfigurationError
from spendgate.ledger.policy_store import canonical_json

_META = ("creationTimestamp", "generation", "name", "namespace", "uid")


class State(StrEnum):
    """What became of a document."""

    READY = "ready"
    INVALID = "invalid"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class InForce:
    """One budget that gateways enforce, and the document it comes from."""

    key: Key
    uid: str
    resource_version: str
    generation: int
    created: str
    json: bytes
    budget: TeamBudget


@dataclass(frozen=True, slots=True)
class Verdict:
    """One document's fate. `in_force` is None where it enforces nothing; `team` is the team that its numbers
    are of, "" where it names none."""

    key: Key
    generation: int
    state: State
    message: str
    team: str
    in_force: InForce | None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The whole outcome; `in_force` sorted by team, of which each has one."""

    in_force: tuple[InForce, ...]
    verdicts: Mapping[Key, Verdict]


class Compiler:
    """Compiles documents, each generation once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Verdict | str] = {}

    def look(self, obj: Mapping[str, Any]) -> Verdict | str:
        """The verdict on a valid document, if nothing stands against it; or what is wrong with it, for people."""
        meta = obj["metadata"]
        cache_key = (str(meta.get("uid", "")), int(meta.get("generation", 0)))
        found = self._known.get(cache_key)
        if found is None or (isinstance(found, Verdict) and found.key != key_of(dict(obj))):
            made = compiled(obj)
            if isinstance(made, InForce):
                found = Verdict(made.key, made.generation, State.READY, "", made.budget.team, made)
            else:
                found = made
            self._known[cache_key] = found
        return found

    def tidy(self, objects: Collection[Mapping[str, Any]]) -> None:
        """Forget what no object needs any more, once that is worth the walk."""
        if len(self._known) <= len(objects) * 1.05 + 100:
            return
        wanted = {
            (str(o["metadata"].get("uid", "")), int(o["metadata"].get("generation", 0))) for o in objects
        }
        self._known = {k: v for k, v in self._known.items() if k in wanted}


def compiled(obj: Mapping[str, Any]) -> InForce | str:
    """Compile one object; a text says what is wrong."""
    meta = obj["metadata"]
    document = {
        "apiVersion": obj.get("apiVersion", API_VERSION),
        "kind": obj.get("kind", KIND),
        "metadata": {k: meta[k] for k in _META if k in meta},
        "spec": obj.get("spec") or {},
    }
    try:
        budget = budget_from_document(document, "")
    except ConfigurationError as e:
        return "; ".join(f.text for f in e.faults) or str(e)
    return InForce(
        key=(str(meta.get("namespace", "")), str(meta.get("name", ""))),
        uid=str(meta.get("uid", "")),
        resource_version=str(meta.get("resourceVersion", "")),
        generation=int(meta.get("generation", 0)),
        created=str(meta.get("creationTimestamp", "")),
        json=canonical_json(document),
        budget=budget,
    )


def reconcile(
    objects: Iterable[Mapping[str, Any]], last_valid: Mapping[str, InForce], compiler: Compiler
) -> Reconciled:
    """Judge all objects. `last_valid`: by uid, what was in force or valid before."""
    verdicts: dict[Key, Verdict] = {}
    claims: dict[str, Verdict] = {}
    losers: list[Verdict] = []
    for obj in objects:
        verdict = compiler.look(obj)
        if isinstance(verdict, str):
            meta = obj["metadata"]
            key, generation = key_of(dict(obj)), int(meta.get("generation", 0))
            kept = last_valid.get(str(meta.get("uid", "")))
            verdict = Verdict(key, generation, State.INVALID, verdict, _team(kept, obj), kept)
        verdicts[verdict.key] = verdict
        if verdict.in_force is None:
            continue
        team = verdict.in_force.budget.team
        rival = claims.setdefault(team, verdict)
        if rival is not verdict:
            claims[team], loser = sorted((rival, verdict), key=_seniority)
            losers.append(loser)
    for verdict in losers:
        assert verdict.in_force is not None
        team = verdict.in_force.budget.team
        where = "/".join(claims[team].key)
        verdicts[verdict.key] = Verdict(
            verdict.key,
            verdict.generation,
            State.INVALID if verdict.state is State.INVALID else State.CONFLICT,
            (f"{verdict.message}; " if verdict.message else "")
            + f"team {team} already has the older budget {where}; delete one of the two",
            "",
            None,
        )
    in_force = (claims[team].in_force for team in sorted(claims))
    return Reconciled(tuple(e for e in in_force if e is not None), verdicts)


def changes(before: Mapping[Key, Verdict], now: Mapping[Key, Verdict]) -> dict[Key, Verdict]:
    """The verdicts that are new or not what they were. What stands unchanged is mostly the very same object, so that
    this costs little among thousands."""
    if before is now:
        return {}
    return {key: v for key, v in now.items() if (old := before.get(key)) is not v and old != v}


def _seniority(verdict: Verdict) -> tuple[str, ...]:
    return (verdict.in_force.created if verdict.in_force else "", *verdict.key)


def _team(kept: InForce | None, obj: Mapping[str, Any]) -> str:
    if kept is not None:
        return kept.budget.team
    team = (obj.get("spec") or {}).get("team")
    return team if isinstance(team, str) else ""
