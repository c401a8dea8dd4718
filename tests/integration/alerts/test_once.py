"""Each crossing is told once: by one loop, by several, after restarts, after failures."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from support.alert_desk import Desk
from support.asks import T0
from support.policy import budget

from spendgate.alerts.claims import Claim, alert_key
from spendgate.alerts.message import AGAIN
from spendgate.alerts.slack import SlackSender
from spendgate.alerts.watcher import system_alert
from spendgate.budget.load import policy_from_documents
from spendgate.budget.policy import Threshold


async def test_three_thresholds_are_three_posts_in_order(desk: Desk) -> None:
    desk.budget()
    loop = desk.loop()
    await loop.begin()
    for usd in (5, 3, 2):
        await desk.spend(usd)
        await loop.run_once()
        await loop.run_once()
    assert desk.heads() == ["red: 50 %", "red: 80 %", "red: 100 %"]
    assert "$8.00 spent of $10.00" in desk.slack.texts[1]
    assert desk.counts["posted"] == 3
    assert desk.counts["pending"] == 0


async def test_nothing_is_told_at_the_first_start_on_a_ledger_with_history(desk: Desk) -> None:
    desk.budget()
    await desk.spend(8.5)
    loop = desk.loop()
    await loop.run_once()
    await desk.spend(1.5)
    await loop.run_once()
    assert desk.heads() == ["red: 100 %"]


async def test_a_restart_tells_nothing_again(desk: Desk) -> None:
    desk.budget()
    await desk.loop().begin()
    await desk.spend(8.5)
    for _ in range(3):
        await desk.loop().run_once()
    assert desk.heads() == ["red: 50 %", "red: 80 %"]


async def test_what_was_crossed_while_all_were_down_is_told_once_each_in_order(desk: Desk) -> None:
    desk.budget()
    desk.budget("blue")
    await desk.loop().begin()
    await desk.spend(12)
    await desk.spend(6, "blue")
    await asyncio.gather(desk.loop().run_once(), desk.loop().run_once())
    await desk.loop().run_once()
    assert [h for h in desk.heads() if "red" in h] == ["red: 50 %", "red: 80 %", "red: 100 %"]
    assert [h for h in desk.heads() if "blue" in h] == ["blue: 50 %"]


async def test_a_budget_put_on_a_team_already_above_it_is_told(desk: Desk) -> None:
    loop = desk.loop()
    await loop.begin()
    await desk.spend(6)
    desk.budget()
    await loop.run_once()
    assert desk.heads() == ["red: 50 %"]


async def test_who_watches_budgets_writes_down_which_are_in_force_in_each_month(desk: Desk) -> None:
    (desk.budgets["red"],) = policy_from_documents([json.loads(budget("red", 10))]).budgets.values()
    loop = desk.loop()
    await loop.look()
    await loop.look(T0 + 20 * 86_400_000)
    for month in ("202611", "202612"):
        written = await desk.client.hgetall(f"sg1:budgets:{month}")
        assert json.loads(written[b"red"])["spec"]["monthlyBudgetUSD"] == 10


async def test_a_raise_tells_of_recovery_and_arms_again_what_is_no_longer_crossed(desk: Desk) -> None:
    desk.budget()
    loop = desk.loop()
    await loop.begin()
    await desk.spend(10)
    await loop.run_once()
    desk.budget(usd=15)  # 67 %: 50 stays crossed
    await loop.run_once()
    await loop.run_once()
    assert "was raised and is no longer exhausted" in desk.slack.texts[3]
    await desk.spend(3)
    await loop.run_once()
    del desk.slack.posts[3]
    assert desk.heads() == ["red: 50 %", "red: 80 %", "red: 100 %", "red: 80 %"]


async def test_a_corrected_spend_does_not_tell_again(desk: Desk) -> None:
    desk.budget(usd=10)
    loop = desk.loop()
    await loop.begin()
    await desk.spend(5)
    await loop.run_once()
    counter = "sg1:{red}:b:month:202611"
    for change in (-1, 1):
        await desk.client.hincrby(counter, "s", change)
        await loop.run_once()
    assert desk.heads() == ["red: 50 %"]


async def test_what_is_held_is_not_told(desk: Desk) -> None:
    desk.budget()
    loop = desk.loop()
    await loop.begin()
    await desk.client.hset("sg1:{red}:b:month:202611", "r", str(9 * 10**9))
    await loop.run_once()
    assert desk.slack.requests == 0


async def test_a_crossing_in_the_last_seconds_of_a_month_is_told_in_the_next(desk: Desk) -> None:
    desk.budget()
    await desk.loop().begin()
    last = 1_796_083_199_000  # 2026-11-30T23:59:59Z
    await desk.spend(8, at_ms=last)
    desk.now_ms = last + 5_000
    loop = desk.loop()
    await loop.run_once()
    assert desk.heads() == ["red: 50 %", "red: 80 %"]
    assert all("2026-11" in text for text in desk.slack.texts)
    await desk.spend(5)
    await loop.run_once()
    assert "50 % reached in 2026-12" in desk.slack.texts[2]


class TestFailures:
    @pytest.mark.parametrize("fault", [429, 500, 503, "cut", "internal_error"])
    async def test_a_failing_slack_loses_nothing_and_keeps_the_order(
        self, desk: Desk, fault: str | int
    ) -> None:
        desk.budget()
        sender = None
        if fault == "internal_error":
            sender = SlackSender(token="xoxb-test", default_channel="#f", api=desk.slack.api)
        loop = desk.loop(sender=sender)
        await loop.begin()
        await desk.spend(9)
        desk.slack.faults = [fault, fault]
        for _ in range(3):
            await loop.run_once()
        assert desk.heads() == ["red: 50 %", "red: 80 %"]
        assert desk.counts["failed"] == 2

    async def test_slack_s_retry_after_is_kept(self, desk: Desk) -> None:
        desk.budget()
        loop = desk.loop(sender=SlackSender(desk.slack.webhook, min_interval_s=0))
        await loop.begin()
        await desk.spend(5)
        desk.slack.faults = [429]
        await loop.run_once()
        await loop.run_once()
        assert desk.slept == [1.0]

    async def test_an_answer_that_never_came_is_sent_again_and_says_so(self, desk: Desk) -> None:
        desk.budget()
        loop = desk.loop()
        await loop.begin()
        await desk.spend(5)
        desk.slack.faults = ["cut"]
        await loop.run_once()
        await loop.run_once()
        assert desk.slack.texts[0].endswith(AGAIN)

    async def test_an_alert_that_slack_refuses_does_not_stand_in_the_way(self, desk: Desk) -> None:
        desk.budget()
        loop = desk.loop()
        await loop.begin()
        await desk.spend(9)
        desk.slack.faults = ["invalid_payload"]
        await loop.run_once()
        assert desk.heads() == ["red: 80 %"]
        assert desk.counts["refused"] == 1

    async def test_a_webhook_that_was_switched_off_is_asked_again(self, desk: Desk) -> None:
        desk.budget()
        loop = desk.loop()
        await loop.begin()
        await desk.spend(5)
        desk.slack.faults = ["no_service"]
        await loop.run_once()
        await loop.run_once()
        assert desk.heads() == ["red: 50 %"]
        assert max(desk.slept) == 30.0


async def dies(desk: Desk, after: bool) -> None:
    """A leader that dies in its first delivery; its task is gone as a killed process is."""
    loop = desk.loop(claim_ms=300)
    await loop.look()
    claim = await loop.claims.claim("red", "202611", "slack")
    assert claim is not None
    if after:
        assert isinstance(claim, Claim)
        await SlackSender(desk.slack.webhook).send(claim.alert, "slack", False)


async def until_told(desk: Desk, n: int) -> None:
    loop = desk.loop()
    for _ in range(200):
        await loop.run_once()
        if desk.counts.get("pending") == 0 and len(desk.slack.posts) >= n:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(desk.slack.posts)


async def test_a_claim_is_left_alone_while_it_lives_and_taken_over_when_it_is_over(desk: Desk) -> None:
    desk.budget()
    await desk.loop().begin()
    await desk.spend(9)
    await dies(desk, after=False)
    successor = desk.loop()
    await successor.run_once()
    assert desk.slack.posts == []
    await until_told(desk, 2)
    assert desk.heads() == ["red: 50 %", "red: 80 %"]


async def test_a_leader_that_died_with_the_answer_on_its_way_is_told_again_marked_so(desk: Desk) -> None:
    desk.budget()
    await desk.loop().begin()
    await desk.spend(5)
    await dies(desk, after=True)
    await until_told(desk, 2)
    assert desk.heads() == ["red: 50 %", "red: 50 %"]
    assert [AGAIN in text for text in desk.slack.texts] == [False, True]


async def test_a_leader_that_was_frozen_with_its_claim_sends_nothing_when_it_wakes(desk: Desk) -> None:
    desk.budget()
    await desk.loop().begin()
    await desk.spend(5)
    frozen, successor = desk.loop(claim_ms=200), desk.loop()
    claim = frozen.claims.claim
    frozen_for = [60.0]

    async def freeze(*arguments: str) -> object:
        got = await claim(*arguments)
        if frozen_for:
            await frozen.timing.sleep(frozen_for.pop())  # as its clock sees it
            await asyncio.sleep(0.3)
            await successor.run_once()
        return got

    frozen.claims.claim = freeze  # type: ignore[method-assign,assignment]
    await frozen.run_once()
    assert desk.heads() == ["red: 50 %"]


class TestRedisLoss:
    async def test_an_emptied_redis_and_a_ledger_made_anew_tell_nothing_again(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        desk.budget()
        loop = desk.loop(tmp_path)
        await loop.begin()
        await desk.spend(9)
        await loop.run_once()
        for again in (loop, desk.loop(tmp_path)):
            await desk.client.flushall()
            await again.run_once()
            await desk.spend(9)  # the replay
            await again.run_once()
            await again.run_once()
        assert desk.heads() == ["red: 50 %", "red: 80 %"]

    async def test_what_was_not_told_yet_outlives_redis_and_the_process(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        desk.budget()
        loop = desk.loop(tmp_path)
        await loop.begin()
        await desk.spend(9)
        desk.slack.faults = [500]
        await loop.run_once()
        await desk.client.flushall()
        late = desk.loop(tmp_path)
        await late.run_once()
        await late.run_once()
        assert desk.heads() == ["red: 50 %", "red: 80 %"]

    async def test_a_lost_last_second_of_redis_tells_nothing_again(self, desk: Desk, tmp_path: Path) -> None:
        desk.budget()
        loop = desk.loop(tmp_path)
        await loop.begin()
        await desk.spend(5)
        await loop.look()
        key = alert_key("red", "202611")
        before = await desk.client.hgetall(key)
        claim = await loop.claims.claim("red", "202611", "slack")
        claimed = await desk.client.hgetall(key)
        assert isinstance(claim, Claim)
        await loop.claims.finish(claim, "open")
        await loop.run_once()
        for old in (before, claimed):
            await desk.client.delete(key)
            await desk.client.hset(key, mapping=cast(Any, old))
            await desk.loop(tmp_path).run_once()
        assert desk.heads() == ["red: 50 %"]


async def test_a_house_alert_is_told_once_by_its_key(desk: Desk) -> None:
    loop = desk.loop()
    await loop.begin()
    for again in (loop, desk.loop()):
        await again.notify(system_alert("rebuilt", "run-7", "3 exchanges were added.", T0))
        await again.run_once()
    assert [t.split(":")[1].strip() for t in desk.slack.texts] == ["3 exchanges were added."]


async def test_a_bot_tells_every_channel_of_the_budget_and_falls_back_where_one_is_missing(
    desk: Desk,
) -> None:
    desk.budget(
        thresholds=(Threshold(50, "alert", "#a"), Threshold(50, "alert", "#b"), Threshold(80, "alert", "#no"))
    )
    desk.slack.missing_channels = {"#no"}
    loop = desk.loop(sender=SlackSender(token="xoxb-test", default_channel="#general", api=desk.slack.api))
    await loop.begin()
    await desk.spend(9)
    await loop.run_once()
    assert sorted(channel for channel, _ in desk.slack.posts) == ["#a", "#b", "#general"]
    fallback = next(text for channel, text in desk.slack.posts if channel == "#general")
    assert "channel_not_found" in fallback


async def test_one_edit_of_a_budget_is_one_message_about_what_holds_now(desk: Desk) -> None:
    desk.budget("red", 700, thresholds=(Threshold(50, "alert", "#a"), Threshold(100, "reject")))
    loop = desk.loop()
    await loop.begin()
    await desk.spend(300, at_ms=T0 - 31 * 86_400_000)
    await desk.spend(345)
    await loop.run_once()
    assert desk.heads() == []
    desk.budget("red", 300, thresholds=(Threshold(50, "alert", "#a"), Threshold(100, "reject", "#b")))
    await asyncio.gather(loop.run_once(), desk.loop().run_once())
    await loop.run_once()
    (text,) = desk.slack.texts
    assert "team red was changed from $700.00 to $300.00: 100 % reached" in text
    assert "$345.00 spent of $300.00. The budget is exhausted." in text
    assert "Last month to this day: $300.00." in text
    assert "spendgate propose raise --team red --usd" in text
    desk.budget("red", 310, thresholds=(Threshold(50, "alert", "#a"), Threshold(100, "reject", "#b")))
    await loop.run_once()
    await desk.loop().run_once()
    assert len(desk.slack.texts) == 1  # what it put below the spend before stays noted


async def test_an_edit_that_crosses_nothing_new_leaves_each_later_crossing_its_own_message(
    desk: Desk,
) -> None:
    desk.budget("red", 10)
    await desk.loop().begin()
    desk.budget("red", 20)
    await desk.loop().run_once()
    await desk.spend(20)
    await desk.loop().run_once()
    assert desk.heads() == ["red: 50 %", "red: 80 %", "red: 100 %"]


async def test_a_team_under_a_template_is_told_as_any_other(desk: Desk) -> None:
    desk.budget("r*", 10)
    loop = desk.loop()
    await loop.begin()
    await desk.spend(6)
    await loop.run_once()
    await desk.loop().run_once()
    assert desk.heads() == ["red: 50 %"]


async def test_a_new_budget_below_what_is_spent_is_one_message(desk: Desk) -> None:
    loop = desk.loop()
    await loop.begin()
    await desk.spend(9)
    desk.budget("red", 10)
    await loop.run_once()
    assert desk.heads() == ["red: 80 %"]


async def test_a_month_that_is_over_is_not_judged_by_a_budget_that_came_after_it(desk: Desk) -> None:
    desk.budget("red", 100)
    await desk.loop().begin()
    await desk.spend(60)
    await desk.loop().run_once()
    desk.budget("red", 10)
    desk.now_ms = int(datetime(2026, 12, 1, 0, 30, tzinfo=UTC).timestamp() * 1000)
    await desk.loop().run_once()
    assert desk.heads() == ["red: 50 %"]
