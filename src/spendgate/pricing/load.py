"""Reading price files: the built-in table, and the operator's prices on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from spendgate.errors import ConfigurationError, Fault
from spendgate.pricing.parse import PriceFile, parse
from spendgate.pricing.table import Price, PriceTable, is_glob


def table(overrides: Sequence[Path] = ()) -> PriceTable:
    """The built-in prices with those of `overrides` on top, a later file over an earlier one.

    A line of an override replaces all rates and tiers of its model; what the built-in table knows besides
    (longest answer, context, dialects, capabilities) stays unless the line says otherwise. Raises
    ConfigurationError with the faults of all files.
    """
    base = _builtin()
    prices, aliases, globs = dict(base.prices), dict(base.aliases), dict[str, Price]()
    faults = []
    for path in overrides:
        try:
            read = load_overrides(path)
        except ConfigurationError as e:
            faults += e.faults
            continue
        for name, price in read.prices.items():
            known = prices.get(name) or prices.get(aliases.get(name, ""))
            (globs if is_glob(name) else prices)[name] = _filled(price, known)
        aliases.update(read.aliases)
    if faults:
        raise ConfigurationError(faults)
    return PriceTable(prices, globs, aliases)


def load_overrides(path: Path) -> PriceFile:
    """Read one price file. Raises ConfigurationError with every fault in it, by line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        fault = Fault(str(path), 0, "", f"the price file can not be read: {reason}")
        raise ConfigurationError([fault]) from e
    return parse(text, str(path))


@cache
def _builtin() -> PriceFile:
    name = "prices.yaml"
    return parse(files("spendgate.pricing").joinpath(name).read_text(encoding="utf-8"), name)


def _filled(price: Price, known: Price | None) -> Price:
    if known is None:
        return price
    return replace(
        price,
        max_output_tokens=price.max_output_tokens or known.max_output_tokens,
        context_tokens=price.context_tokens or known.context_tokens,
        dialects=price.dialects or known.dialects,
        capabilities=known.capabilities if price.capabilities is None else price.capabilities,
    )
