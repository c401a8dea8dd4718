"""A steady load of JSON answers and streams, which keeps its own accounts from what the answers say."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import TracebackType
from typing import Any

import aiohttp

from support.calls import who
from support.gateway import Gateway
from support.invoice import cost
from support.raw_http import JSON

MODEL, CAP = "gpt-4o", 100
ESTIMATE = cost(MODEL, {"input": 120, "output": CAP})
"""No request of the load is estimated higher."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request. `metered`: the answer carried our headers; `cost_usd` by its own usage;
    `began` by the monotonic clock; `request_id` as it stands in the usage log."""

    status: int
    complete: bool
    metered: bool
    cost_usd: Decimal
    began: float = 0.0
    request_id: str = ""


class Load:
    """`at_once` clients of one team in a thread of their own; a context manager: leaving it waits for the
    requests in flight."""

    def __init__(self, gateway: Gateway, team: str, at_once: int = 16) -> None:
        self.results: list[Result] = []
        self._gateway, self._team, self._at_once = gateway, team, at_once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: object, ___: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def complete(self) -> list[Result]:
        """The requests whose whole answer arrived."""
        return [r for r in self.results if r.complete]

    @property
    def broken(self) -> int:
        """How many requests got no whole answer."""
        return len(self.results) - len(self.complete)

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(*(self._client(session, n) for n in range(self._at_once)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        for turn in itertools.count(number):
            if self._stop.is_set():
                return
            began, request_id = time.monotonic(), secrets.token_hex(16)
            try:
                done = await self._one(session, request_id, stream=turn % 2 == 0)
                self.results.append(replace(done, began=began, request_id=request_id))
                if done.status == 429:
                    await asyncio.sleep(0.2)
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                self.results.append(Result(0, False, False, Decimal(0), began, request_id))
                await asyncio.sleep(0.1)

    async def _one(self, session: aiohttp.ClientSession, request_id: str, stream: bool) -> Result:
        document = {"model": MODEL, "max_tokens": CAP, "messages": [{"role": "user", "content": "Go on."}]}
        mock: dict[str, Any] = {"output_tokens": 40, "delay_ms": 20}
        if stream:
            document |= {"stream": True, "stream_options": {"include_usage": True}}
            mock["chunk_ms"] = 10
        url = f"{self._gateway.url}/v1/chat/completions"
        headers = {**JSON, **who(self._team, **mock), "x-request-id": request_id}
        async with session.post(url, data=json.dumps(document), headers=headers) as answer:
            data = await answer.read()
            metered = "x-spendgate-model" in answer.headers
            if answer.status != 200:
                return Result(answer.status, False, metered, Decimal(0))
            usage = _stream_usage(data) if stream else json.loads(data)["usage"]
            return Result(200, usage is not None, metered, _cost(usage) if usage else Decimal(0))


def _stream_usage(data: bytes) -> Mapping[str, int] | None:
    if not data.endswith(b"data: [DONE]\n\n"):
        return None
    usage: Mapping[str, int] = json.loads(data.split(b"\n\n")[-3].removeprefix(b"data: "))["usage"]
    return usage


def _cost(usage: Mapping[str, int]) -> Decimal:
    return cost(MODEL, {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]})
