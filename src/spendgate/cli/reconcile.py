"""`spendgate reconcile`: the ledger beside what others say was spent."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.cli.reconcile_invoice import invoice_command
from spendgate.money import nano_to_usd, usd_cell, usd_to_nano
from spendgate.months import month_key, month_text, parse_month

if TYPE_CHECKING:
    from spendgate.budget.policy import Policy
    from spendgate.rebuild.rebuild import Difference

TIMEOUT_S = 10.0


@click.group("reconcile", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Compare the ledger with what others say was spent, and mend it.

    \b
    Example:
      spendgate reconcile redis --prometheus http://prometheus:9090 --dry-run
      spendgate reconcile invoice costs.json --provider openai --month 2026-10
    """


command.add_command(invoice_command)


@command.command("redis")
@click.option("--prometheus", "prometheus_url", metavar="URL", help="What scrapes the gateways.")
@click.option(
    "--usage-log",
    "usage_logs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A gateway's usage log, plain or .gz; repeatable. Each exchange counts once, however often it is told.",
)
@click.option("--month", "month_option", metavar="YYYY-MM", help="Another month than the current one (UTC).")
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would be added.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--policy",
    "policy_paths",
    multiple=True,
    metavar="PATH",
    help="Budgets whose limits of app and model are filled up too; default: those in force.",
)
@ledger_options
def redis_command(
    prometheus_url: str | None, usage_logs: tuple[Path, ...], month_option: str | None, dry_run: bool, output: str,
    policy_paths: tuple[str, ...], redis_url: str | None, data_dir: Path,
) -> None:  # fmt: skip
    """Fill the ledger up after Redis lost data: exchanges from usage logs, totals from Prometheus.

    Nothing is ever taken away: a cell (team, app, model) that has less than Prometheus counted is raised to it, each
    team atomically. Doing it again changes nothing, and what a gateway's spool brings home later is not counted
    twice. Exchanges of more than six days ago are only told to a ledger that lost everything. While the ledger is
    whole, look first with --dry-run: Prometheus also has what was corrected since.

    \b
    Example:
      spendgate reconcile redis --prometheus http://prometheus:9090 --dry-run
      spendgate reconcile redis --usage-log gw-1/usage.jsonl --usage-log gw-2/usage.jsonl
    """
    from spendgate.budget.policy import Policy
    from spendgate.cli.policy_at_hand import policy_at_hand

    if not (prometheus_url or usage_logs):
        raise click.UsageError("nothing to reconcile with; give --prometheus URL or --usage-log PATH")
    if dry_run and not prometheus_url:
        raise click.UsageError("--dry-run compares with Prometheus; give --prometheus URL")
    now_ms = time.time_ns() // 1_000_000
    try:
        month = parse_month(month_option) if month_option else month_key(now_ms)
    except ValueError as e:
        raise click.UsageError(f"--month: {e}") from e
    found = find_ledger(redis_url, data_dir)
    policy = policy_at_hand(found, policy_paths) or Policy()
    done = asyncio.run(
        _reconcile(found.redis_url, policy, prometheus_url or "", usage_logs, month, now_ms, dry_run)
    )
    (_print_json if output == "json" else _print_table)(done)


async def _reconcile(
    url: str, policy: Policy, prometheus: str, logs: tuple[Path, ...], month: str, now_ms: int, dry: bool
) -> Difference:
    from spendgate.finops.replay import settlements
    from spendgate.ledger.recovery.heartbeat import epoch_of, make_whole
    from spendgate.ledger.redis.ledger import RedisLedger
    from spendgate.rebuild.counter_resets import Totals, read_totals
    from spendgate.rebuild.job import REPLAY_MS
    from spendgate.rebuild.prometheus import Counters
    from spendgate.rebuild.rebuild import fill_up, replay

    ledger = RedisLedger.from_url(url, timeout_s=TIMEOUT_S)
    try:
        epoch = await epoch_of(ledger)
        replayed = 0
        if logs and not dry:
            since_ms = 0 if epoch.empty and epoch.lost else now_ms - REPLAY_MS
            replayed = await replay(ledger, settlements(logs, policy, since_ms))
        totals = Totals(month, {}, 0)
        if prometheus:
            with Counters(prometheus) as counters:
                totals = await asyncio.to_thread(read_totals, counters, month, now_ms)
        difference = await fill_up(ledger, epoch, policy, totals, dry=dry, replayed=replayed)
        if epoch.lost and not dry:
            await make_whole(ledger, epoch)
        return difference
    finally:
        await ledger.close()


def _rows(done: Difference) -> list[dict[str, Any]]:
    return [
        {
            "team": r.team,
            "app": app,
            "model": model,
            "ledger_usd": nano_to_usd(had),
            "prometheus_usd": nano_to_usd(total),
            "added_usd": nano_to_usd(added),
        }
        for r in done.restored
        for app, model, had, total, added in r.rows
    ]


def _print_json(done: Difference) -> None:
    document = {
        "month": month_text(done.month),
        "dry_run": done.dry,
        "replayed": done.replayed,
        "prometheus_usd": nano_to_usd(done.total_nanousd),
        "added_usd": nano_to_usd(done.added_nanousd),
        "nameless_usd": nano_to_usd(done.nameless_nanousd),
        "teams": [
            {
                "team": r.team,
                "before_usd": nano_to_usd(r.before_nanousd),
                "after_usd": nano_to_usd(r.after_nanousd),
            }
            for r in done.restored
            if r.rows
        ],
        "rows": _rows(done),
    }
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _print_table(done: Difference) -> None:
    from rich.console import Console
    from rich.table import Table

    word = "would be added" if done.dry else "added"
    rows = _rows(done)
    if rows:
        table = Table(box=None, pad_edge=False)
        for name in ("team", "app", "model"):
            table.add_column(name, overflow="fold")
        for name in ("ledger USD", "Prometheus USD", word):
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*(usd_cell(usd_to_nano(v)) if k.endswith("_usd") else v for k, v in row.items()))
        console = Console()
        (console if console.is_terminal else Console(width=200)).print(table)
    if done.replayed:
        click.echo(f"{done.replayed} exchanges of usage logs were not in the ledger; they are now.")
    if done.nameless_nanousd:
        click.echo(
            f"{usd_cell(done.nameless_nanousd)} USD in Prometheus have no team of their own "
            "(label `other`: raise max_label_values) and were given to none."
        )
    click.echo(f"{month_text(done.month)}: {usd_cell(done.added_nanousd)} USD {word}.")
