"""`spendgate simulate`: what a policy or a price list would have done to logged traffic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from spendgate.exchange.snapshot import Snapshot
    from spendgate.finops.simulation.logged_request import LoggedRequest
    from spendgate.finops.simulation.render import Context
    from spendgate.finops.simulation.simulate import Simulation, Tally

_PATH = click.Path(path_type=Path)


@click.command("simulate", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("logs", nargs=-1, required=True, type=_PATH, metavar="LOG…")
@click.option("--policy", multiple=True, required=True, type=_PATH, help="Proposed LLMBudget file or folder.")
@click.option("--prices", multiple=True, type=_PATH, help="Prices to bill all tokens at anew.")
@click.option("--config", type=_PATH, help="Settings file.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "md"]), default="table", show_default=True
)
@click.option("--team", help="Only this team.")
@click.option(
    "--sweep", "sweep_text", metavar="FIELD=LOW..HIGH[:STEP]", help="Try a range: complexityThreshold."
)
@click.option("--skip-bad", is_flag=True, help="Tell bad lines and go on, instead of stopping at the first.")
def command(
    logs: tuple[Path, ...],
    policy: tuple[Path, ...],
    prices: tuple[Path, ...],
    config: Path | None,
    output: str,
    team: str | None,
    sweep_text: str | None,
    skip_bad: bool,
) -> None:
    """Replay usage logs against a proposed policy: what would be refused, routed, downgraded, saved.

    The gateway's own decision judges every logged exchange in the order of time. Logs may be gzipped.

    \b
    Example:
      spendgate simulate --policy proposed.yaml .spendgate/usage.jsonl
      spendgate simulate --policy proposed.yaml --sweep complexityThreshold=100..2000 .spendgate/usage.jsonl
    """
    from spendgate.finops.simulation import render as text
    from spendgate.finops.simulation.simulate import simulate
    from spendgate.finops.simulation.sweep import parse_sweep, routes, with_threshold
    from spendgate.gateway.process.reload import Sources
    from spendgate.pricing.load import table
    from spendgate.settings.config import load_config

    try:
        sweep = parse_sweep(sweep_text) if sweep_text else None
    except ValueError as e:
        raise click.UsageError(f"--sweep: {e}") from e
    snapshot = Sources(policy, prices, load_config(config, os.environ)).load()
    if sweep is not None and not routes(snapshot.policy.every):
        raise click.UsageError(
            "--sweep: no budget of the policy has costRouting enabled; nothing would change"
        )
    logged_at = table()
    demands, refused, estimates = _demands(logs, team, skip_bad)
    if sweep is None:
        out = simulate(demands, snapshot, logged_at, reprice=bool(prices))
        context = text.Context(
            tuple(map(str, policy)), tuple(map(str, logs)), refused, bool(prices), estimates
        )
        click.echo(_render(out, context, output), nl=False)
        _tell_unknown(snapshot, out)
        return
    outcomes: dict[int, Tally] = {}
    for value in sweep.values:
        tried = replace(snapshot, policy=with_threshold(snapshot.policy, value))
        outcomes[value] = simulate(demands, tried, logged_at, reprice=bool(prices)).total
    if output == "json":
        click.echo(text.sweep_json(sweep.field, outcomes), nl=False)
    elif output == "md":
        click.echo(text.sweep_markdown(sweep.field, outcomes), nl=False)
    else:
        click.echo(_table((sweep.field, *text.SWEEP_HEAD), text.sweep_rows(outcomes), names=0), nl=False)


def _demands(
    logs: tuple[Path, ...], team: str | None, skip_bad: bool
) -> tuple[list[LoggedRequest], int, int]:
    """Everything logged, by time, how many requests the log itself refused, and what they would have held."""
    from spendgate.finops.simulation.logged_request import demand_of
    from spendgate.records.reader import UsageLogReader

    reader = UsageLogReader(logs, skip_bad)
    demands: list[LoggedRequest] = []
    refused = estimates = 0
    for record in reader.records():
        if team is not None and record.team != team:
            continue
        demand = demand_of(record)
        if demand is None:
            refused += 1
            estimates += record.estimate_nanousd
        else:
            demands.append(demand)
    for fault in reader.faults:
        click.echo(f"spendgate simulate: left out: {fault}", err=True)
    for path in reader.torn:
        click.echo(f"spendgate simulate: {path}: the last line was cut off and is left out", err=True)
    demands.sort(key=lambda d: d.at_ms)
    return demands, refused, estimates


def _tell_unknown(snapshot: Snapshot, out: Simulation) -> None:
    """A budget whose team is not in the log is probably misspelt."""
    missing = sorted(set(snapshot.policy.teams) - set(out.teams))
    if missing:
        names = ", ".join(missing[:8]) + (", …" if len(missing) > 8 else "")
        click.echo(f"spendgate simulate: the log has nothing of these budgets' teams: {names}", err=True)


def _render(out: Simulation, context: Context, output: str) -> str:
    from spendgate.finops.simulation import render as text

    if output == "json":
        return text.to_json(out, context)
    if output == "md":
        return text.to_markdown(out, context)
    found = _table(text.HEAD, [*text.rows(out), text.row("total", "", out.total)], names=2)
    return found + "".join(f"{note}\n" for note in text.notes(out, context))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i < names else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
