"""Which policy each gateway enforces, told by itself in Redis: one hash `sg1:gateways`, a field a worker.

A value is the second of Redis' own clock when it was told, and JSON: `version` and `generation` of the policy, and
`misread`, the uids of budgets in it that this gateway could not read and so enforces in an older form. Who has not told
for `ALIVE_S` counts no more.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterable
from typing import Any, cast

from spendgate.ledger.redis.client import Client, answered
from spendgate.values import dataclass

KEY = "sg1:gateways"
ALIVE_S = 15
EVERY_S = 5.0
"""How often a gateway tells without a change."""
_FORGET_S = 3600

_TELL = """
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], t[1] .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
_ALIVE = """
local now, all, out = tonumber(redis.call('TIME')[1]), redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local at = tonumber(string.match(all[i + 1], '^(%d+) ')) or 0
  if now - at <= tonumber(ARGV[1]) then
    out[#out + 1] = all[i]
    out[#out + 1] = string.match(all[i + 1], '^%d+ (.*)$')
  elseif now - at > 60 then
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return out
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What one gateway worker enforces."""

    version: str
    generation: int
    misread: frozenset[str] = frozenset()


class Gateways:
    """Every call raises LedgerUnavailable where Redis does not answer."""

    def __init__(self, client: Client) -> None:
        self._redis = client

    async def tell(self, name: str, version: str, generation: int, misread: Iterable[str] = ()) -> None:
        """Say what the worker of this name enforces, from now on for `ALIVE_S`."""
        words = json.dumps({"version": version, "generation": generation, "misread": sorted(misread)})
        await answered(
            "tell the policy in force",
            cast(Awaitable[int], self._redis.eval(_TELL, 1, KEY, name, words, str(_FORGET_S))),
        )

    async def leave(self, name: str) -> None:
        """The worker ends."""
        await answered("leave the gateways", self._redis.hdel(KEY, name))

    async def alive(self) -> dict[str, Report]:
        """Every worker that told within the last `ALIVE_S`, by name."""
        found = await answered(
            "read the gateways", cast(Awaitable[list[Any]], self._redis.eval(_ALIVE, 1, KEY, str(ALIVE_S)))
        )
        return {_text(found[i]): _report(found[i + 1]) for i in range(0, len(found), 2)}


def _report(value: Any) -> Report:
    """One value; what is no report of this form enforces no version that anybody knows."""
    try:
        words = json.loads(value)
        return Report(str(words["version"]), int(words["generation"]), frozenset(map(str, words["misread"])))
    except (ValueError, TypeError, KeyError):
        return Report("", 0)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
