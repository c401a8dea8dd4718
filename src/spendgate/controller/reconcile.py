"""From the cluster's LLMBudgets to the policy in force, and a verdict for each. Pure.

Rules, one a line of the tests:
1. A valid document is in force at its own generation.
2. An invalid one keeps its last valid generation in force (found by uid, so also after a rename or a restart,
   since the snapshot in Redis remembers it); one that never was valid enforces nothing.
3. Of two for one team the older is in force (creationTimestamp, then namespace and name); the other gets
   `Conflict`. When the older goes, the other takes over.
4. What is not in the cluster any more is not in the policy.
5. A document whose namespace may not hold its team (`ownership`) changes nothing for that team. What was in force
   before anybody asked stays in force until it is edited or granted, and gives way to an owner's.
6. A team whose only document lost its right, or never was valid, is refused (`lapsed`): never left without a bound.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field, replace
from enum import StrEnum
from typing import Any

from spendgate.budget.limit_checks import Group, group_troubles
from spendgate.budget.load import budget_from_document
from spendgate.budget.model import API_VERSION, KIND
from spendgate.budget.policy import TeamBudget
from spendgate.controller.kube.informer import Key, key_of
from spendgate.controller.ownership import OPEN, Lapse, Ownership, Right
from spendgate.errors import ConfigurationError
from spendgate.policy.store import canonical_json
from spendgate.values import dataclass

_META = ("creationTimestamp", "generation", "name", "namespace", "uid")


class DesiredState(StrEnum):
    """What became of a document."""

    READY = "ready"
    INVALID = "invalid"
    CONFLICT = "conflict"
    NOT_OWNER = "not_owner"


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
    state: DesiredState
    message: str
    team: str
    in_force: InForce | None


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A team that is refused, and the document that is to blame."""

    team: str
    key: Key
    uid: str
    why: Lapse


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The whole outcome; `in_force` and `lapsed` sorted by team, of which each has one."""

    in_force: tuple[InForce, ...]
    verdicts: Mapping[Key, Verdict]
    lapsed: tuple[Lapsed, ...] = ()
    ownership: Ownership = OPEN

    def right(self, entry: InForce) -> Right:
        """By what right one of `in_force` is."""
        if not self.ownership.strict:
            return Right.UNASKED
        return Right.KEPT if self.verdicts[entry.key].state is DesiredState.NOT_OWNER else Right.OWNER

    def content(self) -> Iterator[bytes]:
        """What makes two outcomes one policy: the documents, the rights that are remembered, the refused."""
        yield from (e.json for e in self.in_force)
        if self.ownership.strict:
            yield b"\nstrict"
        for e in self.in_force:
            if self.right(e) is Right.KEPT:
                yield f"\nkept {e.uid} {e.generation}".encode()
        for lapsed in self.lapsed:
            yield f"\nlapsed {lapsed.uid} {lapsed.why} {lapsed.team}".encode()


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of before, by uid. `last_valid`: what was in force or valid; `unasked`: the generations that came
    into force when nobody asked whose the team is; `lapsed`: the teams refused for a right that was lost."""

    last_valid: Mapping[str, InForce] = field(default_factory=dict)
    unasked: Mapping[str, int] = field(default_factory=dict)
    lapsed: Mapping[str, str] = field(default_factory=dict)


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
                found = Verdict(made.key, made.generation, DesiredState.READY, "", made.budget.team, made)
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
    objects: Iterable[Mapping[str, Any]], past: Past, compiler: Compiler, ownership: Ownership = OPEN
) -> Reconciled:
    """Judge all objects."""
    verdicts: dict[Key, Verdict] = {}
    claims: dict[str, Verdict] = {}
    losers: list[Verdict] = []
    lapsed: dict[str, Lapsed] = {}
    for obj in objects:
        verdict, lapse = _judged(obj, past, compiler, ownership)
        verdicts[verdict.key] = verdict
        if lapse is not None:
            lapsed.setdefault(lapse.team, lapse)
        if verdict.in_force is None:
            continue
        team = verdict.in_force.budget.team
        rival = claims.setdefault(team, verdict)
        if rival is not verdict:
            claims[team], loser = sorted((rival, verdict), key=_seniority)
            losers.append(loser)
    for verdict in losers:
        assert verdict.in_force is not None
        verdicts[verdict.key] = _loser(verdict, claims[verdict.in_force.budget.team])
    for team, message in _group_troubles(claims).items():
        verdict = claims.pop(team)
        kept = past.last_valid.get(verdict.in_force.uid) if verdict.in_force is not None else None
        if kept is not None and (verdict.in_force is None or kept.generation == verdict.in_force.generation):
            kept = None
        verdicts[verdict.key] = replace(verdict, state=DesiredState.INVALID, message=message, in_force=kept)
        if kept is not None:
            claims[kept.budget.team] = verdicts[verdict.key]
    in_force = (claims[team].in_force for team in sorted(claims))
    return Reconciled(
        tuple(e for e in in_force if e is not None),
        verdicts,
        tuple(lapsed[team] for team in sorted(lapsed.keys() - claims.keys())),
        ownership,
    )


