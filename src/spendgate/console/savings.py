"""What caching saved: cached input at the price of plain input, less what writing it cost more. Pure."""

from __future__ import annotations

from spendgate.money import PICO_PER_NANO
from spendgate.pricing.price import Price
from spendgate.usage import Usage

PLAIN = {
    "cached_input": "input", "cache_write_5m": "input", "cache_write_1h": "input", "cached_input_audio": "input_audio",
    "cached_input_image": "input_image", "cached_input_video": "input_video",
}  # fmt: skip
"""Kind → what it would have been without a cache."""


def saved_by_caching(tokens: Usage, price: Price) -> int:
    """Nano-USD at list prices, rounded down; below zero where writing cost more than reading saved. A kind that the
    price does not have is charged by a stand-in, and counts as nothing saved."""
    pico = 0
    for kind, plain in PLAIN.items():
        n = tokens.get(kind, 0)
        if n and kind in price.rates and plain in price.rates:
            pico += n * (price.rates[plain] - price.rates[kind])
    over, under = price.multiplier
    return pico * over // under // PICO_PER_NANO
