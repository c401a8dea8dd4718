"""`spendgate month archive` and `verify`: closed months as files that outlive the ledger."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.cli.ledger import with_ledger
from spendgate.errors import ConfigurationError
from spendgate.money import nano_to_usd, usd_cell
from spendgate.months import month_last_ms, month_text, parse_month

if TYPE_CHECKING:
    from spendgate.budget.policy import Policy
    from spendgate.finops.chargeback.archive import Archive
    from spendgate.ledger.accounts import Adjusted, DayCell
    from spendgate.ledger.redis.closing import Closing
    from spendgate.ledger.redis.ledger import RedisLedger

_F = TypeVar("_F", bound=Callable[..., Any])
_HELP = {"help_option_names": ["-h", "--help"]}
TIMEOUT_S = 30.0
FOLDER = "closed"
"""Where archives stand in a data dir."""


def archive_options(command: _F) -> _F:
    """What a month's cost is shared out by, and its billing account."""
    command = click.option(
        "--log", "logs", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
        help="Usage logs of the month: they know the cost of each kind exactly, where a price has tiers, too.",
    )(command)  # fmt: skip
    command = click.option(
        "--billing-account", default="spendgate", show_default=True, help="BillingAccountId of FOCUS."
    )(command)
    return click.option(
        "--prices", multiple=True, envvar="SPENDGATE_PRICES", type=click.Path(path_type=Path),
        help="Prices on top of the built-in.",
    )(command)  # fmt: skip


def month_of(text: str) -> str:
    """`YYYY-MM` as the month's key. Raises UsageError."""
    try:
        return parse_month(text)
    except ValueError as e:
        raise click.UsageError(str(e)) from e


@click.command("archive", context_settings=_HELP)
@click.argument("month", metavar="YYYY-MM")
@click.option(
    "--archive", "url", envvar="SPENDGATE_ARCHIVE", metavar="URL",
    help="A folder, file://, s3://, gs:// or abfs:// URL; default: DATA_DIR/closed.  [env: SPENDGATE_ARCHIVE]",
)  # fmt: skip
@archive_options
@ledger_options
def archive_command(
    month: str, url: str | None, prices: tuple[Path, ...], billing_account: str, logs: tuple[Path, ...],
    redis_url: str | None, data_dir: Path,
) -> None:  # fmt: skip
    """Write the files of a month that is closed for every team. What is there already stays as it is.

    \b
    Example: spendgate month archive 2026-10 --archive s3://acme-finops/closed
    """
    found = find_ledger(redis_url, data_dir)
    write_archive(
        found.redis_url, month_of(month), url or str(data_dir / FOLDER), prices, billing_account, logs
    )


@click.command("verify", context_settings=_HELP)
@click.argument("month", metavar="YYYY-MM")
@click.option(
    "--archive", "url", required=True, envvar="SPENDGATE_ARCHIVE", metavar="URL",
    help="Where closed months stand.  [env: SPENDGATE_ARCHIVE]",
)  # fmt: skip
def verify_command(month: str, url: str) -> None:
    """Check an archived month against its checksums and its sum; needs no ledger.

    \b
    Example: spendgate month verify 2026-10 --archive s3://acme-finops/closed
    """
    books = read_archive(url, month_of(month)).books
    settled = sum(c.settled_nanousd for c in books.closings)
    lines = sum(c.cost_nanousd for c in books.cells)
    click.echo(
        f"{month}: {usd_cell(settled)} USD in {len(books.closings)} teams, {len(books.budgets)} budgets, "
        f"{len(books.cells):,} lines: whole"
    )
    if settled != lines:
        raise ConfigurationError(
            f"the lines add up to {nano_to_usd(lines)} USD, the closings to {nano_to_usd(settled)}"
        )


