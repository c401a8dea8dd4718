"""The Slack command: signed requests only, and what people get to read."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import queue
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest

from spendgate.console.asking import ProposalService
from spendgate.errors import ConfigurationError
from spendgate.proposals.forges import PullRequest
from spendgate.proposals.propose import ChangeRequest, Proposal

from .conftest import NOW_S, USD, House

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
ENV: dict[str, Any] = {"SLACK_SIGNING_SECRET": SECRET, "SPENDGATE_POLICY_REPO": "/r"}


def signed(body: str, at: int = int(NOW_S), secret: str = SECRET) -> dict[str, str]:
    """Slack's own recipe."""
    mac = hmac.new(secret.encode(), f"v0:{at}:{body}".encode(), hashlib.sha256).hexdigest()
    return {
        "x-slack-request-timestamp": str(at),
        "x-slack-signature": f"v0={mac}",
        "content-type": "application/x-www-form-urlencoded",
    }


def form(text: str, **more: str) -> str:
    fields = {"command": "/budget", "text": text, "user_id": "U1", "user_name": "kim", "channel_id": "C1"}
    return urlencode(fields | more)


async def say(client: httpx.AsyncClient, text: str, **more: str) -> str:
    body = form(text, **more)
    answer = await client.post("/slack/commands", content=body, headers=signed(body))
    assert answer.status_code == 200
    document = answer.json()
    assert document["response_type"] == "ephemeral"
    return str(document["text"])


async def test_a_wrong_signature_or_an_old_request_is_refused(house: House) -> None:
    body = form("status")
    bad = {
        "another secret": signed(body, secret="wrong"),
        "another body": signed(body + "x"),
        "six minutes old": signed(body, at=int(NOW_S) - 360),
        "from the future": signed(body, at=int(NOW_S) + 360),
        "no signature": {"x-slack-request-timestamp": str(int(NOW_S))},
        "no time": {"x-slack-signature": "v0=00"},
        "a time that is none": signed(body) | {"x-slack-request-timestamp": "soon"},
    }
    async with house.client(**ENV) as client:
        for name, headers in bad.items():
            answer = await client.post("/slack/commands", content=body, headers=headers)
            assert answer.status_code == 401, name
        assert (await client.post("/slack/commands", content=body, headers=signed(body))).status_code == 200


async def test_without_a_signing_secret_there_is_no_such_path(house: House) -> None:
    async with house.client() as client:
        assert (await client.post("/slack/commands", content="x")).status_code == 404


async def test_status_and_top_say_how_budgets_stand(house: House) -> None:
    await house.spend("red", 85 * USD, app="chat")
    await house.spend("blue", 90 * USD, app="<!channel>", model="o3")
    async with house.client(**ENV) as client:
        status = await say(client, "status")
        assert "*LLM budgets, November 2026*" in status
        assert "`red` $85.00 of $100.00 (85.0 %, Downgrading), forecast $" in status
        assert "`blue` $90.00, no budget" in status
        assert "exhausted on 2026-11-" in await say(client, "status red")
        assert "no budget and no spend" in await say(client, "status nobody")
        top = await say(client, "top")
        assert top.index("`blue`") < top.index("`red`")
        of_blue = await say(client, "top blue")
        assert "Models: o3 $90.00" in of_blue
        assert "<!channel>" not in of_blue and "&lt;!channel&gt;" in of_blue
        for wrong in ("", "help", "raise red", "raise red 500 until"):
            assert "`/budget" in await say(client, wrong)


async def test_the_command_can_be_kept_to_some_channels(house: House) -> None:
    async with house.client(**ENV, SPENDGATE_SLACK_CHANNELS="C7 C8") as client:
        assert "not for this channel" in await say(client, "status")
        assert "LLM budgets" in await say(client, "status", channel_id="C8")


class Hooks:
    """Where Slack listens for late answers."""

    def __init__(self) -> None:
        self.got: queue.Queue[dict[str, Any]] = queue.Queue()
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hooks.got.put(orjson.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/commands/1"
        Thread(target=self.server.serve_forever, daemon=True).start()

    async def first(self) -> str:
        return str((await asyncio.to_thread(self.got.get, timeout=30))["text"])


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    made = Hooks()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Taking(ProposalService):
    async def ask(self, wish: ChangeRequest) -> Proposal:
        assert wish.asked_by == "kim in Slack (U1)"
        if wish.team == "away":
            raise ConfigurationError("no LLMBudget of team away in the repository")
        request = PullRequest("https://forge.test/pull/7", 7)
        return Proposal(
            "b", "main", "f", "c", wish.title, "", "", ("lead",), pushed=True, pull_request=request
        )


async def test_a_raise_answers_at_once_and_tells_its_outcome_later(house: House, hooks: Hooks) -> None:
    async with house.client(asking=Taking, **ENV) as client:
        said = await say(client, "raise red 500 until 2026-12-15 Black Friday load", response_url=hooks.url)
        assert said.startswith("Asking for $500 more for `red`")
        late = await hooks.first()
    assert "https://forge.test/pull/7" in late
    assert "approval of lead" in late


async def test_a_raise_that_can_not_be_made_says_why(house: House, hooks: Hooks) -> None:
    async with house.client(asking=Taking, **ENV) as client:
        assert "is past" in await say(client, "raise red 500 until 2020-01-01 why")
        assert "not an amount" in await say(client, "raise red lots until 2026-12-15 why")
        await say(client, "raise away 5 until 2026-12-15 why", response_url=hooks.url)
        assert "no LLMBudget of team away" in await hooks.first()
    async with house.client(SLACK_SIGNING_SECRET=SECRET) as client:
        assert "SPENDGATE_POLICY_REPO" in await say(client, "raise red 5 until 2026-12-15 why")
