from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.controller.kube.election import Elector, Lease, Timing, micro_time


class Server:
    """A Lease with the API server's optimistic locking."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self._version = 0

    def write(self, lease: Lease) -> Lease | None:
        """The stored Lease, or None for a conflict."""
        from dataclasses import replace

        current = self.lease.version if self.lease is not None else ""
        if lease.version != current:
            return None
        self._version += 1
        self.lease = replace(lease, version=str(self._version))
        return self.lease


def step(elector: Elector, server: Server, now: float) -> None:
    if not elector.leads(now):
        elector.observe(server.lease, now)
    lease = elector.attempt(now, int(now * 1000))
    if lease is None:
        return
    written = server.write(lease)
    if written is None:
        elector.observe(server.lease, now)
    else:
        elector.won(written, now)


def test_the_first_candidate_leads_and_the_second_waits() -> None:
    server, a, b = Server(), Elector("a"), Elector("b")
    step(a, server, 0)
    step(b, server, 0.1)
    assert a.leads(1) and not b.leads(1)


def test_a_leader_that_renews_stays() -> None:
    server, a, b = Server(), Elector("a"), Elector("b")
    for second in range(100):
        step(a, server, second)
        step(b, server, second + 0.5)
        assert a.leads(second + 0.9) and not b.leads(second + 0.9)


def test_a_silent_leader_is_followed_after_the_lease_and_within_fifteen_seconds() -> None:
    timing = Timing()
    server, a, b = Server(), Elector("a"), Elector("b")
    step(a, server, 0)
    now = 0.0
    while not b.leads(now):
        step(b, server, now)
        now += b.wait_s(now, 1.0)
    # the candidate saw the last renewal up to one longest retry after it was made
    assert timing.duration_s <= now <= 15
    assert not a.leads(now)


def test_a_leader_that_can_not_renew_stops_before_another_may_begin() -> None:
    server, a, b = Server(), Elector("a"), Elector("b")
    step(a, server, 0)
    b.observe(server.lease, 0)
    end = next(t / 10 for t in range(1000) if not a.leads(t / 10))
    begin = next(t / 10 for t in range(1000) if b.attempt(t / 10, 0) is not None)
    assert end < begin


def test_the_times_written_in_a_lease_are_not_believed() -> None:
    server, b = Server(), Elector("b")
    server.write(Lease("a", 10, 0, micro_time(0), micro_time(0), ""))  # "renewed" in 1970
    step(b, server, 1000)
    assert not b.leads(1000)
    step(b, server, 1000 + 10.1)
    assert b.leads(1000 + 10.1)


def test_a_released_lease_is_taken_at_once() -> None:
    server, a, b = Server(), Elector("a"), Elector("b")
    step(a, server, 0)
    released = a.release(500)
    assert released is not None
    assert server.write(released) is not None
    assert not a.leads(0.5)
    step(b, server, 0.6)
    assert b.leads(0.6)


def test_who_does_not_lead_releases_nothing() -> None:
    server, a, b = Server(), Elector("a"), Elector("b")
    step(a, server, 0)
    step(b, server, 0)
    assert b.release(0) is None


def test_every_new_leader_has_a_higher_fencing_number() -> None:
    server, a, b = Server(), Elector("a"), Elector("b")
    step(a, server, 0)
    first = a.fence
    step(b, server, 0)
    step(b, server, 11)
    assert b.leads(11) and b.fence > first


def test_a_leader_that_was_fenced_off_goes_above_at_the_next_renewal() -> None:
    server, a = Server(), Elector("a")
    step(a, server, 0)
    a.fenced_by(41)
    step(a, server, 1)
    assert a.fence == 42 and a.leads(1)


def test_a_deposed_leader_learns_it_by_the_conflict() -> None:
    server, a, b = Server(), Elector("a"), Elector("b")
    step(a, server, 0)
    step(b, server, 0)
    step(b, server, 11)
    step(a, server, 11.1)
    assert not a.leads(11.2) and b.leads(11.2)


@given(st.integers(0, 2**32), st.integers(2, 4))
def test_whatever_fails_two_never_lead_at_once(seed: int, n: int) -> None:
    rng = random.Random(seed)
    server = Server()
    electors = [Elector(str(i)) for i in range(n)]
    next_at = [rng.random() for _ in electors]
    frozen_until = [0.0] * n
    for _ in range(400):
        i = min(range(n), key=lambda k: next_at[k])
        now = next_at[i]
        assert sum(e.leads(now) for e in electors) <= 1
        if rng.random() < 0.05:
            frozen_until[i] = now + rng.random() * 30
        if now >= frozen_until[i]:
            step(electors[i], server, now)
        next_at[i] = max(now, frozen_until[i]) + electors[i].wait_s(now, rng.random())


def test_timings_that_could_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="duration > renew deadline"):
        Timing(duration_s=10, renew_deadline_s=10)


def test_a_lease_is_written_as_the_api_reads_it() -> None:
    lease = Lease("me_1", 10.0, 3, micro_time(1_700_000_000_123), micro_time(1_700_000_000_456), "77")
    assert Lease.read(lease.write("name", "space")) == lease
    assert micro_time(1_700_000_000_123) == "2023-11-14T22:13:20.123000Z"
