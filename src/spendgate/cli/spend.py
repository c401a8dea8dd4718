"""`spendgate spend`: the ledger's numbers, month by month."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.find_ledger import LedgerLocation, find_ledger, ledger_options
from spendgate.errors import ConfigurationError, LedgerUnavailable
from spendgate.ledger.accounts import TeamMonth
from spendgate.money import usd_cell, usd_to_nano
from spendgate.months import month_key, month_last_ms, parse_month
from spendgate.views.budgets import budget_rows, group_rows

if TYPE_CHECKING:
    from spendgate.budget.policy import TeamBudget

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
    groups: list[TeamMonth] = []
    if archive is not None:
        if month_option is None or policy_paths:
            raise click.UsageError("--archive: give --month, and no --policy: its own budgets are in it")
        months, limits = _archived(archive, team, month)
    else:
        found = find_ledger(redis_url, data_dir)
        budgets = _budgets(found, policy_paths)
        at_ms = now_ms if month == month_key(now_ms) else month_last_ms(month)
        is_past = month < month_key(now_ms) and not policy_paths
        months, limits, groups = asyncio.run(_read(found, team, month, budgets, at_ms, is_past))
    rows = budget_rows(months, limits) + group_rows(groups, limits)
    if output == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif output == "csv":
        _write_csv(rows)
    else:
        _print_table(rows, month)


def _archived(url: str, team: str | None, month: str) -> tuple[list[TeamMonth], dict[str, int]]:
    from spendgate.cli.month_archive import read_archive

    books = read_archive(url, month).books
    return [m for m in books.months() if team in (None, m.team)], books.limits


def _budgets(found: LedgerLocation, policy_paths: tuple[str, ...]) -> dict[str, TeamBudget] | None:
    """Those of teams and groups; None where only the amounts are known that `up` started with."""
    from spendgate.budget.load import load_policy

    if not (policy_paths or found.policy_paths):
        return None
    try:
        policy = load_policy(policy_paths or found.policy_paths)
    except ConfigurationError as e:
        if policy_paths:
            raise
        first = str(e).splitlines()[0]
        click.echo(f"spendgate spend: budgets are those that `up` started with: {first}", err=True)
        return None
    return {b.team: b for b in (*policy.budgets.values(), *policy.groups.values())}


async def _read(
    at: LedgerLocation,
    team: str | None,
    month: str,
    budgets: dict[str, TeamBudget] | None,
    at_ms: int,
    is_past: bool,
) -> tuple[list[TeamMonth], dict[str, int], list[TeamMonth]]:
    """The months, and what they are judged by: a past month by its own budgets where those are known, and then only
    teams that had one, or spent, are in it. Last the groups' months, where no team is asked for."""
    from spendgate.ledger.redis.ledger import RedisLedger
    from spendgate.policy.month_budgets import budgets_of
    from spendgate.views.carries import limits_at
    from spendgate.views.past import past_month

    ledger = RedisLedger.from_url(at.redis_url, timeout_s=TIMEOUT_S)
    try:
        limits = at.budgets if budgets is None else await limits_at(ledger, budgets, at_ms)
        if is_past and team is None:
            past = await past_month(ledger, month, limits)
            found = await ledger.group_months(await ledger.groups(), month)
            return list(past.months), dict(past.limits), found
        teams = await ledger.teams()
        own = await budgets_of(ledger.calls.redis, teams, month) if is_past else None
        limits = limits if own is None else await limits_at(ledger, own, at_ms)
        groups = await ledger.groups()
        known = sorted({*teams, *limits} - {*groups})
        if team is not None and team not in known:
            names = ", ".join(known) or "none"
            click.echo(f"spendgate spend: no team {team!r} in the ledger; known: {names}", err=True)
        months = await ledger.months(known if team is None else [team], month)
        return months, limits, await ledger.group_months(groups, month) if team is None else []
    except LedgerUnavailable as e:
        raise LedgerUnavailable(
            f"the ledger does not answer ({e.__cause__ or e}); start `spendgate up`, or give --redis URL"
        ) from e
    finally:
        await ledger.close()


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
