"""`spendgate holds`: what requests in flight hold."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.cli.ledger import with_ledger

if TYPE_CHECKING:
    from spendgate.ledger.redis.holds import Holds
    from spendgate.ledger.redis.ledger import RedisLedger

FIELDS = ("exchange_id", "team", "app", "model", "usd", "age_s", "deadline_in_s", "counters")


@click.command("holds")
@click.option("--team", help="Only this team.")
@click.option(
    "--limit",
    default=1000,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="At most so many a team.",
)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
@ledger_options
def command(team: str | None, limit: int, output: str, redis_url: str | None, data_dir: Path) -> None:
    """What requests in flight hold: exchange, team, app, model, amount, age, deadline; the oldest first.

    A hold lives as long as its request, which renews its deadline. One whose worker died is settled at its amount
    when its deadline passes; the usage log tells of it with `unmetered: expired`.

    \b
    Example: spendgate holds --team payments
    """  # fmt: skip
    found = find_ledger(redis_url, data_dir)
    read = asyncio.run(with_ledger(found.redis_url, lambda ledger: _read(ledger, team, limit)))
    rows = sorted((row for holds in read for row in _rows(holds)), key=lambda r: -r["age_s"])
    left_out = sum(holds.total - len(holds.holds) for holds in read)
    if output == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif output == "csv":
        writer = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "counters": " ".join(row["counters"])} for row in rows)
    else:
        _print(rows)
    if left_out > 0:
        click.echo(f"spendgate holds: {left_out} more are in flight; raise --limit", err=True)


async def _read(ledger: RedisLedger, team: str | None, limit: int) -> list[Holds]:
    from spendgate.ledger.redis.holds import read_holds

    return await read_holds(ledger, await ledger.teams() if team is None else [team], limit)


def _rows(holds: Holds) -> list[dict[str, Any]]:
    from spendgate.money import nano_to_usd

    return [
        {
            "exchange_id": h.exchange_id,
            "team": h.team,
            "app": h.app,
            "model": h.model,
            "usd": nano_to_usd(h.amount_nanousd),
            "age_s": (holds.now_ms - h.at_ms) / 1000,
            "deadline_in_s": (h.deadline_ms - holds.now_ms) / 1000,
            "counters": list(h.counters),
        }
        for h in holds.holds
    ]


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from spendgate.money import usd_cell, usd_to_nano

    if not rows:
        click.echo("Nothing is in flight.")
        return
    table = Table(title="Holds (USD)", title_justify="left", box=None, pad_edge=False)
    for name in ("exchange", "team", "app", "model"):
        table.add_column(name, overflow="fold")
    for name in ("held", "age", "deadline in"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            *(Text(row[name]) for name in ("exchange_id", "team", "app", "model")),
            usd_cell(usd_to_nano(row["usd"])),
            f"{row['age_s']:,.1f} s",
            f"{row['deadline_in_s']:,.1f} s",
            style="yellow" if row["deadline_in_s"] < 0 else "",
        )
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
