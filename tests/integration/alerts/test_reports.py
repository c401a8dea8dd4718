"""Digests, anomalies and alerts by mail and HTTP: a real mail server, a real HTTP receiver, each told once."""

from __future__ import annotations

import asyncio
import email.policy
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from support.alert_desk import Desk
from support.ports import free_port
from support.usage_lines import record, write_log

from spendgate.alerts import reports
from spendgate.alerts.environment import senders_from
from spendgate.alerts.reports import reports_from
from spendgate.alerts.watcher import AlertLoop
from spendgate.budget.policy import Threshold
from spendgate.errors import ConfigurationError
from spendgate.ledger.accounts import Adjustment
from spendgate.tasks import cancel_and_wait

MONDAY = int(datetime(2026, 11, 30, 7, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass
class Mailbox:
    """What a mail server took: (receiver, message)."""

    port: int
    mails: list[tuple[str, EmailMessage]] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails += [(to, message) for to in envelope.rcpt_tos]
        return "250 OK"

    def texts(self, to: str) -> list[str]:
        parts = [m.get_body(("plain",)) for at, m in self.mails if at == to]
        return [part.get_content() for part in parts if part is not None]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox(free_port())
    server = Controller(box, hostname="127.0.0.1", port=box.port)
    server.start()
    yield box
    server.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """An HTTP receiver: its URL for apprise, and what it got."""
    got: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/{tail:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"json://127.0.0.1:{port}/notify", got
    await runner.cleanup()


def told(desk: Desk, environ: dict[str, str], log: Path | None = None) -> AlertLoop:
    return desk.loop(senders=senders_from(environ), reports=reports_from(environ, log))


async def test_a_week_comes_to_its_owner_by_mail_and_all_weeks_to_finance_once(
    desk: Desk, mailbox: Mailbox, receiver: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    url, got = receiver
    environ = {
        "SPENDGATE_NOTIFY_URLS": f"{url} ops={url}",
        "SPENDGATE_MAIL_URL": f"mailto://127.0.0.1:{mailbox.port}?from=spendgate@acme.com",
        "SPENDGATE_DIGESTS": "weekly",
    }
    owner = (Threshold(80, "alert", "lead@acme.com"), Threshold(100, "reject", "lead@acme.com"))
    desk.budget("red", 1000, thresholds=owner)
    desk.budget("blue", 1000)
    desk.now_ms = MONDAY - DAY_MS
    await told(desk, environ).begin()
    await desk.spend(40, at_ms=MONDAY - 3 * DAY_MS, app="search")
    await desk.spend(10, at_ms=MONDAY - 9 * DAY_MS)
    await desk.spend(5, "blue", at_ms=MONDAY - 2 * DAY_MS)
    desk.now_ms = MONDAY
    used = record(1, at_ms=MONDAY - 3 * DAY_MS, user="kim", cost_nanousd=40 * 10**9)
    log = write_log(tmp_path / "usage.jsonl", [used])
    loops = told(desk, environ, log), told(desk, environ, log)
    await asyncio.gather(*(loop.run_once() for loop in loops))
    for hour in range(3):
        desk.now_ms = MONDAY + hour * HOUR_MS
        await told(desk, environ, log).run_once()

    (text,) = mailbox.texts("lead@acme.com")
    assert (
        "team red in the week of 2026-11-23 to 2026-11-29: $40.00, +$30.00 (+300 %) to the one before."
        in text
    )
    assert "Top users: kim $40.00." in text and "What to do:" in text
    ((_, message),) = mailbox.mails
    assert message["Subject"].startswith("LLM spend of team red in the week of 2026-11-23")
    (finance,) = got
    assert "LLM spend of all teams in the week of 2026-11-23 to 2026-11-29: $45.00" in finance["message"]
    assert "Top teams: red $40.00, blue $5.00." in finance["message"]


async def test_the_running_month_of_a_digest_is_that_of_the_budget_with_what_was_adjusted(
    desk: Desk, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, got = receiver
    environ = {"SPENDGATE_NOTIFY_URLS": url, "SPENDGATE_DIGESTS": "weekly"}
    desk.budget("red", 1000)
    desk.now_ms = MONDAY - DAY_MS
    await told(desk, environ).begin()
    await desk.spend(40, at_ms=MONDAY - 3 * DAY_MS)
    await desk.spend(7, "stray", at_ms=MONDAY - 3 * DAY_MS)
    desk.now_ms = MONDAY
    late = Adjustment("late", "red", 5 * 10**9, "the bill came late", app="chat", model="gpt-4o")
    await desk.ledger.adjust([late], desk.now_ms)
    await told(desk, environ).run_once()
    (finance,) = got
    assert "Running month: $45.00 of $1000.00 in 1 budgets;" in finance["message"]


async def test_nothing_is_told_at_the_first_start_on_a_store_though_a_digest_is_due(
    desk: Desk, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, got = receiver
    environ = {"SPENDGATE_NOTIFY_URLS": url, "SPENDGATE_DIGESTS": "weekly"}
    desk.budget("red", 1000)
    await desk.spend(40, at_ms=MONDAY - 3 * DAY_MS)
    desk.now_ms = MONDAY
    for _ in range(2):
        await told(desk, environ).run_once()
    assert got == []


async def test_a_usage_log_that_can_not_be_read_costs_a_digest_its_users_and_nothing_else(
    desk: Desk, receiver: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    url, got = receiver
    environ = {"SPENDGATE_NOTIFY_URLS": f"ops={url}", "SPENDGATE_DIGESTS": "weekly"}
    desk.budget("red", 1000, thresholds=(Threshold(80, "alert", "ops"),))
    log = tmp_path / "usage.jsonl"
    log.mkdir()
    desk.now_ms = MONDAY - DAY_MS
    await told(desk, environ, log).begin()
    await desk.spend(40, at_ms=MONDAY - 3 * DAY_MS)
    desk.now_ms = MONDAY
    await told(desk, environ, log).run_once()
    (one,) = got
    assert "team red in the week" in one["message"] and "Top users" not in one["message"]


async def test_no_log_is_read_before_traffic_flows(desk: Desk, tmp_path: Path) -> None:
    desk.budget("red", 1000)
    await desk.spend(40, at_ms=MONDAY - 3 * DAY_MS)
    desk.now_ms = MONDAY
    (tmp_path / "usage.jsonl").mkdir()
    await told(desk, {"SPENDGATE_DIGESTS": "weekly"}, tmp_path / "usage.jsonl").begin()
    await told(desk, {"SPENDGATE_DIGESTS": "weekly"}, tmp_path / "usage.jsonl").begin()


async def test_a_report_that_fails_keeps_no_alert_from_being_told_and_is_tried_again(
    desk: Desk, receiver: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = receiver
    environ = {"SPENDGATE_NOTIFY_URLS": url, "SPENDGATE_DIGESTS": "weekly", "SPENDGATE_ANOMALIES": "on"}
    desk.budget("red", 1000, thresholds=(Threshold(30, "alert"),))
    desk.now_ms = MONDAY - DAY_MS
    await told(desk, environ).begin()
    for week in range(1, 5):
        await desk.spend(10, at_ms=MONDAY - 7 * week * DAY_MS)
    await desk.spend(300, at_ms=MONDAY)
    desk.now_ms = MONDAY
    loop = told(desk, environ)
    with monkeypatch.context() as broken:
        broken.setattr(reports, "team_digest", Mock(side_effect=ValueError("a fault of ours")))
        await loop.run_once()
    assert sorted(one["title"].split()[2] for one in got) == ["of", "of"]
    assert {"30 % reached" in one["title"] for one in got} == {True, False}
    await loop.run_once()
    assert len(got) == 3 and "all teams in the week" in got[-1]["title"]


async def test_a_loop_that_runs_tells_reports_beside_its_looks(desk: Desk) -> None:
    plan = reports_from({"SPENDGATE_DIGESTS": "weekly"})
    desk.now_ms = MONDAY - DAY_MS
    await desk.loop(reports=plan).begin()
    await desk.spend(40, at_ms=MONDAY - 3 * DAY_MS)
    desk.now_ms = MONDAY
    running = asyncio.create_task(desk.loop(reports=plan).run_forever(0.02))
    await desk.slack.until(1)
    await cancel_and_wait(running)
    assert "all teams in the week" in desk.slack.texts[0]


async def test_a_day_unlike_its_weekday_is_told_once_with_what_made_it_so(
    desk: Desk, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, got = receiver
    environ = {"SPENDGATE_NOTIFY_URLS": url, "SPENDGATE_ANOMALIES": "on"}
    desk.budget("red", 10_000)
    desk.now_ms = MONDAY
    await told(desk, environ).begin()
    for week in range(1, 5):
        await desk.spend(10, at_ms=MONDAY - 7 * week * DAY_MS)
    await desk.spend(12)
    await told(desk, environ).run_once()
    assert got == []
    await desk.spend(300, app="batch")
    for hour in range(3):
        desk.now_ms = MONDAY + hour * HOUR_MS
        await asyncio.gather(told(desk, environ).run_once(), told(desk, environ).run_once())
    (one,) = got
    assert (
        "team red is unusual on 2026-11-30: $312.00, on this weekday it is usually $10.00." in one["message"]
    )
    assert "app batch with gpt-4o: $300.00, $300.00 more than usual, with 1 requests" in one["message"]
    assert one["type"] == "warning"


@pytest.mark.parametrize("looked", [True, False])
async def test_what_a_day_came_to_after_its_last_look_is_told_on_the_next(
    desk: Desk, receiver: tuple[str, list[dict[str, Any]]], looked: bool
) -> None:
    url, got = receiver
    environ = {"SPENDGATE_NOTIFY_URLS": url, "SPENDGATE_ANOMALIES": "on"}
    midnight = MONDAY + 17 * HOUR_MS  # Monday is over, and November with it
    desk.budget("red", 10_000)
    desk.now_ms = MONDAY
    loop = told(desk, environ)
    await loop.begin()
    for week in range(1, 5):
        await desk.spend(10, at_ms=MONDAY - 7 * week * DAY_MS)
    desk.now_ms = midnight - HOUR_MS
    await loop.run_once()
    if looked:  # what was held at midnight settles after the first look
        desk.now_ms = midnight + 1000
        await loop.run_once()
        assert got == []
    await desk.spend(300, at_ms=midnight - 1000)
    for hour in (1, 2, 3):
        desk.now_ms = midnight + hour * HOUR_MS
        await loop.run_once()
        await told(desk, environ).run_once()
    (one,) = got
    assert "team red is unusual on 2026-11-30: $300.00" in one["message"]


async def test_a_day_that_was_unusual_before_the_first_start_on_a_store_is_not_told(
    desk: Desk, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, got = receiver
    environ = {"SPENDGATE_NOTIFY_URLS": url, "SPENDGATE_ANOMALIES": "on"}
    for week in range(1, 5):
        await desk.spend(10, at_ms=MONDAY - 7 * week * DAY_MS)
    await desk.spend(300, at_ms=MONDAY)
    desk.now_ms = MONDAY + DAY_MS
    for _ in range(2):
        await told(desk, environ).run_once()
    assert got == []


async def test_an_unusual_day_of_a_team_without_a_budget_outlives_who_opened_it(
    desk: Desk, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, got = receiver
    environ = {"SPENDGATE_NOTIFY_URLS": url, "SPENDGATE_ANOMALIES": "on"}
    desk.now_ms = MONDAY
    await told(desk, environ).begin()
    for week in range(1, 5):
        await desk.spend(10, at_ms=MONDAY - 7 * week * DAY_MS)
    await desk.spend(300)
    died = told(desk, environ)
    await died.look()
    await died.report()
    desk.now_ms = MONDAY + 2 * DAY_MS  # in another month
    await told(desk, {"SPENDGATE_NOTIFY_URLS": url}).run_once()
    (one,) = got
    assert "team red is unusual on 2026-11-30" in one["message"]


async def test_alerts_go_to_the_named_receiver_to_addresses_and_to_who_hears_all(
    desk: Desk, mailbox: Mailbox, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, got = receiver
    environ = {
        "SPENDGATE_NOTIFY_URLS": f"pager={url}?+who=pager\n{url}?+who=all\nnobody={url}?+who=nobody",
        "SPENDGATE_MAIL_URL": f"mailto://127.0.0.1:{mailbox.port}?from=spendgate@acme.com",
    }
    desk.budget(
        "red", 10, thresholds=(Threshold(80, "alert", "ann@acme.com"), Threshold(100, "reject", "pager"))
    )
    await told(desk, environ).begin()
    await desk.spend(9)
    await told(desk, environ).run_once()
    await desk.spend(1)
    await told(desk, environ).run_once()
    assert len(mailbox.texts("ann@acme.com")) == 1
    assert "80 % reached" in mailbox.texts("ann@acme.com")[0]
    assert sorted(g["title"].partition(" % ")[0].split()[-1] for g in got) == ["100", "100", "80"]
    assert {g["type"] for g in got} == {"warning", "failure"}


async def test_a_mail_server_that_is_away_is_tried_again(desk: Desk, mailbox: Mailbox) -> None:
    port = free_port()
    away = {"SPENDGATE_MAIL_URL": f"mailto://127.0.0.1:{port}?from=a@acme.com"}
    desk.budget("red", 10, thresholds=(Threshold(50, "alert", "ann@acme.com"),))
    await told(desk, away).begin()
    await desk.spend(6)
    await told(desk, away).run_once()
    assert (desk.counts["failed"], desk.counts["pending"]) == (1, 1)
    here = {"SPENDGATE_MAIL_URL": f"mailto://127.0.0.1:{mailbox.port}?from=a@acme.com"}
    await told(desk, here).run_once()
    assert len(mailbox.texts("ann@acme.com")) == 1


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        (
            {"SPENDGATE_NOTIFY_URLS": "finance=nosuch://secret"},
            "SPENDGATE_NOTIFY_URLS: finance: apprise takes no nosuch",
        ),
        (
            {"SPENDGATE_NOTIFY_URLS": "oncall=json://secret/a json://secret/b oncall=json://secret/c"},
            "SPENDGATE_NOTIFY_URLS: oncall: there are two receivers of this name",
        ),
        (
            {"SPENDGATE_NOTIFY_URLS": "json://secret/a 1=json://secret/b"},
            "SPENDGATE_NOTIFY_URLS: 1: a number is no name",
        ),
        ({"SPENDGATE_MAIL_URL": "mailto://"}, "SPENDGATE_MAIL_URL: apprise takes no mailto"),
        (
            {"SPENDGATE_DIGESTS": "daily"},
            "SPENDGATE_DIGESTS: 'daily' is not known; use weekly, monthly or both",
        ),
        ({"SPENDGATE_ANOMALIES": "yes"}, "SPENDGATE_ANOMALIES: 'yes' is not known; use on or off"),
    ],
)
def test_a_wrong_variable_is_named_without_its_secret(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError) as e:
        senders_from(environ)
        reports_from(environ)
    assert says in str(e.value) and "secret" not in str(e.value)
