"""`spendgate report chargeback`: what each team owes for a month."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.digest import digest_command
from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.cli.month_archive import read_archive
from spendgate.cli.policy_at_hand import limits_at_hand
from spendgate.errors import ConfigurationError, Fault, LedgerUnavailable
from spendgate.months import month_text, parse_month

if TYPE_CHECKING:
    from spendgate.finops.chargeback.allocation import Rule
    from spendgate.finops.chargeback.archive import Archive
    from spendgate.finops.chargeback.chargeback import Chargeback
    from spendgate.finops.chargeback.focus import Month
    from spendgate.finops.chargeback.groups import Groups
    from spendgate.ledger.accounts import Adjusted, DayCell
    from spendgate.pricing.table import PriceTable

TIMEOUT_S = 10.0
FOCUS = {"focus": "1.4", "focus-1.4": "1.4", "focus-1.2": "1.2", "focus-parquet": "1.4"}
OUTPUTS = ("table", "csv", "json", "md", "html", *FOCUS)


@click.group("report", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Books of a month.

    \b
    Example: spendgate report chargeback --month 2026-11 -o csv
    """


command.add_command(digest_command)


@command.command("chargeback")
@click.option("--month", "month_option", required=True, metavar="YYYY-MM", help="The month (UTC).")
@click.option("--team", help="Only this team.")
@click.option("--group", help="Only the teams of this group.")
@click.option(
    "--source",
    type=click.Choice(["ledger", "prometheus", "log", "archive"]),
    default="ledger",
    show_default=True,
)
@click.option(
    "--archive",
    metavar="URL",
    envvar="SPENDGATE_ARCHIVE",
    help="With --source archive: where closed months stand.",
)
@click.option("--prometheus", "prometheus_url", metavar="URL", help="With --source prometheus.")
@click.option(
    "--log", "logs", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="With --source log."
)
@click.option(
    "--by-tag", default="", metavar="NAME", help="With --source log: by this tag's values instead of apps."
)
@click.option("-o", "--output", type=click.Choice(OUTPUTS), default="table", show_default=True)
@click.option(
    "--prices", multiple=True, type=click.Path(path_type=Path), help="Prices on top of the built-in."
)
@click.option(
    "--shared",
    "shared_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rules (YAML) by which the cost of shared teams is split among the others.",
)
@click.option(
    "--billing-account", default="spendgate", show_default=True, help="BillingAccountId of a FOCUS export."
)
@ledger_options
def chargeback_command(
    month_option: str,
    team: str | None,
    group: str | None,
    source: str,
    archive: str | None,
    prometheus_url: str | None,
    logs: tuple[Path, ...],
    by_tag: str,
    output: str,
    prices: tuple[Path, ...],
    shared_file: Path | None,
    billing_account: str,
    redis_url: str | None,
    data_dir: Path,
) -> None:
    """What each team spent, by app, model and token kind; exact, and adding up. With it: what routing saved, and
    how many requests were refused.

    Groups stand beside the teams, with what their teams cost together: of a month that is over, its own groups.
    The cost of app and model is the ledger's own. The cost of a kind is its share by tokens x list price.
    `-o focus` writes a FOCUS 1.4 dataset as CSV (`focus-parquet`: as Parquet; `focus-1.2`: the older one), one row a
    day, team, app, model and kind; from usage logs also by run, user, tier and model asked for. From Prometheus or
    usage logs, what differs from a ledger that is found too is told on standard error.

    \b
    Example:
      spendgate report chargeback --month 2026-11 -o html > 2026-11.html
      spendgate report chargeback --month 2026-11 --group engineering
      spendgate report chargeback --month 2026-11 --shared shared.yaml
      spendgate report chargeback --month 2026-11 --source log --log .spendgate/usage.jsonl
      spendgate report chargeback --month 2026-11 --source log --log .spendgate/usage.jsonl --by-tag project
      spendgate report chargeback --month 2026-11 -o focus > focus-2026-11.csv
    """
    from spendgate.finops.chargeback.allocation import allocations, split_shared
    from spendgate.finops.chargeback.chargeback import chargeback
    from spendgate.finops.chargeback.focus import Month
    from spendgate.finops.chargeback.groups import Groups
    from spendgate.pricing.load import table

    try:
        month = parse_month(month_option)
    except ValueError as e:
        raise click.UsageError(f"--month: {e}") from e
    _check_source(source, prometheus_url, archive, logs, by_tag, output)
    rules = _rules(shared_file)
    _check_shape(output, team, group, shared=bool(rules))
    table_of_prices = table(prices)
    only = None if rules else team  # to split the cost of some, all must be known
    made: list[Adjusted] = []
    beside = None
    limits: Mapping[str, int] | None = None
    groups = Groups()
    if source == "archive":
        closed = read_archive(str(archive), month)
        if output in FOCUS and not rules and team is None and group is None:
            click.echo(_archived_focus(closed, output), nl=False)
            return
        source = "ledger"  # what it is made of
        cells = [c for c in (*closed.books.cells, *closed.books.entries) if only in (None, c.team)]
        made = [a for a in closed.books.adjustments if only in (None, a.adjustment.team)]
        settled: dict[str, int] = {}
        limits, groups = closed.books.limits, closed.books.grouping
    elif source != "ledger":
        if prometheus_url:
            cells = _scraped(prometheus_url, only, month)
        else:
            cells = read_log(logs, only, month, finest=output in FOCUS, prices=table_of_prices, by_tag=by_tag)
        beside = None if by_tag else _ledger_beside(redis_url, data_dir, only, month)
    else:
        cells, settled, made = asyncio.run(
            read_month(find_ledger(redis_url, data_dir).redis_url, only, month)
        )
    if limits is None:  # no archive told them
        limits, groups = budgets_of_month(redis_url, data_dir, month, source, group is not None)
    _check_group(group, groups, month)
    report = chargeback(month, source, cells, table_of_prices)
    report = replace(report, by=by_tag) if by_tag else report
    if output in FOCUS:
        shared = allocations(
            {t: sum(x.cost_nanousd for x in lines) for t, lines in report.teams.items()}, rules
        )
        if group is not None:
            cells = [c for c in cells if groups.has(group, c.team)]
            made = [a for a in made if groups.has(group, a.adjustment.team)]
        of = Month(month, cells, table_of_prices, billing_account, made, shared, groups)
        click.echo(_focus(of, output), nl=False)
    else:
        shown = _part(split_shared(report, rules), team, group, groups)
        click.echo(render(shown, output, limits), nl=False)
    if source == "ledger":
        _tell_difference(report, settled)
    elif beside is not None:
        _tell_beside(report, chargeback(month, "ledger", beside, table_of_prices))
    if source == "prometheus":
        click.echo(
            "spendgate report: Prometheus knows neither list prices nor markups: the list cost and the effective "
            "cost are shown as what was charged; take --source ledger or log for them",
            err=True,
        )


