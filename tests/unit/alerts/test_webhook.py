from __future__ import annotations

from dataclasses import replace

import httpx
import orjson
import pytest

from spendgate.alerts.alert import Alert, Kind
from spendgate.alerts.environment import senders_from
from spendgate.alerts.message import Links
from spendgate.alerts.sender import Delivered, DeliveryRejected, Outcome, Retry
from spendgate.alerts.webhook import WebhookSender, alertmanager, cloudevent
from spendgate.errors import ConfigurationError

ALERT = Alert(
    "t:100", "exhausted", "red", "202611", 1_795_000_000_000, 100, "reject", (), 10**10 + 1, 5, 10**10,
    2 * 10**10, None, (("chat", 10**10),), (("gpt-4o", 10**10),),
)  # fmt: skip
LINKS = Links("https://grafana", "https://wiki")


def test_an_alertmanager_receiver_finds_every_field_of_version_4() -> None:
    body = alertmanager(ALERT, LINKS)
    assert set(body) == {
        "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
        "commonAnnotations", "externalURL", "alerts",
    }  # fmt: skip
    (alert,) = body["alerts"]
    assert set(alert) == {
        "status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint",
    }  # fmt: skip
    assert (body["version"], body["status"], alert["endsAt"]) == ("4", "firing", "0001-01-01T00:00:00Z")
    assert body["groupKey"] == '{}:{alertname="SpendgateBudgetExhausted", team="red"}'
    assert alert["labels"] == {
        "alertname": "SpendgateBudgetExhausted", "team": "red", "month": "2026-11", "severity": "critical",
        "threshold": "100",
    }  # fmt: skip
    assert alert["startsAt"] == "2026-11-18T11:06:40.000Z"
    assert alert["annotations"]["runbook_url"] == "https://wiki"


def test_a_recovery_resolves_what_the_exhaustion_fired() -> None:
    fired = alertmanager(ALERT)["alerts"][0]
    solved = alertmanager(replace(ALERT, kind="recovered", key="recovered:1"))["alerts"][0]
    assert solved["status"] == "resolved"
    assert (solved["fingerprint"], solved["labels"]) == (fired["fingerprint"], fired["labels"])


@pytest.mark.parametrize("kind", ["limit", "anomaly", "rebuilt", "drift"])
def test_what_a_team_may_have_several_of_in_a_month_are_several_alerts_to_a_receiver(kind: Kind) -> None:
    one, other = (
        alertmanager(replace(ALERT, kind=kind, key=f"{kind}:{n}", percent=50))["alerts"][0] for n in (1, 2)
    )
    assert (one["labels"]["key"], other["labels"]["key"]) == (f"{kind}:1", f"{kind}:2")
    assert one["fingerprint"] != other["fingerprint"]


def test_a_cloudevent_has_the_required_attributes_and_an_id_to_drop_repeats_by() -> None:
    event = cloudevent(ALERT, again=True)
    assert (event["specversion"], event["id"], event["subject"]) == ("1.0", "202611/red/t:100", "red")
    assert event["id"] == cloudevent(ALERT)["id"]
    assert event["type"] == "com.systemhardening.ai.llmbudget.exhausted.v1"
    assert event["data"]["settled_usd"] == "10.000000001"
    assert event["data"]["forecast_usd"] == "20.00"


async def sent(status: int, shape: str = "alertmanager") -> tuple[Outcome, httpx.Request]:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, text="words", headers={"retry-after": "7"})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    sender = WebhookSender("https://hook.example/x", shape, client=client)  # type: ignore[arg-type]
    outcome = await sender.send(ALERT, "webhook", False)
    await sender.close()
    return outcome, seen[0]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Delivered()), (204, Delivered()), (400, DeliveryRejected("400: words")),
        (422, DeliveryRejected("422: words")),
        (401, Retry("401: words", 30.0)), (404, Retry("404: words", 30.0)), (302, Retry("302: words", 30.0)),
        (429, Retry("429, too many", 7.0)), (503, Retry("503: words", 7.0)),
    ],
)  # fmt: skip
async def test_answers_are_sorted_into_arrived_again_and_never(status: int, outcome: Outcome) -> None:
    assert (await sent(status))[0] == outcome


async def test_the_content_type_names_the_shape() -> None:
    _, plain = await sent(200)
    _, event = await sent(200, "cloudevents")
    assert plain.headers["content-type"] == "application/json"
    assert event.headers["content-type"] == "application/cloudevents+json"
    assert orjson.loads(event.content)["specversion"] == "1.0"


def test_senders_come_from_the_environment() -> None:
    assert senders_from({}) == []
    both = senders_from({"SLACK_WEBHOOK_URL": "https://s/x", "SPENDGATE_ALERT_WEBHOOK_URL": "https://h/x"})
    assert [s.name for s in both] == ["slack", "webhook"]


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"SLACK_WEBHOOK_URL": "hooks.slack.com/x"}, "SLACK_WEBHOOK_URL"),
        ({"SPENDGATE_ALERT_WEBHOOK_URL": "ftp://x"}, "not a URL"),
        (
            {"SPENDGATE_ALERT_WEBHOOK_URL": "https://x", "SPENDGATE_ALERT_WEBHOOK_SHAPE": "xml"},
            "alertmanager or cloudevents",
        ),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        senders_from(environ)
