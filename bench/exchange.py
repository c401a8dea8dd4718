"""What one exchange costs: CPU time from a request's headers to its settlement, without Envoy, gRPC and Redis.

    .venv/bin/python bench/exchange.py            PYTHONPATH=OTHER/src to measure another version
    .venv/bin/python bench/exchange.py --against OTHER/src       both in turn, and their ratio

CPU time of this process, the least of several rounds: other work on the machine changes it little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

import orjson

from spendgate.budget.load import policy_from_documents
from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.snapshot import snapshot
from spendgate.identity.identity import Caller
from spendgate.ledger.exchanges import ReserveResult
from spendgate.pricing.load import table
from spendgate.settings.config import Settings

SIZES = {"1 KB": 1_000, "50 KB": 50_000, "490 KB": 490_000, "4 MB": 4_000_000, "30 MB": 30_000_000}
WORDS = "the quick brown fox jumps over the lazy dog and thinks about budgets in the mesh "
CODE = 'if (x["key"] == \'v\' && y_c != "") { return [1, 2, {"a": "b"}]; } // the quick brown fox\n'
ROUNDS, PAIRS = 7, 5
BUDGET = {
    "apiVersion": "ai.systemhardening.com/v1",
    "kind": "LLMBudget",
    "metadata": {"name": "rich", "namespace": "bench"},
    "spec": {"team": "rich", "monthlyBudgetUSD": 1_000_000},
}
NOW_MS = 1_795_521_600_000
CALLER = Caller({"content-type": "application/json", "x-llm-team": "rich", "x-llm-app": "bench"})
USAGE = {"prompt_tokens": 220, "completion_tokens": 50, "total_tokens": 270}
SAID = {"id": "c", "object": "chat.completion", "model": "gpt-4o", "created": 1}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": WORDS * 6}, "finish_reason": "stop"}
ANSWER = orjson.dumps({**SAID, "choices": [CHOICE], "usage": USAGE})
DELTA = b"data: %s\n\n" % orjson.dumps(
    {**SAID, "choices": [{"index": 0, "delta": {"content": " fox"}, "finish_reason": None}]}
)
LAST = b"data: %s\n\ndata: [DONE]\n\n" % orjson.dumps({**SAID, "choices": [], "usage": USAGE})
JSON_HEADERS = {":status": "200", "content-type": "application/json", "content-length": str(len(ANSWER))}
STREAM_HEADERS = {":status": "200", "content-type": "text/event-stream"}


def request(size: int, words: str, *, stream: bool = False) -> bytes:
    """A chat request with one prompt of this size."""
    text = (words * (size // len(words) + 1))[:size]
    asked = {"model": "gpt-4o", "max_tokens": 300, "messages": [{"role": "user", "content": text}]}
    return orjson.dumps(
        {**asked, "stream": True, "stream_options": {"include_usage": True}} if stream else asked
    )


def admitted() -> ReserveResult:
    """The ledger's yes, by the names that the version measured has for it."""
    given = {"candidate": 0, "output_cap": None, "held_nanousd": 1_000_000, "at_ms": NOW_MS}
    month = {"committed_nanousd": 1_000_000, "reserved_nanousd": 1_000_000, "settled_nanousd": 0}
    names = {field.name for field in fields(ReserveResult)}
    return ReserveResult(**given, **{name: nano for name, nano in month.items() if name in names})


def measures() -> dict[str, tuple[Callable[[], object], int]]:
    """What is measured, and how often at a stretch."""
    known = snapshot(policy_from_documents([BUDGET]), table(), Settings())

    def read(body: bytes) -> Exchange:
        exchange = Exchange("x", known)
        exchange.receive(e.RequestHeaders("POST", "/v1/chat/completions", CALLER))
        action = exchange.receive(e.RequestBody(body, NOW_MS))
        assert isinstance(action, e.NeedReserve)
        return exchange

    def whole(body: bytes, headers: dict[str, str], pieces: list[bytes]) -> None:
        exchange = read(body)
        result = admitted()
        exchange.receive(e.ReserveDone(result))
        exchange.receive(e.ResponseHeaders(200, headers))
        for piece in pieces:
            exchange.receive(e.ResponseChunk(piece, False))
        exchange.receive(e.ResponseChunk(LAST if pieces else ANSWER, True))
        assert exchange.take_ending() is not None

    out: dict[str, tuple[Callable[[], object], int]] = {}
    for name, size in SIZES.items():
        body = request(size, WORDS)
        out[f"read {name}"] = partial(read, body), max(1, min(300, 20_000_000 // size))
    for name in ("50 KB", "490 KB", "4 MB"):
        size = SIZES[name]
        body = request(size, CODE)
        out[f"read {name} of code"] = partial(read, body), max(1, min(300, 20_000_000 // size))
    for name in ("1 KB", "50 KB"):
        body = request(SIZES[name], WORDS)
        out[f"exchange {name}, JSON"] = partial(whole, body, JSON_HEADERS, []), 200
    body = request(1_000, WORDS, stream=True)
    out["exchange 1 KB, 50 pieces"] = partial(whole, body, STREAM_HEADERS, [DELTA] * 50), 100
    return out


def measure(only: str) -> dict[str, float]:
    """Microseconds of CPU time by what is measured."""
    found = {}
    for name, (work, times) in measures().items():
        if only not in name:
            continue
        least = float("inf")
        for _ in range(ROUNDS):
            began = time.process_time()
            for _ in range(times):
                work()
            least = min(least, (time.process_time() - began) / times)
        found[name] = least * 1e6
    return found


def measured_at(source: str, only: str) -> dict[str, float]:
    """The same by another process, with the source of some version."""
    run = [sys.executable, __file__, "--json", "--only", only]
    done = subprocess.run(run, env={**os.environ, "PYTHONPATH": source}, capture_output=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print a line a measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", help="the source of another version, measured in turn with this one")
    parser.add_argument("--only", default="", help="measures with this in their name")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.against is None:
        found = measure(asked.only)
        print(
            json.dumps(found)
            if asked.json
            else "\n".join(f"{n:<26} {us:10.1f} µs" for n, us in found.items())
        )
        return
    here = str(Path(__file__).resolve().parent.parent / "src")
    pairs = [(measured_at(asked.against, asked.only), measured_at(here, asked.only)) for _ in range(PAIRS)]
    print(f"{'least of ' + str(PAIRS) + ' runs in turn, µs':<32} {'other':>10} {'this':>10} {'ratio':>6}")
    for name in pairs[0][0]:
        other, this = (min(pair[i][name] for pair in pairs) for i in (0, 1))
        print(f"{name:<32} {other:10.1f} {this:10.1f} {this / other:6.2f}")


if __name__ == "__main__":
    main()
