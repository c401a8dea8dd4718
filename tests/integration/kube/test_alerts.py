"""Crossings told once, over controllers that end and that are killed."""

from __future__ import annotations

import signal

from support.kube import Cluster
from support.processes import until
from support.spending import spend

from spendgate.alerts.message import AGAIN

from .conftest import SlackThread, Start, await_status, budget


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
    until(lambda: first_sent(slack), lambda p: len(p) >= 3, "the other two", 90.0)
    await_status(cluster, "searchers", lambda s: s["phase"] == "Exhausted", "Exhausted")
    posts = first_sent(slack)
    assert ["50 %" in posts[0], "80 %" in posts[1], "100 %" in posts[2]] == [True, True, True], posts
    assert len(posts) == 3
    assert len(slack.about("searchers")) <= 4


def first_sent(slack: SlackThread) -> list[str]:
    """Posts without the one that says that it is sent again: a process that is killed between Slack's answer and
    its own note leaves nobody who knows whether the post arrived."""
    return [text for text in slack.about("searchers") if AGAIN not in text]