def _group_troubles(claims: Mapping[str, Verdict]) -> dict[str, str]:
    """By group: why it may not bind beside the others; the older ones keep their teams."""
    groups = {
        team: v
        for team, v in claims.items()
        if v.in_force is not None and v.in_force.budget.is_group and v.state is DesiredState.READY
    }
    if not groups:
        return {}
    found = group_troubles(
        [
            Group(team, tuple(p.text for p in v.in_force.budget.members), _seniority(v))
            for team, v in groups.items()
            if v.in_force is not None
        ],
        [team for team in claims if team not in groups],
    )
    return {
        team: f"spec.{loc[0]}[{loc[1]}]: {problem}; {remedy}"
        for team, (loc, problem, remedy) in found.items()
    }


def _judged(
    obj: Mapping[str, Any], past: Past, compiler: Compiler, ownership: Ownership
) -> tuple[Verdict, Lapsed | None]:
    """One object by itself, and the team that is refused for it where no other has a budget for that."""
    verdict = compiler.look(obj)
    meta = obj["metadata"]
    uid, generation = str(meta.get("uid", "")), int(meta.get("generation", 0))
    if isinstance(verdict, str):
        key = key_of(dict(obj))
        kept = past.last_valid.get(uid)
        verdict = Verdict(key, generation, DesiredState.INVALID, verdict, _team(kept, obj), kept)
    bound = verdict.in_force
    if bound is None:
        team, why = past.lapsed.get(uid, ""), Lapse.NOT_OWNER
        if not team and ownership.may(verdict.key[0], verdict.team):
            team, why = verdict.team, Lapse.INVALID
        return verdict, Lapsed(team, verdict.key, uid, why) if team else None
    team = bound.budget.team
    shared = bound.budget.is_group or bound.budget.is_template
    if ownership.may_hold(verdict.key[0], team, shared=shared):
        return verdict, None
    why_not = ownership.why_not_shared if shared else ownership.why_not
    message = why_not(verdict.key[0], team)
    if past.unasked.get(uid) == generation == bound.generation:
        message += ". It was in force before anybody asked, and stays so until it is edited or granted"
        return Verdict(verdict.key, generation, DesiredState.NOT_OWNER, message, team, bound), None
    had = past.last_valid.get(uid)
    lost = had.budget.team if had is not None else past.lapsed.get(uid, "")
    state = DesiredState.NOT_OWNER
    if verdict.state is DesiredState.INVALID:
        state, message = DesiredState.INVALID, f"{verdict.message}; {message}"
    refused = Lapsed(lost, verdict.key, uid, Lapse.NOT_OWNER) if lost else None
    return Verdict(verdict.key, generation, state, message, "", None), refused


def _loser(verdict: Verdict, winner: Verdict) -> Verdict:
    """What becomes of who claims a team that another has."""
    assert verdict.in_force is not None
    where, team = "/".join(winner.key), verdict.in_force.budget.team
    if verdict.state is DesiredState.NOT_OWNER:
        what = f"team {team} has the budget {where}"
    else:
        what = f"team {team} already has the older budget {where}; delete one of the two"
    message = f"{verdict.message}; {what}" if verdict.message else what
    state = DesiredState.CONFLICT if verdict.state is DesiredState.READY else verdict.state
    return replace(verdict, state=state, message=message, team="", in_force=None)


def changes(before: Mapping[Key, Verdict], now: Mapping[Key, Verdict]) -> dict[Key, Verdict]:
    """The verdicts that are new or not what they were. What stands unchanged is mostly the very same object, so that
    this costs little among thousands."""
    if before is now:
        return {}
    return {key: v for key, v in now.items() if (old := before.get(key)) is not v and old != v}


def _seniority(verdict: Verdict) -> tuple[str, ...]:
    kept = verdict.state is DesiredState.NOT_OWNER
    return (str(int(kept)), verdict.in_force.created if verdict.in_force else "", *verdict.key)


def _team(kept: InForce | None, obj: Mapping[str, Any]) -> str:
    if kept is not None:
        return kept.budget.team
    team = (obj.get("spec") or {}).get("team")
    return team if isinstance(team, str) else ""


def spec_team(obj: Mapping[str, Any] | None) -> str:
    """The team that a document names, "" for none."""
    team = (obj or {}).get("spec", {}).get("team")
    return team if isinstance(team, str) else ""
