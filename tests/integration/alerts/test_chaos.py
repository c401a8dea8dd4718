"""A thousand crossings, two processes that are killed with SIGKILL again and again, a Slack that fails: none is
lost, none is told twice without saying so."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import sys
from collections import Counter
from pathlib import Path

from support.alert_desk import Desk
from support.fake_slack import FakeSlack

from spendgate.alerts.message import AGAIN
from spendgate.ledger.redis.embedded import EmbeddedRedis

TEAMS = 334
CROSSED = (50, 80, 100)
TOTAL = 1_000
"""The last two teams cross one less: 334 x 3 = 1,002."""
CLAIM_MS = 1_500

WORKER = """
import asyncio, sys
import redis.asyncio as aioredis
from spendgate.alerts.slack import SlackSender
from spendgate.alerts.watcher import AlertLoop
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.ledger.redis.ledger import RedisLedger

async def main(url, slack, now_ms, teams, claim_ms):
    policy = Policy.of(TeamBudget(f"t{i}", 10**10) for i in range(teams))
    loop = AlertLoop(
        RedisLedger.from_url(url, 10.0), aioredis.Redis.from_url(url), lambda: policy,
        [SlackSender(slack, min_interval_s=0.0)], lambda: now_ms, claim_ms=claim_ms,
    )
    print("up", flush=True)
    await loop.run_forever(0.2)

url, slack, now_ms, teams, claim_ms = sys.argv[1:]
asyncio.run(main(url, slack, int(now_ms), int(teams), int(claim_ms)))
"""
_HEAD = re.compile(r"of team (t\d+): (\d+) %")


async def test_a_thousand_crossings_under_kills_none_lost_none_twice_unsaid(
    server: EmbeddedRedis, desk: Desk, tmp_path: Path
) -> None:
    for i in range(TEAMS):
        desk.budget(f"t{i}")
    await desk.loop().begin()
    for i in range(TEAMS):
        await desk.spend(9.0 if i >= TEAMS - 2 else 11.0, f"t{i}")
    chance = random.Random(7)
    async with FakeSlack(second=0.001) as slack:

        async def start() -> asyncio.subprocess.Process:
            argv = [server.url, slack.webhook, str(desk.now_ms), str(TEAMS), str(CLAIM_MS)]
            return await asyncio.create_subprocess_exec(
                sys.executable, "-c", WORKER, *argv,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip

        workers = [await start(), await start()]
        kills = 0
        try:
            while len(slack.posts) < TOTAL * 0.9 and kills < 8:
                await slack.until(len(slack.posts) + chance.randrange(20, 80))
                slack.faults += chance.choices([500, 503, "cut"], k=chance.randrange(2))
                victim = chance.randrange(2)
                how = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
                workers[victim].send_signal(how)
                await workers[victim].wait()
                kills += 1
                workers[victim] = await start()
            async with asyncio.timeout(180):
                while await open_in(desk):  # noqa: ASYNC110  other processes tell no event
                    await asyncio.sleep(0.2)
        finally:
            for worker in workers:
                worker.kill()
                await worker.wait()

    told = Counter(_HEAD.search(text).groups() for text in slack.texts)  # type: ignore[union-attr]
    first = [text for text in slack.texts if AGAIN not in text]
    assert kills >= 3
    assert len(told) == TOTAL
    unsaid = Counter(_HEAD.search(text).groups() for text in first)  # type: ignore[union-attr]
    assert max(unsaid.values()) == 1, "the same crossing twice, without a word of it"
    for i in range(TEAMS):
        heard = [int(p) for t, p in (_HEAD.search(x).groups() for x in slack.texts) if t == f"t{i}"]  # type: ignore[union-attr]
        assert heard == sorted(heard), f"t{i} was told out of order: {heard}"


async def open_in(desk: Desk) -> int:
    """How many crossings are not told yet."""
    left = 0
    for i in range(TEAMS):
        fields = await desk.client.hgetall(f"sg1:{{t{i}}}:a:202611")
        told = sum(b'"s":"delivered"' in raw for field, raw in fields.items() if b"@" in field)
        left += (2 if i >= TEAMS - 2 else 3) - told
    return left
