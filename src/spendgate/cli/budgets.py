"""`spendgate budgets`: how every budget stands, the status table of a local gateway."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.cli.ledger import with_ledger
from spendgate.cli.policy_at_hand import policy_at_hand
from spendgate.errors import ConfigurationError
from spendgate.money import usd_cell, usd_to_nano
from spendgate.months import month_key

if TYPE_CHECKING:
    from spendgate.budget.policy import Policy, TeamBudget
    from spendgate.ledger.redis.ledger import RedisLedger

TIMEOUT_S = 10.0
_STYLES = {"Downgrading": "yellow", "Exhausted": "red", "Audit": "cyan"}


@click.command("budgets")
@click.option("--team", help="Only this team, or this group.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--policy",
    "policy_paths",
    multiple=True,
    metavar="PATH",
    help="Budgets to show; default: those in force.",
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
    found = find_ledger(redis_url, data_dir)
    policy = policy_at_hand(found, policy_paths)
    if policy is None:
        raise ConfigurationError(
            "no budgets: the gateway runs without --policy; name the files by --policy PATH"
        )
    read = partial(_read, policy=policy, team=team, now_ms=time.time_ns() // 1_000_000)
    rows = asyncio.run(with_ledger(found.redis_url, read, TIMEOUT_S))
    if output == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print_table(rows)


async def _read(ledger: RedisLedger, policy: Policy, team: str | None, now_ms: int) -> list[dict[str, Any]]:
    from spendgate.alerts.spend import standings
    from spendgate.budget.forecast import forecast, history_days
    from spendgate.views.carries import bounded_at
    from spendgate.views.status_row import status_row

    budgets = _budgets(policy, await ledger.teams() if team is None else [team], team)
    days = await ledger.daily([*budgets], history_days(now_ms))
    bounded = await bounded_at(ledger, budgets, now_ms)
    rows = []
    for s in await standings(ledger.calls.redis, bounded, month_key(now_ms)):
        outlook = forecast(days[s.team], now_ms, s.settled_nanousd)
        rows.append(status_row(bounded[s.team], s.month, s.settled_nanousd, s.reserved_nanousd, outlook))
    return rows


def _budgets(policy: Policy, teams: Sequence[str], only: str | None) -> dict[str, TeamBudget]:
    """By account: of teams that the policy names, of those of `teams` that a template covers, and of groups."""
    from spendgate.budget.policy import DOCTOR
    from spendgate.views.carries import account_of

    named = sorted({*policy.teams, *teams} - {DOCTOR})
    every = [*filter(None, map(policy.budget, named)), *policy.groups.values()]
    found = {account_of(b): b for b in every if only in (None, b.team)}
    if not found:
        known = ", ".join(b.team for b in policy.every) or "none"
        raise ConfigurationError(f"no budget for team {only!r}; known: {known}" if only else "no budgets yet")
    return found


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
            Text(("group " if row.get("group") else "") + row["team"]),
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