def _focus(of: Month, output: str) -> str | bytes:
    from spendgate.finops.chargeback.focus_files import focus_csv, focus_parquet

    version: Any = FOCUS[output]
    return focus_parquet(of, version) if output == "focus-parquet" else focus_csv(of, version)


def _tell_beside(report: Chargeback, ledger: Chargeback) -> None:
    """What differs from the ledger."""
    from spendgate.finops.chargeback.differences import differences

    for text in differences(report, ledger):
        click.echo(f"spendgate report: {text}", err=True)


def _part(report: Chargeback, team: str | None, group: str | None, groups: Groups) -> Chargeback:
    """Of a team, of a group, or all of it with the groups beside."""
    from spendgate.finops.chargeback.groups import of_group, of_teams, with_groups

    if group is not None:
        return of_group(report, groups, group)
    if team is not None:
        return of_teams(report, lambda t: t == team)  # its groups have other teams, too
    return with_groups(report, groups)


def _check_source(
    source: str, prometheus_url: str | None, archive: str | None, logs: tuple[Path, ...], by_tag: str, output: str
) -> None:  # fmt: skip
    """Raises UsageError where the options do not say where the numbers come from, or two places."""
    if (source == "prometheus") != bool(prometheus_url):
        raise click.UsageError("--source prometheus and --prometheus URL belong together; give both")
    if source == "archive" and not archive:
        raise click.UsageError("--source archive: say where closed months stand, with --archive URL")
    if (source == "log") != bool(logs):
        raise click.UsageError("--source log and --log FILE belong together; give both")
    if by_tag and (source != "log" or output in FOCUS):
        raise click.UsageError(
            "--by-tag: tags are in usage logs alone (--source log); FOCUS has them in Tags"
        )


def _check_shape(output: str, team: str | None, group: str | None, shared: bool) -> None:
    """Raises UsageError where what is asked for cannot be shown so."""
    if shared and output == "focus-1.2":
        raise click.UsageError("--shared: FOCUS 1.2 has no columns for it; take -o focus-1.4")
    if team is not None and group is not None:
        raise click.UsageError("--team and --group: give one of them")
    if shared and output in FOCUS and (team, group) != (None, None):
        option = "--group" if team is None else "--team"
        raise click.UsageError(
            f"{option}: a shared team's rows name who shares them; leave it out, and filter"
        )
    if output == "focus-parquet" and sys.stdout.isatty():
        raise click.UsageError("-o focus-parquet: a Parquet file is not for a terminal; add > FILE")


def _check_group(group: str | None, groups: Groups, month: str) -> None:
    """Raises UsageError where the month has no such group."""
    if group is not None and group not in groups.names:
        known = ", ".join(groups.names) or "none"
        raise click.UsageError(f"--group: no group {group!r} in {month_text(month)}; known: {known}")


