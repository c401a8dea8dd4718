"""A Redis that would lose or refuse spend is found out, and the fix is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spendgate.doctor.redis_checks import check_redis
from spendgate.ledger.redis.server_facts import RedisFacts
from spendgate.settings.config import Settings

GOOD = RedisFacts(
    "rediss://user:secret@redis.example:6379/0",
    info={"redis_version": "7.2.4", "role": "master", "used_memory": "10", "aof_enabled": "1"},
    config={"maxmemory": "1000", "maxmemory-policy": "noeviction", "appendonly": "yes", "save": ""},
    round_trip_ms=1.0,
    password=True,
)
SETTINGS = Settings()


def codes(facts: RedisFacts) -> set[str]:
    return {f.code for f in check_redis(facts, SETTINGS)}


def test_a_good_server_is_healthy() -> None:
    assert codes(GOOD) == set()


def configured(**config: str) -> RedisFacts:
    return replace(
        GOOD, config={**(GOOD.config or {}), **{k.replace("_", "-"): v for k, v in config.items()}}
    )


def informed(**info: str) -> RedisFacts:
    return replace(GOOD, info={**GOOD.info, **info})


PLANTED: dict[str, tuple[RedisFacts, str, str]] = {
    "away": (replace(GOOD, unreachable="refused"), "redis-unreachable", "check the URL"),
    "no scripts": (replace(GOOD, script="NOPERM"), "redis-scripts", "ACL SETUSER"),
    "old": (informed(redis_version="6.0.16"), "redis-version", "6.2"),
    "replica": (informed(role="slave"), "redis-replica", "master"),
    "evicts": (configured(maxmemory_policy="allkeys-lru"), "redis-eviction", "noeviction"),
    "full": (informed(used_memory="950"), "redis-full", "raise maxmemory"),
    "forgets": (configured(appendonly="no"), "redis-persistence", "appendonly yes"),
    "snapshots only": (configured(appendonly="no", save="60 1"), "redis-persistence", "appendonly yes"),
    "disk full": (informed(rdb_last_bgsave_status="err"), "redis-disk", "disk full"),
    "far away": (replace(GOOD, round_trip_ms=200.0), "redis-slow", "ledger_timeout"),
    "another time": (replace(GOOD, skew_ms=-60_000), "redis-clock", "NTP"),
    "open": (replace(GOOD, password=False), "redis-password", "password"),
    "in clear": (replace(GOOD, url="redis://u:s@redis.example"), "redis-tls", "rediss://"),
    "silent": (replace(GOOD, config=None), "redis-config", "yourself"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_and_its_fix_named(name: str) -> None:
    facts, code, fix = PLANTED[name]
    found = [f for f in check_redis(facts, SETTINGS) if f.code == code]
    assert found and all(fix in f.fix for f in found), codes(facts)


def test_no_finding_shows_a_password() -> None:
    every: list[Any] = [f for facts, _, _ in PLANTED.values() for f in check_redis(facts, SETTINGS)]
    assert not [f for f in every if "secret" in str(f)]
