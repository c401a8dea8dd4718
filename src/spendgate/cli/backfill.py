"""`spendgate backfill`: price past days again, and make up for it."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.cli.reconcile_invoice import PROVIDERS, TIMEOUT_S, read_mapping, user
from spendgate.cli.true_ups import make, read_audit
from spendgate.errors import LedgerUnavailable
from spendgate.money import nano_to_usd, usd_cell

if TYPE_CHECKING:
    from spendgate.finops.backfill import Outcome
    from spendgate.finops.reconciliation.true_up import TrueUp
    from spendgate.ledger.accounts import DayCell
    from spendgate.ledger.redis.ledger import RedisLedger
    from spendgate.pricing.table import PriceTable

_PATH = click.Path(path_type=Path)


@click.command("backfill", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--prices", multiple=True, required=True, type=_PATH, help="The corrected prices.")
@click.option("--from", "first_text", required=True, metavar="YYYY-MM-DD", help="The first day (UTC).")
@click.option("--to", "last_text", required=True, metavar="YYYY-MM-DD", help="The last day.")
@click.option("--log", "logs", multiple=True, type=_PATH, help="Usage logs of these days; repeatable.")
@click.option(
    "--usage", "usage", multiple=True, type=_PATH, help="A provider's usage export instead; repeatable."
)
@click.option("--provider", type=click.Choice(PROVIDERS), help="With --usage: whose it is.")
@click.option(
    "--map", "map_file", type=_PATH, help="With --usage: columns and names, as in reconcile invoice."
)
@click.option("--dates", type=click.Choice(["dmy", "mdy"]), help="With --usage: what 03/10/2026 is.")
@click.option("--models", multiple=True, metavar="GLOB", help="Only these models.")
@click.option(
    "--egress-team", default="unattributed", show_default=True, help="Who is charged what was never metered."
)
@click.option(
    "--apply", "apply", is_flag=True, help="Make the adjustments; no budget in force moves by them."
)
@click.option("--enforce", is_flag=True, help="With --apply: let them move the running month's budgets too.")
@click.option("--policy", multiple=True, type=_PATH, help="Budgets whose counters move; default: in force.")
@click.option("--by", "by", help="Who does it; default: you.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@ledger_options
def command(
    prices: tuple[Path, ...], first_text: str, last_text: str, logs: tuple[Path, ...], usage: tuple[Path, ...],
    provider: str | None, map_file: Path | None, dates: str | None, models: tuple[str, ...], egress_team: str,
    apply: bool, enforce: bool, policy: tuple[Path, ...], by: str | None, output: str, redis_url: str | None,
    data_dir: Path,
) -> None:  # fmt: skip
    """Price past days again by corrected prices, show the difference, and make up for it.

    From usage logs (--log) each exchange is priced at its own moment, to the nano-dollar. From a provider's usage
    export (--usage) its tokens of each day are priced, and what differs is shared out to the apps that used the
    model. Without --apply nothing is changed. An adjustment is made on its own day; where that month is running or
    closed, it is an accounting entry beside the budgets. A second run changes nothing.

    \b
    Example:
      spendgate backfill --prices corrected.yaml --log usage.jsonl --from 2026-10-03 --to 2026-10-31
      spendgate backfill --prices corrected.yaml --log usage.jsonl --from 2026-10-03 --to 2026-10-31 --apply
    """  # fmt: skip
    from spendgate.cli.policy_at_hand import policy_at_hand
    from spendgate.finops.backfill import plan
    from spendgate.pricing.load import table

    days = _day(first_text, "--from"), _day(last_text, "--to")
    if days[0] > days[1]:
        raise click.UsageError("--from must not be after --to")
    if bool(logs) == bool(usage):
        raise click.UsageError("give --log FILE, or --usage FILE with its --provider")
    if bool(usage) != bool(provider):
        raise click.UsageError("--usage and --provider belong together; give both")
    found = find_ledger(redis_url, data_dir)
    corrected = table(prices)
    if logs:
        outcome = _of_logs(logs, corrected, days, models)
    else:
        assert provider is not None
        outcome = asyncio.run(
            _of_usage(
                found.redis_url, usage, provider, map_file, models, corrected, days, egress_team, dates or ""
            )
        )
    budgets = policy_at_hand(found, tuple(map(str, policy))) if apply else None
    label = ", ".join(p.name for p in prices)[:80]

    async def run() -> list[TrueUp]:
        async with _ledger(found.redis_url) as ledger:
            teams = sorted({*await ledger.teams(), egress_team})
            planned = plan(outcome.targets(), await read_audit(ledger, teams), label)
            if apply:
                await make(ledger, planned, budgets, by or user(), "backfill", enforce=enforce)
            return planned

    planned = asyncio.run(run())
    click.echo(_json(outcome, planned, apply) if output == "json" else _table(outcome), nl=False)
    total = usd_cell(sum(t.nano for t in planned))
    done = f"{len(planned)} adjustments of {total} USD"
    click.echo(
        f"spendgate backfill: {done} made" if apply else f"spendgate backfill: --apply would make {done}",
        err=True,
    )


def _day(text: str, option: str) -> str:
    try:
        return datetime.strptime(text, "%Y-%m-%d").strftime("%Y%m%d")
    except ValueError as e:
        raise click.UsageError(f"{option}: not a day: {text!r}; write it as YYYY-MM-DD") from e


def _of_logs(
    logs: tuple[Path, ...], prices: PriceTable, days: tuple[str, str], models: tuple[str, ...]
) -> Outcome:
    from fnmatch import fnmatchcase

    from spendgate.finops.backfill import from_logs
    from spendgate.records.reader import UsageLogReader

    reader = UsageLogReader(logs)
    out = from_logs(
        reader.records(), prices, days, lambda m: not models or any(fnmatchcase(m, g) for g in models)
    )
    for path in reader.torn:
        click.echo(f"spendgate backfill: {path}: the last line was cut off and is left out", err=True)
    return out


async def _of_usage(
    url: str, files: tuple[Path, ...], provider: str, map_file: Path | None, models: tuple[str, ...],
    prices: PriceTable, days: tuple[str, str], egress_team: str, dates: str,
) -> Outcome:  # fmt: skip
    from spendgate.finops.backfill import from_usage
    from spendgate.finops.invoice.names import fingerprint
    from spendgate.finops.invoice.registry import BY_NAME, is_of, read_files
    from spendgate.pricing.load import table

    lines = read_files(provider, files, read_mapping(map_file), dates=dates).lines
    if not any(x.tokens for x in lines):
        raise click.UsageError(
            "--usage: the files have no tokens; give the provider's usage export, not its costs"
        )
    cells: list[DayCell] = []
    async with _ledger(url) as ledger:
        teams = await ledger.teams()
        for month in sorted({x.day[:6] for x in lines if days[0] <= x.day <= days[1]}):
            cells += await ledger.cells(teams, month)
    billed = {fingerprint(x.model) for x in lines} if provider in BY_NAME and not models else set()
    mine = [c for c in cells if is_of(provider, c.model, models) or fingerprint(c.model) in billed]
    return from_usage(lines, mine, prices, days, egress_team, before=table(()))


class _ledger:  # noqa: N801  it reads as a call
    """A ledger for a block; what it cannot do says what to do."""

    def __init__(self, url: str) -> None:
        from spendgate.ledger.redis.ledger import RedisLedger

        self._ledger = RedisLedger.from_url(url, timeout_s=TIMEOUT_S)

    async def __aenter__(self) -> RedisLedger:
        return self._ledger

    async def __aexit__(self, _: object, problem: BaseException | None, __: object) -> None:
        await self._ledger.close()
        if isinstance(problem, LedgerUnavailable):
            raise LedgerUnavailable(
                f"the ledger does not answer ({problem.__cause__ or problem}); start `spendgate up`, or give "
                "--redis URL"
            ) from problem


def _sums(outcome: Outcome) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Metered and should-be by team, app and model, where they differ."""
    out: dict[tuple[str, str, str], tuple[int, int]] = {}
    for i, side in enumerate((outcome.metered, outcome.should)):
        for places in side.values():
            for where, nano in places.items():
                was = list(out.get(where, (0, 0)))
                was[i] += nano
                out[where] = (was[0], was[1])
    return {w: pair for w, pair in sorted(out.items()) if pair[0] != pair[1]}


