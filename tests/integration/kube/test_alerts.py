"""Crossings told once, over controllers that end and that are killed."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator

import pytest
from support.fake_slack import FakeSlack
from support.kube import Cluster
from support.processes import until
from support.spending import spend

from .conftest import Start, await_status, budget


class SlackThread:
    """The fake Slack, served beside the test."""

    def __init__(self) -> None:
        self.slack = FakeSlack()
        self._loop = asyncio.new_event_loop()
        begun = threading.Event()

        async def run() -> None:
            self._stop = asyncio.Event()
            async with self.slack:
                begun.set()
                await self._stop.wait()

        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(run()), daemon=True)
        self._thread.start()
        assert begun.wait(30)

    def about(self, team: str) -> list[str]:
        """Posts that name a team, in order."""
        return [text for text in self.slack.texts if team in text]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()


@pytest.fixture
def slack() -> Iterator[SlackThread]:
    made = SlackThread()
    yield made
    made.close()


def test_crossings_are_told_once_each_in_order_over_a_leader_that_is_killed(
    cluster: Cluster, start: Start, redis_url: str, slack: SlackThread
) -> None:
    hook = {"SLACK_WEBHOOK_URL": slack.slack.webhook}
    cluster.apply(budget("searchers", 100))
    leader = start("ctl-a", **hook)
    await_status(cluster, "searchers", lambda s: s.get("phase") == "Ready", "Ready")
    start("ctl-b", **hook)
    spend(redis_url, "searchers", 55)
    until(lambda: slack.about("searchers"), lambda posts: len(posts) == 1, "the first crossing", 60.0)
    leader.signal(signal.SIGKILL)
    spend(redis_url, "searchers", 50)
    posts = until(lambda: slack.about("searchers"), lambda p: len(p) >= 3, "the other two", 90.0)
    await_status(cluster, "searchers", lambda s: s["phase"] == "Exhausted", "Exhausted")
    assert ["50 %" in posts[0], "80 %" in posts[1], "100 %" in posts[2]] == [True, True, True], posts
    assert len(slack.about("searchers")) == 3
