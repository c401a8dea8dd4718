"""What a Redis lacks to keep a ledger: version, durability, eviction, rights, health of the topology. Changes
nothing but keys of its own, which it deletes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from importlib.resources import files
from typing import Any, Literal, cast

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoPermissionError, RedisError

from spendgate.ledger.redis import url as connect
from spendgate.ledger.redis.codec import POLICY_CHANNEL, text
from spendgate.values import dataclass

VERSION_MIN = (6, 2)
SKEW_MAX_MS = 2_000
"""A gateway's clock may differ from Redis' by so much before its windows are worth a word."""
Severity = Literal["error", "warning", "ok"]


@dataclass(frozen=True, slots=True)
class ServerFinding:
    """One look at the server. `error`: the ledger does not work, or cannot keep its promise. `remedy` says what
    to do; "" where all is well. `place` is the node, where there are several."""

    severity: Severity
    subject: str
    found: str
    remedy: str = ""
    place: str = ""


async def check_server(url: str, timeout_s: float = 5.0) -> list[ServerFinding]:
    """Look at the server, or every master of a cluster. Never raises but ConfigurationError for the URL."""
    address = connect.parse(url)
    client = connect.client(url, timeout_s)
    try:
        async with asyncio.timeout(timeout_s * 6):
            return [finding async for finding in _look(client, address)]
    except (RedisError, OSError, TimeoutError) as e:
        return [_unreachable(address, e)]
    finally:
        await client.aclose()


def _unreachable(address: connect.RedisUrl, e: Exception) -> ServerFinding:
    name = type(e).__name__
    remedy = "start Redis, or give the right --redis URL"
    if name in ("AuthenticationError", "AuthenticationWrongNumberOfArgsError"):
        remedy = "give the user and password in the URL: redis://USER:PASSWORD@HOST"
    elif address.kind == "sentinel":
        remedy = f"see that the sentinels run and know a master {address.master!r}"
    elif address.tls:
        remedy = "see that the port speaks TLS, and give ?ssl_ca_certs=FILE where a CA of your own signs"
    return ServerFinding("error", "connection", f"{address.shown} does not answer: {name}: {e}", remedy)


async def _look(client: Any, address: connect.RedisUrl) -> AsyncIterator[ServerFinding]:
    yield ServerFinding("ok", "connection", f"{address.shown} answers")
    try:
        infos = await _infos(client)
    except NoPermissionError as e:
        yield ServerFinding("error", "rights", f"INFO is refused: {e}", "allow it: ACL SETUSER … +info")
        infos = {}
    for place, info in infos.items():
        shown = place if len(infos) > 1 else ""
        for finding in server_findings(info, shown):
            yield finding
    async for finding in _rights(client):
        yield finding
    if address.kind == "cluster":
        yield await _cluster(client)
    yield await _clock(client)


async def _infos(client: Any) -> dict[str, Mapping[str, Any]]:
    if isinstance(client, RedisCluster):
        found = await client.info(target_nodes=RedisCluster.PRIMARIES)
        return {str(place): info for place, info in found.items()} if _is_by_node(found) else {"": found}
    return {"": await client.info()}


def _is_by_node(info: Mapping[str, Any]) -> bool:
    return all(isinstance(v, dict) and "redis_version" in v for v in info.values())


def server_findings(info: Mapping[str, Any], place: str = "") -> list[ServerFinding]:
    """What INFO tells of one server. Pure."""
    return [_version(info, place), _role(info, place), *_memory(info, place), *_disk(info, place)]


def _version(info: Mapping[str, Any], place: str) -> ServerFinding:
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    shown = str(info.get("valkey_version") or info.get("redis_version", "0"))
    numbers = tuple(
        int(n) if n.isdecimal() else 0 for n in str(info.get("redis_version", "0")).split(".")[:2]
    )
    if numbers < VERSION_MIN:
        return ServerFinding(
            "error",
            "version",
            f"{name} {shown}",
            "use Redis 6.2 or later, or Valkey: the scripts need it",
            place,
        )
    return ServerFinding("ok", "version", f"{name} {shown}", place=place)


def _role(info: Mapping[str, Any], place: str) -> ServerFinding:
    if info.get("role") != "master":
        return ServerFinding(
            "error", "role", f"a {info.get('role', 'server of unknown role')}; it takes no writes",
            "point the URL at the master, or at the sentinels: redis+sentinel://HOST:26379,…/NAME", place,
        )  # fmt: skip
    return ServerFinding("ok", "role", f"master with {info.get('connected_slaves', 0)} replicas", place=place)


def _memory(info: Mapping[str, Any], place: str) -> list[ServerFinding]:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    out = []
    if policy != "noeviction":
        out.append(
            ServerFinding(
                "error", "eviction", f"maxmemory-policy {policy}: Redis may delete spend when memory is short",
                "CONFIG SET maxmemory-policy noeviction, and in redis.conf", place,
            )
        )  # fmt: skip
    else:
        out.append(ServerFinding("ok", "eviction", "maxmemory-policy noeviction", place=place))
    if most and used > most * 9 // 10:
        out.append(
            ServerFinding(
                "warning", "memory", f"{used * 100 // most} % of maxmemory is used; at 100 % nothing is reserved",
                "raise maxmemory", place,
            )
        )  # fmt: skip
    return out


def _disk(info: Mapping[str, Any], place: str) -> list[ServerFinding]:
    out = []
    if int(info.get("aof_enabled", 0)):
        out.append(ServerFinding("ok", "durability", "appendonly yes", place=place))
        if info.get("aof_last_write_status", "ok") != "ok":
            out.append(
                ServerFinding(
                    "error", "durability", "the append-only file cannot be written", "free its disk", place
                )
            )
    else:
        out.append(
            ServerFinding(
                "warning", "durability", "appendonly no: a restart takes back what was spent since the last dump; "
                "gateways and Prometheus give most of it back",
                "CONFIG SET appendonly yes, and in redis.conf", place,
            )
        )  # fmt: skip
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        out.append(
            ServerFinding("warning", "durability", "the last dump failed", "look into Redis' log", place)
        )
    if int(info.get("loading", 0)):
        out.append(ServerFinding("error", "loading", "Redis is still reading its data", "wait", place))
    return out


async def _rights(client: Any) -> AsyncIterator[ServerFinding]:
    script = (files("spendgate.ledger") / "lua" / "check.lua").read_text()
    refused: dict[str, str] = {}
    try:
        reply = await cast(Awaitable[list[Any]], client.eval(script, 1, "sg1:{~check}:holds"))
        refused = {text(name): text(why) for name, why in zip(reply[::2], reply[1::2], strict=True)}
        await client.evalsha("0" * 40, 1, "sg1:{~check}:holds")
    except NoPermissionError as e:
        refused["EVAL and EVALSHA"] = str(e)
    except RedisError as e:
        if "NOSCRIPT" not in str(e) and "No matching script" not in str(e):
            refused["EVAL and EVALSHA"] = str(e)
    problem = await _subscribes(client)
    if problem:
        refused["SUBSCRIBE"] = problem
    for name, why in refused.items():
        yield ServerFinding("error", "rights", f"{name}: {why}", RIGHTS_REMEDY)
    if not refused:
        yield ServerFinding("ok", "rights", "every command of the ledger is allowed")


RIGHTS_REMEDY = (
    "ACL SETUSER gateway ~sg1:* &sg1:* +@read +@write +@scripting +@connection +@pubsub +info +time +cluster"
)


async def _subscribes(client: Any) -> str:
    try:
        await client.initialize()
        async with client.pubsub() as channel:
            await channel.subscribe(POLICY_CHANNEL)
            await channel.get_message(timeout=1.0)
    except (RedisError, OSError) as e:
        return f"{type(e).__name__}: {e}"
    return ""


async def _cluster(client: Any) -> ServerFinding:
    try:
        reply = await client.execute_command("CLUSTER INFO", target_nodes=RedisCluster.RANDOM)
    except RedisError as e:
        return ServerFinding("error", "cluster", f"CLUSTER INFO: {e}", "allow it: ACL SETUSER … +cluster")
    info = reply if "cluster_state" in reply else next(iter(reply.values()))
    state, slots = info.get("cluster_state"), info.get("cluster_slots_assigned")
    if state != "ok" or slots != "16384":
        return ServerFinding(
            "error", "cluster", f"state {state}, {slots} of 16384 slots served",
            "mend it: redis-cli --cluster fix; teams whose slot nobody serves have no ledger",
        )  # fmt: skip
    return ServerFinding("ok", "cluster", f"all slots are served by {info.get('cluster_size')} masters")


async def _clock(client: Any) -> ServerFinding:
    before = time.time_ns() // 1_000_000
    reply = await client.time()
    if isinstance(reply, dict):
        reply = next(iter(reply.values()))
    after = time.time_ns() // 1_000_000
    at = int(reply[0]) * 1000 + int(reply[1]) // 1000
    off = at - after if at > after else min(0, at - before)
    if abs(off) > SKEW_MAX_MS:
        return ServerFinding(
            "warning", "clock", f"Redis' clock is {off} ms off this machine's; months turn by Redis' clock",
            "let both follow the same time servers",
        )  # fmt: skip
    return ServerFinding("ok", "clock", f"within {SKEW_MAX_MS} ms of this machine's")
