"""A month of traffic under a clock of its own, through the gateway's parts: the exchange's state machine, a real
Redis, the settler, the usage log, the metrics. The mock provider answers what the gateway forwards and keeps its
books. What Prometheus would have scraped is kept as OpenMetrics text, a gateway's restart in the middle included.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry

from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.settler import Settler
from spendgate.identity.identity import Caller
from spendgate.ledger.exchanges import ReserveRequest, ReserveResult, Settlement
from spendgate.ledger.recovery.resend import RecentSettlements
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.ledger.spool.spool import Spool
from spendgate.mock import openai_chat
from spendgate.mock.answer import plan
from spendgate.mock.books import Books
from spendgate.mock.control import Control
from spendgate.pricing.load import table
from spendgate.records.outcome import Outcome
from spendgate.records.writer import UsageLog
from spendgate.settings.config import Settings
from spendgate.tokens.count import measure

MONTH = "202610"
FIRST_MS = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)
LAST_MS = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000) - 1
HOUR_MS = 3_600_000
BEFORE = 0.02
"""This part of the exchanges comes in the two days before the month."""
AT_ONCE = 200
TEAMS = ("payments", "search", "support", "batch")
APPS = ("checkout", "web", "nightly")
MODELS = ("gpt-4o", "gpt-4o", "gpt-4o-mini")
COUNTERS = ("llm_cost_usd", "spendgate_tokens", "spendgate_requests", "spendgate_refused",
            "spendgate_routing_saved_usd", "spendgate_routing_added_usd")  # fmt: skip


def policy(count: int) -> str:
    """Budgets in proportion to the traffic: one that routes, one that downgrades, one that refuses."""
    usd = count * 0.00032
    return f"""
