"""Pace, Retry-After, phases and the local memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from spendgate.alerts.alert import Alert
from spendgate.alerts.claims import Claim, open_deliveries, record_json, records_of
from spendgate.alerts.memory import FILE, AlertMemory
from spendgate.alerts.post import post, retry_after_s
from spendgate.alerts.sender import Pace, Retry, Timing
from spendgate.alerts.slack import SlackSender
from spendgate.budget.forecast import forecast
from spendgate.budget.phase import phase_of
from spendgate.budget.policy import Routing, TeamBudget, Threshold
from spendgate.errors import ConfigurationError
from spendgate.views.status_row import status_row

T0 = 1_795_000_000_000
ALERT = Alert("t:80", "threshold", "red", "202611", T0, 80)
CLAIM = Claim("red", "202611", "t:80", "slack", ALERT, False, 3)


def pace() -> tuple[Pace, list[float]]:
    now, slept = [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 2))
        now[0] += seconds

    return Pace(1.0, Timing(lambda: now[0], sleep, lambda: 1.0)), slept


async def test_a_target_is_sent_to_once_an_interval() -> None:
    p, slept = pace()
    for _ in range(3):
        await p.wait()
        p.sent()
    assert slept == [1.0, 1.0]


async def test_failures_wait_longer_up_to_half_a_minute_and_success_forgets_them() -> None:
    p, slept = pace()
    for _ in range(7):
        p.failed()
        await p.wait()
    p.sent()
    p.failed()
    await p.wait()
    assert slept == [1, 2, 4, 8, 16, 30, 30, 1]


def test_the_receiver_s_own_wait_counts_where_it_is_longer() -> None:
    p, _ = pace()
    assert (p.failed(9.0), p.failed(1.0)) == (9.0, 2.0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("", 0.0), ("soon", 0.0), ("-3", 0.0), ("nan", 0.0), ("99999", 300.0),
     ("Wed, 18 Nov 2026 11:06:50 GMT", 10.0)],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms_and_bounded(value: str, seconds: float) -> None:
    assert retry_after_s(value, datetime(2026, 11, 18, 11, 6, 40, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("error", "maybe"), [(httpx.ConnectError("x"), False), (httpx.ReadTimeout("x"), True)]
)
async def test_only_what_left_the_house_may_have_arrived(error: Exception, maybe: bool) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        answer = await post(client, "https://x", b"{}", {})
    assert isinstance(answer, Retry)
    assert answer.maybe_sent is maybe


async def test_slack_without_any_channel_is_a_refusal_that_names_the_variable() -> None:
    sender = SlackSender(token="xoxb-1")
    outcome = await sender.send(ALERT, "slack", False)
    assert "SLACK_CHANNEL" in str(outcome)
    await sender.close()


class TestPhase:
    BUDGET = TeamBudget("red", 10)

    @pytest.mark.parametrize(
        ("committed", "word"), [(7, "Ready"), (8, "Downgrading"), (10, "Exhausted"), (99, "Exhausted")]
    )
    def test_the_phase_follows_committed_spend(self, committed: int, word: str) -> None:
        assert phase_of(self.BUDGET, committed, T0) == word

    def test_audit_is_a_phase_of_its_own_and_a_soft_budget_is_never_exhausted(self) -> None:
        assert phase_of(replace(self.BUDGET, audit=True), 99, T0) == "Audit"
        soft = replace(self.BUDGET, thresholds=(Threshold(50, "alert"),))
        assert phase_of(soft, 99, T0) == "Ready"
        assert phase_of(replace(soft, routing=Routing("mini", "", 5)), 9, T0) == "Downgrading"

    def test_a_row_is_exact(self) -> None:
        row = status_row(self.BUDGET, "202611", 5, 1, forecast([], T0, 5))
        assert (row["settled_usd"], row["reserved_usd"], row["utilization"]) == (
            "0.000000005",
            "0.000000001",
            0.5,
        )
        assert (row["budget_usd"], row["phase"], row["month"]) == ("0.00000001", "Ready", "2026-11")


OPEN = {
    "~": "3",
    "t:80": record_json("open", 10),
    "t:80@slack": '{"s":"open","n":3,"a":"{}"}',
}


class TestMemory:
    def test_it_is_read_back_from_its_file(self, tmp_path: Path) -> None:
        first = AlertMemory(tmp_path)
        assert not first.known
        first.note("202611", "red", OPEN)
        first.save()
        second = AlertMemory(tmp_path)
        assert second.known
        assert second.lost("202611", "red", {}) == OPEN

    def test_redis_own_word_on_a_crossing_is_newer(self) -> None:
        memory = AlertMemory()
        memory.note("202611", "red", OPEN)
        assert memory.lost("202611", "red", {"t:80": record_json("armed", 20), "~": "3"}) == {}

    def test_what_was_ended_and_lost_is_known_as_ended_but_not_after_it_was_armed_again(self) -> None:
        memory = AlertMemory()
        memory.note("202611", "red", OPEN)
        memory.ended(CLAIM, "delivered")
        assert memory.was_told(CLAIM)
        assert not memory.was_told(replace(CLAIM, order=4))
        assert memory.undone("202611", "red", OPEN) == [("t:80", "slack")]
        later = {**OPEN, "t:80@slack": '{"s":"open","n":4}'}
        assert memory.undone("202611", "red", later) == []

    def test_months_that_are_over_are_forgotten(self) -> None:
        memory = AlertMemory()
        memory.note("202609", "red", OPEN)
        memory.keep(["202611", "202610"])
        assert memory.lost("202609", "red", {}) == {}

    def test_a_broken_file_is_named_with_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_text("[]")
        with pytest.raises(ConfigurationError, match="take the file away"):
            AlertMemory(tmp_path)


def test_a_hash_is_read_as_records_and_as_what_is_left_to_tell_in_order() -> None:
    fields = {
        **OPEN,
        "t:50": record_json("quiet", 2**60),
        "t:100": record_json("open", 5),
        "t:100@slack:@me": '{"s":"claimed","n":1}',
        "t:100@hook": '{"s":"delivered","n":2}',
    }
    records = records_of(fields)
    assert records["t:50"].limit_nanousd == 2**60
    assert (records["t:50"].busy, records["t:80"].busy) == (False, True)
    assert open_deliveries(fields) == [("t:100", "slack:@me"), ("t:80", "slack")]
