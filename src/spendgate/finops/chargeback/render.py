"""A chargeback as text: JSON, CSV, Markdown. Pure; USD are exact decimal strings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from spendgate.finops.chargeback.chargeback import RULE, Chargeback, GroupSum, Line
from spendgate.finops.chargeback.groups import GROUP_RULE
from spendgate.money import nano_to_usd, usd_cell
from spendgate.months import month_text

CSV_FIELDS = (
    "month",
    "team",
    "app",
    "model",
    "kind",
    "requests",
    "tokens",
    "cost_usd",
    "saved_usd",
    "refused",
    "list_cost_usd",
    "effective_cost_usd",
)


def document(report: Chargeback) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "month": month_text(report.month),
        "source": report.source,
        "rule": RULE,
        "shared": list(report.notes),
        **_sums(report.lines),
        "teams": [
            {
                "team": team,
                **_sums(lines),
                "lines": [_line(x, report.by) for x in lines],
            }
            for team, lines in report.teams.items()
        ],
        **({"groups": [_group(g) for g in report.groups], "group_rule": GROUP_RULE} if report.groups else {}),
    }


def _group(of: GroupSum) -> dict[str, Any]:
    limit = of.limit_nanousd
    return {
        "group": of.name,
        "budget_usd": None if limit is None else nano_to_usd(limit),
        "utilization": of.utilization,
        "teams": list(of.teams),
        **_sums(of.lines),
    }


def _sums(lines: Sequence[Line]) -> dict[str, Any]:
    return {
        "requests": sum(x.requests for x in lines),
        "tokens": sum(x.tokens for x in lines),
        "cost_usd": nano_to_usd(sum(x.cost_nanousd for x in lines)),
        "saved_usd": nano_to_usd(sum(x.saved_nanousd for x in lines)),
        "refused": sum(x.refused for x in lines),
        "list_cost_usd": nano_to_usd(sum(x.list_nanousd for x in lines)),
        "effective_cost_usd": nano_to_usd(sum(x.effective_nanousd for x in lines)),
    }


def _line(line: Line, by: str) -> dict[str, Any]:
    return {
        by: line.app,
        "model": line.model,
        **_sums([line]),
        "kinds": [
            {"kind": k.kind, "tokens": k.tokens, "cost_usd": nano_to_usd(k.cost_nanousd)} for k in line.kinds
        ],
    }


def to_json(report: Chargeback) -> str:
    """Indented JSON."""
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"


def to_csv(report: Chargeback) -> str:
    """One row a team, app, model and kind; every column adds up to its total.

    The numbers of exchanges and of refusals, and what routing saved, stand once for each app and model, in a row
    of kind `requests`. Where there are groups, the last column has those of the team, `;` between them. A name that a
    spreadsheet would run as a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = [report.by if name == "app" else name for name in CSV_FIELDS]
    writer.writerow([*head, "groups"] if report.groups else head)
    month = month_text(report.month)
    for team, lines in report.teams.items():
        among = [inert(";".join(g.name for g in report.groups if team in g.teams))] if report.groups else []
        for line in lines:
            names = [month, *(inert(n) for n in (line.team, line.app, line.model))]
            unexplained = line.cost_nanousd - sum(k.cost_nanousd for k in line.kinds if k.kind != "requests")
            of_all = (nano_to_usd(line.list_nanousd), nano_to_usd(line.effective_nanousd))
            once = (nano_to_usd(line.saved_nanousd), line.refused, *of_all)
            writer.writerow([*names, "requests", line.requests, 0, nano_to_usd(unexplained), *once, *among])
            for k in line.kinds:
                if k.kind != "requests":
                    of_kind = (k.kind, 0, k.tokens, nano_to_usd(k.cost_nanousd))
                    writer.writerow([*names, *of_kind, "0.00", 0, "0.00", "0.00", *among])
    return out.getvalue()


def inert(name: str) -> str:
    """A name that no spreadsheet runs as a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def to_markdown(report: Chargeback) -> str:
    """A table of teams, and one of apps and models for each team, for a pull request or a wiki."""
    out = [
        f"# Chargeback {month_text(report.month)}",
        "",
        f"Source: {report.source}. USD, rounded to cents: CSV and JSON are exact.",
        "",
    ]
    out += table_rows(
        ("team", *NUMBERS),
        [(t, *numbers(xs)) for t, xs in report.teams.items()] + [("**total**", *numbers(report.lines))],
        names=1,
    )
    if report.groups:
        out += ["", "## Groups", ""]
        out += table_rows(
            ("group", "teams", *NUMBERS, *BUDGET), [group_row(g) for g in report.groups], names=2
        )
        out += ["", f"{GROUP_RULE}."]
    for team, lines in report.teams.items():
        out += ["", f"## {escape(team)}", ""]
        out += table_rows(
            (report.by, "model", *NUMBERS, "by kind"),
            [
                (
                    x.app, x.model, *numbers([x]),
                    ", ".join(f"{k.kind} {k.tokens:,}: {usd_cell(k.cost_nanousd)}" for k in x.kinds),
                )
                for x in lines
            ],
            names=2,
        )  # fmt: skip
    return "\n".join([*out, "", *(f"{escape(note)}.\n" for note in report.notes), f"{RULE}.", ""])


BUDGET = ("budget USD", "used")


def group_row(of: GroupSum) -> tuple[str, ...]:
    """A group as texts for people: its name, teams, sums, budget, and what of that is used."""
    limit = "–" if of.limit_nanousd is None else usd_cell(of.limit_nanousd)
    used = "–" if of.utilization is None else f"{of.utilization:.1%}"
    return of.name, ", ".join(t or "(unnamed)" for t in of.teams) or "–", *numbers(of.lines), limit, used


NUMBERS = ("requests", "tokens", "cost USD", "saved USD", "refused")


def numbers(lines: Sequence[Line]) -> tuple[str, ...]:
    """The sums of lines as texts for people, in the order of `NUMBERS`."""
    return (
        f"{sum(x.requests for x in lines):,}",
        f"{sum(x.tokens for x in lines):,}",
        usd_cell(sum(x.cost_nanousd for x in lines)),
        usd_cell(sum(x.saved_nanousd for x in lines)),
        f"{sum(x.refused for x in lines):,}",
    )


def table_rows(head: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> list[str]:
    """A Markdown table; the first `names` columns are names, the rest stands to the right."""
    rule = ["---"] * names + ["---:"] * (len(head) - names)
    return [_cells(head), _cells(rule), *(_cells(row) for row in rows)]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escape(c) if not c.startswith('**') else c for c in cells)} |"


def escape(name: str) -> str:
    """A name that cannot break out of its cell: bars, backslashes, tags and line ends are made harmless."""
    text = name.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
    return " ".join(text.splitlines()) or "(unnamed)"