async def to_freeze(ledger: RedisLedger, month: str, at_hand: Policy | None, given: bool) -> dict[str, str]:
    """The documents that a month's close freezes: of the policy given, else the last that were in force in the month,
    else, and then it is said, of the policy at hand."""
    from spendgate.policy.month_budgets import BudgetBook, documents_of

    teams = await ledger.teams()
    noted = None if given else await documents_of(ledger.calls.redis, teams, month)
    if noted is not None or at_hand is None:
        return noted or {}
    if not given and at_hand.every:
        click.echo(
            f"spendgate month: no budgets were written down in {month_text(month)}; today's are frozen with it",
            err=True,
        )
    await BudgetBook(ledger.calls.redis).note(at_hand, month)
    budgets = {t: at_hand.budget(t) for t in {*teams, *at_hand.teams}}
    return {t: b.document for t, b in budgets.items() if b is not None and b.document}


def write_archive(
    redis_url: str, month: str, url: str, prices: tuple[Path, ...], account: str, logs: tuple[Path, ...] = ()
) -> None:
    """Archive a month that is closed for all. Raises ConfigurationError where it is not."""
    from spendgate.cli.report import read_log
    from spendgate.finops.chargeback.archive import archive, has_table
    from spendgate.finops.chargeback.closed_month import closed_month
    from spendgate.finops.chargeback.export import Store
    from spendgate.finops.log_cells import with_kinds
    from spendgate.pricing.load import table

    closings, cells, made, documents, groups, carried, groups_carried = asyncio.run(
        with_ledger(redis_url, lambda ledger: _read(ledger, month), TIMEOUT_S)
    )
    listed = table(prices)
    if logs:
        logged = read_log(logs, None, month, finest=False, prices=listed)
        cells, missing = with_kinds(cells, logged)
        if missing:
            click.echo(
                f"spendgate month: {missing} of {len(cells)} lines are not, or not whole, in the logs; the cost of "
                "their kinds is the ledger's own share", err=True,
            )  # fmt: skip
    try:
        books = closed_month(month, closings, cells, made, documents, listed, groups, carried, groups_carried)
    except ValueError as e:
        raise ConfigurationError(f"{e}; close it with `spendgate month close {month_text(month)}`") from e
    with tempfile.TemporaryDirectory(prefix="spendgate-archive-") as scratch:
        puts = archive(books, listed, account, Store(url), Path(scratch))
    is_new = any(p.changed for p in puts)
    click.echo(
        f"archived: {url.rstrip('/')}/{puts[0].name.rpartition('/')[0]}{'' if is_new else ' (was there already)'}"
    )
    if not has_table(puts):
        click.echo(
            "spendgate month: without a Parquet table, since pyarrow is not installed; run: pip install "
            "'spendgate[parquet]'", err=True,
        )  # fmt: skip


async def _read(
    ledger: RedisLedger, month: str
) -> tuple[
    list[Closing], list[DayCell], list[Adjusted], dict[str, str], dict[str, str], dict[str, int], dict[str, int]
]:  # fmt: skip
    from spendgate.ledger.redis.closing import look_at_month
    from spendgate.policy.month_budgets import compiled, documents_of, groups_of
    from spendgate.views.carries import Carries

    known = await ledger.teams()
    documents = await documents_of(ledger.calls.redis, known, month) or {}
    teams = sorted({*known, *documents})
    closings = await look_at_month(ledger, teams, month)
    made = [a for t in teams for a in await ledger.adjustments(t)]
    groups = await groups_of(ledger.calls.redis, month)
    budgets, bounding, at_ms = compiled(documents), compiled(groups), month_last_ms(month)
    carries = Carries(ledger)
    await carries.refresh((*budgets.values(), *bounding.values()), at_ms)
    carried, groups_carried = (
        {name: carries.carried_nanousd(b, at_ms) for name, b in some.items()} for some in (budgets, bounding)
    )
    return closings, await ledger.cells(teams, month), made, documents, groups, carried, groups_carried


def read_archive(url: str, month: str) -> Archive:
    """A closed month from its files. Raises ConfigurationError, ExportError."""
    from spendgate.finops.chargeback.archive import read
    from spendgate.finops.chargeback.export import Store

    return read(Store(url), month)
