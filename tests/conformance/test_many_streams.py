"""2,000 slow streams at once: all hold, none goes unmetered."""

from __future__ import annotations

import asyncio
import json
import resource
import threading
from decimal import Decimal

import aiohttp
from support.calls import who
from support.gateway import Gateway
from support.invoice import cost
from support.policy import budget, policy
from support.raw_http import JSON
from support.raw_upstream import RawUpstream, Request

RAW_POLICY = policy(budget("crowd", 1000))
STREAMS = 2000
PROMPT_TOKENS = 9
EVERY_S = 5
WORD = b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":" budget"}}]}\n\n'
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else soft, hard))  # the children inherit it


class SlowProvider:
    """Streams a word every few seconds until it is told that it may end, whatever the machine's pace."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.words = self.answers = 0

    async def reply(self, _: Request, writer: asyncio.StreamWriter) -> None:
        def send(event: bytes) -> None:
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))

        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        words = 0
        while not words or not self.may_end.is_set():
            send(WORD)
            words += 1
            await writer.drain()
            await asyncio.sleep(EVERY_S)
        total = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": words,
            "total_tokens": PROMPT_TOKENS + words,
        }
        send(b"data: " + json.dumps({"model": "gpt-4o", "choices": [], "usage": total}).encode() + b"\n\n")
        send(b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        self.words += words
        self.answers += 1


async def crowd(gateway: Gateway, provider: SlowProvider) -> int:
    """Open all streams, let them end once all are in flight; how many words arrived. Who is told that the gateway is
    busy comes again, as SDKs do: the machine may be."""
    messages = [{"role": "user", "content": "hi"}]
    body = json.dumps({"model": "gpt-4o", "stream": True, "max_tokens": 100, "messages": messages})

    async def one(session: aiohttp.ClientSession) -> int:
        url, headers = f"{gateway.url}/v1/chat/completions", {**JSON, **who("crowd")}
        async with session.post(url, data=body, headers=headers) as answer:
            data = await answer.read()
            reason, wait_s = answer.headers.get("x-spendgate-reason"), answer.headers.get("retry-after")
            if (answer.status, reason) == (503, "too_busy") and wait_s is not None:
                await asyncio.sleep(int(wait_s))
                return await one(session)
            assert answer.status == 200 and data.endswith(b"data: [DONE]\n\n"), data[-200:]
            assert b'"usage"' not in data
            return data.count(b"delta")

    async def release(running: asyncio.Future[list[int]]) -> None:
        while not running.done():
            in_flight = await asyncio.to_thread(gateway.metric, "spendgate_open_reservations")
            if in_flight == STREAMS:
                provider.may_end.set()
            await asyncio.sleep(0.5)

    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=240)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        running = asyncio.gather(*(one(session) for _ in range(STREAMS)))
        await asyncio.gather(running, release(running))
        return sum(running.result())


def test_two_thousand_slow_streams_hold_and_none_goes_unmetered(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    provider, gateway = SlowProvider(), raw_gateway
    upstream.reply = provider.reply
    assert asyncio.run(crowd(gateway, provider)) == provider.words
    assert provider.may_end.is_set(), "never were all of them in flight at once"
    row = gateway.settled("crowd", STREAMS)
    tokens = {"input": STREAMS * PROMPT_TOKENS, "output": provider.words}
    assert row["tokens"] == tokens
    assert Decimal(row["settled_usd"]) == cost("gpt-4o", tokens)
    assert row["requests"] == provider.answers == STREAMS
    assert {x["outcome"] for x in gateway.lines("crowd", STREAMS)} == {"complete"}
    assert gateway.metric("spendgate_unmetered_total") == 0
    assert gateway.metric("spendgate_exchanges_total", outcome="complete") == STREAMS
