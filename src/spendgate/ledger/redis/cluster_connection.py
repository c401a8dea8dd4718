"""Pipelined connections to the masters of a Redis Cluster: one lane a node, commands sent by their key's slot.

The slots' places come from CLUSTER SLOTS of any node that answers, again after a redirection or a break.
A slot on its way to another node answers nothing (`common.lua` sees to it, so that no counter is split); such
commands are tried again until it has arrived, as long as the caller waits.
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

from redis.crc import key_slot
from redis.exceptions import ResponseError

from spendgate.ledger.redis.connection import Lane, Redirected, Reply
from spendgate.ledger.redis.url import HostPort, RedisUrl

AGAIN_S = 0.02
"""Between two tries while slots move or a master is being replaced."""
TRIES_MAX = 500
"""Ends a loop that the caller's timeout should have ended."""
_ON_THE_WAY = ("TRYAGAIN", "CLUSTERDOWN", "non local key", "undeclared key")
"""Beginnings or parts of errors after which nothing has happened, and that pass."""


@lru_cache(maxsize=65_536)
def slot_of(key: str) -> int:
    """The hash slot of a key, by its tag."""
    return int(key_slot(key.encode()))


class ClusterLane:
    """As `Lane`, over all masters. `address` names some nodes."""

    def __init__(self, address: RedisUrl, connect_timeout_s: float) -> None:
        self._address = address
        self._timeout_s = connect_timeout_s
        self._lanes: dict[HostPort, Lane] = {}
        self._places: dict[int, HostPort] = {}
        self._asked = 0
        self._stale = True
        self._refreshing = asyncio.Lock()

    async def run(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """As `Lane.run`; each command has a key."""
        replies: list[Any] = [None] * len(commands)
        todo = list(range(len(commands)))
        asking: dict[int, HostPort] = {}
        for _ in range(TRIES_MAX):
            if self._stale:
                await self._refresh()
            todo, asking = await self._try(commands, replies, todo, asking)
            if not todo:
                return replies
            if self._stale or not asking:
                await asyncio.sleep(AGAIN_S)
        return replies

    async def _try(
        self,
        commands: list[tuple[Any, ...]],
        replies: list[Any],
        todo: list[int],
        asking: dict[int, HostPort],
    ) -> tuple[list[int], dict[int, HostPort]]:
        """Send what is to do, one batch a node; returns what is left, and where it must ask for a slot."""
        by_node: dict[HostPort, list[tuple[int, bool]]] = {}
        left: list[int] = []
        for i in todo:
            place = asking.get(i) or self._places.get(_slot(commands[i]))
            if place is None:
                replies[i] = Reply("CLUSTERDOWN no node serves the slot")
                left.append(i)
                self._stale = True
            else:
                by_node.setdefault(place, []).append((i, i in asking))
        results = await asyncio.gather(
            *(self._send(place, commands, items) for place, items in by_node.items()), return_exceptions=True
        )
        redirected: dict[int, HostPort] = {}
        for items, result in zip(by_node.values(), results, strict=True):
            if isinstance(result, BaseException):
                if not isinstance(result, (OSError, TimeoutError)):
                    raise result
                self._stale = True
                left += [i for i, _ in items]
                for i, _ in items:
                    replies[i] = Reply(f"the node did not answer: {type(result).__name__}: {result}")
                continue
            for (i, _), reply in zip(items, result, strict=True):
                replies[i] = reply
                if isinstance(reply, Redirected):
                    place = self._place_of(reply)
                    left.append(i)
                    if reply.is_asking:
                        redirected[i] = place
                    else:
                        self._places[reply.slot] = place
                        self._stale = True
                elif isinstance(reply, ResponseError) and any(w in str(reply) for w in _ON_THE_WAY):
                    left.append(i)
                    self._stale = True
        return sorted(left), redirected

    async def _send(
        self, place: HostPort, commands: list[tuple[Any, ...]], items: list[tuple[int, bool]]
    ) -> list[Any]:
        batch: list[tuple[Any, ...]] = []
        for i, is_asking in items:
            if is_asking:
                batch.append(("ASKING",))
            batch.append(commands[i])
        replies = iter(await self._lane(place).run(batch))
        out = []
        for _, is_asking in items:
            if is_asking:
                next(replies)
            out.append(next(replies))
        return out

    def now(self, command: tuple[Any, ...], timeout_s: float) -> asyncio.Future[Any] | None:
        """As `Lane.now`; a redirection is a reply, and `run` follows it."""
        place = None if self._stale else self._places.get(_slot(command))
        lane = self._lanes.get(place) if place is not None else None
        return lane.now(command, timeout_s) if lane is not None else None

    def _lane(self, place: HostPort) -> Lane:
        lane = self._lanes.get(place)
        if lane is None:

            async def where() -> HostPort:
                return place

            lane = self._lanes[place] = Lane(self._address, self._timeout_s, where)
        return lane

    def _place_of(self, redirection: Redirected) -> HostPort:
        host, port = redirection.place
        return (host or self._address.hosts[0][0], port)  # an empty host: the one that was asked

    async def _refresh(self) -> None:
        """Ask one node after the other where the slots are; the next call begins at the next one."""
        async with self._refreshing:
            if not self._stale:
                return
            nodes = list(dict.fromkeys((*self._lanes, *self._address.hosts)))
            problem: Exception | None = None
            for _ in nodes:
                self._asked += 1
                place = nodes[self._asked % len(nodes)]
                try:
                    (reply,) = await self._lane(place).run([("CLUSTER", "SLOTS")])
                except (OSError, TimeoutError) as e:
                    problem = e
                    continue
                if isinstance(reply, Exception):
                    problem = reply
                    continue
                self._learn(place, reply)
                return
            raise problem or ConnectionError("no node of the cluster is known")

    def _learn(self, asked: HostPort, reply: list[Any]) -> None:
        places: dict[int, HostPort] = {}
        for first, last, master, *_ in reply:
            host = master[0].decode() if master[0] else asked[0]
            for slot in range(first, last + 1):
                places[slot] = (host, int(master[1]))
        self._places = places
        self._stale = False
        known = {*places.values(), *self._address.hosts}
        for place in [p for p in self._lanes if p not in known]:
            self._lanes.pop(place).close()

    def reset(self, command: tuple[Any, ...] | None = None) -> None:
        """As `Lane.reset`: of the node that a command goes to, else of every node."""
        self._stale = True
        place = self._places.get(_slot(command)) if command is not None else None
        for at, lane in self._lanes.items():
            if place in (None, at):
                lane.reset()

    def close(self) -> None:
        """Give the connections back."""
        for lane in self._lanes.values():
            lane.close()


def _slot(command: tuple[Any, ...]) -> int:
    """Where the key of a command stands: after the number of keys in a call of a script, else first."""
    key = command[3] if command[0] in ("EVALSHA", "EVAL") else command[1]
    return slot_of(key if isinstance(key, str) else key.decode())
