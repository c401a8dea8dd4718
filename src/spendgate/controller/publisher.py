"""Writes the policy in force to Redis, only where it changed and only as the leader that it still is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from spendgate.controller.ownership import Lapse, Right
from spendgate.controller.reconcile import InForce, Past, Reconciled, compiled
from spendgate.policy.store import BadSnapshot, PolicyStore, Written, document_of, version_of
from spendgate.protos.policy_pb2 import PolicySnapshot

log = structlog.get_logger()

RENEW_S = 10.0
"""How often a leader that writes nothing says that it still owns the policy."""
OWNER_SILENT_MS = 60_000
"""An owner that said nothing for so long is followed by a controller that knows its budgets: it is the same cluster,
under another name. One that knows none of them never follows by itself: their teams would lose their bounds."""


class Fenced(Exception):
    """A later leader has written. `number` is its fencing number."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"a leader with fencing number {number} has written")


class KeptElsewhere(Exception):
    """The policy of this ledger is kept by the controllers of another cluster or namespace, `owner`."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        super().__init__(f"the policy in this Redis is kept by {owner}")


def snapshot_of(reconciled: Reconciled, generation: int, now_ms: int) -> PolicySnapshot:
    """The message for a policy."""
    snapshot = PolicySnapshot(
        version=version_of(reconciled.content()), generation=generation, source="controller"
    )
    snapshot.written_at.FromMilliseconds(now_ms)
    granted = reconciled.ownership.annotations
    for e in reconciled.in_force:
        right = reconciled.right(e)
        snapshot.budgets.add(
            namespace=e.key[0],
            name=e.key[1],
            uid=e.uid,
            resource_version=e.resource_version,
            generation=e.generation,
            team=e.budget.team,
            json=e.json,
            right=right,
            granted=granted.get(e.key[0], "") if right is Right.KEPT else "",
        )
    for lapsed in reconciled.lapsed:
        snapshot.lapsed.add(
            team=lapsed.team,
            namespace=lapsed.key[0],
            name=lapsed.key[1],
            uid=lapsed.uid,
            reason=lapsed.why,
            granted=granted.get(lapsed.key[0], ""),
        )
    return snapshot


def remembered(snapshot: PolicySnapshot, known: Mapping[str, InForce]) -> dict[str, InForce]:
    """What a snapshot has in force and is newer than what is `known`, by uid. A document that this release can
    not read any more is left out."""
    out: dict[str, InForce] = {}
    for entry in snapshot.budgets:
        had = known.get(entry.uid)
        if had is not None and had.generation >= entry.generation:
            continue
        document = document_of(entry)
        found = compiled(document) if "metadata" in document else "no metadata"
        if isinstance(found, str):
            log.warning("snapshot_entry_unreadable", budget=f"{entry.namespace}/{entry.name}", fault=found)
        else:
            out[entry.uid] = found
    return out


class Publisher:
    """Keeps what Redis holds equal to what is in force."""

    def __init__(self, store: PolicyStore) -> None:
        self._store = store
        self.generation = 0
        """Of the last snapshot seen or written, whoever wrote it."""
        self.version = ""
        self.snapshot: PolicySnapshot | None = None
        """What Redis holds, as far as is known."""
        self.elsewhere = ""
        """Who keeps the policy, where it is another Lease's controllers."""
        self._renewed_at = float("-inf")
        self._uids: frozenset[str] = frozenset()
        self.followed = False
        """Was Redis ever asked, and did it answer? Before, nobody knows what was in force."""
        self.last_valid: dict[str, InForce] = {}
        self._unasked: dict[str, int] = {}
        self._lapsed: dict[str, str] = {}

    @property
    def past(self) -> Past:
        """What `reconcile` is to know of before."""
        return Past(self.last_valid, self._unasked, self._lapsed)

    async def follow(self) -> bool:
        """Learn what Redis holds; True where it is news. Raises LedgerUnavailable."""
        head = await self._store.head()
        self.followed = True
        if head.generation == 0:
            self.version = ""  # nothing there: write it, above every generation that gateways may have
            return False
        if head.generation == self.generation and head.version == self.version:
            return False
        try:
            snapshot = await self._store.read()
        except BadSnapshot as problem:
            log.error("snapshot_unreadable", error=str(problem))
            snapshot = None
        self.generation = max(self.generation, head.generation)
        self.version = head.version if snapshot is not None else ""
        if snapshot is not None:
            self.snapshot = snapshot
            self.last_valid.update(remembered(snapshot, self.last_valid))
            self._unasked = {e.uid: e.generation for e in snapshot.budgets if e.right != Right.OWNER}
            self._lapsed = {e.uid: e.team for e in snapshot.lapsed if e.reason == Lapse.NOT_OWNER}
        return True

    def believe(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Where no snapshot was ever found: what the statuses say was in force is all there is to know by."""
        if self.generation:
            return
        for obj in objects:
            generation = int(obj["metadata"].get("generation", 0))
            if generation and (obj.get("status") or {}).get("enforcedGeneration") == generation:
                self._unasked[str(obj["metadata"].get("uid", ""))] = generation

    def learn(self, reconciled: Reconciled, uids: Iterable[str]) -> None:
        """Remember every valid generation, and who had what right; forget objects that are gone."""
        if reconciled.ownership.strict:
            kept = (e for e in reconciled.in_force if reconciled.right(e) is Right.KEPT)
            self._unasked = {e.uid: e.generation for e in kept}
        self._lapsed = {e.uid: e.team for e in reconciled.lapsed if e.why is Lapse.NOT_OWNER}
        self._uids = frozenset(uids)
        for verdict in reconciled.verdicts.values():
            if verdict.in_force is not None:
                self.last_valid[verdict.in_force.uid] = verdict.in_force
        for uid in [u for u in self.last_valid if u not in self._uids]:
            del self.last_valid[uid]

    async def begin(self, fence: int) -> None:
        """Begin a leadership, or say that it goes on. Raises Fenced, KeptElsewhere, LedgerUnavailable."""
        known = self.snapshot.budgets if self.snapshot is not None else ()
        ours = not known or any(entry.uid in self._uids for entry in known)
        self._store.may_follow_after_ms = OWNER_SILENT_MS if ours else 0
        self._written(await self._store.claim(fence))
        self._renewed_at = time.monotonic()

    def _written(self, written: Written) -> None:
        if written.outcome == "fenced":
            raise Fenced(written.number)
        if written.outcome == "owned":
            if self.elsewhere != written.owner:
                log.error("policy_kept_elsewhere", owner=written.owner, here=self._store.owner)
            self.elsewhere = written.owner
            raise KeptElsewhere(written.owner)
        self.elsewhere = ""

    async def publish(self, reconciled: Reconciled, fence: int, now_ms: int) -> bool:
        """Write where something changed; True if written. Raises Fenced, KeptElsewhere, LedgerUnavailable."""
        head = await self._store.head()
        version = version_of(reconciled.content())
        if head.generation and head.version == version and self.version == version:
            if time.monotonic() - self._renewed_at > RENEW_S:
                await self.begin(fence)
            return False
        generation = max(self.generation, head.generation) + 1
        snapshot = snapshot_of(reconciled, generation, now_ms)
        written = await self._store.write(snapshot, head.generation, fence)
        self._written(written)
        self._renewed_at = time.monotonic()
        if written.outcome == "moved":
            return False  # the next round looks again
        self.generation, self.version, self.snapshot = generation, version, snapshot
        log.info(
            "policy_published", generation=generation, version=version[:12], budgets=len(reconciled.in_force)
        )
        return True