def budgets_of_month(
    redis_url: str | None, data_dir: Path, month: str, source: str, needed: bool = False
) -> tuple[Mapping[str, int], Groups]:
    """The month's budgets, nano-USD by team, and its groups, as far as they can be read. Where they are `needed`, it
    raises ConfigurationError, LedgerUnavailable instead. Teams are judged in the ledger's own report alone."""
    from spendgate.finops.chargeback.groups import Groups

    try:
        found = limits_at_hand(find_ledger(redis_url, data_dir), month, time.time_ns() // 1_000_000)
    except (ConfigurationError, LedgerUnavailable) as e:
        if needed:
            raise
        if source == "ledger":
            click.echo(f"spendgate report: without budgets and groups: {e}", err=True)
        return {}, Groups()
    return found.teams if source == "ledger" else {}, Groups(found.grouping, found.groups)


def _archived_focus(closed: Archive, output: str) -> str | bytes:
    """The dataset as it was archived, to the byte."""
    from spendgate.finops.chargeback.archive import focus_rows_of
    from spendgate.finops.chargeback.focus_files import parquet_of

    version: Any = FOCUS[output]
    text = closed.focus[version]
    return parquet_of(focus_rows_of(text), version) if output == "focus-parquet" else text


def _scraped(url: str, team: str | None, month: str) -> list[DayCell]:
    from spendgate.finops.chargeback.from_prometheus import PrometheusSource

    with PrometheusSource(url) as source:
        return source.cells(month, time.time_ns() // 1_000_000, team)


def read_log(
    logs: tuple[Path, ...],
    team: str | None,
    month: str,
    finest: bool,
    prices: PriceTable,
    by_tag: str = "",
) -> list[DayCell]:
    from spendgate.finops.chargeback.chargeback import exchange_costs
    from spendgate.finops.log_cells import cells_of
    from spendgate.records.reader import UsageLogReader

    reader = UsageLogReader(logs)
    cells = cells_of(reader.records(), month, team, finest, lambda r: exchange_costs(r, prices), by_tag)
    for path in reader.torn:
        click.echo(f"spendgate report: {path}: the last line was cut off and is left out", err=True)
    return cells


def _ledger_beside(
    redis_url: str | None, data_dir: Path, team: str | None, month: str
) -> list[DayCell] | None:
    """What the ledger says, to compare with; a month from Prometheus alone needs none."""
    try:
        return asyncio.run(read_month(find_ledger(redis_url, data_dir).redis_url, team, month))[0]
    except (ConfigurationError, LedgerUnavailable) as e:
        click.echo(f"spendgate report: not compared with the ledger: {e}", err=True)
        return None


def _rules(path: Path | None) -> tuple[Rule, ...]:
    """The rules of `--shared`. Raises ConfigurationError with every fault of the file."""
    import yaml

    from spendgate.finops.chargeback.allocation import parse_rules

    if path is None:
        return ()
    try:
        return parse_rules(yaml.safe_load(path.read_text()), str(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigurationError([Fault(str(path), 0, "", f"cannot be read as YAML: {e}", "mend it")]) from e


def render(report: Chargeback, output: str, limits: Mapping[str, int] | None = None) -> str:
    """The report in one of `OUTPUTS` but those of FOCUS, which are made of days. `limits` are the month's budgets."""
    from spendgate.finops.chargeback import html as page
    from spendgate.finops.chargeback import render as text

    if output == "table":
        from spendgate.cli.chargeback_table import table

        return table(report)
    writers: dict[str, Any] = {
        "csv": text.to_csv,
        "json": text.to_json,
        "md": text.to_markdown,
        "html": lambda x: page.to_html(x, limits),
    }
    written: str = writers[output](report)
    return written


async def read_month(
    url: str, team: str | None, month: str
) -> tuple[list[DayCell], dict[str, int], list[Adjusted]]:
    """The month's cells with its accounting entries, what each team's budget counter says was settled with the same
    entries (nano-USD), and the audit."""
    from spendgate.ledger.accounting import accounting_cells
    from spendgate.ledger.redis.ledger import RedisLedger

    ledger = RedisLedger.from_url(url, timeout_s=TIMEOUT_S)
    try:
        known = await ledger.teams()
        if team is not None and team not in known:
            names = ", ".join(known) or "none"
            click.echo(f"spendgate report: no team {team!r} in the ledger; known: {names}", err=True)
        teams = known if team is None else [team]
        cells = await ledger.cells(teams, month)
        entries = await accounting_cells(ledger, teams, month)
        settled = {m.team: m.settled_nanousd for m in await ledger.months(teams, month)}
        for entry in entries:  # no budget counts them
            settled[entry.team] += entry.cost_nanousd
        return cells + entries, settled, [x for t in teams for x in await ledger.adjustments(t)]
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
