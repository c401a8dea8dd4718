"""What reading, counting and pricing a request costs, and how long the event loop waits for it.

    .venv/bin/python bench/pricing.py [--json FILE]

Two parts:

- the work on one exchange of 1 KB and one of 16 KB, without wire and ledger: read the request, count, plan and
  estimate, read the answer, bill it (µs, the median of many);
- counting hostile bodies of up to 10 MB among normal traffic, as the gateway does it (a bound first, inline; exactly,
  in a thread): how long each keeps the interpreter's lock at a stretch, in CPU time, and how late a timer of the
  same loop is that should fire every millisecond (beside what the machine does to it anyway: `nothing`). Reading
  the JSON itself is measured beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from spendgate.budget.policy import Policy
from spendgate.dialects import registry
from spendgate.dialects.base import RequestFacts
from spendgate.dialects.request import readable
from spendgate.exchange import billing
from spendgate.exchange.planning import gather
from spendgate.exchange.snapshot import Address, Snapshot, snapshot
from spendgate.gateway.decision_driver import give_way
from spendgate.identity.identity import Identity
from spendgate.pricing.load import table
from spendgate.settings.config import Settings
from spendgate.tokens.count import count, measure

MB = 1 << 20
PATH = "/v1/chat/completions"
HEADERS = {"content-type": "application/json"}
PROSE = "The quick brown fox jumps over the lazy dog, and the dog says nothing. "
USAGE = {"prompt_tokens": 220, "completion_tokens": 100, "total_tokens": 320}
ANSWER = json.dumps(
    {"id": "c", "object": "chat.completion", "model": "gpt-4o", "usage": USAGE, "choices": [
        {"index": 0, "message": {"role": "assistant", "content": PROSE * 6}, "finish_reason": "stop"}]}
).encode()  # fmt: skip
LOAD_S = 3.0


def body(content: str, messages: int = 1) -> bytes:
    """A chat request of so many messages."""
    said = [{"role": "user", "content": content}] * messages
    return json.dumps({"model": "gpt-4o", "messages": said, "max_tokens": 100}, ensure_ascii=False).encode()


def hostile() -> dict[str, bytes]:
    """Bodies that are made to be slow."""
    dice = random.Random(1)
    letters = "".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=10 * MB))
    return {
        "10 MB of prose": body(PROSE * (10 * MB // len(PROSE))),
        "10 MB of spaces": body(" " * (10 * MB)),
        "10 MB of letters": body(letters),
        "10 MB of emoji": body("😀" * (10 * MB // 4)),
        "1 MB of spaces": body(" " * MB),
        "100,000 short messages": body("x" * 60, 100_000),
        "16 KB of letters": body(letters[:16_000]),
        "16 KB of emoji": body("😀" * 4_000),
    }


def median_us(work: Callable[[], object], times: int) -> float:
    """The median time of one call."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


def one_exchange(of: Snapshot, raw: bytes) -> dict[str, float]:
    """The parts of an exchange's work, in µs."""
    dialect = registry.find("POST", PATH, "application/json")
    assert dialect is not None
    who, address = Identity("team", "app"), Address(dialect.name, PATH, "api.openai.com")
    facts = dialect.read_request(raw, PATH)
    counted = measure(facts.texts, facts.text_bytes)
    now_ms = 1_795_521_600_000
    tariff = billing.Tariff(of.prices, of.terms("gpt-4o", address, now_ms))
    reading = dialect.read_answer(ANSWER)
    parts = {
        "read the request": lambda: readable.read(dialect, raw, PATH, HEADERS, len(raw)),
        "count its tokens": lambda: measure(facts.texts, facts.text_bytes),
        "plan and estimate": lambda: gather(of, who, dialect.name, facts, counted, "", "x", now_ms, address),
        "read the answer": lambda: dialect.read_answer(ANSWER),
        "price it": lambda: billing.whole_answer(tariff, "gpt-4o", reading, 0),
    }
    return {name: median_us(work, 2_000) for name, work in parts.items()}


class Ticker:
    """Notes how late it wakes."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            self.late_ms.append((time.perf_counter() - began) * 1e3 - 1)


class Lock:
    """The longest time that a thread kept the interpreter's lock without a pause: its own CPU time, so that what
    else runs on the machine does not count."""

    def __init__(self) -> None:
        self.most_ms = 0.0

    def count(self, facts: RequestFacts) -> None:
        """Count exactly, as the gateway does it in a thread."""
        last = time.thread_time()

        def pause() -> None:
            nonlocal last
            self.most_ms = max(self.most_ms, (time.thread_time() - last) * 1e3)
            give_way()
            last = time.thread_time()

        measure(facts.texts, facts.text_bytes, exact=True, pause=pause)
        self.most_ms = max(self.most_ms, (time.thread_time() - last) * 1e3)


def cpu_ms(work: Callable[[], object]) -> float:
    """The CPU time of one call."""
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1e3


async def lag(facts: RequestFacts | None) -> dict[str, float]:
    """The loop's lag while a body is bounded inline and counted in a thread, again and again."""
    ticker, lock, inline = Ticker(), Lock(), 0.0
    ticking = asyncio.create_task(ticker.run())
    until = time.perf_counter() + LOAD_S
    while time.perf_counter() < until:
        await asyncio.sleep(0.003)
        if facts is not None:
            inline = max(inline, cpu_ms(partial(measure, facts.texts, facts.text_bytes)))
            await asyncio.to_thread(lock.count, facts)
    ticking.cancel()
    late = sorted(ticker.late_ms)
    return {
        "inline": inline,
        "thread": lock.most_ms,
        "p50": late[len(late) // 2],
        "p99": late[len(late) * 99 // 100],
    }


async def lags() -> dict[str, dict[str, float]]:
    """All of it in ms, by what is counted."""
    dialect = registry.find("POST", PATH, "application/json")
    assert dialect is not None
    out = {"nothing": {**await lag(None), "read": 0.0}}
    for name, raw in hostile().items():
        facts = dialect.read_request(raw, PATH)
        out[name] = {
            **await lag(facts),
            "read": min(cpu_ms(partial(dialect.read_request, raw, PATH)) for _ in range(3)),
        }
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    into = parser.parse_args().json
    count("warm")
    of = snapshot(Policy(), table(), Settings())
    found: dict[str, object] = {}
    for label, raw in (("1 KB", body(PROSE * 14)), ("16 KB", body(PROSE * 220))):
        parts = one_exchange(of, raw)
        found[label] = parts
        print(f"\n{label} exchange, µs (median)")
        for name, us in parts.items():
            print(f"  {name:<20} {us:8.1f}")
        print(f"  {'together':<20} {sum(parts.values()):8.1f}")
    measured = asyncio.run(lags())
    found["lag"] = measured
    print("\ncounting beside normal traffic, ms: CPU at a stretch, and how late a 1 ms timer was")
    print(f"{'':<24} {'inline':>8} {'thread':>8} {'late p50':>9} {'late p99':>9} {'reading the JSON':>17}")
    for name, row in measured.items():
        print(
            f"{name:<24} {row['inline']:8.2f} {row['thread']:8.2f} {row['p50']:9.2f} {row['p99']:9.2f}"
            f" {row['read']:17.1f}"
        )
    if into is not None:
        into.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
