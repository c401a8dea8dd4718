"""What a Redis server says of itself, gathered for the doctor. Reads only, but for one key that it deletes."""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import field, replace
from typing import Any

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from spendgate.errors import ConfigurationError
from spendgate.ledger.redis import url as connect
from spendgate.values import dataclass

PROBE = "sg1:doctor:{}"
_SCRIPT = "redis.call('SET', KEYS[1], '1', 'PX', 10000); return redis.call('GET', KEYS[1])"


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """Empty or None where the server would not say. Times in milliseconds. Of a cluster: one of its nodes."""

    url: str
    unreachable: str = ""
    info: dict[str, str] = field(default_factory=dict)
    config: dict[str, str] | None = None
    script: str = ""
    """Why a script could not run, "" where it could."""
    round_trip_ms: float = 0.0
    skew_ms: float = 0.0
    """Its clock less ours."""
    password: bool = False


async def facts_of(url: str, timeout_s: float = 3.0) -> RedisFacts:
    """Ask the server. Never raises for what the server does."""
    try:
        address = connect.parse(url)
        client: Any = connect.client(url, timeout_s)
    except ConfigurationError as e:
        return RedisFacts(url, unreachable=str(e))
    password = bool(address.password)
    try:
        with contextlib.suppress(NoPermissionError):
            await client.ping()
        return replace(await _ask(url, client), password=password)
    except (RedisError, OSError, TimeoutError) as e:
        return RedisFacts(url, unreachable=str(e) or type(e).__name__)
    finally:
        await client.aclose()


async def _ask(url: str, client: Any) -> RedisFacts:
    node: dict[str, Any] = {}
    if isinstance(client, RedisCluster):
        node = {"target_nodes": client.get_default_node()}
    trips, skew = [], 0.0
    for _ in range(5):
        began = time.perf_counter()
        seconds, micros = await client.time(**node)
        trips.append((time.perf_counter() - began) * 1000)
        skew = int(seconds) * 1000 + int(micros) / 1000 - time.time() * 1000
    try:
        info = {str(k): str(v) for k, v in (await client.info(**node)).items()}
    except NoPermissionError:
        info = {}
    config: dict[str, str] | None
    try:
        told: dict[str, str] = {}
        for name in ("maxmemory", "maxmemory-policy", "appendonly", "save", "appendfsync"):
            told |= {_text(k): _text(v) for k, v in (await client.config_get(name, **node)).items()}
        config = told
    except (NoPermissionError, ResponseError):
        config = None
    script = await _script(client)
    return RedisFacts(url, info=info, config=config, script=script, round_trip_ms=min(trips), skew_ms=skew)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def _script(client: Any) -> str:
    key = PROBE.format(secrets.token_hex(8))
    try:
        sha = await client.script_load(_SCRIPT)
        answer = await client.evalsha(sha, 1, key)
        await client.delete(key)
    except RedisError as e:
        return str(e)
    return "" if _text(answer) == "1" else f"a script answered {answer!r}"
