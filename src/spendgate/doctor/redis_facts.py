"""What a Redis server says of itself, gathered for the doctor. Reads only, but for one key that it deletes."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

import redis.asyncio as aioredis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

PROBE = "sg1:doctor:{}"
_SCRIPT = "redis.call('SET', KEYS[1], '1', 'PX', 10000); return redis.call('GET', KEYS[1])"


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """Empty or None where the server would not say. Times in milliseconds."""

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
        client = aioredis.Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, decode_responses=True
        )
    except ValueError as e:
        return RedisFacts(url, unreachable=f"not a Redis URL: {e}")
    try:
        await client.ping()
    except NoPermissionError:
        pass
    except (RedisError, OSError) as e:
        await client.aclose()
        return RedisFacts(url, unreachable=str(e) or type(e).__name__)
    try:
        return await _ask(url, client)
    except (RedisError, OSError) as e:
        return RedisFacts(url, unreachable=str(e) or type(e).__name__)
    finally:
        await client.aclose()


async def _ask(url: str, client: aioredis.Redis) -> RedisFacts:
    trips, skew = [], 0.0
    for _ in range(5):
        began = time.perf_counter()
        seconds, micros = await client.time()
        trips.append((time.perf_counter() - began) * 1000)
        skew = seconds * 1000 + micros / 1000 - time.time() * 1000
    try:
        info = {str(k): str(v) for k, v in (await client.info()).items()}
    except NoPermissionError:
        info = {}
    config: dict[str, str] | None
    try:
        told: dict[str, str] = {}
        for name in ("maxmemory", "maxmemory-policy", "appendonly", "save", "appendfsync"):
            told |= {str(k): str(v) for k, v in (await client.config_get(name)).items()}
        config = told
    except (NoPermissionError, ResponseError):
        config = None
    return RedisFacts(
        url, info=info, config=config, script=await _script(client), round_trip_ms=min(trips), skew_ms=skew,
        password=client.connection_pool.connection_kwargs.get("password") is not None,
    )  # fmt: skip


async def _script(client: aioredis.Redis) -> str:
    key = PROBE.format(secrets.token_hex(8))
    try:
        sha = await client.script_load(_SCRIPT)
        answer = await client.evalsha(sha, 1, key)
        await client.delete(key)
    except RedisError as e:
        return str(e)
    return "" if answer == "1" else f"a script answered {answer!r}"
