"""`spendgate export`: the books of months into an object store or folder."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.money import nano_to_usd
from spendgate.months import last_months, month_text, parse_month

if TYPE_CHECKING:
    from spendgate.finops.chargeback.export import Put, Store
    from spendgate.finops.chargeback.focus_columns import Version
    from spendgate.ledger.accounts import Adjusted
    from spendgate.pricing.table import PriceTable

FORMATS = ("focus-1.4", "focus-1.2", "usage")


@click.command("export", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--to", "url", required=True, envvar="SPENDGATE_EXPORT_TO", metavar="URL",
    help="A folder, file://, s3://, gs:// or abfs:// URL.  [env: SPENDGATE_EXPORT_TO]",
)  # fmt: skip
@click.option("--format", "form", type=click.Choice(FORMATS), default="focus-1.4", show_default=True)
@click.option(
    "--month",
    "months",
    multiple=True,
    metavar="YYYY-MM",
    help="Months (UTC); default: the last and the running one.",
)
@click.option(
    "--as", "file_type", type=click.Choice(["csv", "parquet", "protobuf"]), default="csv", show_default=True,
    help="protobuf: --format usage as messages of usage.proto, which --log takes again.",
)  # fmt: skip
@click.option(
    "--log", "logs", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Usage logs; focus is then made of them, finer than the ledger's. For usage default: DATA_DIR/usage.jsonl.",
)  # fmt: skip
@click.option(
    "--prices", multiple=True, envvar="SPENDGATE_PRICES", type=click.Path(path_type=Path),
    help="Prices on top of the built-in.",
)  # fmt: skip
@click.option("--billing-account", default="spendgate", show_default=True, help="BillingAccountId of FOCUS.")
@ledger_options
def command(
    url: str, form: str, months: tuple[str, ...], file_type: str, logs: tuple[Path, ...], prices: tuple[Path, ...],
    billing_account: str, redis_url: str | None, data_dir: Path,
) -> None:  # fmt: skip
    """Write the books of months into an object store or folder: FOCUS, or the usage log as tables or messages.

    A file that is there with the same content is left alone: a second run changes nothing, and one that was cut off
    goes on where it stopped. Each month ends with its manifest (checksums, sum), so that readers know it is whole.

    \b
    Example:
      spendgate export --to s3://acme-finops/spendgate
      spendgate export --to gs://acme-finops/spendgate --as parquet --month 2026-10 --month 2026-11
      spendgate export --to ./archive --format usage --log .spendgate/usage.jsonl
      spendgate export --to ./archive --format usage --as protobuf
    """
    from spendgate.finops.chargeback.export import Store
    from spendgate.pricing.load import table

    try:
        wanted = [parse_month(m) for m in months] or last_months(time.time_ns() // 1_000_000, 2)
    except ValueError as e:
        raise click.UsageError(f"--month: {e}") from e
    if file_type == "protobuf" and form != "usage":
        raise click.UsageError("--as protobuf: only the usage log has messages; add --format usage")
    store = Store(url)
    for month in dict.fromkeys(wanted):
        with tempfile.TemporaryDirectory(prefix="spendgate-export-") as made:
            scratch = Path(made)
            if form == "usage":
                sources = logs or (data_dir / "usage.jsonl",)
                done = _usage(store, month, sources, file_type, scratch)
            else:
                version = cast("Version", form.removeprefix("focus-"))
                done = _focus(
                    store,
                    month,
                    version,
                    file_type,
                    logs,
                    table(prices),
                    billing_account,
                    redis_url,
                    data_dir,
                    scratch,
                )
        if not done:
            click.echo(f"{month_text(month)}: nothing was spent; nothing is written")
        for put in done:
            click.echo(f"{put.name}: {f'{put.size:,} bytes written' if put.changed else 'unchanged'}")


def _focus(
    store: Store, month: str, version: Version, file_type: str, logs: tuple[Path, ...], prices: PriceTable,
    account: str, redis_url: str | None, data_dir: Path, scratch: Path,
) -> list[Put]:  # fmt: skip
    from spendgate.cli.report import budgets_of_month, read_log, read_month
    from spendgate.finops.chargeback.export import put_all
    from spendgate.finops.chargeback.focus import Month
    from spendgate.finops.chargeback.focus_files import focus_csv, focus_parquet

    made: list[Adjusted] = []
    if logs:
        cells = read_log(logs, None, month, finest=True, prices=prices)
    else:
        found = find_ledger(redis_url, data_dir)
        cells, _, made = asyncio.run(read_month(found.redis_url, None, month))
    if not cells:
        return []
    groups = budgets_of_month(redis_url, data_dir, month, "log" if logs else "ledger")[1]
    of = Month(month, cells, prices, account, made, groups=groups)
    name = f"spendgate-{month_text(month)}.{file_type}"
    path = scratch / name
    if file_type == "parquet":
        path.write_bytes(focus_parquet(of, version))
    else:
        path.write_text(focus_csv(of, version))
    facts: dict[str, Any] = {
        "dataset": "FOCUS Cost and Usage",
        "version": version,
        "month": month_text(month),
        "source": "log" if logs else "ledger",
        "billed_usd": nano_to_usd(sum(c.cost_nanousd for c in cells)),
    }
    folder = f"focus-{version}/{file_type}/billing_period={month_text(month)}"
    return put_all(store, folder, [(name, path)], facts, scratch)


def _usage(store: Store, month: str, logs: tuple[Path, ...], file_type: str, scratch: Path) -> list[Put]:
    from spendgate.finops.chargeback.export import put_all
    from spendgate.finops.chargeback.export_usage import to_parquet, write_days
    from spendgate.records.reader import UsageLogReader

    reader = UsageLogReader(logs)
    days = write_days(reader.records(), month, scratch, messages=file_type == "protobuf")
    for path in reader.torn:
        click.echo(f"spendgate export: {path}: the last line was cut off and is left out", err=True)
    if not days:
        return []
    files = []
    for day, (written, _) in days.items():
        path = to_parquet(written) if file_type == "parquet" else written
        files.append((f"day={day}/{path.name}", path))
    facts = {
        "dataset": "usage",
        "month": month_text(month),
        "lines": sum(n for _, n in days.values()),
        "days": {day: n for day, (_, n) in days.items()},
    }
    return put_all(store, f"usage/{file_type}/month={month_text(month)}", files, facts, scratch)
