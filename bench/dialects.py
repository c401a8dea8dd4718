"""What reading costs: a recorded request and its answer, and their price, by dialect.

    .venv/bin/python bench/dialects.py

Processor time on recorded exchanges of up to 2 KB both ways, the median of their best of 20; counting tokens apart.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.recorded import Exchange, exchanges

from spendgate.dialects import registry
from spendgate.exchange.quote import make_quote
from spendgate.exchange.request_facts import read_facts
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.settings.config import Settings
from spendgate.tokens.count import measure

BYTES_MAX = 2_048
ROUNDS, CALLS = 20, 20


def best_us(call: Callable[[], object]) -> float:
    """The best of many rounds, in microseconds of processor time a call."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            call()
        best = min(best, (time.process_time() - began) / CALLS)
    return best * 1e6


def work(exchange: Exchange) -> tuple[float, float]:
    """(dialect and price, counting) of one exchange."""
    recording, prices, settings = exchange.recording, table(), Settings()
    kind = recording.request_headers.get("content-type", "")
    facts = exchange.facts
    assert facts is not None
    counted = measure(facts.texts, facts.text_bytes)
    price = prices.find(facts.model) or prices.dearest_of_family(facts.model)

    def read_and_price() -> None:
        dialect = registry.find("POST", exchange.path, kind)
        assert dialect is not None
        read_facts(dialect, recording.request, exchange.path, recording.request_headers, settings)
        make_quote(prices, facts.model, facts, counted, 100, 4_096)
        cost_nanousd(price, exchange.reading().usage)

    return best_us(read_and_price), best_us(lambda: measure(facts.texts, facts.text_bytes))


def main() -> None:
    """Print a line a dialect."""
    small: dict[str, list[Exchange]] = defaultdict(list)
    for exchange in exchanges():
        size = max(len(exchange.recording.request), len(exchange.recording.answer))
        if size <= BYTES_MAX and exchange.facts is not None:
            small[f"{exchange.dialect.name} {'stream' if exchange.is_stream else 'json'}"].append(exchange)
    print(f"{'dialect':28} {'n':>4} {'us: dialect + price':>20} {'counting':>9}")
    for name, found in sorted(small.items()):
        times = [work(exchange) for exchange in found[:: max(1, len(found) // 10)]]
        dialect_us, count_us = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:28} {len(times):4} {dialect_us:20.0f} {count_us:9.0f}")


if __name__ == "__main__":
    main()
