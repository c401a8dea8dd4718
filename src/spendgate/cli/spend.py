"""`spendgate spend`: the ledger's numbers, month by month."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
import time
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.find_ledger import LedgerLocation, find_ledger, ledger_options
from spendgate.cli.ledger import with_ledger
from spendgate.cli.policy_at_hand import policy_at_hand
from spendgate.errors import ConfigurationError
from spendgate.ledger.accounts import TeamMonth
from spendgate.money import usd_cell, usd_to_nano
from spendgate.months import month_key, month_last_ms, parse_month
from spendgate.views.budgets import budget_rows, group_rows

if TYPE_CHECKING:
    from spendgate.budget.policy import Policy
    from spendgate.ledger.redis.ledger import RedisLedger
    from spendgate.views.past import Limits

TIMEOUT_S = 10.0
CSV_FIELDS = (
    "team", "month", "budget_usd", "settled_usd", "reserved_usd", "utilization", "requests", "top_model",
    "adjustments_usd",
)  # fmt: skip


@click.command("spend")
@click.option("--team", help="Only this team.")
@click.option("--month", "month_option", metavar="YYYY-MM", help="Another month than the current one (UTC).")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
@click.option(
    "--policy",
    "policy_paths",
    multiple=True,
    metavar="PATH",
    help="Budgets to compare with; default: those in force, for a past month the last that were in it.",
)
@click.option("--archive", metavar="URL", help="Read a closed month from its archive; needs no ledger.")
@ledger_options
def command(
    team: str | None,
    month_option: str | None,
    output: str,
    policy_paths: tuple[str, ...],
    archive: str | None,
    redis_url: str | None,
    data_dir: Any,
) -> None:
    """What teams spent, from the ledger.

    \b
    Example: spendgate spend --month 2026-11 -o json
    Amounts are USD; held is what requests in flight reserved.
    """
    now_ms = time.time_ns() // 1_000_000
    try:
        month = parse_month(month_option) if month_option else month_key(now_ms)
    except ValueError as e:
        raise click.UsageError(f"--month: {e}") from e
    groups: Sequence[TeamMonth] = ()
    if archive is not None:
        if month_option is None or policy_paths:
            raise click.UsageError("--archive: give --month, and no --policy: its own budgets are in it")
        months, limits = _archived(archive, team, month)
    else:
        found = find_ledger(redis_url, data_dir)
        policy = _policy(found, policy_paths)
        is_past = month < month_key(now_ms) and not policy_paths
        at_ms = min(now_ms, month_last_ms(month))
        read = partial(_read, team=team, month=month, policy=policy, is_past=is_past, at_ms=at_ms)
        months, groups, limits = asyncio.run(with_ledger(found.redis_url, read, TIMEOUT_S))
    rows = budget_rows(months, limits.teams) + group_rows(groups, limits.groups)
    if output == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif output == "csv":
        _write_csv(rows)
    else:
        _print_table(rows, month)


def _archived(url: str, team: str | None, month: str) -> tuple[Sequence[TeamMonth], Limits]:
    from spendgate.cli.month_archive import read_archive
    from spendgate.views.past import Limits

    books = read_archive(url, month).books
    return [m for m in books.months() if team in (None, m.team)], Limits(books.limits, {})


def _policy(found: LedgerLocation, policy_paths: tuple[str, ...]) -> Policy:
    from spendgate.budget.policy import Policy, TeamBudget

    started_with = Policy.of(TeamBudget(team, nano) for team, nano in found.budgets.items())
    if found.budgets and not (policy_paths or found.policy_paths):
        return started_with
    try:
        return policy_at_hand(found, policy_paths) or Policy()
    except ConfigurationError as e:
        if policy_paths or not found.policy_paths:
            raise
        first = str(e).splitlines()[0]
        click.echo(f"spendgate spend: budgets are those that `up` started with: {first}", err=True)
        return started_with


async def _read(
    ledger: RedisLedger, team: str | None, month: str, policy: Policy, is_past: bool, at_ms: int
) -> tuple[Sequence[TeamMonth], Sequence[TeamMonth], Limits]:
    """The months of teams, and of groups where no team is asked for, and what they are judged by: a past month by its
    own budgets where those are known, and then only who had one, or spent, is in it."""
    from spendgate.views.past import limits_in_force, own_limits, past_month

    if is_past and team is None:
        past = await past_month(ledger, month, policy)
        return past.months, past.groups, past.limits
    teams = await ledger.teams()
    own = await own_limits(ledger, teams, month) if is_past else None
    limits = own or await limits_in_force(ledger, policy, teams, at_ms)
    known = sorted({*teams, *limits.teams})
    if team is None:
        groups = await ledger.group_months(sorted({*await ledger.groups(), *limits.groups}), month)
        return await ledger.months(known, month), groups, limits
    if team not in known:
        names = ", ".join(known) or "none"
        click.echo(f"spendgate spend: no team {team!r} in the ledger; known: {names}", err=True)
        limits = own or await limits_in_force(ledger, policy, [*teams, team], at_ms)
    return await ledger.months([team], month), (), limits


def _write_csv(rows: list[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, CSV_FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        top = next(iter(row["models"]), "")
        writer.writerow({"adjustments_usd": "0.00", **row, "top_model": top})


def _print_table(rows: list[dict[str, Any]], month: str) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        click.echo(f"No spend in {month[:4]}-{month[4:]} yet.")
        return
    table = Table(
        title=f"Spend in {month[:4]}-{month[4:]} (USD)", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("team", overflow="fold")
    for name in ("budget", "spent", "held", "used", "requests"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("top model", overflow="fold")
    for row in rows:
        used = row["utilization"]
        style = "" if used is None or used < 0.8 else "yellow" if used < 1 else "red"
        table.add_row(
            _plain(("group " if row.get("group") else "") + (row["team"] or "(unnamed)")),
            "-" if row["budget_usd"] is None else _money(row["budget_usd"]),
            _money(row["settled_usd"]),
            _money(row["reserved_usd"]),
            "-" if used is None else f"{used:.1%}",
            f"{row['requests']:,}",
            _plain(next(iter(row["models"]), "-")),
            style=style,
        )
        for a in row.get("adjustments", ()):
            where = f"  adjusted: {a['app']} / {a['model']}"
            table.add_row(_plain(where), "", _money(a["usd"]), "", "", "", "", style="dim")
    rows = [r for r in rows if not r.get("group")]  # their teams are in the sum already
    if len(rows) > 1:
        table.add_section()
        table.add_row(
            "total",
            _total(r["budget_usd"] for r in rows if r["budget_usd"] is not None),
            _total(r["settled_usd"] for r in rows),
            _total(r["reserved_usd"] for r in rows),
            "",
            f"{sum(r['requests'] for r in rows):,}",
            "",
            style="bold",
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def _plain(name: str) -> Any:
    from rich.text import Text

    return Text(name)  # a name in square brackets is a name, not a style


def _money(usd: str) -> str:
    return usd_cell(usd_to_nano(usd))


def _total(amounts: Iterable[str]) -> str:
    return _money(str(sum((Decimal(a) for a in amounts), Decimal(0))))
