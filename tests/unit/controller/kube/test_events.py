from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from spendgate.alerts.alert import Alert
from spendgate.alerts.sender import Delivered, DeliveryRejected, Retry
from spendgate.controller.kube.access import Access
from spendgate.controller.kube.client import Kube
from spendgate.controller.kube.events import EventSender

BUDGET = {"metadata": {"name": "red", "namespace": "ml", "uid": "u"}}
ALERT = Alert(
    "t:80", "threshold", "red", "202611", 1_794_355_200_000, 80, "alert", settled_nanousd=80 * 10**9,
    limit_nanousd=100 * 10**9,
)  # fmt: skip


class Server:
    """Answers every POST with `status` and keeps what was asked."""

    def __init__(self, status: int = 201) -> None:
        self.status = status
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        transport = httpx.MockTransport(self._answer)
        self.kube = Kube(Access("http://api", None), transport=transport)
        self.sender = EventSender(self.kube, "me", lambda team: BUDGET if team == "red" else None)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        import json

        if not self.status:
            raise httpx.ConnectError("away")
        self.bodies.append(json.loads(request.content))
        self.paths.append(request.url.path)
        return httpx.Response(self.status, json={})


async def test_a_crossing_becomes_an_event_on_its_budget() -> None:
    server = Server()
    assert await server.sender.send(ALERT, "event", False) == Delivered()
    (body,) = server.bodies
    assert server.paths == ["/api/v1/namespaces/ml/events"]
    assert body["involvedObject"] | {"name": "red", "namespace": "ml", "uid": "u"} == body["involvedObject"]
    assert (body["reason"], body["type"]) == ("ThresholdCrossed", "Normal")
    assert "80 % reached" in body["message"] and "$80.00 spent of $100.00" in body["message"]
    assert body["firstTimestamp"] == "2026-11-11T00:00:00Z"


async def test_the_same_crossing_has_one_name_and_a_second_attempt_that_finds_it_is_done() -> None:
    server = Server()
    await server.sender.send(ALERT, "event", False)
    server.status = 409
    assert await server.sender.send(ALERT, "event", True) == Delivered()
    names = [b["metadata"]["name"] for b in server.bodies]
    assert len(set(names)) == 1
    rearmed = replace(ALERT, limit_nanousd=200 * 10**9)
    server.status = 201
    await server.sender.send(rearmed, "event", False)
    assert server.bodies[-1]["metadata"]["name"] != names[0]


@pytest.mark.parametrize("status", [0, 403, 429, 500])
async def test_a_server_that_is_away_is_asked_again(status: int) -> None:
    assert isinstance(await Server(status).sender.send(ALERT, "event", False), Retry)


async def test_a_team_without_a_budget_and_a_namespace_that_is_gone_are_given_up() -> None:
    assert isinstance(
        await Server().sender.send(replace(ALERT, team="blue"), "event", False), DeliveryRejected
    )
    assert isinstance(await Server(404).sender.send(ALERT, "event", False), DeliveryRejected)


def test_what_concerns_no_team_is_no_event() -> None:
    assert Server().sender.targets(replace(ALERT, team="", kind="rebuilt")) == ()
    assert Server().sender.targets(ALERT) == ("event",)


async def test_a_message_is_cut_to_what_the_api_server_takes() -> None:
    server = Server()
    apps = tuple((f"{'a' * 59}{i}", 10**9) for i in range(20))
    await server.sender.send(replace(ALERT, top_apps=apps, top_models=apps), "event", False)
    assert len(server.bodies[0]["message"]) == 1024
