"""`spendgate month`: close a month, and see how months stand."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.cli.ledger import user, with_ledger
from spendgate.cli.month_archive import (
    FOLDER,
    archive_command,
    archive_options,
    month_of,
    to_freeze,
    verify_command,
    write_archive,
)
from spendgate.cli.policy_at_hand import policy_at_hand
from spendgate.money import nano_to_usd, usd_cell, usd_to_nano
from spendgate.months import day_text, last_months, month_key, month_text, utc

if TYPE_CHECKING:
    from spendgate.ledger.accounts import Adjusted
    from spendgate.ledger.redis.closing import Closing
    from spendgate.ledger.redis.ledger import RedisLedger

TIMEOUT_S = 30.0
MONTHS_SHOWN = 13
"""As far back as 400 days reach."""


@click.group("month", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Close a month: its numbers and budgets are frozen, later corrections fall into the open month.

    \b
    Example: spendgate month close 2026-10
    """


@command.command("close")
@click.argument("month", metavar="YYYY-MM")
@click.option("--team", help="Only this team.")
@click.option("--by", "by", help="Who does it; default: you.")
@click.option(
    "--policy", multiple=True, metavar="PATH",
    help="Budgets that the month is judged by; default: the last that were in force in it.",
)  # fmt: skip
@click.option(
    "--archive", "url", envvar="SPENDGATE_ARCHIVE", metavar="URL",
    help="Folder or object store of closed months; default: DATA_DIR/closed.  [env: SPENDGATE_ARCHIVE]",
)  # fmt: skip
@click.option("--no-archive", is_flag=True, help="Close only; `month archive` writes the files later.")
@archive_options
@ledger_options
def close_command(
    month: str,
    team: str | None,
    by: str | None,
    policy: tuple[str, ...],
    url: str | None,
    no_archive: bool,
    prices: tuple[Path, ...],
    billing_account: str,
    logs: tuple[Path, ...],
    redis_url: str | None,
    data_dir: Path,
) -> None:
    """Freeze a month that is over, for every team, with the budgets that it is judged by. There is no way back.

    Adjustments, late settlements and corrections of it are booked in the open month from then on. A team with
    requests of that month still in flight is left open and named (exit 1): close again when they have ended.

    When all teams are closed, the month is archived: its books as JSON and as a Parquet table, and FOCUS, with
    checksums. `report`, `spend` and `month show` read it with --archive when the ledger is gone.

    \b
    Example:
      spendgate month close 2026-10 --by finance
      spendgate month close 2026-10 --archive s3://acme-finops/closed
    """  # fmt: skip
    from spendgate.ledger.redis.closing import close_month

    wanted = month_of(month)
    if wanted >= month_key(time.time_ns() // 1_000_000):
        raise click.UsageError(f"{month} is not over; close it when the next month has begun")
    found = find_ledger(redis_url, data_dir)

    at_hand = policy_at_hand(found, policy)

    async def close(ledger: RedisLedger) -> list[Closing]:
        documents = await to_freeze(ledger, wanted, at_hand, bool(policy))
        teams = [team] if team is not None else sorted({*await ledger.teams(), *documents})
        return await close_month(ledger, teams, wanted, by or user(), budgets=documents)

    closings = asyncio.run(with_ledger(found.redis_url, close, TIMEOUT_S))
    _print(closings, month)
    if any(c.state in ("holds", "changed", "open") for c in closings):
        sys.exit(1)
    if team is None and closings and not no_archive:
        write_archive(found.redis_url, wanted, url or str(data_dir / FOLDER), prices, billing_account, logs)


command.add_command(archive_command)
command.add_command(verify_command)


@command.command("show")
@click.argument("month", metavar="YYYY-MM")
@click.option("--team", help="Only this team.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@ledger_options
def show_command(month: str, team: str | None, output: str, redis_url: str | None, data_dir: Path) -> None:
    """How a month stands for each team: open or closed, unchanged since, and what corrected it later.

    \b
    Example: spendgate month show 2026-10 -o json
    """
    from spendgate.ledger.redis.closing import look_at_month

    wanted = month_of(month)
    found = find_ledger(redis_url, data_dir)

    async def look(ledger: RedisLedger) -> tuple[list[Closing], list[Adjusted]]:
        teams = await _teams(ledger, team)
        corrections = [a for t in teams for a in await ledger.adjustments(t)]
        return await look_at_month(ledger, teams, wanted), corrections

    closings, adjustments = asyncio.run(with_ledger(found.redis_url, look, TIMEOUT_S))
    later = [a for a in adjustments if a.corrects(wanted)]
    if output == "json":
        click.echo(json.dumps([_row(c, later) for c in closings], indent=2, ensure_ascii=False))
        return
    _print(closings, month)
    for a in later:
        x = a.adjustment
        click.echo(
            f"corrected later: {x.team} {usd_cell(x.cost_nanousd)} USD, booked on "
            f"{day_text(a.booked_day)}: {x.reason} ({x.adjustment_id})"
        )


@command.command("list")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@ledger_options
def list_command(output: str, redis_url: str | None, data_dir: Path) -> None:
    """The months that the ledger remembers, and for how many teams each is closed.

    \b
    Example: spendgate month list
    """
    from spendgate.ledger.redis.closing import look_at_month

    found = find_ledger(redis_url, data_dir)

    async def look(ledger: RedisLedger) -> list[dict[str, Any]]:
        teams = await ledger.teams()
        rows = []
        for month in reversed(last_months(time.time_ns() // 1_000_000, MONTHS_SHOWN)):
            closings = await look_at_month(ledger, teams, month)
            spent = [c for c in closings if c.settled_nanousd or c.requests]
            if spent:
                rows.append(
                    {
                        "month": month_text(month),
                        "teams": len(spent),
                        "closed": sum(c.is_closed for c in spent),
                        "changed": sum(c.state == "changed" for c in spent),
                        "settled_usd": nano_to_usd(sum(c.settled_nanousd for c in spent)),
                        "requests": sum(c.requests for c in spent),
                    }
                )
        return rows

    rows = asyncio.run(with_ledger(found.redis_url, look, TIMEOUT_S))
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        changed = f", {row['changed']} CHANGED since" if row["changed"] else ""
        settled = usd_cell(usd_to_nano(row["settled_usd"]))
        closed = f"closed for {row['closed']} of {row['teams']} teams{changed}"
        click.echo(f"{row['month']}  {settled} USD, {row['requests']:,} requests; {closed}")
    if not rows:
        click.echo("Nothing was spent yet.")


def _row(c: Closing, later: list[Adjusted]) -> dict[str, Any]:
    return {
        "team": c.team,
        "month": month_text(c.month),
        "closed": c.is_closed,
        "closed_at": utc(c.closed_ms).strftime("%Y-%m-%dT%H:%M:%SZ") if c.is_closed else None,
        "by": c.by or None,
        "unchanged": c.state == "again" if c.is_closed else None,
        "settled_usd": nano_to_usd(c.settled_nanousd),
        "lines_usd": nano_to_usd(c.cells_nanousd),
        "requests": c.requests,
        "digest": c.digest,
        "corrected_later": [
            {"id": a.adjustment.adjustment_id, "usd": nano_to_usd(a.adjustment.cost_nanousd), "booked": a.booked_day}
            for a in later
            if a.adjustment.team == c.team
        ],
    }  # fmt: skip


def _print(closings: list[Closing], month: str) -> None:
    for c in closings:
        amount = f"{usd_cell(c.settled_nanousd)} USD, {c.requests:,} requests"
        when = utc(c.closed_ms).strftime("%Y-%m-%d %H:%M UTC") if c.is_closed else ""
        words = {
            "closed": "closed",
            "again": f"closed since {when} by {c.by}",
            "changed": f"closed {when} by {c.by} at {usd_cell(c.was_nanousd)} USD or other lines, CHANGED SINCE",
            "open": "open",
            "holds": f"left open: {c.in_flight} of its requests are in flight; close again when they ended",
        }[c.state]
        click.echo(f"{c.team or '(unnamed)'}  {month}  {amount}: {words}")
        if c.settled_nanousd != c.cells_nanousd:
            click.echo(
                f"spendgate month: team {c.team}: the lines add up to {nano_to_usd(c.cells_nanousd)} USD, its budget "
                f"counts {nano_to_usd(c.settled_nanousd)}",
                err=True,
            )
    if not closings:
        click.echo("No team has spent anything yet.")


async def _teams(ledger: RedisLedger, team: str | None) -> list[str]:
    return await ledger.teams() if team is None else [team]
