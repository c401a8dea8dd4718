"""`spendgate prices unknown`: what was charged by a stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("unknown")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def unknown(files: tuple[Path, ...], output: str) -> None:
    """What was charged by another's price, from usage logs: models, kinds and tiers that no price list has.

    Give each a price in a file of --prices. The money is that of whole exchanges.

    \b
    Example: spendgate prices unknown .spendgate/usage.jsonl
    """
    from spendgate.finops.unknown_prices import unknown_prices
    from spendgate.money import nano_to_usd, usd_cell, usd_to_nano
    from spendgate.records.reader import read

    found = unknown_prices(read(files))
    rows = [(u.what, u.upstream, u.stand_in, u.exchanges, nano_to_usd(u.cost_nanousd)) for u in found]
    names = ("what", "upstream", "stand_in", "exchanges", "cost_usd")
    if output == "json":
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
        return
    if not rows:
        click.echo("everything in these logs has a price of its own")
        return
    click.echo(f"{'no price':<44} {'upstream':<14} {'charged as':<28} {'exchanges':>9} {'USD':>14}")
    for what, upstream, stand_in, exchanges, usd in rows:
        click.echo(
            f"{what:<44} {upstream or '-':<14} {stand_in or '-':<28} {exchanges:>9,} {usd_cell(usd_to_nano(usd)):>14}"
        )
