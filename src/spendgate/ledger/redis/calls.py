"""Calls on one Redis, each bounded in time: commands in one round trip, scripts loaded where they are not known."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

import redis.asyncio as aioredis
from redis.exceptions import NoScriptError, RedisError

from spendgate.errors import LedgerUnavailable
from spendgate.ledger.exchanges import is_group
from spendgate.ledger.redis.cluster_connection import ClusterLane
from spendgate.ledger.redis.codec import GROUPS_KEY, TEAMS_KEY, clean, holds_key
from spendgate.ledger.redis.connection import Lane
from spendgate.tasks import in_task

BULK_TIMEOUT_S = 2.0
"""The least time given to calls off the request's path."""
CALLS_PER_TRIP = 500
"""Scripts run in one round trip."""
LONG_WAY = "-- The long way"
"""Where it begins in a file of Lua."""
_T = TypeVar("_T")


class Script:
    """A Lua file with the common prelude before it, and its SHA-1 as EVALSHA wants it. What a file has of a short way
    is put where its long one begins in the prelude, so that a call which is over by then has made little."""

    def __init__(self, verb: str) -> None:
        folder = files("spendgate.ledger") / "lua"
        common, verbs_own = (folder / "common.lua").read_text(), (folder / f"{verb}.lua").read_text()
        if LONG_WAY in verbs_own:
            (common, rest), (short, verbs_own) = (
                common.split(f"{LONG_WAY} of {verb}."),
                verbs_own.split(f"{LONG_WAY}."),
            )
            common += f"{short}{LONG_WAY}.{rest}"
        self.text = common + verbs_own
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def script_call(script: Script, accounts: Sequence[str], args: Sequence[Any]) -> tuple[Any, ...]:
    """The call of a script for an account, and further ones beside it."""
    return ("EVALSHA", script.sha, len(accounts), *map(holds_key, accounts), *args)


class RedisCalls:
    """`timeout_s` bounds every call, `bulk_timeout_s` those off the request's path; past it LedgerUnavailable is
    raised. `lane` is the fast way to the same server, where there is one."""

    def __init__(self, client: aioredis.Redis, timeout_s: float, lane: Lane | ClusterLane | None) -> None:
        self.redis = client
        self.lane = lane
        self.timeout_s = timeout_s
        self.bulk_timeout_s = max(timeout_s, BULK_TIMEOUT_S)
        self._known: set[str] = set()

    def knows(self, team: str) -> bool:
        """Has the server been told of this team?"""
        return team in self._known

    def forget(self) -> None:
        """Another server may answer next: tell it of every team again."""
        self._known.clear()

    async def bulk(self, what: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """As `guard`, off the request's path."""
        return await self.guard(what, call, self.bulk_timeout_s)

    async def guard(self, what: str, call: Callable[[], Awaitable[_T]], timeout_s: float = 0.0) -> _T:
        """Await a call, within `timeout_s` (0: the request's). `what` names it where Redis is away. Raises
        LedgerUnavailable."""
        await in_task()
        try:
            async with asyncio.timeout(timeout_s or self.timeout_s):
                return await call()
        except (RedisError, OSError, TimeoutError) as e:
            self.forget()
            if self.lane is not None and isinstance(e, TimeoutError):
                self.lane.reset()  # it may lead nowhere
            raise LedgerUnavailable(f"{what}: Redis did not answer: {type(e).__name__}: {e}") from e

    async def run(
        self, script: Script, calls: list[tuple[str, list[Any]]], beside: Sequence[Sequence[str]] = ()
    ) -> list[Any]:
        """Run one script for several teams in one pipeline; load it where Redis does not know it. `beside`: further
        accounts that each call may touch, on a single server.

        One reply a call; a call that failed has its exception for a reply.
        """
        fresh = {team for team, _ in calls}.union(*beside) - self._known
        commands = [
            script_call(script, (team, *(beside[i] if beside else ())), args)
            for i, (team, args) in enumerate(calls)
        ]
        teams = [clean(team) for team in fresh if not is_group(team)]
        groups = [clean(team[1:]) for team in fresh if is_group(team)]
        commands += [
            ("SADD", key, *names) for key, names in ((TEAMS_KEY, teams), (GROUPS_KEY, groups)) if names
        ]
        replies = await self.send(commands)
        for _ in calls:
            missing = [i for i in range(len(calls)) if isinstance(replies[i], NoScriptError)]
            if not missing:
                break
            # a new server: it may have lost its teams too, they are added again by the next calls
            self.forget()
            first, *others = missing  # EVAL makes the script known where its key is
            late = await self.send(
                [("EVAL", script.text, *commands[first][2:]), *(commands[i] for i in others)]
            )
            for i, reply in zip(missing, late, strict=True):
                replies[i] = reply
        if fresh and not isinstance(replies[-1], Exception):
            self._known |= fresh
        return replies[: len(calls)]

    async def send(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """All replies in one round trip; an error reply stands as an exception in the list."""
        if self.lane is not None:
            return await self.lane.run(commands)
        pipe = self.redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return list(await pipe.execute(raise_on_error=False))

    async def run_all(self, script: Script, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        """As `run`, and any call's failure is raised."""
        replies = await self.run(script, calls)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def ask(
        self, what: str, script: Script, calls: list[tuple[str, list[Any]]], a_trip: int = CALLS_PER_TRIP
    ) -> list[Any]:
        """Run one script for several (team, arguments), off the request's path, so many in one round trip; one
        reply each, in order. `what` names the call where Redis is away. Raises LedgerUnavailable."""
        out: list[Any] = []
        for start in range(0, len(calls), a_trip):
            part = calls[start : start + a_trip]
            out += await self.bulk(what, partial(self.run_all, script, part))
        return out

    async def send_all(self, what: str, commands: list[tuple[Any, ...]]) -> list[Any]:
        """All replies in one round trip, off the request's path; an error reply is raised. Raises
        LedgerUnavailable."""

        async def call() -> list[Any]:
            replies = await self.send(commands)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies

        return await self.bulk(what, call)
