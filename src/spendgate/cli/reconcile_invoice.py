"""`spendgate reconcile invoice`: what was metered against what a provider bills."""

from __future__ import annotations

import asyncio
import getpass
import time
from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.errors import ConfigurationError, Fault, LedgerUnavailable
from spendgate.money import NANO_PER_USD, usd_cell
from spendgate.months import day_text, month_text, parse_month
from spendgate.values import dataclass

if TYPE_CHECKING:
    from spendgate.budget.policy import Policy
    from spendgate.finops.invoice.collect import Invoice
    from spendgate.finops.invoice.mapped import ColumnMap
    from spendgate.finops.reconciliation.reconcile import Reconciliation
    from spendgate.finops.reconciliation.true_up import Threshold, TrueUp
    from spendgate.ledger.accounts import Adjusted, DayCell
    from spendgate.ledger.drift import Drift
    from spendgate.pricing.table import PriceTable

TIMEOUT_S = 10.0
ALERT_ABOVE = 0.1
PROVIDERS = ("openai", "anthropic", "bedrock", "azure", "google", "openrouter", "focus", "other")
THRESHOLD = "0.01,0.1%"
_PATH = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be compared with what."""

    provider: str
    month: str
    invoice: Invoice
    models: tuple[str, ...]
    logs: tuple[Path, ...]
    prices: PriceTable
    egress_team: str
    label: str
    threshold: Threshold
    complete: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of it: the drift, the true-ups to make, and what was noticed about the files."""

    outcome: Reconciliation
    planned: list[TrueUp]
    notes: tuple[str, ...]


@click.command("invoice")
@click.argument("files", nargs=-1, required=True, type=_PATH, metavar="FILE…")
@click.option("--provider", required=True, type=click.Choice(PROVIDERS))
@click.option("--month", "month_option", required=True, metavar="YYYY-MM", help="The month (UTC).")
@click.option("--apply", "apply", is_flag=True, help="Make the true-ups; no budget in force moves by them.")
@click.option("--enforce", is_flag=True, help="With --apply: let them move the running month's budgets too.")
@click.option(
    "--threshold",
    default=THRESHOLD,
    show_default=True,
    metavar="USD[,PERCENT%]",
    help="A model's drift below it is not trued up; 0: all is.",
)
@click.option(
    "--rate", "rates", multiple=True, metavar="EUR=RATE", help="USD for one unit of a currency; repeatable."
)
@click.option("--dates", type=click.Choice(["dmy", "mdy"]), help="What 03/10/2026 is: day or month first.")
@click.option(
    "--complete", is_flag=True, help="The files are the whole month's, though they end before it does."
)
@click.option("--map", "map_file", type=_PATH, help="Columns of another CSV, and names of models (YAML).")
@click.option("--models", multiple=True, metavar="GLOB", help="Metered models that are this provider's.")
@click.option(
    "--log", "logs", multiple=True, type=_PATH, help="Usage logs: they tell time zones and estimates."
)
@click.option(
    "--egress-team",
    default="unattributed",
    show_default=True,
    help="Who is charged what bypassed the gateway.",
)
@click.option("--prices", multiple=True, type=_PATH, help="Prices on top of the built-in.")
@click.option(
    "--policy", multiple=True, type=_PATH, help="Budgets whose counters true-ups move; default: in force."
)
@click.option("--by", "by", help="Who does it; default: you.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "md"]), default="table", show_default=True
)
@ledger_options
def invoice_command(
    files: tuple[Path, ...], provider: str, month_option: str, apply: bool, enforce: bool, threshold: str,
    rates: tuple[str, ...], dates: str | None, complete: bool, map_file: Path | None,
    models: tuple[str, ...], logs: tuple[Path, ...], egress_team: str, prices: tuple[Path, ...],
    policy: tuple[Path, ...], by: str | None, output: str, redis_url: str | None, data_dir: Path,
) -> None:  # fmt: skip
    """Compare what was metered with a provider's invoice, by model and day, and tell why they differ.

    FILEs are the provider's own exports: OpenAI's costs and usage API answers, Anthropic's cost and usage reports,
    AWS Cost and Usage Reports or Cost Explorer (bedrock), Azure cost exports, Google's billing export or its console's
    report, OpenRouter's activity; FOCUS from any of them; any other CSV or Parquet by --map. Give several where money
    and tokens come apart. The drift stands in the metric `spendgate_invoice_drift_ratio` until the next run. --apply
    brings it to zero by adjustments in the month itself, or by accounting entries beside the budgets where that month
    is running or closed; a second run changes nothing.

    \b
    Example:
      spendgate reconcile invoice costs.json usage.json --provider openai --month 2026-10
      spendgate reconcile invoice costs.json usage.json --provider openai --month 2026-10 --apply
    """  # fmt: skip
    from spendgate.cli.policy_at_hand import policy_at_hand
    from spendgate.finops.invoice.registry import read_files
    from spendgate.pricing.load import table

    try:
        month = parse_month(month_option)
    except ValueError as e:
        raise click.UsageError(f"--month: {e}") from e
    limit = parse_threshold(threshold)
    with progress() as tell:
        invoice = read_files(provider, files, read_mapping(map_file), parse_rates(rates), dates or "", tell)
    if not any(x.day[:6] == month for x in invoice.lines):
        days = sorted({x.day for x in invoice.lines})
        has = f"it has {days[0]} to {days[-1]}" if days else "it has no line of this provider"
        raise ConfigurationError(f"{files[0]}: nothing of {month_text(month)} in it; {has}")
    found = find_ledger(redis_url, data_dir)
    label = ", ".join(f.name for f in files)[:120]
    wanted = Wanted(
        provider,
        month,
        invoice,
        models,
        logs,
        table(prices),
        egress_team,
        label,
        limit,
        complete,
    )
    budgets = policy_at_hand(found, tuple(map(str, policy))) if apply else None
    compared = asyncio.run(_run(found.redis_url, wanted, budgets, (by or user()) if apply else "", enforce))
    click.echo(_render(compared, apply, output), nl=False)
    _tell(compared, apply, output)


