"""`spendgate budgets`: how every budget stands, the status table of a local gateway."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.errors import ConfigurationError, LedgerUnavailable
from spendgate.money import usd_cell, usd_to_nano

TIMEOUT_S = 10.0
_STYLES = {"Downgrading": "yellow", "Exhausted": "red", "Audit": "cyan"}


@click.command("budgets")
@click.option("--team", help="Only this team.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--policy",
    "policy_paths",
    multiple=True,
    metavar="PATH",
    help="Budgets to show; default: those of the running `up`.",
)
@ledger_options
def command(
    team: str | None, output: str, policy_paths: tuple[str, ...], redis_url: str | None, data_dir: Path
) -> None:
    """How every budget stands this month: spent, held, utilization, forecast, phase.

    \b
    Example: spendgate budgets --data-dir .spendgate
    Phases: Ready; Downgrading (cheaper models are used); Exhausted (requests are refused); Audit (all pass).
    Utilization is settled / budget: what requests in flight hold is not used. The forecast goes on at the last seven
    days' level, each weekday by its weight.
    """
    from spendgate.budget.load import load_policy

    found = find_ledger(redis_url, data_dir)
    paths = policy_paths or found.policy_paths
    if not paths:
        raise ConfigurationError(
            "no budgets: the gateway runs without --policy; name the files by --policy PATH"
        )
    policy = load_policy(paths)
    budgets = [b for t, b in policy.budgets.items() if team in (None, t)]
    if not budgets:
        known = ", ".join(policy.teams) or "none"
        raise ConfigurationError(f"no budget for team {team!r}; known: {known}" if team else "no budgets yet")
    rows = asyncio.run(_read(found.redis_url, budgets, time.time_ns() // 1_000_000))
    if output == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print_table(rows)


async def _read(url: str, budgets: list[Any], now_ms: int) -> list[dict[str, Any]]:
    from spendgate.alerts.spend import standings
    from spendgate.budget.forecast import forecast, history_days
    from spendgate.ledger.redis import url as connect
    from spendgate.ledger.redis.ledger import RedisLedger
    from spendgate.months import month_key
    from spendgate.views.carries import bounded_at
    from spendgate.views.status_row import status_row

    client = connect.client(url, TIMEOUT_S)
    month = month_key(now_ms)
    ledger = RedisLedger.from_url(url, TIMEOUT_S)
    rows = []
    try:
        days = await ledger.daily([b.team for b in budgets], history_days(now_ms))
        bounded = await bounded_at(ledger, {b.team: b for b in budgets}, now_ms)
        for s in await standings(client, bounded, month):
            budget = bounded[s.team]
            outlook = forecast(days[budget.team], now_ms, s.settled_nanousd)
            rows.append(status_row(budget, month, s.settled_nanousd, s.reserved_nanousd, outlook))
    except LedgerUnavailable as e:
        raise LedgerUnavailable(
            f"the ledger does not answer ({e.__cause__ or e}); start `spendgate up`, or give --redis URL"
        ) from e
    finally:
        await ledger.close()
        await client.aclose()
    return rows


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"Budgets in {rows[0]['month']} (USD)", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("team", overflow="fold")
    for name in ("budget", "spent", "held", "used", "forecast"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("exhausted on", no_wrap=True)
    table.add_column("phase", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row["team"]),
            _money(row["budget_usd"]),
            _money(row["settled_usd"]),
            _money(row["reserved_usd"]),
            f"{row['utilization']:.1%}",
            _money(row["forecast_usd"]),
            row["exhausted_at"] or "-",
            row["phase"],
            style=_STYLES.get(row["phase"], ""),
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def _money(usd: str) -> str:
    return usd_cell(usd_to_nano(usd))
