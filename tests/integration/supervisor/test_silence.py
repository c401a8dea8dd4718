"""A provider that thinks for long, with nothing else on the wire: Envoy pings, the worker bears it, the bill is exact.

An Envoy of ours pings five times in a message timeout, so a few seconds here hold more pings than minutes did where the
worker hung up on the fourth. `make soak` is silent for longer.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest
from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.raw_http import JSON as SENT
from support.raw_upstream import JSON, SSE, RawUpstream, Reply, Request, fixed

SILENT_S = float(os.environ.get("SPENDGATE_SILENT_S") or 3)
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
COST = Decimal("0.0000625")
ANSWER = json.dumps(
    {"id": "a", "object": "chat.completion", "model": "gpt-4o", "usage": USAGE,
     "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]}
).encode()  # fmt: skip


def chunk(**fields: object) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": "a", "object": "chat.completion.chunk", "model": "gpt-4o", **fields}).encode()
    )


STREAM = [
    chunk(choices=[{"index": 0, "delta": {"content": "Hello."}}]) + b"\n\n",
    b"".join(
        [chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]), b"\n\n",
         chunk(choices=[], usage=USAGE), b"\n\ndata: [DONE]\n\n"]
    ),
]  # fmt: skip


def silent_between(parts: list[bytes]) -> Reply:
    """A stream with a long silence between its parts."""

    async def reply(_: Request, writer: asyncio.StreamWriter) -> None:
        head = ["HTTP/1.1 200 OK", "transfer-encoding: chunked", "connection: close", SSE]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
        for i, part in enumerate(parts):
            await asyncio.sleep(SILENT_S if i else 0)
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    return reply


@pytest.fixture(scope="module", params=["open", "closed"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("silence")
    config = {"failure_mode": request.param}
    with (
        RawUpstream() as upstream,
        Gateway(
            folder, upstream.url, policy(budget("json", 1000), budget("stream", 1000)), config=config
        ) as made,
    ):
        made.upstream = upstream  # type: ignore[attr-defined]
        yield made


def body(stream: bool) -> dict[str, object]:
    messages = [{"role": "user", "content": "hi there"}]
    return {"model": "gpt-4o", "max_tokens": 50, "stream": stream, "messages": messages}


def ask(gateway: Gateway, team: str, *, stream: bool = False) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/chat/completions", json=body(stream), headers={**SENT, **who(team)},
        trust_env=False, timeout=SILENT_S + 60,
    )  # fmt: skip


def test_an_answer_after_a_long_silence_is_whole_and_billed_to_the_nano_dollar(gateway: Gateway) -> None:
    upstream: RawUpstream = gateway.upstream  # type: ignore[attr-defined]

    async def late(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(SILENT_S)
        await fixed(ANSWER, JSON)(request, writer)

    upstream.reply = late
    answer = ask(gateway, "json")
    assert (answer.status_code, answer.content) == (200, ANSWER)
    assert Decimal(answer.headers["x-spendgate-cost-usd"]) == COST
    line = gateway.line("json")
    assert (line["outcome"], Decimal(line["cost_usd"])) == ("complete", COST)


def test_streams_that_are_silent_for_long_are_whole_and_billed_to_the_nano_dollar(gateway: Gateway) -> None:
    """Alone on their connections: nobody else's bytes keep those alive."""
    upstream: RawUpstream = gateway.upstream  # type: ignore[attr-defined]
    upstream.reply = silent_between(STREAM)
    count = int(os.environ.get("SPENDGATE_SILENT_STREAMS") or 8)

    async def all_at_once() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(trust_env=False, timeout=2 * SILENT_S + 60, limits=limits) as client:
            return await asyncio.gather(
                *(
                    client.post(
                        f"{gateway.url}/v1/chat/completions",
                        json=body(True),
                        headers={**SENT, **who("stream")},
                    )
                    for _ in range(count)
                )
            )

    for answer in asyncio.run(all_at_once()):
        assert answer.text.endswith("data: [DONE]\n\n")
        assert '"choices": []' not in answer.text  # the usage that nobody asked for
    assert gateway.spent("stream", count) == count * COST
    assert {x["outcome"] for x in gateway.lines("stream", count)} == {"complete"}
