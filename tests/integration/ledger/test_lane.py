"""The pipelined connection: replies in order, a break mended, a late reply never taken for the next one's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from redis.exceptions import NoScriptError

from spendgate.ledger.redis.connection import Lane, Reply
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.url import parse


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(Path(tmp_path_factory.mktemp("lane"))) as redis:
        yield redis


def test_it_works_on_the_loop_that_workers_use(server: EmbeddedRedis) -> None:
    async def go() -> list[object]:
        lane = Lane(parse(server.url), 1.0)
        replies = await lane.run([("SET", "k", "1"), ("INCR", "k")])
        lane.close()
        return replies

    assert uvloop.run(go()) == [b"OK", 2]


async def test_replies_come_to_who_asked(server: EmbeddedRedis) -> None:
    lane = Lane(parse(server.url), 1.0)
    answers = await asyncio.gather(*(lane.run([("ECHO", str(i))]) for i in range(200)))
    assert answers == [[str(i).encode()] for i in range(200)]
    lane.close()


async def test_error_replies_are_results_and_the_others_stand(server: EmbeddedRedis) -> None:
    lane = Lane(parse(server.url), 1.0)
    wrong, right, script = await lane.run([("NOSUCH",), ("ECHO", "x"), ("EVALSHA", "0" * 40, 0)])
    assert isinstance(wrong, Reply)
    assert right == b"x"
    assert isinstance(script, NoScriptError)
    lane.close()


async def test_a_broken_connection_is_made_anew(server: EmbeddedRedis) -> None:
    lane = Lane(parse(server.url), 1.0)
    await lane.run([("ECHO", "1")])
    other = Lane(parse(server.url), 1.0)
    await other.run([("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")])
    assert await lane.run([("ECHO", "2")]) == [b"2"]
    lane.close()
    other.close()


async def test_a_call_given_up_leaves_the_order_intact(server: EmbeddedRedis) -> None:
    lane = Lane(parse(server.url), 1.0)
    await lane.run([("ECHO", "0")])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await lane.run([("BLPOP", "nothing", "0.3")])
    assert await lane.run([("ECHO", "after")]) == [b"after"]
    lane.close()


async def test_where_nobody_listens_an_oserror_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await Lane(parse(f"unix://{tmp_path}/nobody.sock"), 0.5).run([("PING",)])
