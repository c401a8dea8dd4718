"""`spendgate report chargeback`: what each team owes for a month."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.errors import ConfigurationError, LedgerUnavailable
from spendgate.months import parse_month

if TYPE_CHECKING:
    from spendgate.finops.chargeback import Chargeback
    from spendgate.ledger.port import DayCell

TIMEOUT_S = 10.0
OUTPUTS = ("table", "csv", "json", "md", "html", "focus")


@click.group("report", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Books of a month.

    \b
    Example: spendgate report chargeback --month 2026-11 -o csv
    """


@command.command("chargeback")
@click.option("--month", "month_option", required=True, metavar="YYYY-MM", help="The month (UTC).")
@click.option("--team", help="Only this team.")
@click.option("--source", type=click.Choice(["ledger", "prometheus"]), default="ledger", show_default=True)
@click.option("--prometheus", "prometheus_url", metavar="URL", help="With --source prometheus.")
@click.option("-o", "--output", type=click.Choice(OUTPUTS), default="table", show_default=True)
@click.option(
    "--prices", multiple=True, type=click.Path(path_type=Path), help="Prices on top of the built-in."
)
@click.option(
    "--billing-account", default="spendgate", show_default=True, help="BillingAccountId of a FOCUS export."
)
@ledger_options
def chargeback_command(
    month_option: str,
    team: str | None,
    source: str,
    prometheus_url: str | None,
    output: str,
    prices: tuple[Path, ...],
    billing_account: str,
    redis_url: str | None,
    data_dir: Path,
) -> None:
    """What each team spent, by app, model and token kind; exact, and adding up.

    The cost of app and model is the ledger's own. The cost of a kind is its share by tokens x list price.
    `-o focus` writes a FOCUS 1.2 dataset as CSV, one row a day, team, app, model and kind.

    \b
    Example:
      spendgate report chargeback --month 2026-11 -o html > 2026-11.html
      spendgate report chargeback --month 2026-11 -o focus > focus-2026-11.csv
    """
    from spendgate.finops.chargeback import chargeback
    from spendgate.finops.focus import focus_csv
    from spendgate.pricing.load import table

    try:
        month = parse_month(month_option)
    except ValueError as e:
        raise click.UsageError(f"--month: {e}") from e
    if (source == "prometheus") != bool(prometheus_url):
        raise click.UsageError("--source prometheus and --prometheus URL belong together; give both")
    table_of_prices = table(prices)
    if prometheus_url:
        cells = _scraped(prometheus_url, team, month)
        settled = _ledger_beside(redis_url, data_dir, team, month)
    else:
        cells, settled = asyncio.run(_read(find_ledger(redis_url, data_dir).redis_url, team, month))
    report = chargeback(month, source, cells, table_of_prices)
    if output == "focus":
        click.echo(focus_csv(month, cells, table_of_prices, billing_account), nl=False)
    else:
        click.echo(render(report, output), nl=False)
    _tell_difference(report, settled)


def _scraped(url: str, team: str | None, month: str) -> list[DayCell]:
    from spendgate.finops.prometheus import PrometheusSource

    with PrometheusSource(url) as source:
        return source.cells(month, time.time_ns() // 1_000_000, team)


def _ledger_beside(redis_url: str | None, data_dir: Path, team: str | None, month: str) -> dict[str, int]:
    """What the ledger says, to compare with; a month from Prometheus alone needs none."""
    try:
        return asyncio.run(_read(find_ledger(redis_url, data_dir).redis_url, team, month))[1]
    except (ConfigurationError, LedgerUnavailable) as e:
        click.echo(f"spendgate report: not compared with the ledger: {e}", err=True)
        return {}


def render(report: Chargeback, output: str) -> str:
    """The report in one of `OUTPUTS` but `focus`, which is made of days."""
    from spendgate.finops import page
    from spendgate.finops import report as text

    if output == "table":
        return _table(report)
    writers: dict[str, Any] = {
        "csv": text.to_csv,
        "json": text.to_json,
        "md": text.to_markdown,
        "html": page.to_html,
    }
    written: str = writers[output](report)
    return written


async def _read(url: str, team: str | None, month: str) -> tuple[list[DayCell], dict[str, int]]:
    """The month's cells and what each team's budget counter says was settled, nano-USD."""
    from spendgate.ledger.redis_ledger import RedisLedger

    ledger = RedisLedger.from_url(url, timeout_s=TIMEOUT_S)
    try:
        known = await ledger.teams()
        if team is not None and team not in known:
            names = ", ".join(known) or "none"
            click.echo(f"spendgate report: no team {team!r} in the ledger; known: {names}", err=True)
        teams = known if team is None else [team]
        cells = await ledger.cells(teams, month)
        return cells, {m.team: m.settled_nanousd for m in await ledger.months(teams, month)}
    except LedgerUnavailable as e:
        raise LedgerUnavailable(
            f"the ledger does not answer ({e.__cause__ or e}); start `spendgate up`, or give --redis URL"
        ) from e
    finally:
        await ledger.close()


def _tell_difference(report: Chargeback, settled: dict[str, int]) -> None:
    """The budgets' counters are the ledger's other book: say where the report disagrees with it."""
    from spendgate.money import nano_to_usd

    for team, counter in settled.items():
        cells = sum(x.cost_nanousd for x in report.lines if x.team == team)
        if cells != counter:
            click.echo(
                f"spendgate report: team {team}: the lines add up to {nano_to_usd(cells)} USD, its budget "
                f"counts {nano_to_usd(counter)}, {nano_to_usd(cells - counter)} apart",
                err=True,
            )


def _table(report: Chargeback) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from spendgate.money import nano_to_usd
    from spendgate.months import month_text

    month = month_text(report.month)
    if not report.lines:
        return f"Nothing was spent in {month}.\n"
    table = Table(title=f"Chargeback {month} (USD)", title_justify="left", box=None, pad_edge=False)
    for name in ("team", "app", "model", "kind"):
        table.add_column(name, overflow="fold")
    for name in ("requests", "tokens", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for team, lines in report.teams.items():
        for x in lines:
            names = [Text(n or "(unnamed)") for n in (team, x.app, x.model)]
            table.add_row(*names, "", f"{x.requests:,}", f"{x.tokens:,}", nano_to_usd(x.cost_nanousd))
            for k in x.kinds:
                cost = nano_to_usd(k.cost_nanousd)
                table.add_row("", "", "", Text(k.kind), "", f"{k.tokens:,}", cost, style="dim")
        requests, tokens = (f"{sum(n):,}" for n in ([x.requests for x in lines], [x.tokens for x in lines]))
        cost = nano_to_usd(sum(x.cost_nanousd for x in lines))
        table.add_row(Text(f"{team} total"), "", "", "", requests, tokens, cost, style="bold")
        table.add_section()
    total = nano_to_usd(report.cost_nanousd)
    table.add_row("total", "", "", "", f"{report.requests:,}", f"{report.tokens:,}", total, style="bold")
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
