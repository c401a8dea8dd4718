"""A chargeback as tables for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spendgate.finops.chargeback.chargeback import Chargeback
from spendgate.finops.chargeback.groups import GROUP_RULE
from spendgate.finops.chargeback.render import BUDGET, NUMBERS, group_row, numbers
from spendgate.money import usd_cell
from spendgate.months import month_text


def table(report: Chargeback) -> str:
    """The teams with their lines, then the groups."""
    month = month_text(report.month)
    if not report.lines:
        return f"Nothing was spent in {month}.\n"
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    with console.capture() as capture:
        console.print(_teams(report, month))
        if report.groups:
            console.print()
            console.print(_groups(report))
    notes = (f"{GROUP_RULE}.", *report.notes) if report.groups else report.notes
    return capture.get() + "".join(f"{note}\n" for note in notes)


def _teams(report: Chargeback, month: str) -> Table:
    table = Table(title=f"Chargeback {month} (USD)", title_justify="left", box=None, pad_edge=False)
    for name in ("team", report.by, "model", "kind"):
        table.add_column(Text(name), overflow="fold")
    for name in NUMBERS:
        table.add_column(name.removesuffix(" USD"), justify="right", no_wrap=True)
    for team, lines in report.teams.items():
        for x in lines:
            names = [Text(n or "(unnamed)") for n in (team, x.app, x.model)]
            table.add_row(*names, "", *numbers([x]))
            for k in x.kinds:
                cost = usd_cell(k.cost_nanousd)
                table.add_row("", "", "", Text(k.kind), "", f"{k.tokens:,}", cost, "", "", style="dim")
        table.add_row(Text(f"{team} total"), "", "", "", *numbers(lines), style="bold")
        table.add_section()
    table.add_row("total", "", "", "", *numbers(report.lines), style="bold")
    return table


def _groups(report: Chargeback) -> Table:
    table = Table(title="Groups (USD)", title_justify="left", box=None, pad_edge=False)
    for name in ("group", "teams"):
        table.add_column(name, overflow="fold")
    for name in (*NUMBERS, *BUDGET):
        table.add_column(name.removesuffix(" USD"), justify="right", no_wrap=True)
    for g in report.groups:
        name, teams, *values = group_row(g)
        table.add_row(Text(name), Text(teams), *values)
    return table
