"""What one answer taught, the next request has, whichever worker it comes to."""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal

from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.raw_http import JSON, Answer, send
from support.raw_upstream import JSON as IS_JSON
from support.raw_upstream import SSE, RawUpstream, Request, fixed, pieces

RAW_POLICY = policy(budget("ml", 1000))
RAW_UPSTREAM = {"provider": "azure"}
CHAT = "/openai/v1/chat/completions"
USAGE = {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1000}
HEARD_S = 0.5
REFUSED = b'{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}'


def ask(gateway: Gateway, run: str, **more: object) -> Answer:
    body = {"max_tokens": 200, "messages": [{"role": "user", "content": "hello"}], **more}
    headers = {**JSON, **who("ml"), "x-llm-run": run}
    return send(gateway.url, "POST", CHAT, headers, json.dumps(body).encode())


def line(gateway: Gateway, run: str) -> dict[str, object]:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for row in gateway.usage():
            if row["run"] == run:
                return row
        time.sleep(0.05)
    raise AssertionError(f"no usage line of {run}")


def test_an_unlisted_deployment_is_held_as_what_it_serves(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    answer = {"model": "gpt-4o-mini-2024-07-18", "choices": [], "usage": USAGE}
    upstream.reply = fixed(json.dumps(answer).encode(), IS_JSON)
    holds = []
    for i in range(5):
        assert ask(raw_gateway, f"held-{i}", model="team-chat").status == 200
        row = line(raw_gateway, f"held-{i}")
        assert row["cost_usd"] == "0.000195"
        holds.append(Decimal(str(row["estimate_usd"])))
        time.sleep(HEARD_S)
    assert holds[0] > 100 * holds[1]
    assert set(holds[1:]) == {holds[1]}
    assert ask(raw_gateway, "other", model="other-chat").status == 200
    assert Decimal(str(line(raw_gateway, "other")["estimate_usd"])) == holds[0]


def test_who_refuses_to_be_asked_for_usage_is_not_asked_again(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    chunks = [
        b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":" word"}}]}\n\n' * 20,
        b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b"data: [DONE]\n\n",
    ]

    async def picky(request: Request, writer: asyncio.StreamWriter) -> None:
        refuses = b"stream_options" in request.body
        reply = fixed(REFUSED, IS_JSON, status="422 Unprocessable Entity") if refuses else pieces(chunks, SSE)
        await reply(request, writer)

    upstream.reply = picky
    first = ask(raw_gateway, "refused", model="gpt-4o", stream=True)
    assert (first.status, first.body) == (422, REFUSED)
    for i in range(4):  # of two workers each has it
        time.sleep(HEARD_S)
        again = ask(raw_gateway, f"again-{i}", model="gpt-4o", stream=True)
        assert (again.status, again.body) == (200, b"".join(chunks))
        row = line(raw_gateway, f"again-{i}")
        assert (row["outcome"], row["charged_by"]) == ("complete", "counted")
    assert line(raw_gateway, "refused")["cost_usd"] == "0.00"
