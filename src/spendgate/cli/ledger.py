"""`spendgate ledger`: corrections of the ledger, append-only, and their audit."""

from __future__ import annotations

import asyncio
import csv
import getpass
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.errors import LedgerError, LedgerUnavailable
from spendgate.money import nano_to_usd, usd_to_nano
from spendgate.months import day_text, month_text

if TYPE_CHECKING:
    from spendgate.ledger.accounts import Adjusted, Adjustment
    from spendgate.ledger.redis.ledger import RedisLedger

TIMEOUT_S = 10.0
NONE = "(none)"
"""App and model of an adjustment that names none."""
_T = TypeVar("_T")


@click.group("ledger", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Correct the ledger, and read what was corrected. Nothing edits history.

    \b
    Example: spendgate ledger adjust --team payments --usd -12.50 --reason "credit note 4711"
    """


@command.command("adjust")
@click.option("--team", required=True, help="Whose month.")
@click.option("--usd", required=True, metavar="X", help="What is added; below zero: taken back.")
@click.option("--reason", required=True, help="Why, for the audit.")
@click.option("--app", default=NONE, help="The app it is about.")
@click.option("--model", default=NONE, help="The model it is about.")
@click.option("--day", metavar="YYYY-MM-DD", help="The day it belongs to (UTC); default: today.")
@click.option(
    "--tokens",
    multiple=True,
    metavar="KIND=N",
    help="Usage that was missed (input=1200); then it is no mere money.",
)
@click.option("--requests", default=0, show_default=True, help="Exchanges that were missed.")
@click.option("--id", "adjustment_id", metavar="ID", help="Makes it once and only once; default: a new one.")
@click.option("--by", "by", help="Who does it; default: you.")
@click.option(
    "--policy",
    "policy_paths",
    multiple=True,
    metavar="PATH",
    help="Budgets whose limits of app and model it counts in; default: those in force.",
)
@ledger_options
def adjust_command(
    team: str, usd: str, reason: str, app: str, model: str, day: str | None, tokens: tuple[str, ...],
    requests: int, adjustment_id: str | None, by: str | None, policy_paths: tuple[str, ...],
    redis_url: str | None, data_dir: Path,
) -> None:  # fmt: skip
    """Add an amount to a team's month, or take one back.

    It counts in the month's spend and the limits of its app and model, is a line of its own in `spend` and
    chargeback, and stays in the audit for 400 days. The same --id again changes nothing. What would bring a
    counter below zero is refused; a wrong adjustment is corrected by another one.

    \b
    Example:
      spendgate ledger adjust --team payments --usd -12.50 --reason "credit note 4711" --id credit-4711
      spendgate ledger adjust --team ml --app search --model gpt-4o --usd 3.1 --day 2026-11-03 --reason "bypass"
    """  # fmt: skip
    from spendgate.budget.limits import month_scopes
    from spendgate.cli.policy_at_hand import policy_at_hand
    from spendgate.ledger.accounts import Adjustment

    found = find_ledger(redis_url, data_dir)
    policy = policy_at_hand(found, policy_paths)
    budget = policy.budget(team) if policy else None
    groups = tuple(g.team for g in policy.groups_of(team)) if policy else ()
    if policy is None and (app, model) != (NONE, NONE):
        click.echo("spendgate ledger: no policy found: limits of app and model are not moved", err=True)
    try:
        wanted = Adjustment(
            adjustment_id or uuid.uuid4().hex, team, usd_to_nano(usd), reason, by or user(), app, model,
            _day(day), _usage(tokens), requests, month_scopes(budget, app, model), groups,
        )  # fmt: skip
    except ValueError as e:
        raise click.UsageError(str(e)) from e
    click.echo(asyncio.run(with_ledger(found.redis_url, lambda ledger: _adjust(ledger, wanted))))


async def _adjust(ledger: RedisLedger, a: Adjustment) -> str:
    (result,) = await ledger.adjust([a])
    month = month_text(result.day)
    stands = f"{a.team} stands at {nano_to_usd(result.settled_nanousd)} USD for {month}"
    match result.outcome:
        case "adjusted":
            return f"{a.adjustment_id}: adjusted by {nano_to_usd(a.cost_nanousd)} USD; {stands}"
        case "replayed":
            return f"{a.adjustment_id}: made before, nothing changed; {stands}"
        case "differs":
            name = _FIELDS[result.detail]
            raise LedgerError(
                f"adjustment {a.adjustment_id}: that id belongs to one with another {name}; nothing changed"
            )
        case "day":
            first, last = (day_text(d) for d in result.detail.split())
            raise LedgerError(f"adjustment {a.adjustment_id}: --day must be within {first} and {last}")
        case "floor":
            raise LedgerError(
                f"adjustment {a.adjustment_id}: {nano_to_usd(a.cost_nanousd)} USD would bring the counter "
                f"{result.detail} of {month} below zero; nothing changed ({stands})"
            )


_FIELDS = {"e": "amount", "app": "app", "m": "model", "d": "day", "u": "usage", "q": "number of requests"}


@command.command("adjustments")
@click.option("--team", help="Only this team.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
@ledger_options
def adjustments_command(team: str | None, output: str, redis_url: str | None, data_dir: Path) -> None:
    """The audit: every adjustment of the last 400 days, oldest first.

    \b
    Example: spendgate ledger adjustments --team payments -o json
    """
    found = find_ledger(redis_url, data_dir)
    lines = asyncio.run(with_ledger(found.redis_url, lambda ledger: _audit(ledger, team)))
    rows = [_row(x) for x in lines]
    if output == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif output == "csv":
        fields = ("id", "team", "usd", "app", "model", "day", "at", "by", "reason", "requests", "tokens")
        writer = csv.DictWriter(sys.stdout, fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "tokens": " ".join(f"{k}={n}" for k, n in row["tokens"].items())})
    else:
        _print(rows)


async def _audit(ledger: RedisLedger, team: str | None) -> list[Adjusted]:
    out: list[Adjusted] = []
    for name in await ledger.teams() if team is None else [team]:
        out += await ledger.adjustments(name)
    return sorted(out, key=lambda x: x.at_ms)


def _row(x: Adjusted) -> dict[str, Any]:
    a = x.adjustment
    return {
        "id": a.adjustment_id,
        "team": a.team,
        "usd": nano_to_usd(a.cost_nanousd),
        "app": a.app,
        "model": a.model,
        "day": day_text(x.booked_day),
        "asked_day": day_text(a.day) if a.day else None,
        "at": datetime.fromtimestamp(x.at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "by": a.by,
        "reason": a.reason,
        "requests": a.requests,
        "tokens": a.usage,
        "scopes": list(a.scopes),
        "settled_after_usd": nano_to_usd(x.settled_after_nanousd),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        click.echo("No adjustments.")
        return
    table = Table(title="Adjustments (USD)", title_justify="left", box=None, pad_edge=False)
    for name in ("at", "team", "usd", "app", "model", "day", "by", "reason", "id"):
        table.add_column(name, justify="right" if name == "usd" else "left", overflow="fold")
    for row in rows:
        names = ("at", "team", "usd", "app", "model", "day", "by", "reason", "id")
        table.add_row(*(Text(str(row[name])) for name in names))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


async def with_ledger(
    url: str, use: Callable[[RedisLedger], Awaitable[_T]], timeout_s: float = TIMEOUT_S
) -> _T:
    """Use the ledger and close it; where it is away, say what to do."""
    from spendgate.ledger.redis.ledger import RedisLedger

    ledger = RedisLedger.from_url(url, timeout_s=timeout_s)
    try:
        return await use(ledger)
    except LedgerUnavailable as e:
        raise LedgerUnavailable(
            f"the ledger does not answer ({e.__cause__ or e}); start `spendgate up`, or give --redis URL"
        ) from e
    finally:
        await ledger.close()


def user() -> str:
    """Who runs the command, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _day(text: str | None) -> str:
    if not text:
        return ""
    try:
        return datetime.strptime(text, "%Y-%m-%d").strftime("%Y%m%d")
    except ValueError as e:
        raise click.UsageError(f"--day: not a day: {text!r}; write it as YYYY-MM-DD") from e


def _usage(tokens: tuple[str, ...]) -> dict[str, int]:
    from spendgate.usage import KINDS

    usage: dict[str, int] = {}
    for item in tokens:
        kind, _, number = item.partition("=")
        if kind not in KINDS:
            raise click.UsageError(f"--tokens: no kind {kind!r}; the kinds are {', '.join(KINDS)}")
        try:
            usage[kind] = usage.get(kind, 0) + int(number)
        except ValueError as e:
            raise click.UsageError(f"--tokens: not a number: {item!r}; write KIND=N") from e
    return usage