def parse_threshold(text: str) -> Threshold:
    """`0.01,0.1%`, `5` or `1%`. Raises UsageError."""
    from spendgate.finops.reconciliation.true_up import Threshold

    nano, ratio = 0, Decimal(0)
    try:
        for part in text.replace(" ", "").split(","):
            if part.endswith("%"):
                ratio = Decimal(part[:-1]) / 100
            else:
                nano = int(Decimal(part) * NANO_PER_USD)
        if nano < 0 or ratio < 0 or not ratio.is_finite():
            raise ValueError(text)
    except (InvalidOperation, ValueError, OverflowError) as e:
        raise click.UsageError(f"--threshold: {text!r}; write it like {THRESHOLD}") from e
    return Threshold(nano, ratio)


def parse_rates(texts: Sequence[str]) -> dict[str, Decimal]:
    """`EUR=1.14` → USD for one EUR. Raises UsageError."""
    out = {}
    for text in texts:
        code, _, value = text.partition("=")
        try:
            rate = Decimal(value)
        except InvalidOperation:
            rate = Decimal(0)
        if len(code.strip()) != 3 or not rate.is_finite() or rate <= 0:
            raise click.UsageError(f"--rate: {text!r}; write it like EUR=1.14, USD for one EUR")
        out[code.strip().upper()] = rate
    return out


