"""A token bucket."""

from __future__ import annotations

from spendgate.token_bucket import TokenBucket


def test_so_many_go_at_once_and_then_so_many_a_second() -> None:
    bucket = TokenBucket(3, 2.0, 100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.25), bucket.take(100.5)] == [False, True]
    assert [bucket.take(101.5) for _ in range(3)] == [True, True, False]


def test_a_long_pause_saves_no_more_than_a_burst_and_what_was_refused_owes_nothing() -> None:
    bucket = TokenBucket(2, 1.0, 0.0)
    assert [bucket.take(1000.0) for _ in range(50)] == [True, True, *[False] * 48]
    assert bucket.take(1001.0)
