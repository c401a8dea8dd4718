"""`spendgate prices`: what models cost, where that is from, what changes, what is missing."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spendgate.cli.prices_unknown import unknown
from spendgate.errors import SpendgateError

if TYPE_CHECKING:
    from spendgate.exchange.snapshot import Snapshot
    from spendgate.pricing.table import PriceTable

F = TypeVar("F", bound=Callable[..., Any])
BUILT_IN = "built-in"

_prices = click.option(
    "--prices", type=click.Path(path_type=Path), multiple=True, envvar="SPENDGATE_PRICES",
    help="Prices on top of the built-in ones; a file or a folder, repeatable.",
)  # fmt: skip
_output = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
_at = click.option("--at", "at", metavar="DATE", help="At this day or moment (UTC) instead of now.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """What models cost, where that is from, what changes, and what is missing.

    \b
    Example: spendgate prices show claude-opus-5 --provider aws
    """


command.add_command(unknown)


@command.command("list")
@click.argument("pattern", default="", metavar="[GLOB]")
@click.option("--provider", default="", help="Only this provider's: openai, anthropic, google, aws, …")
@_prices
@_at
@_output
def list_(pattern: str, provider: str, prices: tuple[Path, ...], at: str | None, output: str) -> None:
    """The models that have a price, the operator's own first. USD per million tokens.

    \b
    Example: spendgate prices list 'claude-*' --provider anthropic
             spendgate prices list -o csv > prices.csv
    """
    from spendgate.pricing.listing import rows, usd

    table, at_ms = _table(prices), _moment(at)
    found = []
    for row in rows(table, provider, pattern):
        price = row.entry.at(at_ms)
        rates = {k: usd(k, price.rates[k]) for k in ("input", "cached_input", "output") if k in price.rates}
        found.append(
            {
                "provider": row.provider,
                "model": row.model,
                "where": row.where,
                "input": rates.get("input", ""),
                "cached_input": rates.get("cached_input", ""),
                "output": rates.get("output", ""),
                "other_kinds": sorted(price.rates.keys() - {"input", "cached_input", "output"}),
                "service_tiers": sorted(row.entry.service),
                "context_tokens": price.context_tokens,
                "max_output_tokens": price.max_output_tokens,
            }
        )
    columns = ("provider", "model", "input", "cached_input", "output", "service_tiers", "max_output_tokens")
    _write(found, output, columns, f"{len(found)} models; prices of {_named(table)}")


@command.command()
@click.argument("model")
@click.option("--provider", default="", help="Who serves it; left out: the price that its name alone has.")
@click.option("--tier", default="", help="A service tier: flex, priority, batch, …")
@click.option("--residency", default="", metavar="PLACE", help="A place: us, eu, regional.")
@_prices
@_at
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show(
    model: str,
    provider: str,
    tier: str,
    residency: str,
    prices: tuple[Path, ...],
    at: str | None,
    output: str,
) -> None:
    """All that is known of one model's price. Exit 1 where it has none.

    \b
    Example: spendgate prices show us.anthropic.claude-opus-5-5 --provider aws
             spendgate prices show gpt-5.4 --tier flex --at 2026-11-01
    """
    from spendgate.pricing.listing import shown, stand_in
    from spendgate.pricing.terms import Terms

    table, at_ms = _table(prices), _moment(at)
    terms = Terms(provider, tier, residency, at_ms)
    found = shown(table, model, terms)
    if found is None:
        instead = stand_in(table, model, terms)
        raise SpendgateError(
            f"{model} has no price; where a budget does not reject it, it is charged as {instead.model} "
            f"({instead.provider or 'own price'}); give it one by --prices"
        )
    if not found["tier_known"]:
        click.echo(
            f"spendgate prices: {model} has no tier {tier!r}; the dearest of its tiers stands in", err=True
        )
    if output == "json":
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for line in _told(found):
        click.echo(line)


@command.command()
@click.argument("before")
@click.argument("after")
@_at
@_output
def diff(before: str, after: str, at: str | None, output: str) -> None:
    """What costs otherwise in AFTER than in BEFORE: each a price file, a folder of them, a catalogue of another
    release (catalogue.json), or the word built-in.

    \b
    Example: spendgate prices diff built-in prices.yaml
             spendgate prices diff old/catalogue.json built-in -o csv
    """
    from spendgate.pricing.listing import diff as compare

    changes = compare(_side(before), _side(after), _moment(at))
    found = [
        {"provider": c.provider, "model": c.model, "kind": c.kind, "before": c.before, "after": c.after}
        for c in changes
    ]
    plural = "" if len(found) == 1 else "s"
    _write(
        found, output, ("provider", "model", "kind", "before", "after"), f"{len(found)} price{plural} differ"
    )


@command.command()
@click.option(
    "--policy", multiple=True, type=click.Path(path_type=Path), help="LLMBudget file or folder; repeatable."
)
@click.option("--config", type=click.Path(path_type=Path), envvar="SPENDGATE_CONFIG", help="Settings file.")
@_prices
@_at
def check(policy: tuple[Path, ...], config: Path | None, prices: tuple[Path, ...], at: str | None) -> None:
    """Has every model that requests can be sent to a price? For CI: exit 1 where one has none.

    Looked at are the budgets' defaultModel, costRouting, downgrades and modelLimits, and the upstreams' models.

    \b
    Example: spendgate prices check --policy budgets/ --prices prices.yaml --config spendgate.yaml
    """
    from spendgate.budget.load import load_policy
    from spendgate.budget.policy import Policy
    from spendgate.exchange.snapshot import snapshot
    from spendgate.settings.config import load_config
    from spendgate.views.coverage import mentions, without_price

    if not policy and config is None:
        raise click.UsageError("give --policy, --config or both: what is to be checked")
    settings = load_config(config, os.environ)
    looked_at = snapshot(load_policy(policy) if policy else Policy(), _table(prices), settings)
    missing = without_price(looked_at, _moment(at))
    for mention in missing:
        served = f" at {mention.provider}" if mention.provider else ""
        print(f"{mention.by}: {mention.model} has no price{served}; add it to --prices", file=sys.stderr)
    if missing:
        sys.exit(1)
    _warn_of_provisional(looked_at, {(m.model, m.provider) for m in mentions(looked_at)})
    named = {m.model for m in mentions(looked_at)}
    plural = "" if len(named) == 1 else "s"
    click.echo(f"{len(named)} model{plural} named, each has a price; prices of {_named(looked_at.prices)}")


def _warn_of_provisional(looked_at: Snapshot, named: set[tuple[str, str]]) -> None:
    """Say which prices were announced to hold only until a day that has come."""
    today = datetime.now(UTC).date().isoformat()
    table = looked_at.prices
    for model, provider in sorted(named):
        found = table.locate(model, provider)
        if found is None or found.where != "catalogue" or table.catalogue is None:
            continue
        facts = found.entry.facts
        until = table.catalogue.provisional(facts.provider, facts.model)
        if until and until <= today:
            click.echo(
                f"warning: {model}: its price was announced to hold until {until}; look it up", err=True
            )


@command.group("import", context_settings={"help_option_names": ["-h", "--help"]})
def import_() -> None:
    """Make a price file out of another's list.

    \b
    Example: spendgate prices import litellm model_prices_and_context_window.json > prices.yaml
    """


@import_.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--provider", default="", help="Only this provider's models (our name: openai, aws, …).")
@click.option("--model", "pattern", default="", metavar="GLOB", help="Only these models.")
def litellm(file: Path, provider: str, pattern: str) -> None:
    """litellm's model_prices_and_context_window.json as a price file, on standard output.

    What is left out, and why, stands on standard error.

    \b
    Example: spendgate prices import litellm model_prices_and_context_window.json --provider groq > groq.yaml
    """
    from spendgate.pricing.litellm import convert

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise SpendgateError(f"{file}: cannot be read: {getattr(e, 'strerror', None) or e}") from e
    done = convert(text, str(file), provider, pattern)
    for model, why in done.left_out:
        click.echo(f"left out {model}: {why}", err=True)
    if not done.models:
        raise SpendgateError(f"{file}: no model of it is wanted and can be priced")
    click.echo(f"# Made by `spendgate prices import litellm` from {file.name}: {done.models} models.")
    click.echo(done.text, nl=False)


def _table(prices: Sequence[Path]) -> PriceTable:
    from spendgate.pricing.load import table

    return table(prices)


def _side(name: str) -> PriceTable:
    """One side of a comparison."""
    from spendgate.pricing.catalogue import read
    from spendgate.pricing.table import PriceTable

    path = Path(name)
    if name == BUILT_IN:
        return _table(())
    if path.suffix == ".json" and path.is_file():
        try:
            return PriceTable({}, catalogue=read(path.read_bytes()))
        except (ValueError, KeyError, TypeError) as e:
            raise SpendgateError(
                f"{path}: this is no price catalogue: {e}; give catalogue.json or a YAML file"
            ) from e
    return _table((path,))


def _named(table: PriceTable) -> str:
    checked = table.catalogue.checked.isoformat() if table.catalogue is not None else "unknown"
    return f"{checked}, version {table.version[:12]}"


def _moment(text: str | None) -> int:
    """A day or moment (UTC) in ms; now where none is given."""
    if text is None:
        return time.time_ns() // 1_000_000
    try:
        at = datetime.fromisoformat(text)
    except ValueError as e:
        raise click.UsageError(f"--at: {text!r} is no day; write 2026-11-24 or 2026-11-24T18:00Z") from e
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return int(at.timestamp() * 1000)


def _write(found: list[dict[str, Any]], output: str, columns: tuple[str, ...], summary: str) -> None:
    if output == "json":
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        fields = tuple(found[0]) if found else columns
        writer.writerow(fields)
        writer.writerows([_cell(row[f]) for f in fields] for row in found)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False)
    for name in columns:
        right = name in ("input", "cached_input", "output", "max_output_tokens", "before", "after")
        shown.add_column(name.replace("_", " "), justify="right" if right else "left", no_wrap=right)
    for row in found:
        shown.add_row(*(Text(_cell(row[c])) for c in columns))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    if found:
        console.print(shown)
    click.echo(summary)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _told(found: dict[str, Any]) -> Iterable[str]:
    """The lines of `show`."""
    name = found["model"] if found["model"] == found["asked"] else f"{found['asked']} → {found['model']}"
    yield f"{name}   {found['provider'] or 'any provider'}, {found['tier']} price, from the {found['where']}"
    if found.get("source"):
        yield f"  source        {found['source']} (looked at {found['checked']})"
    yield "  price         " + _priced(found["usd"])
    for tier in found["context_tiers"]:
        yield f"  above {tier['above_input_tokens']:,} input tokens   " + _priced(tier["usd"])
    for hours in found["hours"]:
        yield f"  {hours['from']}-{hours['until']} UTC   " + _priced(hours["usd"])
    for tier, usd in found["service_tiers"].items():
        yield f"  {tier:<13} " + _priced(usd)
    for place, percent in found["residency_percent"].items():
        yield f"  in {place:<10} {percent} % of it"
    if found["percent_of_list"] != "100":
        yield f"  charged       {found['percent_of_list']} % of it (discounts and place)"
    yield f"  in force from {', '.join(found['since'])}"
    if found["max_output_tokens"] or found["context_tokens"]:
        yield f"  limits        {found['context_tokens'] or '?'} context, {found['max_output_tokens'] or '?'} output"
    if found["dialects"]:
        yield f"  dialects      {' '.join(found['dialects'])}"
    if found.get("also"):
        yield f"  also          {' '.join(found['also'])}"


def _priced(usd: dict[str, str]) -> str:
    return ", ".join(f"{kind} {rate}" for kind, rate in usd.items())