def _json(outcome: Outcome, planned: list[TrueUp], applied: bool) -> str:
    rows: list[dict[str, Any]] = [
        {
            "team": t, "app": a, "model": m, "metered_usd": nano_to_usd(was), "corrected_usd": nano_to_usd(now),
            "difference_usd": nano_to_usd(now - was),
        }
        for (t, a, m), (was, now) in _sums(outcome).items()
    ]  # fmt: skip
    made = [
        {"id": x.adjustment_id, "team": x.team, "app": x.app, "model": x.model, "usd": nano_to_usd(x.nano)}
        for x in planned
    ]
    return (
        json.dumps(
            {"differences": rows, "applied": applied, "adjustments": made}, indent=2, ensure_ascii=False
        )
        + "\n"
    )


def _table(outcome: Outcome) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    sums = _sums(outcome)
    if not sums:
        return "Every day costs what it was charged.\n"
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(("team", "app", "model", "metered USD", "corrected USD", "difference USD")):
        table.add_column(name, justify="left" if i < 3 else "right", overflow="fold")
    for names, (was, now) in sums.items():
        table.add_row(*map(Text, names), *(usd_cell(n) for n in (was, now, now - was)))
    was, now = sum(a for a, _ in sums.values()), sum(b for _, b in sums.values())
    table.add_row("total", "", "", *(usd_cell(n) for n in (was, now, now - was)), style="bold")
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
