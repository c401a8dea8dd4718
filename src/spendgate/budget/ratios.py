"""How true costs compare with their worst cases: what `settle.lua` keeps of an app and a model, and how `reserve.lua`
reads it, in Python. For dry runs; the ledger itself never asks it.

Ratios are in 1024ths of the worst case, rounded up, of the input and of the output each for itself. Buckets 1 to 16
hold one ratio each, every eight more span twice as much as the eight before, so that a quantile read from them is at
most an eighth too high.
"""

from __future__ import annotations

from collections import Counter

from spendgate.budget.ask import Shares
from spendgate.budget.bounds import WHOLE, LearnedHold

SAMPLES_MAX = 1000
"""At so many samples all counts are halved."""


def ratio_of(cost_nanousd: int, worst_nanousd: int) -> int:
    """What share of its worst case a cost is, in 1024ths, rounded up, from 1 to 1024."""
    return min(max(-(-cost_nanousd * WHOLE // worst_nanousd), 1), WHOLE)


def ratios_of(shares: Shares, input_tokens: int, input_nanousd: int, cost_nanousd: int) -> tuple[int, int]:
    """What input and output cost of their worst cases. The input's is that of its price, token by token, not of their
    number: small requests, of which a bound is many times too high, say nothing of large ones."""
    worst = max(shares.input_nanousd * input_tokens // shares.input_tokens, 1)
    made = max(cost_nanousd - input_nanousd, 0)
    return ratio_of(input_nanousd, worst), ratio_of(made, shares.output_nanousd)


def top_of_bucket(ratio: int) -> int:
    """The largest ratio that falls into the same bucket."""
    octaves = 0
    while ratio > 16:
        ratio, octaves = -(-ratio // 2), octaves + 1
    return ratio << octaves


class Ratios:
    """The samples of one app and model."""

    def __init__(self) -> None:
        self.samples = 0
        self._input: Counter[int] = Counter()
        self._output: Counter[int] = Counter()

    def add(self, sample: tuple[int, int]) -> None:
        """Count an exchange: the ratios of its input and its output."""
        if self.samples >= SAMPLES_MAX:
            self.samples //= 2
            self._input, self._output = (
                Counter({top: n // 2 for top, n in counts.items() if n > 1})
                for counts in (self._input, self._output)
            )
        self._input[top_of_bucket(sample[0])] += 1
        self._output[top_of_bucket(sample[1])] += 1
        self.samples += 1

    def amount(self, learned: LearnedHold, estimate_nanousd: int) -> int:
        """What is held for an exchange that may cost so much."""
        if self.samples < learned.samples:
            return estimate_nanousd
        ratios = [_quantile(counts, learned.percentile) for counts in (self._input, self._output)]
        return min(estimate_nanousd, learned.amount(*ratios))

    @classmethod
    def of_counts(cls, samples: int, inputs: list[int], outputs: list[int]) -> Ratios:
        """From the flat lists of bucket and count that the ledger keeps."""
        made = cls()
        made.samples = samples
        for counts, flat in ((made._input, inputs), (made._output, outputs)):
            for bucket, n in zip(flat[::2], flat[1::2], strict=True):
                octaves = -(-(bucket - 16) // 8) if bucket > 16 else 0
                counts[(bucket - 8 * octaves) << octaves] = n
        return made


def _quantile(tops: Counter[int], percentile: int) -> int:
    """The ratio that so many percent of the samples do not pass."""
    total, seen = tops.total(), 0
    for top in sorted(tops):
        seen += tops[top]
        if seen * 100 >= total * percentile:
            return top
    return WHOLE
