"""Leader election by a Lease, after the rules of Kubernetes' client-go. Pure: no clock, no wire.

The rules: a lease is judged by when *we* last saw it change, on our own monotonic clock, never by the times
written in it (clocks of nodes differ). A leader that could not renew for `renew_deadline_s` stops leading by
itself, before anyone else may take over after `duration_s`. Every write carries the resourceVersion of what
was read, so that of two candidates one wins.

The numbers: client-go's usual 15 / 10 / 2 s make a crash visible after up to 20 s; these keep it below 15.

`transitions` counts the leaders there have been. It is the fencing number of the policy's writes, see
`policy.store`: a number that a write was refused for is jumped over at the next renewal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `retry_s` is stretched by a factor of 1 to 1 + `jitter`."""

    duration_s: float = 10.0
    renew_deadline_s: float = 6.5
    retry_s: float = 1.0
    jitter: float = 1.2

    def __post_init__(self) -> None:
        if not self.duration_s > self.renew_deadline_s > self.retry_s * (1 + self.jitter) > 0:
            raise ValueError("lease: duration > renew deadline > longest retry > 0 does not hold")


@dataclass(frozen=True, slots=True)
class Lease:
    """What a Lease says. `version` is its resourceVersion, "" for one that does not exist."""

    holder: str = ""
    duration_s: float = 0.0
    transitions: int = 0
    acquired: str = ""
    renewed: str = ""
    version: str = ""

    @classmethod
    def read(cls, obj: Mapping[str, Any]) -> Lease:
        """Read the API's object; what is missing counts as empty."""
        spec = obj.get("spec") or {}
        return cls(
            holder=str(spec.get("holderIdentity") or ""),
            duration_s=float(spec.get("leaseDurationSeconds") or 0),
            transitions=int(spec.get("leaseTransitions") or 0),
            acquired=str(spec.get("acquireTime") or ""),
            renewed=str(spec.get("renewTime") or ""),
            version=str((obj.get("metadata") or {}).get("resourceVersion") or ""),
        )

    def write(self, name: str, namespace: str) -> dict[str, Any]:
        """The API's object."""
        meta: dict[str, Any] = {"name": name, "namespace": namespace}
        if self.version:
            meta["resourceVersion"] = self.version
        spec: dict[str, Any] = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": max(1, round(self.duration_s)),
            "leaseTransitions": self.transitions,
            "acquireTime": self.acquired,
            "renewTime": self.renewed,
        }
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


def micro_time(epoch_ms: int) -> str:
    """Kubernetes' MicroTime."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Elector:
    """One candidate's view. `now` is monotonic seconds, `wall_ms` only fills the Lease's own fields.

    Each round: `observe` what was read, `attempt` gives the Lease to write (None: wait), then `won` with what
    the server answered, or nothing where it refused.
    """

    def __init__(self, identity: str, timing: Timing | None = None) -> None:
        self.identity = identity
        self.timing = timing or Timing()
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._leading_until = float("-inf")
        self._fence_above = 0

    @property
    def fence(self) -> int:
        """The fencing number of this leadership."""
        return self._seen.transitions if self._seen is not None else 0

    @property
    def holder(self) -> str:
        """Who leads, as last seen."""
        return self._seen.holder if self._seen is not None else ""

    def leads(self, now: float) -> bool:
        """May this candidate act as the leader at `now`?"""
        return now < self._leading_until

    def fenced_by(self, number: int) -> None:
        """A write was refused because a leader with `number` had written: the next renewal goes above it. It
        succeeds only for who truly holds the Lease."""
        self._fence_above = max(self._fence_above, number + 1)

    def observe(self, lease: Lease | None, now: float) -> None:
        """What the server has now; None: no such Lease."""
        lease = lease if lease is not None else Lease()
        if lease.holder != self.identity:
            self._leading_until = float("-inf")
        if self._seen != lease:
            self._seen, self._seen_at = lease, now

    def attempt(self, now: float, wall_ms: int) -> Lease | None:
        """The Lease to write now, or None while another one's is good."""
        seen = self._seen or Lease()
        ours = seen.holder == self.identity
        if not ours and seen.holder and now < self._expires_at():
            return None
        stamp = micro_time(wall_ms)
        transitions = seen.transitions
        if not ours and seen.version:
            transitions += 1
        return replace(
            seen,
            holder=self.identity,
            duration_s=self.timing.duration_s,
            transitions=max(transitions, self._fence_above),
            acquired=seen.acquired if ours else stamp,
            renewed=stamp,
        )

    def won(self, written: Lease, asked_at: float) -> None:
        """The server took the write that was asked for at `asked_at`: leading counts from then."""
        self._seen, self._seen_at = written, asked_at
        self._leading_until = asked_at + self.timing.renew_deadline_s

    def release(self, wall_ms: int) -> Lease | None:
        """The Lease to write when this leader ends, so that nobody waits; None for who does not lead."""
        seen = self._seen
        self._leading_until = float("-inf")
        if seen is None or seen.holder != self.identity or not seen.version:
            return None
        return replace(seen, holder="", duration_s=1.0, renewed=micro_time(wall_ms))

    def wait_s(self, now: float, jitter: float) -> float:
        """Until the next round; `jitter` is a random number in 0..1. A candidate wakes when the lease ends."""
        wait = self.timing.retry_s * (1 + self.timing.jitter * jitter)
        if self._seen is not None and self._seen.holder and self._seen.holder != self.identity:
            wait = min(wait, max(0.05, self._expires_at() - now))
        return wait

    def _expires_at(self) -> float:
        seen = self._seen or Lease()
        return self._seen_at + (seen.duration_s or self.timing.duration_s)
