"""What a Redis server lacks to be a ledger. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from spendgate.doctor.finding import Finding, error, info, warning
from spendgate.ledger.redis.server_check import ServerFinding as Lack
from spendgate.ledger.redis.server_facts import RedisFacts
from spendgate.ledger.redis.url import parse, redacted
from spendgate.settings.config import Settings

OLDEST = (6, 2)
"""HRANDFIELD came in 6.2."""
FULL = 0.9
SKEW_MS = 5_000
_HERE = ("127.0.0.1", "::1", "localhost")


def check_redis(facts: RedisFacts, settings: Settings) -> Iterator[Finding]:
    """Every finding of a server."""
    where = redacted(facts.url)
    if facts.unreachable:
        yield error("redis-unreachable", where, f"does not answer: {facts.unreachable}",
                    "start it, check the URL, its password and network policies")  # fmt: skip
        return
    if facts.script:
        yield error("redis-scripts", where, f"scripts cannot run: {facts.script}",
                    "allow the user: ACL SETUSER NAME +@all -@admin ~sg1:* &sg1:*")  # fmt: skip
    yield from _server(where, facts)
    yield from _memory(where, facts)
    yield from _persistence(where, facts)
    if facts.round_trip_ms * 2 > settings.ledger_timeout:
        yield warning(
            "redis-slow", where,
            f"a round trip takes {facts.round_trip_ms:.0f} ms, ledger_timeout is {settings.ledger_timeout} ms",
            "move it nearer, or raise ledger_timeout",
        )  # fmt: skip
    if abs(facts.skew_ms) > SKEW_MS:
        yield warning("redis-clock", where, f"its clock differs from here by {facts.skew_ms / 1000:.0f} s",
                      "run NTP on both: days and months begin by the clock of Redis")  # fmt: skip
    address = parse(facts.url)
    if not all(host in _HERE for host, _ in address.hosts):
        if not facts.password:
            yield warning("redis-password", where, "everybody who reaches it can write budgets and spend",
                          "give its user a password, and a network policy")  # fmt: skip
        if not address.tls:
            yield info("redis-tls", where, "spend and policy go over the wire in clear", "use rediss://")


def check_lacks(url: str, lacks: Iterable[Lack]) -> Iterator[Finding]:
    """What a look at every right and every master adds to the facts of one server."""
    for lack in lacks:
        if lack.severity != "ok" and (lack.subject in ("rights", "cluster") or lack.place):
            make = error if lack.severity == "error" else warning
            where = f"{redacted(url)} {lack.place}".strip()
            yield make(f"redis-{lack.subject}", where, lack.found, lack.remedy)


def _server(where: str, facts: RedisFacts) -> Iterator[Finding]:
    version = facts.info.get("redis_version", "")
    try:
        number = tuple(int(x) for x in version.split(".")[:2])
    except ValueError:
        number = ()
    if number and number < OLDEST:
        yield error("redis-version", where, f"is version {version}; the ledger's scripts need 6.2",
                    "upgrade to Redis 6.2 or newer, or to Valkey")  # fmt: skip
    if facts.info.get("role") == "slave":
        yield error("redis-replica", where, "is a replica: it takes no writes",
                    "give the URL of the master (of the Sentinel or the service that follows it)")  # fmt: skip


def _memory(where: str, facts: RedisFacts) -> Iterator[Finding]:
    config = facts.config
    if config is None:
        policy, limit = facts.info.get("maxmemory_policy", ""), facts.info.get("maxmemory", "0")
    else:
        policy, limit = config.get("maxmemory-policy", ""), config.get("maxmemory", "0")
    if policy and policy != "noeviction":
        yield error("redis-eviction", where, f"maxmemory-policy is {policy}: spend can be thrown away",
                    "CONFIG SET maxmemory-policy noeviction")  # fmt: skip
    used, most = float(facts.info.get("used_memory", 0)), float(limit or 0)
    if most and used > FULL * most:
        yield error("redis-full", where, f"{used / most:.0%} of its memory is used: soon it refuses writes",
                    "raise maxmemory")  # fmt: skip


def _persistence(where: str, facts: RedisFacts) -> Iterator[Finding]:
    if facts.config is None:
        has_aof: bool | None = facts.info["aof_enabled"] == "1" if "aof_enabled" in facts.info else None
        saves = True
        yield info("redis-config", where, "CONFIG is not allowed: persistence can be checked in part only",
                   "look at appendonly, save and maxmemory-policy yourself")  # fmt: skip
    else:
        has_aof = facts.config.get("appendonly") == "yes"
        saves = bool(facts.config.get("save"))
    if has_aof is False and not saves:
        yield error("redis-persistence", where, "nothing is written to disk: a restart forgets what was spent",
                    "CONFIG SET appendonly yes (and in redis.conf)")  # fmt: skip
    elif has_aof is False and facts.config is not None:
        yield warning("redis-persistence", where, "snapshots only: a crash forgets minutes of spend",
                      "CONFIG SET appendonly yes (and in redis.conf)")  # fmt: skip
    if facts.info.get("rdb_last_bgsave_status") == "err" or facts.info.get("aof_last_write_status") == "err":
        yield error("redis-disk", where, "its last write to disk failed: it refuses writes",
                    "look at its log; is the disk full?")  # fmt: skip
