"""2,000 slow streams at once: all hold, none goes unmetered."""

from __future__ import annotations

import asyncio
import json
import resource
from decimal import Decimal

import aiohttp
from support.calls import who
from support.gateway import Gateway
from support.invoice import total
from support.policy import budget, policy
from support.processes import until
from support.provider import Provider
from support.raw_http import JSON

POLICY = policy(budget("crowd", 1000))
STREAMS = 2000
WORDS = 6
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else soft, hard))  # the children inherit it


async def crowd(gateway: Gateway) -> tuple[list[int], int]:
    """Open all streams; the answers' sizes in text pieces, and how many were in flight at once."""
    body = json.dumps(
        {
            "model": "gpt-4o",
            "stream": True,
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "hi"}],
        }
    )
    headers = {**JSON, **who("crowd", output_tokens=WORDS, chunk_ms=3000)}
    at_once = 0

    async def one(session: aiohttp.ClientSession) -> int:
        async with session.post(f"{gateway.url}/v1/chat/completions", data=body, headers=headers) as answer:
            data = await answer.read()
            assert answer.status == 200 and data.endswith(b"data: [DONE]\n\n"), data[-200:]
            return data.count(b'"delta":{"content":') - data.count(b'"delta":{"content":""')

    async def watch(running: asyncio.Future[list[int]]) -> None:
        nonlocal at_once
        while not running.done():
            at_once = max(
                at_once, int(await asyncio.to_thread(gateway.metric, "spendgate_open_reservations"))
            )
            await asyncio.sleep(0.5)

    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=240)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        running = asyncio.gather(*(one(session) for _ in range(STREAMS)))
        await asyncio.gather(running, watch(running))
        return running.result(), at_once


def test_two_thousand_slow_streams_hold_and_none_goes_unmetered(gateway: Gateway, provider: Provider) -> None:
    bill = provider.billed()
    sizes, at_once = asyncio.run(crowd(gateway))
    assert sizes == [WORDS] * STREAMS
    assert at_once == STREAMS
    row = gateway.settled("crowd", STREAMS)
    assert Decimal(row["settled_usd"]) == total(bill.now())
    assert row["requests"] == bill.requests() == STREAMS
    assert gateway.metric("spendgate_unmetered_total") == 0
    assert gateway.metric("spendgate_exchanges_total", outcome="complete") == STREAMS
    lines = until(lambda: gateway.usage("crowd"), lambda x: len(x) >= STREAMS, "the usage log")
    assert {x["outcome"] for x in lines} == {"complete"}
