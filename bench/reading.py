"""What reading a request costs: CPU time from its body to the question to the ledger, without Envoy, gRPC and Redis.

    .venv/bin/python bench/reading.py            PYTHONPATH=OTHER/src to measure another version

CPU time of this process, the least of several rounds: other work on the machine changes it little.
"""

from __future__ import annotations

import time

import orjson

from spendgate.budget.load import policy_from_documents
from spendgate.gateway import events as e
from spendgate.gateway.config import Settings
from spendgate.gateway.exchange import Exchange
from spendgate.gateway.identity import Caller
from spendgate.gateway.snapshot import snapshot
from spendgate.pricing.load import table

SIZES = {"1 KB": 1_000, "50 KB": 50_000, "500 KB": 490_000, "4 MB": 4_000_000, "30 MB": 30_000_000}
WORDS = "the quick brown fox jumps over the lazy dog and thinks about budgets in the mesh "
ROUNDS = 7
BUDGET = {
    "apiVersion": "ai.systemhardening.com/v1",
    "kind": "LLMBudget",
    "metadata": {"name": "rich", "namespace": "bench"},
    "spec": {"team": "rich", "monthlyBudgetUSD": 1_000_000},
}
NOW_MS = 1_795_521_600_000
CALLER = Caller({"content-type": "application/json", "x-llm-team": "rich", "x-llm-app": "bench"})


def main() -> None:
    """Print a line a size."""
    known = snapshot(policy_from_documents([BUDGET]), table(), Settings())
    for name, size in SIZES.items():
        text = (WORDS * (size // len(WORDS) + 1))[:size]
        body = orjson.dumps({"model": "gpt-4o", "max_tokens": 300, "messages": [{"role": "user", "content": text}]})
        times = max(1, min(300, 20_000_000 // size))
        least = float("inf")
        for _ in range(ROUNDS):
            began = time.process_time()
            for i in range(times):
                exchange = Exchange(str(i), known)
                exchange.receive(e.RequestHeaders("POST", "/v1/chat/completions", CALLER))
                exchange.receive(e.RequestBody(body, NOW_MS))
            least = min(least, (time.process_time() - began) / times)
        print(f"{name:>7}: {least * 1000:8.3f} ms")


if __name__ == "__main__":
    main()