team: search
monthlyBudgetUSD: {usd * 100:.4f}
costRouting: {{enabled: true, cheapModel: gpt-4o-mini, expensiveModel: gpt-4o, complexityThreshold: 60}}
---
team: support
monthlyBudgetUSD: {usd * 0.4:.4f}
defaultModel: gpt-4o-mini
alertThresholds: [{{percent: 50, action: alert_and_downgrade}}]
---
team: batch
monthlyBudgetUSD: {usd * 0.25:.4f}
overshootPercent: 0
alertThresholds: [{{percent: 100, action: reject}}]
"""


class ClockedLedger(RedisLedger):
    """A ledger whose time is the script's."""

    now_ms = FIRST_MS

    async def reserve(self, request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        return await super().reserve(request, self.now_ms)

    async def settle(self, batch: list[Settlement], now_ms: int = 0) -> list[str]:
        return await super().settle(batch, self.now_ms)


@dataclass
class Month:
    """What came of it. `books` are the mock provider's of the month alone, `samples` what was scraped."""

    log: Path
    books: Books = field(default_factory=Books)
    before: Books = field(default_factory=Books)
    samples: dict[str, list[str]] = field(default_factory=lambda: {n: [] for n in COUNTERS})
    sent: int = 0
    refused: int = 0

    @property
    def openmetrics(self) -> str:
        """All samples as promtool takes them."""
        lines = []
        for name, found in self.samples.items():
            lines += [f"# TYPE {name} counter\n", *found]
        return "".join([*lines, "# EOF\n"])


def bodies(chance: random.Random) -> list[bytes]:
    """Forty requests of different lengths and models, one in five a stream."""
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()  # noqa: SIM905
    out = []
    for i in range(40):
        text = " ".join(chance.choices(words, k=8 + 5 * i))
        body: dict[str, object] = {
            "model": MODELS[i % 3], "messages": [{"role": "user", "content": text}], "max_tokens": 20 + i,
        }  # fmt: skip
        if i % 5 == 4:
            body |= {"stream": True}
        out.append(orjson.dumps(body))
    return out


async def run(count: int, redis_url: str, folder: Path, policy_of: object, seed: int = 1) -> Month:
    """Play the month: `count` exchanges over 33 days, scraped every six hours."""
    chance = random.Random(seed)
    snap = snapshot(policy_of(policy(count)), table(), Settings())  # type: ignore[operator]
    month = Month(folder / "usage.jsonl")
    ledger = ClockedLedger.from_url(redis_url, timeout_s=30.0)
    log = UsageLog(str(month.log))
    requests = bodies(chance)
    moments = _moments(count)
    scraped_ms = 0
    gateway = 0
    try:
        for begin, end in ((0, count // 2), (count // 2, count)):  # the gateway is started anew in the middle
            registry = CollectorRegistry()
            metrics = Metrics(registry)
            settler = Settler(
                ledger, Spool(folder / "spool", f"w{gateway}"), RecentSettlements(), log, metrics
            )
            settling = asyncio.create_task(settler.run())
            for start in range(begin, end, AT_ONCE):
                ledger.now_ms = moments[start]
                if scraped_ms // (6 * HOUR_MS) != ledger.now_ms // (6 * HOUR_MS):
                    await _counted(registry, start - begin)
                    turns = scraped_ms < FIRST_MS <= ledger.now_ms  # a scrape short of the month's turn
                    _scrape(month, registry, FIRST_MS - 60_000 if turns else ledger.now_ms, gateway)
                    scraped_ms = ledger.now_ms
                numbers = range(start, min(start + AT_ONCE, end))
                await asyncio.gather(
                    *(_exchange(n, ledger, settler, snap, month, requests, chance.random()) for n in numbers)
                )
            settler.close()
            await settling
            _scrape(month, registry, moments[end - 1] + 1000, gateway)
            gateway += 1
    finally:
        log.close()
        await ledger.close()
    return month


def _moments(count: int) -> list[int]:
    """When each exchange begins: a few in the two days before the month, the rest even over it."""
    early = int(count * BEFORE)
    span = (LAST_MS - HOUR_MS - FIRST_MS) / max(1, count - early)
    before = [FIRST_MS - 48 * HOUR_MS + i * 47 * HOUR_MS // max(1, early) for i in range(early)]
    return [*before, *(FIRST_MS + 1000 + int(i * span) for i in range(count - early))]


async def _counted(registry: CollectorRegistry, put: int) -> None:
    """Wait until all that was put is settled and counted."""

    def counted() -> float:
        values = (
            registry.get_sample_value("spendgate_exchanges_total", {"outcome": o.value}) for o in Outcome
        )
        return sum(v or 0 for v in values)

    while counted() < put:  # noqa: ASYNC110  the settler has no event for it
        await asyncio.sleep(0.01)


def _scrape(month: Month, registry: CollectorRegistry, at_ms: int, gateway: int) -> None:
    for family in registry.collect():
        if family.name in month.samples:
            for s in family.samples:
                if s.name.endswith("_total"):
                    labels = ",".join(
                        f'{k}="{v}"' for k, v in {**s.labels, "instance": f"gateway-{gateway}"}.items()
                    )
                    month.samples[family.name].append(
                        f"{s.name}{{{labels}}} {s.value!r} {at_ms / 1000:.3f}\n"
                    )


async def _exchange(
    number: int,
    ledger: ClockedLedger,
    settler: Settler,
    snap: Snapshot,
    month: Month,
    requests: list[bytes],
    dice: float,
) -> None:
    """One request from a client through the gateway to the mock provider and back."""
    team, app = TEAMS[number % 4], APPS[number % 3]
    body = requests[number * 7 % len(requests)]
    exchange = Exchange(f"m{number}", snap, f"r{number}")
    headers = {"content-type": "application/json", "x-llm-team": team, "x-llm-app": app}
    exchange.receive(e.RequestHeaders("POST", "/v1/chat/completions", Caller(headers)))
    action = exchange.receive(e.RequestBody(body, ledger.now_ms))
    while isinstance(action, e.NeedReserve | e.NeedCount):
        if isinstance(action, e.NeedCount):
            action = exchange.receive(e.CountDone(measure(action.texts, action.text_bytes, exact=True)))
        else:
            action = exchange.receive(e.ReserveDone(await ledger.reserve(action.request)))
    month.sent += 1
    books = month.books if ledger.now_ms >= FIRST_MS else month.before
    if isinstance(action, e.Reject):
        month.refused += 1
    else:
        assert isinstance(action, e.Forward)
        for event in _provider(orjson.loads(action.body or body), books, dice, number, ledger.now_ms):
            exchange.receive(event)
    ending = exchange.take_ending()
    assert ending is not None
    settler.put(ending)


def _provider(
    document: dict[str, object], books: Books, dice: float, number: int, now_ms: int
) -> Iterator[e.Event]:
    """What the mock provider does with what reaches it: mostly it answers; some fail, some clients leave."""
    if dice < 0.005:
        books.errors += 1
        yield e.ResponseHeaders(500, {":status": "500", "content-type": "application/json"})
        return
    order = openai_chat.read(document)
    aborts = order.stream and dice > 0.97
    control = Control(
        output_tokens=3 + number % 37,
        cached=number % 11 if number % 4 == 0 and not aborts else 0,  # an aborted stream tells no cache
        reasoning=0 if aborts else (number % 5) * (number % 2),
    )
    answer = plan(order, control, f"chatcmpl-{number}", now_ms // 1000)
    kind = "text/event-stream" if order.stream else "application/json"
    yield e.ResponseHeaders(200, {":status": "200", "content-type": kind})
    if not order.stream:
        books.bill(answer.model, answer.tokens())
        yield e.ResponseChunk(orjson.dumps(openai_chat.whole(answer)), True)
        return
    sent = 0
    for event in openai_chat.events(answer):
        if aborts and sent >= 2:
            books.bill(answer.model, answer.tokens(sent), aborted=True)
            yield e.StreamClosed()
            return
        sent += event.tokens
        yield e.ResponseChunk(event.raw, False)
    books.bill(answer.model, answer.tokens())
    yield e.ResponseChunk(b"", True)
