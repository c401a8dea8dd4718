"""A gateway that stops over calls longer than its drain: no client loses or gains a byte, the books are not below the
bill."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.calls import who
from support.policy import budget, policy
from support.ports import free_port
from support.processes import Command, until
from support.raw_http import JSON, Answer, send
from support.raw_upstream import JSON as JSON_TYPE
from support.raw_upstream import SSE, RawUpstream, Request, fixed, pieces
from support.second_envoy import before

CHAT = "/v1/chat/completions"
DRAIN_S, ANSWERS_S = 1, 6
PIECES = 40
USAGE = {"prompt_tokens": 9, "completion_tokens": PIECES, "total_tokens": 9 + PIECES}
BILL = Decimal(9 * 2_500 + PIECES * 10_000) / 10**9
DELTA = b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":" budget"}}],"usage":null}\n\n'
EXTRA = b"data: " + json.dumps({"model": "gpt-4o", "choices": [], "usage": USAGE}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
ANSWER = json.dumps({"model": "gpt-4o", "choices": [], "usage": USAGE}).encode()
KINDS: dict[str, dict[str, object]] = {
    "hidden": {"stream": True},
    "asked": {"stream": True, "stream_options": {"include_usage": True}},
    "json": {},
}


async def provider(request: Request, writer: Any) -> None:
    """Takes `ANSWERS_S` for any answer."""
    asked = json.loads(request.body)
    if asked.get("stream"):
        await pieces([*[DELTA] * PIECES, EXTRA, DONE], SSE, pause_s=ANSWERS_S / PIECES)(request, writer)
        return
    await asyncio.sleep(ANSWERS_S)
    await fixed(ANSWER, JSON_TYPE)(request, writer)


@dataclass
class Stopped:
    answers: dict[str, Answer]
    lines: dict[str, dict[str, Any]]
    status: int


@pytest.fixture(scope="module", params=["open", "closed"])
def stopped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stopped]:
    """One call of each kind in flight as the gateway is told to stop."""
    folder: Path = tmp_path_factory.mktemp(f"left-{request.param}")
    (folder / "policy.yaml").write_text(policy(*(budget(kind, 1000) for kind in KINDS)))
    settings = {"drain_timeout": f"{DRAIN_S}s", "failure_mode": request.param}
    (folder / "config.yaml").write_text(json.dumps(settings))
    grpc, log = f"unix:{folder}/w", folder / "data" / "usage.jsonl"
    serve = Command(
        folder / "serve",
        ["serve", "--grpc", grpc, "--workers", "1", "--admin", f"127.0.0.1:{free_port()}", "--data-dir",
         str(folder / "data"), "--policy", str(folder / "policy.yaml"), "--config", str(folder / "config.yaml")],
    )  # fmt: skip
    serve.ready()
    answers: dict[str, Answer] = {}
    with RawUpstream(provider) as upstream:
        config = ("--config", str(folder / "config.yaml"))
        with before(grpc, upstream.url, folder, lambda _: None, *config) as url:

            def ask(kind: str) -> None:
                prompt = [{"role": "user", "content": "hi there"}]
                body = {"model": "gpt-4o", "max_tokens": 1000, "messages": prompt, **KINDS[kind]}
                answers[kind] = send(url, "POST", CHAT, {**JSON, **who(kind)}, json.dumps(body).encode())

            calls = [threading.Thread(target=ask, args=(kind,)) for kind in KINDS]
            for call in calls:
                call.start()
            until(lambda: len(upstream.requests), lambda n: n >= len(KINDS), "the requests")
            threading.Event().wait(1)
            serve.process.send_signal(signal.SIGTERM)
            for call in calls:
                call.join(60)
        status = serve.stop()
    lines = [json.loads(x) for x in log.read_text().splitlines()]
    yield Stopped(answers, {x["team"]: x for x in lines}, status)


def test_clients_notice_nothing_and_see_no_usage_that_they_did_not_ask_for(stopped: Stopped) -> None:
    assert {a.status for a in stopped.answers.values()} == {200}
    assert stopped.answers["asked"].body == DELTA * PIECES + EXTRA + DONE
    assert stopped.answers["hidden"].body == DELTA * PIECES + DONE
    assert stopped.answers["json"].body == ANSWER
    assert stopped.status == 0


def test_what_is_left_behind_is_charged_its_hold_and_the_rest_its_usage(stopped: Stopped) -> None:
    hidden = stopped.lines["hidden"]
    assert (hidden["outcome"], Decimal(hidden["cost_usd"])) == ("complete", BILL)
    for kind in ("asked", "json"):
        line = stopped.lines[kind]
        assert (line["outcome"], line["unmetered"], line["charged_by"]) == ("unmetered", "drained", "hold")
        assert Decimal(line["cost_usd"]) == Decimal(line["estimate_usd"]) >= BILL
