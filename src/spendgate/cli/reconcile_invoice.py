"""`spendgate reconcile invoice`: what was metered against what a provider bills."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.errors import ConfigurationError, Fault, LedgerError, LedgerUnavailable
from spendgate.months import month_text, parse_month

if TYPE_CHECKING:
    from spendgate.budget.policy import Policy
    from spendgate.finops.invoice.line import Line
    from spendgate.finops.invoice.mapped import ColumnMap
    from spendgate.finops.reconcile import Reconciliation
    from spendgate.finops.true_up import TrueUp
    from spendgate.ledger.drift import Drift
    from spendgate.ledger.port import Adjusted, DayCell
    from spendgate.ledger.redis_ledger import RedisLedger
    from spendgate.pricing.table import PriceTable

TIMEOUT_S = 10.0
ALERT_ABOVE = 0.1
PROVIDERS = ("openai", "anthropic", "bedrock", "azure", "google", "other")
_PATH = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be compared with what."""

    provider: str
    month: str
    lines: list[Line]
    models: tuple[str, ...]
    logs: tuple[Path, ...]
    prices: PriceTable
    egress_team: str
    label: str


@click.command("invoice")
@click.argument("files", nargs=-1, required=True, type=_PATH, metavar="FILE…")
@click.option("--provider", required=True, type=click.Choice(PROVIDERS))
@click.option("--month", "month_option", required=True, metavar="YYYY-MM", help="The month (UTC).")
@click.option("--apply", "apply", is_flag=True, help="Make the true-ups: adjustments in the open month.")
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
    files: tuple[Path, ...], provider: str, month_option: str, apply: bool, map_file: Path | None,
    models: tuple[str, ...], logs: tuple[Path, ...], egress_team: str, prices: tuple[Path, ...],
    policy: tuple[Path, ...], by: str | None, output: str, redis_url: str | None, data_dir: Path,
) -> None:  # fmt: skip
    """Compare what was metered with a provider's invoice, by model and day, and tell why they differ.

    FILEs are the provider's own exports: OpenAI's costs and usage API answers, Anthropic's cost and usage reports,
    AWS Cost and Usage Reports or Cost Explorer (bedrock), Azure cost exports, Google's billing export; any other
    CSV by --map. Give several where money and tokens come apart. The drift stands in the metric
    `spendgate_invoice_drift_ratio` until the next run. --apply brings it to zero; a second run changes nothing.

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
    lines = read_files(provider, files, read_mapping(map_file))
    if not any(x.day[:6] == month for x in lines):
        days = sorted({x.day for x in lines})
        has = f"it has {days[0]} to {days[-1]}" if days else "it has no line of this provider"
        raise ConfigurationError(f"{files[0]}: nothing of {month_text(month)} in it; {has}")
    found = find_ledger(redis_url, data_dir)
    label = ", ".join(f.name for f in files)[:120]
    wanted = Wanted(provider, month, lines, models, logs, table(prices), egress_team, label)
    budgets = policy_at_hand(found, tuple(map(str, policy))) if apply else None
    outcome, planned = asyncio.run(_run(found.redis_url, wanted, budgets, (by or user()) if apply else ""))
    click.echo(_render(outcome, planned, apply, output), nl=False)
    _tell(outcome, planned, apply)


def read_mapping(path: Path | None) -> ColumnMap:
    import yaml

    from spendgate.finops.invoice.mapped import ColumnMap, parse_mapping

    if path is None:
        return ColumnMap()
    try:
        return parse_mapping(yaml.safe_load(path.read_text()), str(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigurationError([Fault(str(path), 0, "", f"can not be read as YAML: {e}", "mend it")]) from e


async def _run(
    url: str, wanted: Wanted, policy: Policy | None, by: str
) -> tuple[Reconciliation, list[TrueUp]]:
    """Compare, note the drift, and where `by` is given make the true-ups and compare again."""
    from spendgate.ledger.redis_ledger import RedisLedger

    ledger = RedisLedger.from_url(url, timeout_s=TIMEOUT_S)
    try:
        teams = await ledger.teams()
        cells = await ledger.cells(teams, wanted.month)
        outcome, planned = _compare(wanted, cells, await read_audit(ledger, teams))
        if by and planned:
            await make(ledger, planned, policy, by, "true-up")
            outcome, _ = _compare(
                wanted, cells, await read_audit(ledger, sorted({*teams, wanted.egress_team}))
            )
        await ledger.note_drift(_drift(outcome))
    except LedgerUnavailable as e:
        raise LedgerUnavailable(
            f"the ledger does not answer ({e.__cause__ or e}); start `spendgate up`, or give --redis URL"
        ) from e
    finally:
        await ledger.close()
    return outcome, planned


async def read_audit(ledger: RedisLedger, teams: Sequence[str]) -> list[Adjusted]:
    return [made for team in teams for made in await ledger.adjustments(team)]


def _compare(
    wanted: Wanted, cells: list[DayCell], audit: list[Adjusted]
) -> tuple[Reconciliation, list[TrueUp]]:
    from spendgate.finops.evidence import day_shifts, with_estimates_apart
    from spendgate.finops.invoice.line import fingerprint
    from spendgate.finops.invoice.registry import is_of
    from spendgate.finops.reconcile import reconcile
    from spendgate.finops.true_up import corrections, true_ups

    billed = {fingerprint(x.model) for x in wanted.lines}

    def ours(model: str) -> bool:
        return is_of(wanted.provider, model, wanted.models) or (
            wanted.provider == "other" and not wanted.models and fingerprint(model) in billed
        )

    mine = [c for c in cells if ours(c.model)]
    shifted = {}
    if wanted.logs:
        mine = with_estimates_apart(mine, wanted.logs, wanted.month, ours)
        shifted = day_shifts(wanted.logs, wanted.month, ours)
    fixed = corrections(audit, wanted.provider, wanted.month, ours)
    outcome = reconcile(wanted.provider, wanted.month, mine, wanted.lines, wanted.prices, fixed, shifted)
    return outcome, true_ups(outcome, mine, audit, wanted.egress_team, wanted.label)


async def make(ledger: RedisLedger, planned: list[TrueUp], policy: Policy | None, by: str, what: str) -> None:
    """Make adjustments one by one. Raises LedgerError for the first that can not be made."""
    from spendgate.budget.limits import month_scopes

    for t in planned:
        budget = policy.budget(t.team) if policy else None
        (result,) = await ledger.adjust([t.adjustment(by, month_scopes(budget, t.app, t.model))])
        if result.outcome not in ("adjusted", "replayed"):
            raise LedgerError(
                f"{what} of team {t.team}, app {t.app}, model {t.model}: {result.outcome} ({result.detail}); the "
                "month it falls into has less than it takes back. What was made before stands; run it again "
                "when the month has spend, or adjust by hand"
            )


def _drift(outcome: Reconciliation) -> Drift:
    from spendgate.ledger.drift import Drift

    models = {m.model: (m.drift_nanousd, m.invoiced_nanousd, m.metered_nanousd) for m in outcome.models}
    return Drift(outcome.provider, outcome.month, time.time_ns() // 1_000_000, models)


def _tell(outcome: Reconciliation, planned: list[TrueUp], applied: bool) -> None:
    from spendgate.finops.reconcile import drift_ratio

    ratio = drift_ratio(outcome.drift_nanousd, outcome.invoiced_nanousd, outcome.metered_nanousd)
    if abs(ratio) > ALERT_ABOVE:
        click.echo(f"spendgate reconcile: drift of {ratio:+.2%}: more than 10 %", err=True)
    if applied:
        click.echo(f"spendgate reconcile: {len(planned)} true-ups made", err=True)
    elif planned:
        click.echo(f"spendgate reconcile: --apply would make {len(planned)} true-ups", err=True)


def _render(outcome: Reconciliation, planned: list[TrueUp], applied: bool, output: str) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from spendgate.finops import reconciled as text

    if output == "json":
        return text.to_json(outcome, planned, applied)
    if output == "md":
        return text.to_markdown(outcome, planned, applied)
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