@contextmanager
def progress() -> Iterator[Callable[[Path, int], None] | None]:
    """A line on a terminal that counts rows; nothing elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status("reading") as status:
        yield lambda path, rows: status.update(f"reading {path.name}: {rows:,} rows")


def read_mapping(path: Path | None) -> ColumnMap:
    import yaml

    from spendgate.finops.invoice.mapped import ColumnMap, parse_mapping

    if path is None:
        return ColumnMap()
    try:
        return parse_mapping(yaml.safe_load(path.read_text()), str(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigurationError([Fault(str(path), 0, "", f"cannot be read as YAML: {e}", "mend it")]) from e


async def _run(url: str, wanted: Wanted, policy: Policy | None, by: str, enforce: bool) -> Compared:
    """Compare, note the drift, and where `by` is given make the true-ups and compare again."""
    from spendgate.cli.true_ups import make, read_audit
    from spendgate.ledger.redis.ledger import RedisLedger

    ledger = RedisLedger.from_url(url, timeout_s=TIMEOUT_S)
    try:
        teams = await ledger.teams()
        cells = await ledger.cells(teams, wanted.month)
        everybody = sorted({*teams, wanted.egress_team})
        compared = _compare(wanted, cells, await read_audit(ledger, everybody))
        if by and compared.planned:
            await make(ledger, compared.planned, policy, by, "true-up", enforce=enforce)
            after = _compare(wanted, cells, await read_audit(ledger, everybody))
            compared = replace(compared, outcome=after.outcome)
        await ledger.note_drift(_drift(compared.outcome))
    except LedgerUnavailable as e:
        raise LedgerUnavailable(
            f"the ledger does not answer ({e.__cause__ or e}); start `spendgate up`, or give --redis URL"
        ) from e
    finally:
        await ledger.close()
    return compared


def _compare(wanted: Wanted, cells: list[DayCell], audit: list[Adjusted]) -> Compared:
    from spendgate.finops.invoice.names import fingerprint
    from spendgate.finops.invoice.registry import BY_NAME, is_of
    from spendgate.finops.reconciliation.log_evidence import day_shifts, with_estimates_apart
    from spendgate.finops.reconciliation.reconcile import reconcile
    from spendgate.finops.reconciliation.true_up import as_billed, corrections, true_ups

    invoice, month = wanted.invoice, wanted.month
    billed = {fingerprint(x.model) for x in invoice.lines if not x.charge}

    def ours(model: str) -> bool:
        if wanted.models or wanted.provider not in BY_NAME:
            return is_of(wanted.provider, model, wanted.models)
        return fingerprint(model) in billed or any(is_of(vendor, model) for vendor in invoice.vendors)

    mine = [c for c in cells if ours(c.model)]
    shifted = {}
    if wanted.logs:
        mine = with_estimates_apart(mine, wanted.logs, month, ours)
        shifted = day_shifts(wanted.logs, month, ours)
    first, last = _span(wanted, mine)
    kept = [c for c in mine if first <= c.day <= last]
    notes = list(invoice.notes)
    partial = len(kept) < len(mine)
    if partial:
        left = sum(c.billed_nanousd for c in mine) - sum(c.billed_nanousd for c in kept)
        notes.append(
            f"the files have {day_text(first)} to {day_text(last)} and the month is longer: {usd_cell(left)} USD "
            "metered on other days are not compared, and no true-ups are made; give the whole month, or --complete if "
            "it is"
        )
        shifted = {}
    audit = as_billed(audit, wanted.prices)
    fixed = corrections(audit, wanted.provider, month, ours)
    outcome = reconcile(
        wanted.provider,
        month,
        kept,
        invoice.lines,
        wanted.prices.without_markups(),
        fixed,
        shifted,
        quantum=invoice.quantum,
    )
    if partial:
        return Compared(outcome, [], tuple(notes))
    planned = true_ups(outcome, mine, audit, wanted.egress_team, wanted.label, wanted.threshold)
    unknown = [m for m in outcome.models if m.charge == "unknown" and m.invoiced_nanousd]
    if unknown:
        notes.append(
            f"{len(unknown)} names on the invoice are not understood "
            f"({usd_cell(sum(m.invoiced_nanousd for m in unknown))} USD): they are left alone until --map names "
            "their models"
        )
    return Compared(outcome, planned, tuple(notes))


def _span(wanted: Wanted, metered: Sequence[DayCell]) -> tuple[str, str]:
    """The days of the month that the files cover. A provider's first day may be cut elsewhere than at midnight UTC."""
    month = wanted.month
    whole = f"{month}01", f"{month}{monthrange(int(month[:4]), int(month[4:]))[1]:02d}"
    first, last = wanted.invoice.first, wanted.invoice.last
    if wanted.complete or not first:
        return whole
    begin = whole[0] if int(first) - int(whole[0]) <= 1 else first
    return begin, min(whole[1], last)


def _drift(outcome: Reconciliation) -> Drift:
    from spendgate.ledger.drift import Drift

    models = {m.model: (m.drift_nanousd, m.invoiced_nanousd, m.metered_nanousd) for m in outcome.models}
    return Drift(outcome.provider, outcome.month, time.time_ns() // 1_000_000, models)


def _tell(compared: Compared, applied: bool, output: str) -> None:
    from spendgate.finops.reconciliation.reconcile import drift_ratio

    outcome, planned = compared.outcome, compared.planned
    if output != "md":
        for note in compared.notes:
            click.echo(f"spendgate reconcile: {note}", err=True)
    ratio = drift_ratio(outcome.drift_nanousd, outcome.invoiced_nanousd, outcome.metered_nanousd)
    if abs(ratio) > ALERT_ABOVE:
        click.echo(f"spendgate reconcile: drift of {ratio:+.2%}: more than 10 %", err=True)
    if applied:
        click.echo(f"spendgate reconcile: {len(planned)} true-ups made", err=True)
    elif planned:
        click.echo(f"spendgate reconcile: --apply would make {len(planned)} true-ups", err=True)


def _render(compared: Compared, applied: bool, output: str) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from spendgate.finops.reconciliation import render as text

    outcome, planned = compared.outcome, compared.planned
    if output == "json":
        return text.to_json(outcome, planned, applied, compared.notes)
    if output == "md":
        return text.to_markdown(outcome, planned, applied, compared.notes)
    title = f"{outcome.provider} {month_text(outcome.month)}: metered and invoiced"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(text.HEAD):
        table.add_column(name, justify="left" if i < 2 else "right", overflow="fold")
    for row in text.rows(outcome):
        table.add_row(*map(Text, row), style="dim" if not row[0] else "bold" if row[0] == "total" else "")
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get() + "".join(f"{note}\n" for note in text.notes(outcome))


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
